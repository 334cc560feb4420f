"""The gates that `factory release` measures, beside those of the scores: kept in the run as gates.json, for the report to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.config import Gates
from factory.files import digest, read_json, read_sealed, weights_mark, write_sealed

FILE = "gates.json"
Gate = dict[str, Any]  # name, passed (None: not measured yet), detail


def of_forgetting(found: dict[str, Any], limits: Gates) -> list[Gate]:
    """On what was forgotten (`forgetting.forgetting`): points of general ability, and how texts outside the domain are read.

    The estimate is held to the limit, not the interval's lower end, which so few items put far below it.
    Where a base hardly knows more than chance gives (25 of 100), it has no points to lose: there the perplexity tells.
    """
    row, perplexity = found["difference"]["mean"], found["perplexity"]
    ratio = max(after / perplexity["base"][language] for language, after in perplexity["specialist"].items())
    ability = f"general ability {row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}], the estimate may fall by {limits.forgets:g}"
    reads = f"perplexity of texts outside the domain {ratio:.2f} times the base's, at most {limits.perplexity:g}"
    return [
        {"name": "forgetting", "passed": row["difference"] >= -limits.forgets, "detail": ability},
        {"name": "perplexity", "passed": ratio <= limits.perplexity, "detail": reads},
    ]


def keep(run_dir: Path, adapter: Path, limits: Gates, gates: list[Gate]) -> None:
    """Keep what was measured of an adapter under these limits."""
    write_sealed(run_dir / FILE, {"mark": _mark(adapter, limits), "gates": gates})


def kept(run_dir: Path, adapter: Path, limits: Gates) -> list[Gate]:
    """What was measured of this adapter under these limits; else each such gate as not measured yet."""
    found = read_sealed(run_dir / FILE)
    if found.get("mark") == _mark(adapter, limits):
        return list(found["gates"])
    names = ["forgetting", "perplexity", *(["latency"] if limits.seconds else [])]
    return [{"name": name, "passed": None, "detail": "not measured yet: factory release"} for name in names]


def marks(run_dir: Path) -> dict[str, str]:
    """The digest of what was measured, so that the report is made anew after it."""
    path = run_dir / FILE
    return {"release gates": digest(read_json(path))} if path.exists() else {}


def _mark(adapter: Path, limits: Gates) -> str:
    return digest([weights_mark(adapter), repr(limits)])
