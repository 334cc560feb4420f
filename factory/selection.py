"""Which rows are enough: a share of each task's rows, by chance or so that it stands for all of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from factory.embedding import embed
from factory.records import Example

MOST_CLUSTERS = 512  # beyond this k-means takes hours; a cluster then gives several rows
NEEDS_BASE = ("difficulty", "mix")  # methods that need the base's losses
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """What a choice looks at. `difficulty`: see factory.difficulty; only for the methods that need it."""

    id: str
    task: str
    text: str
    difficulty: float = 0.0


def in_turn(examples: Sequence[Example], most: int, salt: str = "") -> list[Example]:
    """At most `most` examples, in turn from each task, by hash of `salt` and the id."""
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda row: hashlib.sha256(f"{salt}{row.id}".encode()).digest()):
        by_task[example.task].append(example)
    turns = zip_longest(*(by_task[name] for name in sorted(by_task)))
    return [row for turn in turns for row in turn if row][:most]


def left_out(rows: Sequence[Candidate], keep: float, by: str, seed: int, say: Callable[[str], None]) -> dict[int, str]:
    """The places of the rows that are not kept, each with the figure that says why.

    Every task keeps the share `keep` of its rows, at least one. `by`:

    - random: by hash of the id, so that a smaller share is part of a larger one;
    - coverage: k-means on the meanings, one cluster for each row to keep, of each the row nearest to its centre;
    - difficulty: the hardest whose difficulty is below 1 (arXiv 2308.12032); then those above, which the question does not help;
    - mix: the hardest row of each cluster.
    """
    vectors = (
        embed([row.text for row in rows], say) if by in ("coverage", "mix") else np.zeros((len(rows), 1), np.float32)
    )
    by_task: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_task[row.task].append(number)
    out: dict[int, str] = {}
    for numbers in by_task.values():
        wanted = max(1, round(keep * len(numbers)))
        task_rows, task_vectors = [rows[number] for number in numbers], vectors[numbers]
        kept = [numbers[place] for place in _ranked(task_rows, task_vectors, wanted, by, seed)[:wanted]]
        for number in sorted(set(numbers) - set(kept)):
            out[number] = _figure(rows[number], vectors[number] @ vectors[kept].T, keep, by)
    return out


def _ranked(rows: Sequence[Candidate], vectors: Vectors, wanted: int, by: str, seed: int) -> list[int]:
    """Places of one task's rows, those to keep first."""
    if by == "random":
        return sorted(range(len(rows)), key=lambda place: hashlib.sha256(f"{seed}/{rows[place].id}".encode()).digest())
    if by == "difficulty":
        return sorted(range(len(rows)), key=lambda place: _ease(rows[place]))
    labels, distances = _clusters(vectors, min(wanted, MOST_CLUSTERS), seed)
    clusters: dict[int, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        clusters[label].append(place)
    best_first = [
        sorted(places, key=lambda place: _ease(rows[place]) if by == "mix" else (distances[place], place))
        for places in sorted(clusters.values(), key=lambda places: (-len(places), places))
    ]
    return [place for place in chain.from_iterable(zip_longest(*best_first)) if place is not None]


def _ease(row: Candidate) -> tuple[bool, float, str]:
    """A key that sorts the hardest row that the question still helps first."""
    helped = row.difficulty < 1
    return not helped, -row.difficulty if helped else row.difficulty, row.id


def _clusters(vectors: Vectors, count: int, seed: int) -> tuple[list[int], list[float]]:
    """The cluster of each vector (n, d), and its distance to the cluster's centre."""
    from sklearn.cluster import KMeans

    different = len(np.unique(vectors, axis=0))  # sklearn warns of more clusters than that
    found = KMeans(min(count, different), n_init=1, max_iter=50, random_state=seed).fit(vectors)
    distances = np.linalg.norm(vectors - found.cluster_centers_[found.labels_], axis=1)
    return found.labels_.tolist(), distances.round(6).tolist()


def _figure(row: Candidate, cosines: Vectors, keep: float, by: str) -> str:
    figures = {
        "random": f"random, {keep:.1%} kept",
        "coverage": f"cosine {cosines.max():.3f} with the nearest kept row",
        "difficulty": f"difficulty {row.difficulty:.3f}",
    }
    return figures.get(by) or f"{figures['difficulty']}, {figures['coverage']}"
