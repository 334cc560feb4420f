"""References: other models that were scored on a run's eval items, kept in the run until somebody forgets them.

They lie in `references.json` beside the stages' folders, as a stage that runs anew empties its own. A reference counts for the
eval set that it answered; once the items, or the code that judges them, differ it is stale: named, and never shown beside others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from factory.domain import Domain
from factory.errors import FactoryError, suggest
from factory.files import digest, read_json, write_json
from factory.stage import code_digest
from factory.statistics import Scores, compare

FILE = "references.json"
Cells = dict[str, dict[str, float]]  # score, low, high (of 100) and n, by task and "mean"


@dataclass(frozen=True)
class Reference:
    """A model's scores by one standard. `scores` are those of each item, by task: none for published figures."""

    name: str
    kind: str  # run, folder, gguf, export, address or published
    model: str  # what was asked for on the command line
    cells: Cells
    standard: str  # see `standard`
    digest: str = ""  # of the weights, the address or the file of scores
    parameters: int = 0  # 0: not known
    tuned: bool = False  # on this domain's rows: no rung of the ladder that sizes are read off
    scores: Scores = field(default_factory=dict)
    when: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def kept(run_dir: Path) -> list[Reference]:
    """The references of a run, in the order in which they were first scored."""
    path = run_dir / FILE
    return [Reference(**row) for row in read_json(path)] if path.exists() else []


def standard(domain: Domain, eval_mark: str) -> str:
    """What scores must share to stand side by side: the eval set, by its digest, and the domain's code, which judges."""
    return digest([eval_mark, code_digest(domain)])


def current(run_dir: Path, mark: str) -> tuple[list[Reference], list[Reference]]:
    """The references scored by this standard, and the stale ones."""
    found = kept(run_dir)
    return [one for one in found if one.standard == mark], [one for one in found if one.standard != mark]


def keep(run_dir: Path, found: Sequence[Reference]) -> list[str]:
    """Add references, or replace those of the same name; the names under which another model stood before."""
    known = {one.name: one for one in kept(run_dir)}
    others = [one.name for one in found if one.name in known and known[one.name].digest != one.digest]
    _write(run_dir, list((known | {one.name: one for one in found}).values()))
    return others


def forget(run_dir: Path, name: str) -> None:
    """Take a reference out; FactoryError where there is none of that name."""
    known = kept(run_dir)
    names = [one.name for one in known]
    if name not in names:
        hint = suggest(name, names) if names else "No reference is kept: see factory eval --model."
        raise FactoryError(f"The run has no reference '{name}'.", hint)
    _write(run_dir, [one for one in known if one.name != name])


def against(best: Scores, reference: Reference, resamples: int) -> dict[str, dict[str, float]]:
    """The specialist minus the reference, paired item by item (factory.statistics.compare); empty for published figures."""
    paired = {task: reference.scores[task] for task in best if task in reference.scores}
    if set(paired) != set(best) or any(len(paired[task]) != len(best[task]) for task in best):
        return {}
    return compare(best, paired, resamples)


def marks(run_dir: Path) -> dict[str, str]:
    """The digest of the references, so that the report is made anew when one is added or forgotten."""
    path = run_dir / FILE
    return {"references": digest(read_json(path))} if path.exists() else {}


def _write(run_dir: Path, found: list[Reference]) -> None:
    if found:
        write_json(run_dir / FILE, [asdict(one) for one in found])
    else:
        (run_dir / FILE).unlink(missing_ok=True)
