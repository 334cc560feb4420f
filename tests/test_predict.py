"""predict and eval with a GGUF file, a base with an adapter over it, or an export's folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from exported import make_run
from ggufs import adapter_gguf, tiny_gguf
from tiny import tiny_model
from toys import Factory

from factory import scoring
from factory.errors import FactoryError
from factory.export.engines import engine_line
from factory.files import write_json
from factory.predict import gguf_files
from factory.records import EvalItem, write_records
from factory.scoring import score_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", initializer_range=1.0)


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    return make_run(tmp_path, base)


def predicted(factory: Factory, model: str, tmp_path: Path) -> list[dict[str, str]]:
    rows = [{"task": "kind", "input": "mango"}, {"prompt": "Bake the bread.", "id": "b"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = factory("predict", "toy", "rows.jsonl", "-o", "out.jsonl", "--model", model)
    assert ended.code == 0 and "2 answers in out.jsonl" in ended.out, ended.err
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_predict_takes_a_gguf_and_adapters_over_it(
    tmp_path: Path, run: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    tiny_gguf(base, tmp_path / "base.gguf")
    adapter_gguf(base, run / "sft" / "adapter", tmp_path / "own.gguf")
    folder = run / "export" / "gguf-lora"
    write_json(folder / "export.json", {"file": "a.gguf", "base_gguf": str(tmp_path / "base.gguf")})
    adapter_gguf(base, run / "sft" / "adapter", folder / "a.gguf")
    plain = predicted(factory, "base.gguf", tmp_path)
    assert plain[0]["prediction"] in ("fruit", "tool") and plain[1]["id"] == "b"
    own = predicted(factory, "base.gguf+own.gguf", tmp_path)
    assert own == predicted(factory, str(folder), tmp_path) != plain
    trained = predicted(factory, "sft", tmp_path)  # by transformers: a random model's long answer parts somewhere
    assert [row["prediction"][:16] for row in trained] == [row["prediction"][:16] for row in own]


def test_what_is_no_model_is_said(tmp_path: Path, run: Path) -> None:
    for model, word in (
        ("beste", "Unknown model 'beste'"),
        ("none.gguf", "does not exist"),
        (str(run), "Unknown model"),
    ):
        with pytest.raises(FactoryError, match=word):
            gguf_files(model)


def test_a_gguf_is_scored_once(tmp_path: Path, run: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tiny_gguf(base, tmp_path / "base.gguf"))
    prompt = [{"role": "user", "content": "What is mango?"}]
    items = [EvalItem(f"kind-{word}", "kind", prompt, [word], "choice") for word in ("fruit", "tool")]
    write_records(run / "ingest" / "eval.jsonl", items)
    found = score_model("toy", "default", file, print)
    assert found["base"]["mean"]["score"] == 50 and found["base"]["kind"]["n"] == 2

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be answered twice")

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "open_llama", refuse)
        assert score_model("toy", "default", file, print) == found
        write_records(run / "ingest" / "eval.jsonl", [EvalItem("new", "say", prompt, ["x"], "exact")])
        with pytest.raises(AssertionError, match="answered twice"):
            score_model("toy", "default", file, print)
    assert score_model("toy", "default", file, print)["base"]["say"]["n"] == 1


def test_a_plan_names_the_engine_that_is_faster_here(tmp_path: Path, run: Path, base: Path) -> None:
    assert engine_line("toy", "default") == ""
    prompt = [{"role": "user", "content": "What is mango?"}]
    write_records(
        run / "ingest" / "eval.jsonl", [EvalItem(f"{n}", "kind", prompt, ["fruit"], "choice") for n in range(9)]
    )
    folder = run / "export" / "gguf-q8_0"
    tiny_gguf(base, folder / "a.gguf")
    note = {"kind": "gguf", "file": "a.gguf"}
    write_json(folder / "export.json", note | {"parity": {"passed": False}})
    assert engine_line("toy", "default") == ""
    write_json(folder / "export.json", note | {"parity": {"passed": True}})
    line = engine_line("toy", "default")
    assert (
        found := re.search(
            r"^engine +(\S+) \(tokens/s here, 8 answers at once: llama.cpp (\d+), transformers (\d+)\)", line
        )
    )
    assert (int(found[2]) >= int(found[3])) == (found[1] == "llama.cpp")
    assert (str(folder.relative_to(tmp_path)) in line) == (found[1] == "llama.cpp")
