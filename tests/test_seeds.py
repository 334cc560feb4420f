"""Seeds are set side by side only where they answered the same items."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.files import write_json
from factory.records import Prediction, write_records
from factory.seeds import keep, kept


def make_run(folder: Path, eval_digest: str, score: float) -> None:
    cells = {"kind": {"score": 100 * score}, "mean": {"score": 100 * score}}
    scores = {"best": "sft", "eval_digest": eval_digest, "models": {"sft": cells}}
    write_json(folder / "evaluate" / "scores.json", scores)
    for model in ("base", "sft"):
        rows = [Prediction(f"{n}", "kind", "?", ["x"], "x", score) for n in range(4)]
        write_records(folder / "evaluate" / "predictions" / f"{model}.jsonl", rows)


def test_as_many_items_are_not_the_same_items(tmp_path: Path) -> None:
    make_run(tmp_path / "default", "items", 0.5)
    make_run(tmp_path / "default-s1", "items", 1.0)
    runs = {0: "default", 1: "default-s1"}
    keep(tmp_path / "default", runs)
    assert [row["scores"]["mean"] for row in kept(tmp_path / "default")["seeds"]] == [50, 100]
    make_run(tmp_path / "default-s1", "as many others", 1.0)
    with pytest.raises(FactoryError, match="'default-s1' answered other eval items than 'default'"):
        keep(tmp_path / "default", runs)
