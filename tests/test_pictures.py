"""What the report draws stays on its axes, and names keep clear of each other."""

from __future__ import annotations

from typing import Any

import pytest

from factory.pictures import BOTTOM, LEFT, RIGHT, TOP, curve, log_ticks, scatter, ticks


def test_curve_leaves_out_what_is_no_number_and_stays_on_the_axes() -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3}]
    rows.append({"step": 4, "loss": 1.0})
    found = curve(rows, "loss")
    assert found and len(found["raw"]) == 2
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in found["raw"])
    assert curve(rows[2:3], "loss") is None and curve([{"step": 1, "loss": 0.0}], "loss")
    many = curve([{"step": i, "loss": 1.0} for i in range(5000)], "loss")
    assert many and len(many["raw"]) <= 400


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 60), (-0.3, 0.7), (0, 0), (0, 3.37), (0, 12345), (0, 1e-4)])
def test_ticks_take_in_both_ends(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 3 <= len(found) <= 8


@pytest.mark.parametrize(
    ("low", "high"), [(1.35e8, 1.5e9), (2.0, 2.0), (1e-3, 40.0), (1.0, 10.0), (9.9, 10.1), (1e8, 1e8)]
)
def test_logarithmic_ticks_take_in_both_ends(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert found[0] <= low * 1.001 and found[-1] >= high * 0.999 and 2 <= len(found) <= 8
    assert found == sorted(found)


def point(name: str, x: float, score: float, kind: str = "reference") -> dict[str, Any]:
    return {"name": name, "x": x, "score": score, "low": score - 5, "high": score + 5, "kind": kind}


def test_scattered_points_lie_on_the_sheet_by_size_and_score() -> None:
    found = scatter(
        [point("small", 1e8, 10), point("large", 1e9, 40), point("unknown", 0, 90)], lambda size: size / 1e8
    )
    assert found and [p["name"] for p in found["points"]] == ["small", "large"]
    small, large = found["points"]
    assert LEFT < small["at"] < large["at"] < RIGHT and TOP <= large["y"] < small["y"] <= BOTTOM
    assert large["top"] < large["y"] < large["bottom"] and len(found["line"]) == 2
    assert [mark for _, mark in found["x"]] == [1e8, 2e8, 5e8, 1e9]


def test_fewer_than_two_points_are_no_picture() -> None:
    assert scatter([point("a", 1e8, 10), point("b", 0, 20)]) is None and scatter([]) is None


def test_names_keep_clear_of_points_and_of_each_other() -> None:
    found = scatter([point(f"a model of some length {n}", 1e8 * (1 + n / 50), 40 + n) for n in range(3)])
    assert found
    places = [point["label"] for point in found["points"]]
    assert len(set(places)) == 3
    for x, y, anchor in places:
        for other_x, other_y, other in places:
            assert (x, y) == (other_x, other_y) or anchor != other or abs(y - other_y) >= 12
    assert all(len(p["name"]) <= 22 and 0 < p["label"][1] < 250 for p in found["points"])
