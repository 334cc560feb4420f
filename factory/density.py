"""Density: how large an untuned model would have to be to score as the specialist does (after arXiv 2412.04315).

The ladder are untuned models of known size, scored on the same items. A straight line over log(parameters) is fitted to their
scores; the size where it reaches the specialist's score is its effective size, and density is that over its own size. The paper
reads the size off a loss; here it is read off the score itself, so it holds for this domain and these items alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression

LEAST = 3  # sizes on the ladder
BEYOND = 10.0  # times the largest, or parts of the smallest size: as far as the line may be read


@dataclass(frozen=True)
class Rung:
    """An untuned model's size and mean score (of 100)."""

    name: str
    parameters: int
    score: float


@dataclass(frozen=True)
class Density:
    """`problem`: why there is none (few, flat, above, below); then only the bounds, the line where it could be drawn, are told."""

    problem: str = ""
    effective: float = 0.0  # parameters
    density: float = 0.0
    low: float = 0.0  # parameters: as far as the line may be read
    high: float = 0.0
    slope: float = 0.0  # points for ten times the parameters
    intercept: float = 0.0

    def score_at(self, parameters: float) -> float:
        """What the line gives for a size."""
        return self.intercept + self.slope * math.log10(parameters)

    def size_at(self, score: float) -> float:
        """The size at which the line reaches a score, held to the bounds."""
        least, most = math.log10(self.low), math.log10(self.high)
        return float(10 ** min(most, max(least, (score - self.intercept) / self.slope)))


def density(ladder: Sequence[Rung], score: float, parameters: int) -> Density:
    """The effective size of a model with `parameters` that scores `score`, and its density, or the problem."""
    sizes = [rung.parameters for rung in ladder]
    if len(set(sizes)) < LEAST or not parameters:
        return Density("few")
    slope, intercept = linear_regression([math.log10(size) for size in sizes], [rung.score for rung in ladder])
    found = Density(low=min(sizes) / BEYOND, high=max(sizes) * BEYOND, slope=slope, intercept=intercept)
    if slope <= 0:
        return replace(found, problem="flat")
    exponent = (score - intercept) / slope
    if exponent > math.log10(found.high):
        return replace(found, problem="above")
    if exponent < math.log10(found.low):
        return replace(found, problem="below")
    return replace(found, effective=10**exponent, density=10**exponent / parameters)
