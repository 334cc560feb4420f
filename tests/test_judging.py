"""factory judge: what a judge makes of a run, and that it is believed only when experts' votes bear it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served import Served, served
from toys import TOML, Factory, make_toy

from factory import teacher
from factory.errors import FactoryError
from factory.feedback import store_module
from factory.files import read_json, write_json
from factory.judging import ENOUGH, Wish, belief, judge_run, told
from factory.records import EvalItem, Prediction, write_records
from factory.statistics import kappa

ASKED = {"kind-1": ("kind", "What is mango?"), "kind-2": ("kind", "What is chisel?"), "say-1": ("say", "Say twice: kiwi"), "say-2": ("say", "Say twice: fig")}  # fmt: skip
BASE = ["a long wrong answer", "tool", "kiwi", "fig fig"]
BEST = ["fruit", "Tool.", "kiwi kiwi", "fig"]  # shorter: a win; the same; longer: a loss; shorter: a win


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """A judge that prefers the shorter answer, beside a run that is evaluated."""
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    make_toy(tmp_path, toml=TOML + "[evaluate]\nresamples = 200\n")
    run = tmp_path / "runs" / "toy" / "default"
    prompts = {
        name: [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        for name, (_, text) in ASKED.items()
    }
    write_records(
        run / "ingest" / "eval.jsonl",
        [EvalItem(name, task, prompts[name], ["?"], "exact") for name, (task, _) in ASKED.items()],
    )
    for model, answers in (("base", BASE), ("sft", BEST)):
        rows = [
            Prediction(name, task, text, ["?"], said, 0.0)
            for (name, (task, text)), said in zip(ASKED.items(), answers, strict=True)
        ]
        write_records(run / "evaluate" / "predictions" / f"{model}.jsonl", rows)
    write_json(run / "evaluate" / "scores.json", {"best": "sft"})
    write_json(run / "evaluate" / "manifest.json", {"outputs": {}})
    with served() as server:
        yield server


def votes(path: Path, count: int, longer: int = 0, reject: int = 0) -> None:
    """Blind votes on `count` questions for the shorter answer, the last `longer` for the longer one; every other specialist's is short."""
    store = store_module().Store(path)
    for n in range(count):
        short, long = f"short {n}", f"a much longer answer {n}"
        mine, other = (short, long) if n % 2 else (long, short)
        shown = [("specialist", mine), ("base", other)]
        (one, answer), (two, beside) = shown if n % 3 else shown[::-1]
        first_wins = (answer == short) == (n < count - longer)
        number = store.add_vote(
            who="Li", session="s", model="abc", task="", prompt=[{"role": "user", "content": f"Question {n}?"}],
            answer=answer, made_by=one, other=beside, other_by=two, verdict="first" if first_wins else "second",
        )  # fmt: skip
        if n < reject:
            store.decide(number, "rejected", "Wu")
    store.close()


def ask(server: Served, **wish: Any) -> dict[str, Any]:
    return judge_run(Wish("toy", server.address, **wish), lambda line: None)


def test_wins_ties_losses_and_a_second_look_that_costs_nothing(judge: Served, tmp_path: Path) -> None:
    found = ask(judge)
    assert found["items"] == {"n": 4, "wins": 2, "ties": 1, "losses": 1, "same": 1, "unanswered": 0}
    assert found["share"]["mean"]["score"] == 62.5 and found["share"]["say"]["score"] == 50.0
    assert found["share"]["kind"]["low"] <= 75.0 <= found["share"]["kind"]["high"]
    assert found["bias"]["share"] == 0.0 and found["bias"]["n"] == 3
    assert len(judge.asked) == 6, "two orders of three pairs; what is the same is not asked"
    assert read_json(tmp_path / "runs/toy/default/evaluate/judge.json") == found == ask(judge)
    assert len(judge.asked) == 6
    assert found["belief"] == {"believed": False, "why": "few", "needed": ENOUGH}


def test_a_judge_that_the_experts_bear_out_is_believed(judge: Served, tmp_path: Path) -> None:
    votes(tmp_path / "runs/toy/feedback.db", 26, longer=1)
    found = ask(judge)
    assert found["votes"]["n"] == 26 and found["votes"]["agreement"]["share"] == 96.2
    assert 0.8 < found["votes"]["kappa"]["kappa"] < 1 and found["belief"]["believed"]
    assert "believed (kappa's lower end is above 0.4)" in told(found)[0] and "NOT" not in told(found)[0]


