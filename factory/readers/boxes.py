"""What stands on a printed page: runs of letters, lines, tables.

All lengths are points from the page's lower left corner, the page turned so that its text runs from left to right.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Box:
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Run(Box):
    """Letters of one line with no wide gap between them."""

    text: str
    size: float  # of the letters
    bold: bool = False
    pieces: tuple[Run, ...] = ()  # where it may be parted: at gaps that are no space
    order: int = 0  # of the file


@dataclass(frozen=True)
class Table(Box):
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Line(Box):
    """A line of a column: what `edge` is to it, the column's right edge."""

    text: str
    size: float
    bold: bool
    edge: float
    start: float  # the column's left edge


@dataclass(frozen=True)
class Page:
    """What stands on a page."""

    runs: list[Run]
    rules: list[Box] = field(default_factory=list)  # lines and the frames of rectangles
    pictures: int = 0
    pictured: float = 0.0  # share of the page that they cover


def rows(boxes: Iterable[Box]) -> list[list[Box]]:
    """Boxes that stand side by side, from top to bottom, each row from left to right."""
    found: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: -box.middle):
        last = found[-1] if found else []
        if any(overlap(box, other) > 0.5 * min(box.height, other.height) for other in last):
            last.append(box)
        else:
            found.append([box])
    return [sorted(row, key=lambda box: box.left) for row in found]


def overlap(one: Box, other: Box) -> float:
    return min(one.top, other.top) - max(one.bottom, other.bottom)


def joined_run(runs: Sequence[Run]) -> Run:
    first = max(runs[:1] if len(runs[0].text) > 2 else runs, key=lambda run: len(run.text))
    edges = (
        min(r.left for r in runs),
        min(r.bottom for r in runs),
        max(r.right for r in runs),
        max(r.top for r in runs),
    )
    text = runs[0].text
    for before, run in itertools.pairwise(runs):
        near = run.left - before.right < run.size / 2  # Chinese has such gaps next to digits
        text += ("" if near and max(text[-1], run.text[0]) > "\u2e80" else " ") + run.text
    return Run(*edges, text, first.size, all(run.bold for run in runs))


def said(parts: Iterable[str]) -> str:
    """Parts of a line as one text: between Chinese letters stands no space."""
    return re.sub(r"(?<=[\u2e80-\uffef]) (?=[\u2e80-\uffef])", "", " ".join(parts))


def line_of(runs: Sequence[Run], start: float, edge: float) -> Line:
    run = joined_run(runs)
    return Line(run.left, run.bottom, run.right, run.top, run.text, run.size, run.bold, edge, start)
