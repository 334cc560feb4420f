"""Tables of a printed page: inside crossing rules, or where the gaps of neighbouring rows stand below each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from factory.readers.boxes import Box, Page, Run, Table, joined_run, rows, said

MOST_RULES = 3000  # of one page: more are a drawing
_NEAR = 2.5  # points: two rules that are closer touch


def ruled(page: Page) -> tuple[list[Table], list[Run]]:
    """Tables inside crossing rules, and the runs outside of them."""
    rest = page.runs
    tables = []
    for rules in _connected(page.rules if len(page.rules) < MOST_RULES else []):
        columns = _places([rule.left for rule in rules if rule.width < _NEAR < rule.height])
        levels = _places([rule.top for rule in rules if rule.height < _NEAR < rule.width])
        if len(columns) < 3 or len(levels) < 2:
            continue
        inside = [
            run for run in rest
            if columns[0] - _NEAR < (run.left + run.right) / 2 < columns[-1] + _NEAR and levels[0] < run.middle < levels[-1]
        ]  # fmt: skip
        cells = _cells(inside, columns, levels)
        if cells and sum(any(row[at] for row in cells) for at in range(len(columns) - 1)) > 1:
            tables.append(Table(columns[0], levels[0], columns[-1], levels[-1], cells))
            taken = set(map(id, inside))
            rest = [run for run in rest if id(run) not in taken]
    return tables, rest


def _cells(runs: Sequence[Run], columns: Sequence[float], levels: Sequence[float]) -> tuple[tuple[str, ...], ...]:
    """The rows from top to bottom, without empty ones."""
    held: dict[tuple[int, int], list[Box]] = {}
    for run in runs:
        row = sum(run.middle < level for level in levels)
        column = sum((run.left + min(run.right, run.left + run.size)) / 2 > x for x in columns) - 1
        held.setdefault((row, max(0, min(column, len(columns) - 2))), []).append(run)
    made = []
    for row in range(1, len(levels)):
        cells = []
        for column in range(len(columns) - 1):
            lines = rows(held.get((row, column), []))
            cells.append(said(box.text for line in lines for box in line if isinstance(box, Run)))
        made.append(tuple(cells))
    return tuple(row for row in made if any(row))


def _places(values: Iterable[float]) -> list[float]:
    """Values in order, those that are near to each other as one."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _NEAR:
            found.append(value)
    return found


def _connected(rules: Sequence[Box]) -> Iterator[list[Box]]:
    """Rules that touch each other."""
    left = list(rules)
    while left:
        group, new = [], [left.pop()]
        while new:
            rule = new.pop()
            group.append(rule)
            new += [other for other in left if _touch(rule, other)]
            left = [other for other in left if not _touch(rule, other)]
        yield group


def _touch(one: Box, other: Box) -> bool:
    apart = (
        max(one.left, other.left) - min(one.right, other.right),
        max(one.bottom, other.bottom) - min(one.top, other.top),
    )
    return max(apart) <= _NEAR


def aligned(rows: Sequence[Sequence[Run]]) -> tuple[int, tuple[tuple[str, ...], ...]] | None:
    """How many of the first rows are a table, and its cells: at least three rows have them all."""
    several = list(itertools.takewhile(lambda row: len(row) > 1, rows))
    if not several:
        return None
    spans = max([(run.left, run.right) for run in max(several[:4], key=len)], _strips(several), key=len)
    cells: list[list[str]] = []
    taken = 0
    for row in rows:
        placed = _placed(row, spans)
        if placed is None or (len(placed) == 1 and (not cells or 0 in placed)):
            break
        if len(placed) > 1:
            cells.append([""] * len(spans))
        for place, runs in placed.items():
            spans[place] = min(spans[place][0], runs[0].left), max(spans[place][1], runs[-1].right)
            cells[-1][place] = f"{cells[-1][place]} {joined_run(runs).text}".strip()  # a single cell goes on
        taken += 1
    full = sum(all(row) for row in cells)
    return (taken, tuple(map(tuple, cells))) if full >= 3 else None


def _strips(rows: Sequence[Sequence[Run]]) -> list[tuple[float, float]]:
    """Where the pieces of all rows stand, with blank strips between."""
    spans: list[tuple[float, float]] = []
    pieces = [piece for row in rows for run in row for piece in run.pieces or [run]]
    for piece in sorted(pieces, key=lambda piece: piece.left):
        if spans and piece.left - spans[-1][1] < 0.25 * piece.size:
            spans[-1] = spans[-1][0], max(spans[-1][1], piece.right)
        else:
            spans.append((piece.left, piece.right))
    return spans


def _placed(row: Sequence[Run], spans: Sequence[tuple[float, float]]) -> dict[int, list[Run]] | None:
    """The row's runs by column, parted where they stand in two; None where one cannot be, or a column would have two."""
    placed: dict[int, list[Run]] = {}
    for run in row:
        own: dict[int, list[Run]] = {}
        for piece in [run] if _place(run, spans) is not None else run.pieces or [run]:
            place = _place(piece, spans)
            if place is None:
                return None
            own.setdefault(place, []).append(piece)
        if own.keys() & placed.keys():
            return None
        placed |= own
    return placed


def _place(run: Run, spans: Sequence[tuple[float, float]]) -> int | None:
    """The column that the run stands in or next to; None where it touches two."""
    apart = [max(low - run.right, run.left - high) for low, high in spans]
    return apart.index(min(apart)) if sum(gap < 0 for gap in apart) < 2 else None