def test_a_judge_that_sees_it_the_other_way_is_not(judge: Served, tmp_path: Path) -> None:
    votes(tmp_path / "runs/toy/feedback.db", 24, longer=24)
    found = ask(judge)
    assert found["votes"]["kappa"]["kappa"] == -1.0 and found["votes"]["agreement"]["share"] == 0.0
    assert found["belief"] == {"believed": False, "why": "low", "needed": 0}


def test_a_judge_that_prefers_a_place_says_nothing(judge: Served, tmp_path: Path) -> None:
    judge.doubts = True  # always A
    votes(tmp_path / "runs/toy/feedback.db", 24)
    found = ask(judge)
    assert found["items"] == {"n": 4, "wins": 0, "ties": 4, "losses": 0, "same": 1, "unanswered": 0}
    assert found["bias"] == {"share": 100.0, "low": 43.9, "high": 100.0, "n": 3}
    assert found["votes"]["kappa"]["kappa"] == 0.0 and found["belief"]["why"] == "low"
    assert any("position bias: 100%" in line for line in told(found))


def test_few_votes_are_no_ground_for_belief(judge: Served, tmp_path: Path) -> None:
    votes(tmp_path / "own.db", 22, reject=5)
    found = ask(judge, store=tmp_path / "own.db")
    assert found["votes"]["n"] == 17 and found["votes"]["kappa"]["kappa"] == 1.0, "the rejected five do not count"
    assert found["belief"] == {"believed": False, "why": "few", "needed": 3}
    assert "nobody should believe it yet: 3 more are needed" in told(found)[0]


def test_belief_hangs_on_the_lower_end() -> None:
    def of(kappa: float, low: float) -> dict[str, Any]:
        return belief({"n": 30, "kappa": {"kappa": kappa, "low": low, "high": 1.0}})

    assert of(0.6, 0.41)["believed"]
    assert of(0.6, 0.3) == {"believed": False, "why": "wide", "needed": 39}  # 30 * (0.3 / 0.2) ** 2 = 67.5 in all
    assert of(0.4, 0.1)["why"] == "low"
    assert belief({"n": 30, "kappa": None})["why"] == "one-sided"


def test_kappa_is_that_of_the_textbook_and_knows_how_sure_it_is() -> None:
    # Cohen 1960's way of counting: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no give (0.7 - 0.5) / (1 - 0.5)
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = kappa(one, other, [str(n) for n in range(50)], 400)
    assert found and found["kappa"] == 0.4 and 0.05 < found["low"] < 0.3 < 0.5 < found["high"] < 0.75
    assert kappa(["yes"] * 3, ["yes"] * 3, ["a", "b", "c"], 100) is None
    alike = kappa(one * 2, other * 2, [str(n) for n in range(50)] * 2, 400)
    assert alike and alike["low"] == pytest.approx(found["low"], abs=0.06), "voting twice on a question adds nothing"


def test_a_judge_without_a_verdict_is_refused_and_nothing_is_kept(judge: Served, tmp_path: Path) -> None:
    judge.mute = True
    with pytest.raises(FactoryError, match="gives no verdict"):
        ask(judge)
    assert not (tmp_path / "runs/toy/default/evaluate/judge.json").exists()


def test_a_gguf_is_loaded_only_for_what_the_cache_does_not_know(
    judge: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []

    @contextmanager
    def serve(path: Path, slots: int) -> Iterator[tuple[str, str]]:
        loaded.append(path)
        yield judge.address.removesuffix("/v1"), "key"

    monkeypatch.setattr(teacher, "serve", serve)
    (tmp_path / "judge.gguf").write_bytes(b"weights")
    wish = Wish("toy", str(tmp_path / "judge.gguf"))
    first, second = (judge_run(wish, lambda line: None) for _ in range(2))
    assert first == second and first["judge"].startswith("judge.gguf-") and len(loaded) == 1
    assert judge.keys == {"Bearer key"}


def test_the_command(judge: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    factory = Factory(monkeypatch, capsys)
    ended = factory("judge", "toy", "--model", f"{judge.address}#toy-teacher")
    assert ended.code == 0 and "NOT believed (0 votes" in ended.out and "2 wins, 1 ties, 1 losses" in ended.out
    assert "factory report toy" in ended.out and {body["model"] for body in judge.asked} == {"toy-teacher"}
    for words, said in (
        (["toy", "--model", "gpt"], "is no teacher"),
        (["toy", "--model", judge.address, "--store", "gone.db"], "No feedback in gone.db"),
        (["toy", "--model", judge.address, "--run", "other"], "No run 'other'"),
    ):
        ended = factory("judge", *words)
        assert ended.code == 1 and said in ended.err and len(ended.err.splitlines()) == 2
