"""`factory build --seeds`: the same training from other seeds, and the spread beside the scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from factory.errors import FactoryError

from .toy import actions, factory, make_base, make_toy

RUNS = Path("runs/toy")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("seeds") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    (cwd / "said").write_text(factory(cwd, "build", "toy", "--seeds", "2", "--set", "sft.epochs=3"), encoding="utf-8")
    return cwd


def test_each_seed_is_a_training_of_its_own_and_all_are_told(built: Path) -> None:
    adapters = [built / RUNS / run / "sft/adapter/adapter_model.safetensors" for run in ("default", "default-s1")]
    assert adapters[0].read_bytes() != adapters[1].read_bytes()
    found = json.loads((built / RUNS / "default" / "seeds.json").read_text(encoding="utf-8"))
    assert [(row["seed"], row["run"]) for row in found["seeds"]] == [(0, "default"), (1, "default-s1")]
    means = [row["scores"]["mean"] for row in found["seeds"]]
    assert found["spread"]["mean"]["score"] == pytest.approx(sum(means) / 2, abs=0.02)
    said = (built / "said").read_text(encoding="utf-8")
    assert "2 trainings:" in said
    page = (built / RUNS / "default" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Seed against seed" in page and "Trained from 2 seeds" in page
    assert "default-s1" in page


def test_once_more_trains_nothing_and_one_training_alone_keeps_what_was_told(built: Path) -> None:
    text = factory(built, "build", "toy", "--seeds", "2", "--set", "sft.epochs=3")
    done = actions(text)
    del done["app"]  # it holds the report, which has the spread now
    planned = factory(built, "build", "toy", "--seeds", "3", "--set", "sft.epochs=3", "--dry")
    first, second, third = planned.split("another seed:")
    assert set(actions(first).values()) == set(actions(second).values()) == {"skip"} and "default-s2" in second
    assert actions(third)["sft"] == "run" and "report" not in actions(third)
    assert set(done.values()) == {"skip"}, text
    assert "2 trainings:" in factory(built, "build", "toy", "--set", "sft.epochs=3")


def test_other_scores_make_it_stale(built: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(built, tmp_path / "work"))
    text = factory(work, "build", "toy", "--set", "sft.epochs=2")
    assert "trainings:" not in text
    page = (work / RUNS / "default" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Seed against seed" not in page


def test_it_is_for_whole_first_rounds() -> None:
    from factory.build import Order, build_seeds

    for order in (Order("cooking", round=2), Order("cooking", until="sft")):
        with pytest.raises(FactoryError, match="first round"):
            build_seeds(order, 2, print)
