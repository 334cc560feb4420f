"""evaluate: the leak gate looks at whatever was trained on: rows and preference pairs, of this round and of those before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory.config import Config
from factory.domain import Domain, Task
from factory.files import read_json, write_json
from factory.generate import Answer
from factory.records import EvalItem, Example, Preference, write_records
from factory.stage import Context
from factory.stages import evaluate

LEAKED, SWEETS = "Who may fell a tree in the park at night?", "Where are the sweets?"


class Park(Domain):
    def tasks(self) -> list[Task]:
        return [Task("ask", "Ask", "exact")]


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def row(asked: str) -> Example:
    return Example("row", "ask", turn("user", asked), turn("assistant", "the warden"))


def pair(asked: str, chosen: str = "the warden") -> Preference:
    answers = turn("assistant", chosen), turn("assistant", "nobody")
    return Preference("pair", "ask", turn("user", asked), *answers)


def make_round(run: Path, asked: str, *pairs: Preference, dpo: bool = True, after: str = "") -> Path:
    """A round that trained on a row and on pairs, up to evaluate."""
    write_json(run / "run.json", {"after": after})
    write_json(run / "ingest" / "manifest.json", {"summary": {"eval_digest": "ab"}})
    write_records(run / "ingest" / "eval.jsonl", [EvalItem("e", "ask", turn("user", LEAKED), ["the warden"], "exact")])
    write_records(run / "curate" / "train.jsonl", [row(asked)])
    write_records(run / "curate" / "dev.jsonl", [])
    write_records(run / "prefer" / "pairs.jsonl", pairs)
    for stage in ("sft", "dpo") if dpo else ("sft",):
        (run / stage / "adapter").mkdir(parents=True)
    return run


def leak_free(run: Path, monkeypatch: pytest.MonkeyPatch, earlier: Path | None = None) -> bool:
    """What the gate of the run says."""

    def answered(context: Context, model: str, questions: list[Any]) -> list[Answer]:
        return [Answer("nobody") for _ in questions]

    monkeypatch.setattr(evaluate, "_answered", answered)
    monkeypatch.setattr(evaluate, "BASELINES", {})
    domain = Park(Config("park", "Park", "en", "x"), run)
    evaluate.run(Context(domain, run, "evaluate", say=lambda text: None, earlier=earlier))
    scores = read_json(run / "evaluate" / "scores.json")
    [gate] = [gate for gate in scores["gates"] if gate["name"] == "leak-free"]
    assert gate["passed"] == scores["leak_free"]
    return bool(gate["passed"])


def test_an_item_among_the_rows_of_an_earlier_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the id of a row that the later round has, too."""
    for name, asked in (("clean", SWEETS), ("leaky", LEAKED)):
        first = make_round(tmp_path / name, asked)
        second = make_round(tmp_path / f"{name}-r2", SWEETS, after=name)
        third = make_round(tmp_path / f"{name}-r3", SWEETS, after=f"{name}-r2")
        assert leak_free(second, monkeypatch, first) is (name == "clean")
        assert leak_free(third, monkeypatch, second) is (name == "clean")


@pytest.mark.parametrize(
    "planted",
    [pair(LEAKED), pair(LEAKED, "somebody"), pair("Who may fell the tree in the park at night?")],
    ids=["item", "item with another answer", "reworded item with its answer"],
)
def test_an_item_among_the_pairs(tmp_path: Path, planted: Preference, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leak_free(make_round(tmp_path / "clean", SWEETS, pair(SWEETS)), monkeypatch)
    assert not leak_free(make_round(tmp_path / "leaky", SWEETS, planted), monkeypatch)
    assert leak_free(make_round(tmp_path / "untrained", SWEETS, planted, dpo=False), monkeypatch), "DPO was left out"


def test_an_item_among_the_pairs_of_an_earlier_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_round(tmp_path / "default", SWEETS, pair(LEAKED))
    second = make_round(tmp_path / "default-r2", SWEETS, after="default")
    assert not leak_free(second, monkeypatch, first)


def test_other_rows_in_an_earlier_round_are_another_ground(tmp_path: Path) -> None:
    """Their digests are part of the fingerprint, so that no leak is taken out of them after the scores."""
    first = make_round(tmp_path / "default", LEAKED)
    second = make_round(tmp_path / "default-r2", SWEETS, after="default")
    context = Context(Park(Config("park", "Park", "en", "x"), second), second, "evaluate", earlier=first)
    before = evaluate.rows_mark(context)
    write_records(first / "curate" / "train.jsonl", [row(SWEETS)])
    assert before and evaluate.rows_mark(context) != before
    assert not evaluate.rows_mark(Context(context.domain, first, "evaluate"))
