"""The learning curve of the toy domain: same steps at every share, frozen eval, picked up where it was, one page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from factory.curve import Point, reaches
from factory.curvepage import told

from .toy import factory, make_base, make_toy, tree

RUNS = Path("runs/toy")
ARGUMENTS = ("curve", "toy", "--shares", "0.25 0.5", "--by", "mix")
NAMES = ["all-100", "mix-25", "mix-50", "random-25", "random-50"]


def manifest(cwd: Path, run: str, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cwd / RUNS / run / stage / "manifest.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder where a curve was killed at its second point, then drawn; what the second command said."""
    cwd = tmp_path_factory.mktemp("curve") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    factory(cwd, *ARGUMENTS, kill_at="default-curve-random-25/score/predictions")
    before = tree(cwd / RUNS / "default-curve-mix-25" / "sft")
    said = factory(cwd, *ARGUMENTS)
    assert tree(cwd / RUNS / "default-curve-mix-25" / "sft") == before, "a finished point is not trained again"
    return cwd, said


def test_every_point_takes_the_full_steps_and_answers_every_item(drawn: tuple[Path, str]) -> None:
    cwd, said = drawn
    found = json.loads((cwd / RUNS / "default-curve" / "curve.json").read_text(encoding="utf-8"))
    assert sorted(point["run"].removeprefix("default-curve-") for point in found["points"]) == NAMES
    assert len({point["steps"] for point in found["points"]}) == 1
    rows = {point["run"].removeprefix("default-curve-"): point["rows"] for point in found["points"]}
    assert (
        rows["all-100"] == 36 and rows["mix-25"] == rows["random-25"] == 8 and rows["mix-50"] == rows["random-50"] == 18
    )
    for point in found["points"]:
        assert point["epochs"] * point["rows"] == pytest.approx(4 * 36)
        assert point["mean"].keys() == {"score", "low", "high", "n"} and point["tasks"].keys() == {"kind", "twice"}
        assert point["mean"]["n"] == 12 and point["mean"]["low"] <= point["mean"]["score"] <= point["mean"]["high"]
        assert not (cwd / RUNS / point["run"] / "dpo").exists()
    assert [row["share"] for row in found["selected_minus_random"]] == [0.25, 0.5]
    assert found["base"]["n"] == 12 and found["reached"].keys() == {"mix", "random"}
    assert " left" in said and "[5/5] random 50%" in said and found["told"] in " ".join(said.split())


def test_the_parts_are_selected_and_the_dev_rows_are_the_same(drawn: tuple[Path, str]) -> None:
    cwd, _ = drawn
    runs = [cwd / RUNS / f"default-curve-{name}" for name in NAMES]
    assert len({(run / "curate" / "dev.jsonl").read_bytes() for run in runs}) == 1
    assert len({(run / "ingest" / "eval.jsonl").read_bytes() for run in runs}) == 1
    assert (runs[1] / "curate" / "signals.jsonl").exists() and not (runs[3] / "curate" / "signals.jsonl").exists()
    chosen = [(run / "curate" / "train.jsonl").read_bytes() for run in (runs[1], runs[3])]
    assert chosen[0] != chosen[1]


def test_the_page_shows_both_lines_band_and_base(drawn: tuple[Path, str]) -> None:
    page = (drawn[0] / RUNS / "default-curve" / "curve.html").read_text(encoding="utf-8")
    assert re.findall(r'data-method="(\w+)"', page) == ["mix", "random"]
    assert page.count("<polyline") == 2 and page.count('class="band"') == 2 and page.count('class="base"') == 2
    assert page.count(" whisker") == 6 and "25%" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=", page)


def test_again_it_skips_everything_and_takes_what_a_build_has(drawn: tuple[Path, str]) -> None:
    cwd, _ = drawn
    runs = [cwd / RUNS / f"default-curve-{name}" / stage for name in NAMES for stage in ("curate", "sft", "score")]
    before = [tree(run) for run in runs]
    factory(cwd, *ARGUMENTS)
    assert [tree(run) for run in runs] == before
    factory(cwd, "build", "toy", "--run", "other", "--until", "sft")
    text = factory(
        cwd, "curve", "toy", "--run", "other", "--shares", "0.5", "--by", "difficulty", "--set", "sft.epochs=4"
    )
    assert "[1/3] all 100%" in text
    trained, copied = (manifest(cwd, run, "sft")["finished"] for run in ("other", "other-curve-all-100"))
    assert trained == copied, "the full set's training is the build's own"


def test_what_makes_no_curve_is_named(drawn: tuple[Path, str]) -> None:
    for arguments, said in (
        (("--shares", "1"), "needs shares between 0 and 1"),
        (("--shares", "0,1"), "needs shares between 0 and 1"),
        (("--shares", "half"), "is no list of numbers"),
        (("--by", "random"), "is no method that a curve compares"),
    ):
        assert said in factory(drawn[0], "curve", "toy", *arguments, code=1)


def point(method: str, share: float, score: float) -> Point:
    return Point(method, share, 9, 1.0, 9, 1.0, "r", {"score": score, "low": score - 3, "high": score + 3, "n": 9}, {})


def test_the_sentence_says_from_which_share_on() -> None:
    points = [
        point("all", 1, 60),
        point("mix", 0.1, 58),
        point("mix", 0.25, 56),
        point("mix", 0.5, 64),
        point("random", 0.5, 50),
    ]
    reached = {method: reaches(points, method) for method in ("mix", "random")}
    assert reached == {"mix": 0.5, "random": None}, "not 10%: a larger part is below"
    assert told(points[0].mean, reached, zh=False) == (
        "The full set scores 60.0 (95% interval 57.0 to 63.0): rows chosen by coverage and difficulty reach it from 50% on; "
        "rows chosen at random do not reach it below 100%."
    )
    assert "50% 起达到该区间" in told(points[0].mean, reached, zh=True)
