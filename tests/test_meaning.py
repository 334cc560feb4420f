"""Same meaning in other words: found among pairs that were written before the code, without taking look-alikes for the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vectors

from factory.cleaning import Wish, clean_file
from factory.config import Curate
from factory.leaks import Expected
from factory.meaning import Asked, Meanings, agree
from factory.sieve import Row, Sieve

CASES = Path(__file__).parent / "cases"
LIKE = 0.93  # what docs/config.md recommends
ANSWER = "Use the same weight of a neutral oil, a fifth less, or apple sauce."


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_paraphrases_are_found_and_no_lookalike(tmp_path: Path) -> None:
    """With the real vectors: each pair is a group of its own."""
    rows = []
    for pair in read(CASES / "meaning.jsonl"):
        rows.append({"id": pair["id"], "task": pair["id"], "prompt": pair["prompt"], "completion": pair["completion"]})
        rows.append({"id": f"{pair['id']}+{pair['same']}", "task": pair["id"], "prompt": pair["other_prompt"],
                     "completion": pair["other_completion"]})  # fmt: skip
    file, dropped = tmp_path / "rows.jsonl", tmp_path / "dropped.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    clean_file(Wish(file, tmp_path / "kept.jsonl", dropped=dropped, settings=Curate(same_meaning=LIKE)), print)
    found = read(dropped)
    assert {row["reason"] for row in found} == {"same-meaning"}
    assert all(row["id"].endswith("+True") for row in found), "no look-alike"
    assert len(found) >= 12, "of 24 that share few letters"
    assert all(row["detail"].startswith(f"means what {row['task']} asks (cosine 0.9") for row in found)


@pytest.mark.parametrize(
    ("one", "other", "cosine", "same"),
    [
        (("What replaces butter?", ANSWER), ("A substitute for butter?", ANSWER + " Or lard."), 0.94, True),
        (("What replaces butter?", ANSWER), ("A substitute for butter?", ANSWER), 0.92, False),
        (("What replaces butter?", ANSWER), ("A substitute for butter?", "Lard, if nothing else is there."), 0.99, False),
        (("What replaces 2 eggs?", ANSWER), ("A substitute for 3 eggs?", ANSWER), 0.99, False),
        (("What can replace butter?", ANSWER), ("What can not replace butter?", ANSWER), 0.99, False),
        (("Is it safe?", "yes"), ("Safe, is it?", "Yes."), 0.97, True),
        (("Is it safe?", "yes"), ("Is it sound?", "Yes."), 0.95, False),
        (("Is it safe?", "yes"), ("Safe, is it?", "no"), 0.99, False),
        (("Is it safe?", ""), ("Safe, is it?", "no"), 0.97, True),
        (("Is it safe?", ""), ("Safe, is it?", "no"), 0.96, False),
        (("Is it safe at 5 C?", ""), ("Is it safe at 8 C?", "no"), 0.99, False),
    ],
)  # fmt: skip
def test_the_cosine_proposes_and_the_rest_decides(
    one: tuple[str, str], other: tuple[str, str], cosine: float, same: bool
) -> None:
    assert agree(Asked("a", "", *one, ""), Asked("b", "", *other, ""), cosine, LIKE) is same


def test_rows_are_compared_within_their_group_and_with_eval_items(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch, lambda texts: np.eye(2, dtype=np.float32)[[int("other" in text) for text in texts]])
    sieve = Sieve(
        Curate(same_meaning=0.9),
        {"e1": "the other question, put differently"},
        {"e1": Expected("Not at all.", others=(ANSWER,))},
    )
    rows = [
        Row("a", "first wording", ANSWER, "t"), Row("b", "second way to say it", ANSWER, "t"), Row("c", "third way", ANSWER, "u"),
        Row("d", "that other thing asked", ANSWER, "t"), Row("e", "fourth saying", "Something else entirely, at length.", "t"),
        Row("f", "x", "", "t"),
    ]  # fmt: skip
    found = list(sieve.sift((row, row.id) for row in rows))
    assert [(name, reason) for name, reason, _ in found] == [
        ("a", ""), ("b", "same-meaning"), ("c", ""), ("d", "leak"), ("e", ""), ("f", "too short"),
    ]  # fmt: skip
    assert found[1][2] == "means what a asks (cosine 1.000)"
    assert found[3][2] == "means what eval item e1 asks (cosine 1.000)"
    assert sieve.dropped == {"same-meaning": 1, "leak": 1, "too short": 1}


def test_questions_about_one_text_are_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch, lambda texts: np.eye(2, dtype=np.float32)[[int("text" in text) for text in texts]])
    sieve = Sieve(Curate(same_meaning=0.9), {})
    rows = [
        Row("a", "q", ANSWER, "t", "one text, long and wide", "how then"), Row("b", "q", ANSWER, "t", "two texts, quite unlike", "in what manner"),
        Row("c", "q", ANSWER, "t", "one text, long and wide", "by which way"),
    ]  # fmt: skip
    assert [reason for _, reason, _ in sieve.sift((row, None) for row in rows)] == ["", "", "same-meaning"]


def test_without_the_setting_nothing_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = vectors.use(monkeypatch)
    sieve = Sieve(Curate(), {"e": "an eval question"})
    taken: list[str] = []

    def rows() -> Any:
        for name in ("a", "b"):
            taken.append(name)
            yield Row(name, f"question {name} of some kind", ANSWER), name

    first = next(sieve.sift(rows()))
    assert first == ("a", "", "") and taken == ["a"], "one row at a time"
    assert seen == []


def test_many_rows_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    known = Meanings(0.999, {}, {}, print)
    rows = [Asked(str(n), "", f"{n * 7919} {n}", ANSWER + str(n), "") for n in range(40)]
    assert [reason for reason, _ in known.find(rows)] == [""] * 40
    assert [detail for _, detail in known.find(rows[17:18])] == ["means what 17 asks (cosine 1.000)"]
