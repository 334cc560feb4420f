"""What went wrong: every failure in one kind, counted against the base, and labels that are taken for others."""

from __future__ import annotations

from typing import Any

from factory.failures import LABELS, SHOWN, confusion, grouped

SCORERS = {"kind": "choice", "when": "number", "say": "rouge_l"}


def row(id: str, task: str, said: str, score: float, right: str = "fruit", cut: bool = False) -> dict[str, Any]:
    return {"id": id, "task": task, "question": "?", "references": [right], "prediction": said, "score": score, "truncated": cut}  # fmt: skip


BEST = [
    row("1", "kind", "tool", 0.0), row("2", "kind", "fruit", 1.0), row("3", "kind", " ", 0.0), row("4", "when", "3 minutes", 0.0),
    row("5", "say", "a b", 0.3), row("6", "say", "x", 0.0), row("7", "say", "y " * 99, 0.2, cut=True), row("8", "say", "a b c", 0.5),
]  # fmt: skip


def test_a_failure_has_the_first_kind_that_fits() -> None:
    found = grouped(BEST, {}, SCORERS, ["kind"])
    kinds = {group["kind"]: [one["id"] for one in group["examples"]] for group in found["kinds"]}
    assert kinds == {"label": ["1"], "empty": ["3"], "number": ["4"], "partly": ["5"], "other": ["6"], "cut": ["7"]}
    assert (found["n"], found["right"], sum(group["n"] for group in found["kinds"])) == (8, 2, 6)


def test_what_the_base_had_right_is_lost_and_what_it_had_wrong_is_gained() -> None:
    base = {"1": {"score": 1.0}, "2": {"score": 0.0}, "8": {"score": 0.9}, "6": {"score": 0.1}}
    found = grouped(BEST, base, SCORERS, ["kind"])
    assert (found["gained"], found["lost"]) == (1, 1)
    label = next(group for group in found["kinds"] if group["kind"] == "label")
    assert label["lost"] == 1 and label["examples"][0]["had"]


def test_the_most_frequent_kind_comes_first_and_few_examples_do_not_depend_on_order() -> None:
    rows = [row(f"a{n}", "say", "x", 0.0) for n in range(9)] + [row("b", "kind", "tool", 0.0)]
    found, again = (grouped(order, {}, SCORERS, ["kind"]) for order in (rows, rows[::-1]))
    assert [group["kind"] for group in found["kinds"]] == ["other", "label"] and found["kinds"][0]["tasks"] == {
        "say": 9
    }
    assert (
        len(found["kinds"][0]["examples"]) == SHOWN and found["kinds"][0]["examples"] == again["kinds"][0]["examples"]
    )


def test_confusion_counts_answers_by_the_right_label() -> None:
    rows = [row("1", "kind", "fruit", 1.0), row("2", "kind", "tool", 0.0), row("3", "kind", "stone", 0.0),
            row("4", "kind", "Fruit.", 1.0), row("5", "kind", "fruit", 0.0, right="tool")]  # fmt: skip
    found = confusion(rows)
    assert found["labels"] == ["fruit", "tool"] and found["other"]
    assert found["counts"]["fruit"] == {"fruit": 2, "tool": 1, "": 1} and found["counts"]["tool"] == {"fruit": 1}
    assert ("tool", "fruit", 1) in found["pairs"] and len(found["pairs"]) == 3


def test_many_labels_are_told_as_pairs() -> None:
    rows = [row(str(n), "kind", "theft", float(n == 0), right=f"label {n}") for n in range(LABELS + 1)]
    found = confusion(rows)
    assert found["counts"] == {} and len(found["labels"]) == LABELS + 1 and found["pairs"][0][1] == "theft"
