"""Means with 95% intervals by the percentile bootstrap (Efron 1979), paired where two models answered the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, Sequence[float]]  # task -> score of each item (0 to 1), in the order of the items


def summarize(scores: Scores, resamples: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Score, low, high (0 to 100) and n per task, and of the mean over tasks (each task counts the same)."""
    draws = _draws(scores, resamples, seed)
    result = {task: _row(float(np.mean(values)), draws[task], len(values)) for task, values in scores.items()}
    mean = float(np.mean([np.mean(values) for values in scores.values()]))
    result["mean"] = _row(mean, np.mean(list(draws.values()), axis=0), sum(len(values) for values in scores.values()))
    return result


def compare(better: Scores, worse: Scores, resamples: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Paired differences better - worse per task and of the mean: difference, low, high (points of 100), n."""
    paired = {task: [a - b for a, b in zip(better[task], worse[task], strict=True)] for task in better}
    rows = summarize(paired, resamples, seed)
    return {
        task: {"difference": row["score"], **{key: row[key] for key in ("low", "high", "n")}}
        for task, row in rows.items()
    }


def _draws(scores: Scores, resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return {
        task: np.asarray(values, dtype=np.float64)[rng.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
        for task, values in scores.items()
    }


def _row(value: float, draws: NDArray[np.float64], n: int) -> dict[str, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "score": round(100 * value, 2),
        "low": round(100 * float(low), 2),
        "high": round(100 * float(high), 2),
        "n": n,
    }
