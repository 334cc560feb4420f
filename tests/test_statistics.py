"""Intervals: sane, paired, and they cover what is known."""

from __future__ import annotations

import numpy as np
import pytest

from factory.statistics import changed, compare, holm, over_seeds, summarize, wilson


def test_summary_counts_each_task_the_same() -> None:
    rows = summarize({"a": [1.0] * 30, "b": [0.0] * 10}, 500)
    assert rows["a"] == {"score": 100.0, "low": 88.65, "high": 100.0, "n": 30}, "Wilson: all right does not mean sure"
    assert rows["b"] == {"score": 0.0, "low": 0.0, "high": 27.75, "n": 10}
    assert rows["mean"]["score"] == 50.0 and rows["mean"]["n"] == 40


def test_interval_holds_the_mean_and_shrinks_with_n() -> None:
    rng = np.random.default_rng(1)
    few = summarize({"a": rng.binomial(1, 0.6, 40).astype(float).tolist()}, 2000)["a"]
    many = summarize({"a": rng.binomial(1, 0.6, 4000).astype(float).tolist()}, 2000)["a"]
    for row in (few, many):
        assert row["low"] <= row["score"] <= row["high"]
    ratio = (few["high"] - few["low"]) / (many["high"] - many["low"])
    assert 7 < ratio < 14  # about the square root of 100
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * 100 * (0.24 / 4000) ** 0.5, rel=0.15)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = {"a": [0.0, 1.0, 0.5, 1.0]}
    assert summarize(scores, 300, seed=3) == summarize(scores, 300, seed=3)


def test_pairing_sees_what_separate_intervals_do_not() -> None:
    rng = np.random.default_rng(2)
    worse = rng.uniform(0, 0.9, 60)
    better = worse + 0.05
    row = compare({"a": better.tolist()}, {"a": worse.tolist()}, 1000)["a"]
    assert row["difference"] == pytest.approx(5.0) and row["low"] > 4.9 and row["high"] < 5.1
    apart = [summarize({"a": list(scores)}, 1000)["a"] for scores in (better, worse)]
    assert apart[0]["low"] < apart[1]["high"]


def test_unpaired_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare({"a": [1.0, 0.0]}, {"a": [1.0]}, 100)


@pytest.mark.parametrize("n", [20, 80])
def test_known_difference_is_covered_about_95_times_of_100(n: int) -> None:
    """benchmarks/intervals.py does it on more kinds of evaluations; the bounds are three standard errors of 400."""
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(400):
        worse = rng.beta(0.5, 1.5, n)
        better = worse + (1 - worse) * 0.4 * rng.binomial(1, 0.5, n)
        row = compare({"a": better.tolist()}, {"a": worse.tolist()}, 400, seed)["mean"]
        covered += row["low"] <= 15 <= row["high"]
    assert 367 <= covered <= 393


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_items_that_go_one_way_are_no_proof(n: int) -> None:
    row = compare({"a": [1.0] * n}, {"a": [0.0] * n}, 500)["mean"]
    assert row["difference"] == 100 and row["low"] < 0 and row["high"] == 100 and row["detectable"] > 70
    assert summarize({"a": [1.0] * n, "b": [1.0] * n}, 500)["mean"]["low"] < 80
    part = compare({"a": [0.7] * n}, {"a": [0.4] * n}, 500)["a"]
    assert part["low"] < 0 < part["high"]


@pytest.mark.parametrize(
    ("gained", "lost", "n", "tasks", "least"), [(0.9, 0.0, 10, 1, 190), (0.9, 0.0, 10, 5, 185), (0.06, 0.02, 50, 1, 190), (0.3, 0.05, 28, 6, 180)]
)  # fmt: skip
def test_rates_near_the_edge_are_covered_too(gained: float, lost: float, n: int, tasks: int, least: int) -> None:
    """200 evaluations with a known difference; the plain bootstrap covered 130 to 180 of these."""
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        moved = rng.choice([1.0, -1.0, 0.0], (tasks, n), p=[gained, lost, 1 - gained - lost])
        worse = np.where(moved == 0, rng.integers(0, 2, moved.shape), moved < 0)
        better, base = ({str(t): rows[t].tolist() for t in range(tasks)} for rows in (worse + moved, worse * 1.0))
        row = compare(better, base, 200, seed)["mean"]
        covered += row["low"] <= 100 * (gained - lost) <= row["high"]
    assert least <= covered


def test_changed_is_bonett_and_price() -> None:
    assert changed(10, 2, 50) == pytest.approx((0.0192, 0.2885), abs=1e-4)
    assert changed(0, 0, 5) == pytest.approx((-0.3960, 0.3960), abs=1e-4) and changed(4, 0, 4)[1] == 1.0


def test_wilson_is_the_known_interval() -> None:
    """8 of 10: 0.490 to 0.943 (Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857)."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (wilson(0, 10)[0], wilson(10, 10)[1]) == pytest.approx((0, 1))


def test_holm_steps_down_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_chance_is_told_from_a_gain() -> None:
    rng = np.random.default_rng(5)
    base = rng.uniform(0, 0.8, 40)
    same, better = base + rng.normal(0, 0.1, 40), base + rng.normal(0.1, 0.1, 40)
    chance, gain = (compare({"a": list(rows)}, {"a": list(base)}, 1000)["a"] for rows in (same, better))
    assert gain["p"] < 0.01 < chance["p"]
    exact = compare({"a": [1.0] * 5}, {"a": [0.0] * 5}, 5000)["a"]
    assert exact["p"] == pytest.approx(2 / 32, abs=0.015), "all five signs alike: 2 of 32 by chance"


def test_a_gain_of_the_detectable_size_is_found_four_times_of_five() -> None:
    rng = np.random.default_rng(6)
    planned = compare({"a": rng.normal(0, 0.3, 60).tolist()}, {"a": [0.0] * 60}, 1000)["a"]["detectable"] / 100
    shown = sum(
        compare({"a": rng.normal(planned, 0.3, 60).tolist()}, {"a": [0.0] * 60}, 300, seed)["a"]["low"] > 0
        for seed in range(200)
    )
    assert 135 <= shown <= 190


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.03), (3, 0.0), (5, 0.08)])
def test_over_seeds_the_interval_holds_what_another_training_on_other_items_would_gain(
    seeds: int, spread: float
) -> None:
    """True gain 20 points; every training is off by `spread`, every item and its answer by chance; of 400, three standard errors."""
    rng, covered = np.random.default_rng(6), 0
    for _ in range(400):
        base, trained = {}, [{} for _ in range(seeds)]
        off = rng.normal(0, spread, seeds)
        for task in ("a", "b"):
            ease = rng.uniform(0.2, 0.6, 60)
            base[task] = (rng.uniform(size=60) < ease).astype(float).tolist()
            for scores, moved in zip(trained, off, strict=True):
                scores[task] = (rng.uniform(size=60) < ease + 0.2 + moved).astype(float).tolist()
        row = over_seeds(trained, base)["mean"]
        covered += row["low"] <= 20 <= row["high"]
    assert covered >= 367, covered / 400


def test_over_seeds_tells_mean_and_spread() -> None:
    row = over_seeds([{"a": [1.0, 0.0]}, {"a": [1.0, 1.0]}], {"a": [0.0, 0.0]})["a"]
    assert (row["score"], row["difference"]) == (75.0, 75.0)
    assert row["sd"] == pytest.approx(35.36, abs=0.01)
    assert over_seeds([{"a": [1.0]}, {"a": [1.0]}], {"a": [1.0]})["mean"]["low"] == 0.0
