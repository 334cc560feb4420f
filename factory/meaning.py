"""Questions that mean the same in other words, which letters do not show; slower than the rest of the sieve.

An embedding alone does not tell a paraphrase from a look-alike (benchmarks/embeddings.py: its figure for "Can dogs eat carrots?"
beside "chocolate" is that of a paraphrase). So the cosine only proposes: numbers, negations and answers must agree, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.duplicates import SHORT, same_meaning, turning_points
from factory.embedding import embed
from factory.leaks import Expected
from factory.text import squeeze

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """A question in its group, its answer (empty: not known), and the text that must not be an eval item's."""

    id: str
    group: Hashable
    question: str
    answer: str
    about: str


class Meanings:
    """Remembers the rows it was shown. `like` is the cosine from which two questions with like answers mean the same."""

    def __init__(
        self, like: float, items: Mapping[str, str], answers: Mapping[str, Expected], say: Callable[[str], None]
    ) -> None:
        self.like, self.say = like, say
        self.items = [item for id, text in items.items() for item in _items(id, text, answers.get(id, Expected("")))]
        self.item_vectors = embed([item.question for item in self.items], say)
        self.seen: dict[Hashable, _Seen] = defaultdict(_Seen)

    def find(self, rows: Sequence[Asked]) -> Iterator[tuple[str, str]]:
        """(reason, detail) of each row: a leak, the same as an earlier row, or two empty texts; such a row is remembered."""
        texts = [row.question for row in rows] + ([row.about for row in rows] if self.items else [])
        vectors = embed(texts, self.say)
        for number, row in enumerate(rows):
            yield (self.items and self._leak(row, vectors[len(rows) + number])) or self._repeated(row, vectors[number])

    def _leak(self, row: Asked, vector: Vector) -> tuple[str, str] | None:
        asked = Asked(row.id, row.group, row.about, row.answer, row.about)
        found = self._same(asked, self.item_vectors @ vector, self.items)
        return ("leak", f"means what eval item {found}") if found else None

    def _repeated(self, row: Asked, vector: Vector) -> tuple[str, str]:
        seen = self.seen[row.group]
        if found := self._same(row, seen.cosines(vector), seen.rows):
            return "same-meaning", f"means what {found}"
        seen.add(row, vector)
        return "", ""

    def _same(self, row: Asked, cosines: Vector, others: Sequence[Asked]) -> str:
        near = np.flatnonzero(cosines >= self.like)
        for number in near[np.argsort(-cosines[near], kind="stable")]:
            if agree(row, others[number], float(cosines[number]), self.like):
                return f"{others[number].id} asks (cosine {cosines[number]:.3f})"
        return ""


def _items(id: str, text: str, expected: Expected) -> list[Asked]:
    """An eval item, once for each right answer; a label says too little to be compared, and the group of one whose task is not known is None."""
    answers = [""] if expected.label else [expected.text, *expected.others]
    return [Asked(id, (expected.task, "") if expected.task else None, text, answer, text) for answer in answers]


def agree(one: Asked, other: Asked, cosine: float, like: float) -> bool:
    """Whether two questions with this cosine mean the same.

    Answers that are short, which say little, not known, or of different groups ask for a cosine half-way between `like` and 1.
    """
    apart = None not in (one.group, other.group) and one.group != other.group
    if apart or not (one.answer and other.answer):
        return cosine >= (1 + like) / 2 and turning_points(one.question) == turning_points(other.question)
    said = squeeze(one.answer), squeeze(other.answer)
    return (
        cosine >= ((1 + like) / 2 if min(map(len, said)) <= SHORT else like)
        and turning_points(one.question, one.answer) == turning_points(other.question, other.answer)
        and same_meaning(("", said[0]), ("", said[1]), 1.0)  # of the answers alone
    )


class _Seen:
    """The rows of one group and their vectors, in an array that doubles when it is full."""

    def __init__(self) -> None:
        self.rows: list[Asked] = []
        self.vectors: Vector = np.zeros((0, 0), dtype=np.float32)

    def add(self, row: Asked, vector: Vector) -> None:
        if len(self.rows) == len(self.vectors):
            grown = np.zeros((max(8, 2 * len(self.rows)), len(vector)), dtype=np.float32)
            grown[: len(self.rows)] = self.vectors[: len(self.rows)] if self.rows else 0
            self.vectors = grown
        self.vectors[len(self.rows)] = vector
        self.rows.append(row)

    def cosines(self, vector: Vector) -> Vector:
        """Cosines (n,) with the rows so far."""
        return self.vectors[: len(self.rows)] @ vector if self.rows else np.zeros(0, dtype=np.float32)
