"""A share of the rows: the balance of tasks stays, the choice is the same every time, and each row left out says why."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import vectors

from factory.selection import Candidate, left_out

METHODS = ("random", "coverage", "difficulty", "mix")


def rows(count: int = 60) -> list[Candidate]:
    chance = random.Random(0)
    return [
        Candidate(f"r{n}", "big" if n % 3 else "small", f"text {chance.random()}", chance.uniform(0.2, 1.3))
        for n in range(count)
    ]


@pytest.mark.parametrize("by", METHODS)
def test_the_balance_of_tasks_stays_and_the_choice_is_the_same(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    vectors.use(monkeypatch)
    given = rows()
    out = left_out(given, 0.25, by, 0, print)
    kept = [row for number, row in enumerate(given) if number not in out]
    assert Counter(row.task for row in kept) == {"big": 10, "small": 5}
    assert left_out(given, 0.25, by, 0, print) == out
    assert all(out.values())
    if by != "difficulty":
        assert left_out(given, 0.25, by, 1, print) != out


def test_every_task_keeps_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    for by in METHODS:
        assert len(left_out(rows(9), 0.01, by, 0, print)) == 7


def test_a_smaller_random_part_is_part_of_a_larger_one() -> None:
    small, large = (set(left_out(rows(), keep, "random", 0, print)) for keep in (0.1, 0.5))
    assert large < small


def test_difficulty_keeps_the_hardest_below_one() -> None:
    given = [Candidate(str(n), "t", "", d) for n, d in enumerate((0.5, 1.2, 0.9, 1.05, 0.99, 0.1))]
    assert set(left_out(given, 0.5, "difficulty", 0, print)) == {1, 3, 5}
    assert set(left_out(given, 5 / 6, "difficulty", 0, print)) == {1}, "then the least above it"
    assert left_out(given, 0.5, "difficulty", 0, print)[5] == "difficulty 0.100"


def clouds(texts: list[str]) -> object:
    """Three clouds of unit vectors, by the text's first letter."""
    chance = np.random.default_rng(0)
    found = np.eye(8, dtype=np.float32)[["abc".index(text[0]) for text in texts]]
    found += chance.normal(0, 0.02, found.shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("by", ["coverage", "mix"])
def test_coverage_takes_a_row_of_each_cloud(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    vectors.use(monkeypatch, clouds)
    texts = [f"a{n}" for n in range(20)] + ["b0", "b1", "b2", "c0"]
    given = [Candidate(text, "t", text, 0.5 + 0.01 * n) for n, text in enumerate(texts)]
    out = left_out(given, 3 / 24, by, 0, print)
    kept = [text for number, text in enumerate(texts) if number not in out]
    assert [text[0] for text in kept] == ["a", "b", "c"]
    if by == "mix":
        assert kept == ["a19", "b2", "c0"], "the hardest of each"
    assert all("cosine 0.9" in detail or "cosine 1.0" in detail for detail in out.values())


def test_rows_with_one_text_are_enough_for_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    assert len(left_out([Candidate(str(n), "t", "same") for n in range(10)], 0.5, "coverage", 0, print)) == 5


def test_many_rows_take_several_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    monkeypatch.setattr("factory.selection.MOST_CLUSTERS", 4)
    assert len(left_out(rows(), 0.5, "coverage", 0, print)) == 30
