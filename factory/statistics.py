"""Means with 95% intervals, paired differences and what they can show.

A task of nothing but right and wrong has Wilson's interval (1927), differences on it Bonett and Price's (2012, doi
10.3102/1076998611411915): few items that happen to go one way are no proof. Others have that of the expanded percentile bootstrap
(Hesterberg 2015, doi 10.1080/00031305.2015.1089789): resamples, their quantiles moved outwards as Student's t demands of few
items. The mean over tasks has its ends from the tasks' (MOVER; Zou and Donner 2008, doi 10.1002/sim.3095). Over several seeds
the variances of items and of seeds are added (Welch 1947). Differences are paired where two models answered the same items,
with p values of sign flips (Fisher 1935), and over several tasks by Holm (1979). How far two judges agree beyond chance is
Cohen's kappa (1960, doi 10.1177/001316446002000104).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, Sequence[float]]  # task -> score of each item (0 to 1), in the order of the items
Draws = NDArray[np.float64]
Z = 1.959964  # of 95%, two-sided
POWER = 0.841621  # of 80%


def summarize(scores: Scores, resamples: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Score, low, high (0 to 100) and n per task, and of the mean over tasks (each task counts the same)."""
    return _summary(scores, resamples, seed, (0.0, 1.0))


def compare(better: Scores, worse: Scores, resamples: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Paired differences better - worse per task and of the mean, in points of 100.

    Each row: difference, low, high, n; p: of sign flips, for a task by Holm over the tasks; detectable: the true difference
    that so many items would show, its interval clear of zero, four times of five.
    """
    paired = {task: [a - b for a, b in zip(better[task], worse[task], strict=True)] for task in better}
    rows = _summary(paired, resamples, seed, (-1.0, 1.0))
    chance = _sign_flips(paired, resamples, seed)
    adjusted = holm({task: chance[task] for task in paired}) | {"mean": chance["mean"]}
    made = {}
    for task, row in rows.items():
        error = (row["high"] - row["low"]) / 2 / Z
        made[task] = {"difference": row["score"], **{key: row[key] for key in ("low", "high", "n")}}
        made[task] |= {"p": round(adjusted[task], 4), "detectable": round((Z + POWER) * error, 1)}
    return made


def over_seeds(trained: Sequence[Scores], base: Scores) -> dict[str, dict[str, float]]:
    """Several trainings that differ by their seed alone, on the same items, per task and of the mean, in points of 100.

    Each row: score: the mean over the seeds; sd: the standard deviation between them; difference: that mean minus the base's,
    with low and high for what such trainings gain on average on such items (variances of items and of seeds added, t by
    Welch-Satterthwaite).
    """
    several = {task: np.asarray([scores[task] for scores in trained], dtype=np.float64) for task in base}
    moved = {task: rows.mean(axis=0) - np.asarray(base[task], dtype=np.float64) for task, rows in several.items()}
    made = {task: _over_seeds([rows], [moved[task]]) for task, rows in several.items()}
    return made | {"mean": _over_seeds(list(several.values()), list(moved.values()))}


def _over_seeds(several: list[Draws], moved: list[Draws]) -> dict[str, float]:
    from scipy import stats

    by_seed = np.mean([rows.mean(axis=1) for rows in several], axis=0)
    sd = float(by_seed.std(ddof=1))
    parts = [(rows.var(ddof=1) / len(rows) / len(moved) ** 2, len(rows) - 1) for rows in moved if len(rows) > 1]
    parts.append((sd * sd / len(by_seed), len(by_seed) - 1))
    total = float(sum(part for part, _ in parts))
    freedom = total * total / sum(part * part / degrees for part, degrees in parts) if total else 1.0
    half = float(stats.t.ppf(0.975, freedom)) * total**0.5
    difference = float(np.mean([rows.mean() for rows in moved]))
    row = {
        "score": by_seed.mean(),
        "sd": sd,
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
    }
    return {key: round(100 * float(value), 2) for key, value in row.items()}


def wilson(right: float, n: int) -> tuple[float, float]:
    """The 95% interval of a rate, of `right` among `n`, from 0 to 1."""
    rate, z2 = right / n, Z * Z
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * (rate * (1 - rate) / n + z2 / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def changed(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The 95% interval of a difference of two rates, `gained` and `lost` among n pairs, from -1 to 1."""
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * ((up + down - (up - down) ** 2) / (n + 2)) ** 0.5
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p values of several questions that are asked together, adjusted so that all are right at once."""
    adjusted, most = {}, 0.0
    for place, (name, p) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        most = max(most, min(1.0, (len(chances) - place) * p))
        adjusted[name] = most
    return {name: adjusted[name] for name in chances}


def kappa(
    one: Sequence[str], other: Sequence[str], groups: Sequence[str], resamples: int, seed: int = 0
) -> dict[str, float] | None:
    """Cohen's kappa of two judges' verdicts on the same cases, with low and high; None where both only ever say one word.

    Cases of one group are resampled together: votes on the same question are no independent witnesses.
    """
    rng = np.random.default_rng(seed)
    said, others, names = np.asarray(one), np.asarray(other), np.asarray(groups)
    places = [np.flatnonzero(names == name) for name in dict.fromkeys(groups)]
    value = _kappa(said, others)
    if np.isnan(value):
        return None
    drawn = (np.concatenate([places[p] for p in rng.integers(0, len(places), len(places))]) for _ in range(resamples))
    draws = np.asarray([_kappa(said[rows], others[rows]) for rows in drawn])
    low, high = _bounds(draws[~np.isnan(draws)], len(places) - 1)
    return {"kappa": round(value, 3), "low": round(low, 3), "high": round(high, 3)}


def _kappa(one: NDArray[np.str_], other: NDArray[np.str_]) -> float:
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one word only: undefined, nan
        return float(cohen_kappa_score(one, other))


def _summary(scores: Scores, resamples: int, seed: int, ends: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Rows for each task and the mean; `ends`: the least and the most that an item can be."""
    rng = np.random.default_rng(seed)
    values = {task: np.asarray(rows, dtype=np.float64) for task, rows in scores.items()}
    means = {task: float(rows.mean()) for task, rows in values.items()}
    bounds = {task: _interval(rows, ends, resamples, rng) for task, rows in values.items()}
    mean = float(np.mean(list(means.values())))
    below = sum((means[task] - low) ** 2 for task, (low, _) in bounds.items()) ** 0.5 / len(values)
    above = sum((high - means[task]) ** 2 for task, (_, high) in bounds.items()) ** 0.5 / len(values)
    result = {task: _row(means[task], *bounds[task], len(rows)) for task, rows in values.items()}
    result["mean"] = _row(mean, mean - below, mean + above, sum(map(len, values.values())))
    return result


def _interval(rows: Draws, ends: tuple[float, float], resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """The ends of a task's 95% interval."""
    if set(rows) <= {*ends, 0.0}:
        return (
            wilson(float(rows.sum()), len(rows))
            if ends[0] == 0
            else changed(int((rows > 0).sum()), int((rows < 0).sum()), len(rows))
        )
    if len(set(rows)) == 1:  # nothing is known of how far items differ: one at each end beside them
        rows = np.append(rows, ends)
    draws = rows[rng.integers(0, len(rows), (resamples, len(rows)))].mean(axis=1)
    return _bounds(draws, len(rows) - 1)


def _row(value: float, low: float, high: float, n: int) -> dict[str, float]:
    return {"score": round(100 * value, 2), "low": round(100 * low, 2), "high": round(100 * high, 2), "n": n}


def _bounds(draws: Draws, freedom: float) -> tuple[float, float]:
    """The ends of the expanded percentile interval."""
    from scipy import stats

    tail = 0.025
    if freedom > 0:  # the bootstrap's spread is that of n, a mean's that of n - 1 and of Student's t
        tail = float(stats.norm.cdf(-(((freedom + 1) / freedom) ** 0.5) * stats.t.ppf(0.975, freedom)))
    low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)


def _sign_flips(paired: Scores, resamples: int, seed: int) -> dict[str, float]:
    """How often chance alone gives a difference as large, either way: each item's sign is flipped at random."""
    rng = np.random.default_rng(seed)
    seen, flipped = {}, {}
    for task, values in paired.items():
        rows = np.asarray(values, dtype=np.float64)
        signs = rng.choice((-1.0, 1.0), (resamples, len(rows)))
        seen[task], flipped[task] = float(rows.mean()), (signs * rows).mean(axis=1)
    seen["mean"] = float(np.mean(list(seen.values())))
    flipped["mean"] = np.mean(list(flipped.values()), axis=0)
    return {
        task: float((np.sum(np.abs(flipped[task]) >= abs(seen[task]) - 1e-12) + 1) / (resamples + 1)) for task in seen
    }
