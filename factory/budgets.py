"""The exported files of a run, side by side: what each needs, how fast it is, what it scores; for the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from factory.files import digest, read_json, weights_mark

Row = dict[str, Any]
MEMORIES_GB = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)  # what phones and small computers are sold with
USABLE = 0.5  # of a phone's memory that one app gets before the system ends it
GB = 1e9


def exports(run_dir: Path) -> list[Row]:
    """What export.json tells of each measured artifact below `run_dir`/export, the smallest first."""
    found = [read_json(path) | {"name": path.parent.name} for path in sorted(_notes(run_dir))]
    rows = [
        note for note in found if note.get("budget") and "mean" in note.get("parity", {}) and is_current(run_dir, note)
    ]
    for row in rows:
        row["fits_gb"] = fits(row["budget"]["peak_mb"])
    return sorted(rows, key=lambda row: (row["budget"]["bytes"], row["name"]))


def is_current(run_dir: Path, note: Row) -> bool:
    """Whether what export.json tells is of the adapter that the run has now; true of the base alone."""
    return not note.get("adapter") or note["adapter"] == weights_mark(run_dir / note["model"] / "adapter")


def fits(peak_mb: float) -> int | None:
    """The smallest memory, in GB, of which half holds the peak; None: more than any listed."""
    return next((size for size in MEMORIES_GB if peak_mb * 1e6 <= size * GB * USABLE), None)


def picture(rows: list[Row], ticks: Any) -> Row | None:
    """Score against peak memory: points as shares of the axes (x, y from 0 to 1) and the axes' round numbers; None: no row.

    `ticks`: a function of (low, high) to round numbers that take both in.
    """
    if not rows:
        return None
    across = ticks(0, max(row["budget"]["peak_mb"] for row in rows))
    scores = [row["parity"]["mean"][key] for row in rows for key in ("score", "trained")]
    up = ticks(math.floor(min(scores)) - 1, math.ceil(max(scores)) + 1)

    def height(score: float) -> float:
        return float((score - up[0]) / (up[-1] - up[0]))

    points = [
        {"name": row["name"], "x": row["budget"]["peak_mb"] / across[-1], "y": height(row["parity"]["mean"]["score"]),
         "passed": row["parity"]["passed"]}
        for row in rows
    ]  # fmt: skip
    trained = next((row for row in rows if row.get("model") != "base"), rows[0])["parity"]["mean"]["trained"]
    return {"points": points, "trained": height(trained), "x": across, "y": up}


def marks(run_dir: Path) -> dict[str, str]:
    """The digest of what the exports tell, so that the report is made anew when one is added."""
    found = {path.parent.name: read_json(path) for path in _notes(run_dir)}
    notes = {name: digest([note, is_current(run_dir, note)]) for name, note in found.items()}
    return {"exports": digest(notes)} if notes else {}


def _notes(run_dir: Path) -> list[Path]:
    return list((run_dir / "export").glob("[!.]*/export.json"))
