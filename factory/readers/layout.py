"""Runs on a printed page in reading order: the columns one after the other, each as lines and tables."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterator, Sequence

from factory.readers.boxes import Box, Line, Page, Run, Table, joined_run, line_of, overlap, rows
from factory.readers.grids import aligned, ruled

_BULLET = re.compile(
    r"^(?:[-*•·●○▪◦–■□➢✓]|[(（]?[\divxa-z]{1,3}[.)）、．]|第?[一二三四五六七八九十百\d]+[条章节、.]?)$"
)


def arranged(page: Page, left: float, right: float, body: float) -> Iterator[Line | Table]:
    """Lines and tables in reading order; `left` and `right` are the edges of the text, `body` the size of its letters."""
    tables, rest = ruled(page)
    for boxes, start, edge in _columns([*tables, *rest], left, right, body):
        yield from _lines(boxes, start, edge)


def _columns(boxes: list[Box], left: float, right: float, body: float) -> Iterator[tuple[list[Box], float, float]]:
    """Boxes of one column each, with its edges: what is as wide as the page parts it into bands that are read in turn."""
    gutter = _gutter(boxes)
    if gutter is None:
        if boxes:
            edge = far_edge(boxes)
            full = sum(box.right > edge - body for box in boxes)  # or a lone column would seem to end in its middle
            yield boxes, left, edge if full >= max(3, len(boxes) / 2) else right
        return
    west = [box for box in boxes if box.right <= gutter]
    east = [box for box in boxes if box.left >= gutter]
    edges = far_edge(west), min(box.left for box in east)
    wide = [box for box in boxes if box.left < gutter < box.right or _is_across(box, east, body)]
    held: list[Box] = []
    for box in [*sorted(boxes, key=lambda box: -box.top), None]:
        if box is not None and box not in wide:
            held.append(box)
            continue
        yield from _columns([box for box in held if box.right <= gutter], left, edges[0], body)
        yield from _columns([box for box in held if box.left >= gutter], edges[1], right, body)
        held = []
        if box is not None:
            yield [box], left, right


def far_edge(boxes: Sequence[Box]) -> float:
    """Where the lines of a column end at the right; what stands out of it, as a wide table does, is left out."""
    ends = sorted((box.right, len(box.text)) for box in boxes if isinstance(box, Run))
    beyond = sum(letters for _, letters in ends) * 0.02
    while len(ends) > 1 and ends[-1][1] <= beyond:
        beyond -= ends.pop()[1]
    return ends[-1][0] if ends else max(box.right for box in boxes)


def _is_across(box: Box, east: Sequence[Box], body: float) -> bool:
    """A heading over both columns that is short: beside it the other column is empty, but not above and below."""
    if not isinstance(box, Run) or box.size < 1.12 * body or box in east:
        return False
    around = Box(box.left, box.bottom - box.height / 2, box.right, box.top + box.height / 2)
    beside = any(overlap(around, other) > 0 for other in east)
    return not beside and any(o.bottom > box.top for o in east) and any(o.top < box.bottom for o in east)


def _gutter(boxes: Sequence[Box]) -> float | None:
    """Where a blank strip parts two columns of text; None on a page that has no columns."""
    if len(boxes) < 6:
        return None
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    places = [left + (right - left) * (0.2 + step * 0.005) for step in range(121)]
    crossing = [sum(box.left < place < box.right for box in boxes) for place in places]
    strips = [
        [at for at, _ in strip]
        for count, strip in itertools.groupby(enumerate(crossing), lambda pair: pair[1])
        if count == min(crossing)
    ]
    for strip in strips:
        place = places[strip[len(strip) // 2]]
        sides = [box for box in boxes if box.right <= place], [box for box in boxes if box.left >= place]
        if all(map(_is_text, sides)) or _in_turn(*sides):
            return place
    return None


def _in_turn(west: Sequence[Box], east: Sequence[Box]) -> bool:
    """Whether the file holds one side after the other: a table is written row by row."""
    sides = sorted(
        (run.order, side) for side, boxes in enumerate((west, east)) for run in boxes if isinstance(run, Run)
    )
    turns = sum(one != two for (_, one), (_, two) in itertools.pairwise(sides))
    return (turns == 1 and sides[0][1] == 0) or turns * 4 < min(len(west), len(east))


def _is_text(boxes: Sequence[Box]) -> bool:
    """Whether lines of text fill a column: most letters stand in long lines, other than in the cells of a table."""
    runs = [box for box in boxes if isinstance(box, Run)]
    if len(runs) < 3:
        return False
    typical = statistics.median(run.width for run in runs for _ in run.text)
    size = statistics.median(run.size for run in runs)
    return typical >= 8 * size and typical >= 0.6 * max(run.width for run in runs)


def _lines(boxes: Sequence[Box], start: float, edge: float) -> Iterator[Line | Table]:
    waiting: list[list[Run]] = []
    for row in [*rows(boxes), None]:
        if row is not None and not any(isinstance(box, Table) for box in row):
            waiting.append(_without_bullets([box for box in row if isinstance(box, Run)]))
            continue
        yield from _unruled(waiting, start, edge)
        waiting = []
        for box in row or ():
            yield box if isinstance(box, Table) else line_of([box], start, edge)  # type: ignore[list-item]


def _without_bullets(row: list[Run]) -> list[Run]:
    """A row whose bullet or number belongs to what follows."""
    if len(row) > 1 and _BULLET.match(row[0].text):
        return [joined_run(row[:2]), *row[2:]]
    return row


def _unruled(rows: list[list[Run]], start: float, edge: float) -> Iterator[Line | Table]:
    """Rows as lines; where the gaps of neighbouring rows stand below each other, as a table."""
    at = 0
    while at < len(rows):
        held = aligned(rows[at:])
        if held:
            cells = [run for row in rows[at : at + held[0]] for run in row]
            yield Table(cells[0].left, cells[-1].bottom, edge, cells[0].top, held[1])
            at += held[0]
        else:
            yield line_of(rows[at], start, edge)
            at += 1
