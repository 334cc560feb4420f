"""Seeds: the same build trained again from other seeds, and how far its scores spread by that alone.

Seed S of a run is `runs/DOMAIN/RUN-sS`, a run like any other; `seeds.json` beside the run's stages keeps what they scored. It
counts for the scores that the run had then: once these differ it is stale, and not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import digest, read_json, write_json
from factory.records import Prediction, read_records, scores_by_task
from factory.statistics import Scores, over_seeds

FILE = "seeds.json"


def run_names(run: str, seed: int, count: int) -> dict[int, str]:
    """The runs of so many seeds from `seed` on: {0: 'default', 1: 'default-s1', 2: 'default-s2'}."""
    return {seed + more: f"{run}-s{seed + more}" if more else run for more in range(count)}


def keep(run_dir: Path, runs: Mapping[int, str]) -> dict[str, Any]:
    """Compare the finished runs of every seed, the run's own first; kept in it as `seeds.json`.

    Returns seeds (a row each: seed, run, best, and its score by task and of the mean) and spread (see `over_seeds`).
    FactoryError where they did not answer the same items.
    """
    rows, scored = [], []
    base, own = _scores(run_dir, "base"), read_json(run_dir / "evaluate" / "scores.json")["eval_digest"]
    for seed, name in runs.items():
        found = read_json(run_dir.parent / name / "evaluate" / "scores.json")
        scores = _scores(run_dir.parent / name, found["best"])
        if found["eval_digest"] != own:
            raise FactoryError(
                f"Run '{name}' answered other eval items than '{run_dir.name}'.",
                "Build both anew: factory build --seeds",
            )
        cells = {task: cell["score"] for task, cell in found["models"][found["best"]].items()}
        rows.append({"seed": seed, "run": name, "best": found["best"], "scores": cells})
        scored.append(scores)
    made = {"mark": _mark(run_dir), "seeds": rows, "spread": over_seeds(scored, base)}
    write_json(run_dir / FILE, made)
    return made


def kept(run_dir: Path) -> dict[str, Any]:
    """What `keep` found, as long as the run's scores are still those; else empty."""
    path = run_dir / FILE
    found = read_json(path) if path.exists() else {}
    return dict(found) if found and found["mark"] == _mark(run_dir) else {}


def marks(run_dir: Path) -> dict[str, str]:
    """The digest of the spread, so that the report is made anew after it."""
    path = run_dir / FILE
    return {"seeds": digest(read_json(path))} if path.exists() else {}


def _mark(run_dir: Path) -> str:
    return digest(read_json(run_dir / "evaluate" / "scores.json"))


def _scores(run_dir: Path, model: str) -> Scores:
    return scores_by_task(read_records(run_dir / "evaluate" / "predictions" / f"{model}.jsonl", Prediction))
