"""Are the 95% intervals honest? Simulated evaluations with a known true difference: how many intervals hold it.

    python benchmarks/intervals.py            # 2,000 evaluations of each kind, about a minute

Results are written to benchmarks/results/intervals.json and .md. No model is needed: two models' scores are drawn, item by item, with
a true gain that is known; factory.statistics.compare is what evaluation uses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from factory.statistics import compare

RESULTS = Path(__file__).parent / "results"
GAIN = 0.2  # of what the worse model leaves to be gained
Pair = tuple[list[float], list[float]]  # scores of the better and of the worse model
Draw = Callable[[np.random.Generator, int], Pair]


def right_or_wrong(rng: np.random.Generator, n: int) -> Pair:
    """Items of different difficulty; the better model has a chance more where the worse one misses. True difference: GAIN / 2."""
    easy = rng.beta(2, 2, n)
    worse, better = rng.binomial(1, easy), rng.binomial(1, easy + GAIN * (1 - easy))
    return better.astype(float).tolist(), worse.astype(float).tolist()


def part_marks(rng: np.random.Generator, n: int) -> Pair:
    """Skewed scores between 0 and 1, mean 0.25; half of the items gain. True difference: GAIN * 0.75."""
    worse = rng.beta(0.5, 1.5, n)
    better = worse + (1 - worse) * 2 * GAIN * rng.binomial(1, 0.5, n)
    return better.tolist(), worse.tolist()


def changes(gained: float, lost: float) -> Draw:
    """Right or wrong, with these chances that an item is gained or lost. True difference: gained - lost."""

    def draw(rng: np.random.Generator, n: int) -> Pair:
        moved = rng.choice([1.0, -1.0, 0.0], n, p=[gained, lost, 1 - gained - lost])
        worse = np.where(moved == 0, rng.integers(0, 2, n), moved < 0)
        return (worse + moved).tolist(), worse.astype(float).tolist()

    return draw


KINDS: dict[str, tuple[list[tuple[Draw, int]], float]] = {
    "one task, 20 right or wrong": ([(right_or_wrong, 20)], GAIN / 2),
    "one task, 100 right or wrong": ([(right_or_wrong, 100)], GAIN / 2),
    "one task, 20 with part marks": ([(part_marks, 20)], GAIN * 0.75),
    "one task, 100 with part marks": ([(part_marks, 100)], GAIN * 0.75),
    "one task, 50 right or wrong, few of them changed": ([(changes(0.06, 0.02), 50)], 0.04),
    "one task, 10 right or wrong, nearly all gained": ([(changes(0.9, 0.0), 10)], 0.9),
    "mean of five tasks of 10, nearly all gained": ([(changes(0.9, 0.0), 10)] * 5, 0.9),
    "mean of six tasks of 28 and 14": (
        [(right_or_wrong, 28)] * 3 + [(part_marks, 28)] * 2 + [(part_marks, 14)],
        GAIN * (3 * 0.5 + 3 * 0.75) / 6,
    ),
    "mean of eight tasks of 50": ([(right_or_wrong, 50)] * 4 + [(part_marks, 50)] * 4, GAIN * (0.5 + 0.75) / 2),
}


def covered(parts: list[tuple[Draw, int]], truth: float, evaluations: int, resamples: int, seed: int) -> float:
    """The share of simulated evaluations whose interval of the mean holds the true difference."""
    rng = np.random.default_rng(seed)
    hits = 0
    for number in range(evaluations):
        drawn = [draw(rng, n) for draw, n in parts]
        better, worse = ({str(place): pair[side] for place, pair in enumerate(drawn)} for side in (0, 1))
        row = compare(better, worse, resamples, number)["mean"]
        hits += row["low"] <= 100 * truth <= row["high"]
    return hits / evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=2000)
    wanted = parser.parse_args()
    found = {kind: covered(*parts, wanted.evaluations, 1000, 1) for kind, parts in KINDS.items()}
    error = 1.96 * (0.95 * 0.05 / wanted.evaluations) ** 0.5
    lines = ["| evaluation | intervals that hold the true difference |", "| --- | --- |"]
    lines += [f"| {kind} | {100 * share:.1f}% |" for kind, share in found.items()]
    note = f"{wanted.evaluations:,} simulated evaluations each (chance alone: {100 * error:.1f} points either way), 1,000 resamples."
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "intervals.md").write_text("\n".join([*lines, "", note, ""]), encoding="utf-8")
    (RESULTS / "intervals.json").write_text(
        json.dumps({"evaluations": wanted.evaluations, "covered": found}, indent=1) + "\n", encoding="utf-8"
    )
    sys.stdout.write((RESULTS / "intervals.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
