"""The size read off a ladder of untuned models, and the four reasons to tell none."""

from __future__ import annotations

import pytest

from factory.density import Rung, density

LADDER = [Rung("a", 10**8, 10.0), Rung("b", 10**9, 30.0), Rung("c", 10**10, 50.0)]  # 20 points for ten times the size


def test_the_effective_size_is_where_the_line_reaches_the_score() -> None:
    found = density(LADDER, 40.0, 10**8)
    assert not found.problem and found.effective == pytest.approx(10**9.5) and found.density == pytest.approx(10**1.5)
    assert found.score_at(10**9.5) == pytest.approx(40.0) and found.size_at(30.0) == pytest.approx(10**9)


def test_a_model_of_the_ladder_has_its_own_size() -> None:
    assert density(LADDER, 30.0, 10**9).density == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ladder", "score", "problem"),
    [
        (LADDER[:2], 20.0, "few"),
        ([LADDER[0], LADDER[1], Rung("b2", 10**9, 31.0)], 20.0, "few"),  # two of one size are one rung
        ([Rung("a", 10**8, 30.0), Rung("b", 10**9, 20.0), Rung("c", 10**10, 10.0)], 20.0, "flat"),
        (LADDER, 70.5, "above"),  # at ten times the largest the line gives 70
        (LADDER, -10.5, "below"),
        ([], 20.0, "few"),
    ],
)
def test_what_the_ladder_cannot_tell_is_a_problem(ladder: list[Rung], score: float, problem: str) -> None:
    found = density(ladder, score, 10**8)
    assert (found.problem, found.effective, found.density) == (problem, 0.0, 0.0)


def test_ten_times_beyond_the_ladder_is_still_read() -> None:
    assert density(LADDER, 69.5, 10**8).effective < 10**11 and density(LADDER, 69.5, 10**8).problem == ""
    assert density(LADDER, 65.0, 10**8).size_at(90.0) == pytest.approx(10**11), "held to the bounds"
