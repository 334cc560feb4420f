"""Intervals: sane, paired, and they cover what is known."""

from __future__ import annotations

import numpy as np
import pytest

from factory.statistics import compare, summarize


def test_summary_counts_each_task_the_same() -> None:
    rows = summarize({"a": [1.0] * 30, "b": [0.0] * 10}, 500)
    assert rows["a"] == {"score": 100.0, "low": 100.0, "high": 100.0, "n": 30}
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


def test_known_difference_is_covered_about_95_times_of_100() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(200):
        worse, better = rng.binomial(1, 0.5, 80), rng.binomial(1, 0.7, 80)
        row = compare({"a": better.astype(float).tolist()}, {"a": worse.astype(float).tolist()}, 400, seed)["a"]
        covered += row["low"] <= 20 <= row["high"]
    assert 180 <= covered <= 199
