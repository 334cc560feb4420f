"""What the report draws, as places on a sheet: loss curves, and scores over a quantity on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]
Box = tuple[float, float, float, float]  # left, top, right, bottom
LEFT, RIGHT, TOP, BOTTOM = 48, 468, 16, 206  # the frame of a drawing of 480 x 250
LETTER, LINE, LONG = 8.2, 15, 22  # width and height of a label's letter, and how many it may have


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers (steps of 1, 2 or 5 times a power of ten) that take in low and high."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 4 * 0.999)
    first, last = math.floor(low / step), math.ceil((low + span) / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic scale that takes in low and high: powers of ten, and 2 and 5 times them on a short one."""
    factors = (1,) if high / low > 30 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(place for place, mark in enumerate(marks) if mark <= low * 1.0001)
    last = min(place for place, mark in enumerate(marks) if mark >= high * 0.9999 and place > first)
    return marks[first : last + 1]


def curve(rows: Sequence[Row], key: str, dev: str = "") -> Row | None:
    """rows[key] over steps as shares of the axes (x, y from 0 to 1), raw and as a running mean; None: no row.

    `dev`: rows[dev] on the same axes, the lowest of them and its step.
    """
    points, beside = _points(rows, key), _points(rows, dev)
    if not points:
        return None
    values = [value for _, value in points]
    seen = [*values, *(value for _, value in beside)]
    across, up = ticks(0, max(points[-1][0], *(step for step, _ in beside), 0)), ticks(min(0.0, *seen), max(seen))
    width = max(1, len(points) // 20)
    means = [sum(part) / len(part) for i in range(len(values)) if (part := values[max(0, i - width + 1) : i + 1])]
    every = slice(None, None, math.ceil(len(points) / 400))

    def place(pairs: Iterable[tuple[int, float]]) -> list[tuple[float, float]]:
        return [(x / across[-1], (y - up[0]) / (up[-1] - up[0])) for x, y in pairs]

    mean = [(step, value) for (step, _), value in zip(points, means, strict=True)]
    best = min(beside, key=lambda pair: pair[1], default=None)
    return {"raw": place(points[every]), "mean": place(mean[every]), "x": across, "y": up, "first": means[0], "last": means[-1],
            "dev": place(beside), "best": {"step": best[0], "loss": best[1]} if best else None}  # fmt: skip


def _points(rows: Sequence[Row], key: str) -> list[tuple[int, float]]:
    known = {row["step"]: float(row[key]) for row in rows if isinstance(row.get(key), int | float)}
    return sorted((step, value) for step, value in known.items() if math.isfinite(value))


def scatter(points: Sequence[Row], line: Callable[[float], float] | None = None) -> Row | None:
    """Scores over a quantity on a logarithmic scale; None where fewer than two points have one.

    `points`: name, x (above 0), score, low, high, kind; `line`: the score of a size. Returns the points with their places on the
    sheet (at, y, top, bottom) and their labels' (x, y, anchor), the axes' marks with theirs, and the line's two ends.
    """
    points = [point for point in points if point["x"] > 0]
    if len(points) < 2:
        return None
    across = log_ticks(min(point["x"] for point in points), max(point["x"] for point in points))
    up = ticks(
        max(0, math.floor(min(p["low"] for p in points)) - 2), min(100, math.ceil(max(p["high"] for p in points)) + 2)
    )
    first, last = math.log10(across[0]), math.log10(across[-1])

    def x(value: float) -> float:
        return LEFT + 14 + (RIGHT - LEFT - 28) * (math.log10(value) - first) / (last - first)

    def y(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (min(up[-1], max(up[0], score)) - up[0]) / (up[-1] - up[0])

    placed = [
        point | {"at": x(point["x"]), "y": y(point["score"]), "top": y(point["high"]), "bottom": y(point["low"])}
        for point in points
    ]
    ends = [(x(size), y(line(size))) for size in (across[0], across[-1])] if line else []
    return {
        "points": labelled(placed), "x": [(x(mark), mark) for mark in across], "y": [(y(mark), mark) for mark in up], "line": ends,
    }  # fmt: skip


def labelled(points: Sequence[Row]) -> list[Row]:
    """The points with `label`: where its name stands (x, y, anchor), free of the other names and points where there is room."""
    taken: list[Box] = [(p["at"] - 6, p["y"] - 6, p["at"] + 6, p["y"] + 6) for p in points]
    taken += [(p["at"] - 2, p["top"], p["at"] + 2, p["bottom"]) for p in points]
    found = []
    for point in points:
        point = point | {"name": _short(point["name"])}
        places = list(_places(point))
        label, box = min(places, key=lambda place: sum(_overlap(place[1], other) for other in taken))
        taken.append(box)
        found.append(point | {"label": label})
    return found


def _short(name: str) -> str:
    return name if len(name) <= LONG else name[: LONG - 1] + "…"


def _places(point: Row) -> Iterator[tuple[tuple[float, float, str], Box]]:
    """Where the name of a point may stand, the best place first, and the box that it takes."""
    width = LETTER * sum(1 if letter.isascii() else 2 for letter in point["name"])
    x, y = point["at"], point["y"]
    for down in (-8.0, 20.0, 5.0, -24.0, 36.0):
        for anchor, left in (("start", x + 9), ("end", x - 9 - width), ("middle", x - width / 2)):
            box = (left, y + down - LINE + 3, left + width, y + down + 3)
            if left >= LEFT + 4 and left + width <= RIGHT + 10 and box[1] >= 0 and box[3] <= BOTTOM:
                at = {"start": left, "end": left + width, "middle": x}[anchor]
                yield (at, y + down, anchor), box
    left = min(max(x - width / 2, LEFT + 4), RIGHT + 10 - width)
    yield (left, y - 8, "start"), (left, y - 8 - LINE + 3, left + width, y - 5)


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)
