"""The learning curve as a sentence, a table and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from factory.files import read_text, templates
from factory.pictures import ticks
from factory.verdict import signed

ALL = "all"  # the method of the point that has every row
Cell = dict[str, float]  # score, low, high (of 100) and n
WORDS = {
    "coverage": ("chosen by coverage", "按覆盖度选出"),
    "difficulty": ("chosen by difficulty", "按难度选出"),
    "mix": ("chosen by coverage and difficulty", "按覆盖度与难度选出"),
    "random": ("chosen at random", "随机选出"),
}


def told(full: Cell, reached: dict[str, float | None], zh: bool) -> str:
    """In words: from which share on each method is as good as the full set."""
    low, high = f"{full['low']:.1f}", f"{full['high']:.1f}"
    parts = []
    for method, share in reached.items():
        name, much = WORDS[method][zh], f"{100 * (share or 1):g}%"
        if zh:
            parts.append(
                f"{name}的数据从 {much} 起达到该区间" if share else f"{name}的数据在 100% 以下都没有达到该区间"
            )
        else:
            parts.append(f"rows {name} reach it from {much} on" if share else f"rows {name} do not reach it below 100%")
    if zh:
        return f"全部数据得 {full['score']:.1f} 分（95% 区间 {low} 至 {high}）。{'；'.join(parts)}。"
    said = "; ".join(parts)
    return f"The full set scores {full['score']:.1f} (95% interval {low} to {high}): {said}."


def lines(result: dict[str, Any]) -> list[list[str]]:
    """The table: a row for each share, the full set last."""
    points = {(point["method"], point["share"]): point for point in result["points"]}
    rows = []
    for gap in result["selected_minus_random"]:
        pair = [points[method, gap["share"]] for method in (result["by"], "random")]
        about = [f"{100 * gap['share']:g}%", f"{pair[0]['rows']:,}", f"{pair[0]['epochs']:.3g}"]
        more = f"{signed(gap['difference'])} [{signed(gap['low'])}, {signed(gap['high'])}]"
        rows.append([*about, *(_cell(point["mean"]) for point in pair), more])
    full = points[ALL, 1.0]
    return [*rows, ["100%", f"{full['rows']:,}", f"{full['epochs']:.3g}", _cell(full["mean"]), _cell(full["mean"]), ""]]


def _cell(mean: Cell) -> str:
    return f"{mean['score']:.1f} [{mean['low']:.1f}, {mean['high']:.1f}]"


LEFT, RIGHT, TOP, BOTTOM = 60, 700, 20, 330  # of the drawing's frame


def render(result: dict[str, Any]) -> str:
    """The page: self-contained, no script; Jinja2 escapes every value."""
    from jinja2 import Environment, StrictUndefined

    points, full = result["points"], result["points"][0]
    cells = [result["base"], *(point["mean"] for point in points)]
    marks = ticks(min(cell["low"] for cell in cells), max(cell["high"] for cell in cells))
    least = math.log(min(point["share"] for point in points))

    def x(share: float) -> float:
        return RIGHT - (RIGHT - LEFT - 20) * math.log(share) / least

    def y(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - marks[0]) / (marks[-1] - marks[0])

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    values = {
        "result": result, "zh": result["language"] == "zh", "methods": WORDS, "rows": lines(result), "full": full,
        "series": {name: _series(points, name, x, y, shift) for name, shift in ((result["by"], -3), ("random", 3))},
        "marks": [(mark, y(mark)) for mark in marks], "shares": [(s, x(s)) for s in sorted({p["share"] for p in points})],
        "band": (y(full["mean"]["high"]), y(full["mean"]["low"])), "base": y(result["base"]["score"]),
        "frame": (LEFT, RIGHT, TOP, BOTTOM),
    }  # fmt: skip
    return page.from_string(read_text(templates("curve") / "curve.html.jinja")).render(values)


def _series(
    points: Sequence[dict[str, Any]],
    method: str,
    x: Callable[[float], float],
    y: Callable[[float], float],
    shift: float,
) -> list[tuple[float, float, float, float]]:
    """(x, y of the score, of its low and of its high end) of a method's points and the full set's, by share."""
    own = sorted((point for point in points if point["method"] in (method, ALL)), key=lambda point: point["share"])
    places = [(x(point["share"]), point["mean"]) for point in own]
    return [(across + shift, y(mean["score"]), y(mean["low"]), y(mean["high"])) for across, mean in places]
