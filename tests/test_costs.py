"""What an answer costs: the arithmetic, the dated prices and a domain's own, and what is measured of a tiny model."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from exported import make_run
from ggufs import tiny_gguf
from tiny import tiny_model
from toys import Factory

from factory import costing
from factory.costing import Wish, measure_models
from factory.costs import Measured, marks, measured, price_of, price_per_hour, prices
from factory.errors import FactoryError
from factory.files import read_json, write_json, write_text
from factory.records import EvalItem, write_records

ROW = Measured("d", "s", "a machine", "llama.cpp", 10, 900, 100, 20.0, 3.0, 2.0, 50.0, "2026-01-01T00:00:00+0000")


def test_an_hour_pays_for_the_answers_that_it_gives() -> None:
    assert (ROW.tokens_per_second, ROW.answers_per_hour, ROW.joules_per_answer) == (5.0, 1800.0, 5.0)
    assert ROW.per_answer(0.9) == pytest.approx(0.0005)
    assert ROW.per_million(0.9) == pytest.approx(5.0), "an answer has 100 tokens in and out"
    assert replace(ROW, joules=None).joules_per_answer is None


def test_a_hosted_model_is_priced_for_the_same_tokens(tmp_path: Path) -> None:
    price = prices(tmp_path)["gpt-4o-mini"]
    assert (price.input, price.output, price.date) == (0.15, 0.6, "2024-07-18")
    assert price.per_answer(ROW) == pytest.approx((90 * 0.15 + 10 * 0.6) / 1e6)
    assert price.per_million(ROW) == pytest.approx(0.9 * 0.15 + 0.1 * 0.6)
    assert price.even(0.9, ROW) * price.per_answer(ROW) == pytest.approx(0.9)


def test_every_packaged_price_is_a_dated_fact_with_its_source() -> None:
    text = (Path(costing.__file__).parent / "prices.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    assert len(rows) >= 8
    for name, row in rows.items():
        assert 0 < row["input"] <= row["output"] < 1000, name
        assert isinstance(row["date"], datetime.date) and row["source"].startswith("https://"), name


def test_a_domain_adds_its_own_prices_and_they_count(tmp_path: Path) -> None:
    own = '[gpt-4o-mini]\ninput = 1\noutput = 2\ndate = 2026-05-01\nsource = "our contract"\n["our/model"]\ninput = 0\noutput = 0\ndate = 2026-05-01\nsource = "ours"\n'
    write_text(tmp_path / "prices.toml", own)
    found = prices(tmp_path)
    assert found["gpt-4o-mini"].output == 2 and found["our/model"].even(1.0, ROW) == 0.0 and "gpt-4" in found
    assert marks(tmp_path, tmp_path).keys() == {"prices"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x = 1", "is no table"),
        ("[m]\ninput = 1\noutput = 2", "date and source"),
        ('[m]\ninput = "1"\noutput = 2\ndate = 2026-01-01\nsource = "s"', "input is missing or no price"),
        ('[m]\ninput = -1\noutput = 2\ndate = 2026-01-01\nsource = "s"', "input is missing or no price"),
        ('[m]\ninput = 1\noutput = 2\ndate = "soon"\nsource = "s"', "date and source"),
        ('[m]\ninput = 1\noutput = 2\ndate = 2026-01-01\nsource = "s"\noutputs = 3', "unknown key 'outputs'"),
        ('[m]\ninput = 1\noutput = 2\ndate = 2026-01-01\nsource = "s"\nalso = 5', "also is no list of names"),
        ('[m]\ninput = 1\noutput = 2\ndate = 2026-01-01\nsource = "s"\nalso = "n"', "also is no list of names"),
        ("[m", "is not TOML"),
    ],
)
def test_a_row_that_is_no_price_is_named(tmp_path: Path, row: str, said: str) -> None:
    write_text(tmp_path / "prices.toml", row)
    with pytest.raises(FactoryError, match=said) as error:
        prices(tmp_path)
    assert "prices.toml" in error.value.message and error.value.hint


def test_prices_that_are_no_utf8_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_bytes("# 价格".encode("gb18030"))
    for read in (lambda: prices(tmp_path), lambda: marks(tmp_path, tmp_path)):
        with pytest.raises(FactoryError, match="is not UTF-8"):
            read()


@pytest.mark.parametrize("name", ["gpt-4o-mini", "GPT-4o mini", "openai/gpt-4o-mini-2024-07-18", "gpt_4o_mini"])
def test_a_price_is_found_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    found = price_of(name, prices(tmp_path))
    assert found and found.model == "gpt-4o-mini"
    assert price_of("gpt-4o-minimum", prices(tmp_path)) is None


def test_the_price_of_an_hour_is_the_last_one_said(tmp_path: Path) -> None:
    assert price_per_hour(tmp_path, 0.0) == 0 and price_per_hour(tmp_path, 0.3) == 0.3
    write_json(tmp_path / "costs.json", {"price_per_hour": None, "models": {"base": asdict(ROW)}})
    assert price_per_hour(tmp_path, 0.3) == 0.3 and measured(tmp_path) == {"base": ROW}
    write_json(tmp_path / "costs.json", {"price_per_hour": 0.0, "models": {}})
    assert price_per_hour(tmp_path, 0.3) == 0.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path, tiny_model(tmp_path / "base", initializer_range=1.0))
    prompt = [{"role": "user", "content": "What is mango?"}]
    write_records(
        folder / "ingest" / "eval.jsonl", [EvalItem(f"{n}", "kind", prompt, ["fruit"], "choice") for n in range(7)]
    )
    return folder


def test_models_are_measured_once_each_in_a_process_of_its_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny_gguf(tmp_path / "base", tmp_path / "other.gguf"))
    said: list[str] = []
    measure_models(Wish("toy", models=[file], answers=4, price=0.5), said.append)
    found = measured(run)
    assert list(found) == ["base", "sft", "other"] and read_json(run / "costs.json")["price_per_hour"] == 0.5
    assert found["other"].engine == "llama.cpp" and "transformers" in found["base"].engine
    for row in found.values():
        assert row.answers == 4 and row.tokens_out >= 4 and row.tokens_in == 4 * (row.tokens_in // 4) > 0
        assert row.seconds > 0 and row.seconds_alone > 0 and 0.02 < row.peak_gb < 3
    assert found["base"].tokens_in == found["other"].tokens_in and found["base"].digest != found["sft"].digest

    def refuse(*_: object) -> Measured:
        raise AssertionError("measured twice")

    monkeypatch.setattr(costing, "_in_a_process", refuse)
    measure_models(Wish("toy", answers=4), said.append)
    assert measured(run) == found and read_json(run / "costs.json")["price_per_hour"] == 0.5
    for wish in (Wish("toy", answers=5), Wish("toy", answers=4, again=True)):
        with pytest.raises(AssertionError, match="measured twice"):
            measure_models(wish, said.append)


def test_what_cannot_be_measured_is_said(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FactoryError, match="no model that can be scored"):
        measure_models(Wish("toy", models=["nothing"], answers=1), print)
    monkeypatch.setattr(costing, "find_model", lambda *_: replace(model_of(run), kind="address"))
    with pytest.raises(FactoryError, match="runs elsewhere") as error:
        measure_models(Wish("toy", answers=1), print)
    assert "prices.toml" in error.value.hint and not (run / "costs.json").exists()


def model_of(run: Path) -> costing.Model:
    from factory.build import run_domain
    from factory.scoring import find_model

    return find_model(run, run_domain("toy", "default"), "base")


def test_the_command_shows_both_tables(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(costing, "_in_a_process", lambda spec, name: replace(ROW, joules=None))
    factory = Factory(monkeypatch, capsys)
    ended = factory("cost", "toy", "--price-per-hour", "0.9")
    assert ended.code == 0, ended.err
    for text in ("sft (best)", "1,800", "0.500", "does not tell", "gpt-4o-mini", "2024-07-18", "never"):
        assert text in ended.out, text
    assert "--price-per-hour, or [cost]" in Factory(monkeypatch, capsys)("cost", "toy", "--price-per-hour", "0").out
