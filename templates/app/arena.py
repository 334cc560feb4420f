"""Who wins the blind votes, as a Bradley-Terry score (Bradley and Terry 1952) with its 95% interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from store import Vote

POINTS = 400 / math.log(10)  # of Elo's scale for one unit of log-odds: 400 points are odds of ten to one
ADDED = 0.5  # wins for either side of a pair that met, so that a side without a win has a score (Gart 1966)
ROUNDS = 10_000


@dataclass(frozen=True)
class Strength:
    """How far a model stands above the anchor, in Elo points, and what it was counted from."""

    name: str
    score: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int  # "tie" and "bad" alike count as half a win for either side
    bad: int  # those of the ties in which both were bad

    @property
    def n(self) -> int:
        return self.wins + self.losses + self.ties


def strength(votes: Sequence[Vote], anchor: str = "base") -> list[Strength]:
    """The strength of every model in `votes` but the anchor, the strongest first; empty without a vote that names the anchor.

    Scores by minorization-maximization (Hunter 2004), intervals from the inverse of the Fisher information. Of two models
    that is the log of the odds of their wins, with the standard error sqrt(1/wins + 1/losses). A model that met the anchor
    neither itself nor by way of others is left out.
    """
    wins: defaultdict[tuple[str, str], float] = defaultdict(float)
    for vote in votes:
        if vote.first != vote.second:
            share = {"first": 1.0, "second": 0.0}.get(vote.verdict, 0.5)
            wins[vote.first, vote.second] += share
            wins[vote.second, vote.first] += 1 - share
    names = _connected(anchor, set(wins))
    if len(names) < 2:
        return []
    won = np.array([[wins[a, b] + ADDED if (a, b) in wins else 0.0 for b in names] for a in names])
    logs = np.log(_fitted(won))
    errors = _errors(won, logs)
    found = [
        _told(name, POINTS * (logs[i] - logs[0]), POINTS * 1.96 * errors[i], votes) for i, name in enumerate(names)
    ][1:]
    return sorted(found, key=lambda row: -row.score)


def _connected(anchor: str, pairs: set[tuple[str, str]]) -> list[str]:
    """The anchor, and whoever can be compared with it; empty where the anchor met nobody."""
    names = [anchor]
    for name in names:  # grows while it is read
        names += sorted({b for a, b in pairs if a == name} - set(names))
    return names


def _fitted(won: np.ndarray) -> np.ndarray:
    """Strengths, shape (models,), that make the wins likeliest; `won[a, b]` is how often a beat b."""
    met = won + won.T
    strengths = np.ones(len(won))
    for _ in range(ROUNDS):
        new = won.sum(axis=1) / (met / np.add.outer(strengths, strengths)).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        if np.abs(new - strengths).max() < 1e-10:
            return new
        strengths = new
    return strengths


def _errors(won: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Standard errors of logs - logs[0], shape (models,); 0 of the first."""
    share = 1 / (1 + np.exp(logs[None, :] - logs[:, None]))
    weight = (won + won.T) * share * (1 - share)
    information = np.diag(weight.sum(axis=1)) - weight
    return np.sqrt(np.concatenate([[0.0], np.diag(np.linalg.inv(information[1:, 1:]))]))


def _told(name: str, score: float, half: float, votes: Sequence[Vote]) -> Strength:
    of = [vote for vote in votes if name in (vote.first, vote.second) and vote.first != vote.second]
    won = sum(
        (vote.first if vote.verdict == "first" else vote.second) == name
        for vote in of
        if vote.verdict in ("first", "second")
    )
    ties = sum(vote.verdict in ("tie", "bad") for vote in of)
    bad = sum(vote.verdict == "bad" for vote in of)
    return Strength(name, score, score - half, score + half, won, len(of) - won - ties, ties, bad)
