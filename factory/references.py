"""References: other models that were scored on a run's eval items, kept in the run until somebody forgets them.

They lie in `references.json` beside the stages' folders, as a stage that runs anew empties its own; what each one answered
lies in `references/NAME.jsonl`, a row an item as in evaluate's predictions. A reference counts for the eval set that it answered;
once the items, or the code that judges them, differ it is stale: named, and never shown beside others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from factory.domain import Domain
from factory.errors import FactoryError, suggest
from factory.files import digest, read_json, write_json
from factory.stage import code_digest
from factory.statistics import Scores, compare

FILE = "references.json"
NEARLY = 0.05  # of a task's items: published scores of so many more or fewer still stand beside the run's
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
    unanswered: int = 0  # items whose answer had not the form that was asked for: each scores 0
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


def answers_file(run_dir: Path, name: str) -> Path:
    """Where the answers of the reference `name` lie; a name with marks that no disk takes is told by its digest, too."""
    safe = re.sub(r"[^\w.-]", "_", name)[:60]
    return run_dir / "references" / (f"{safe}.jsonl" if safe == name else f"{safe}-{digest(name)[:8]}.jsonl")


def keep(run_dir: Path, found: Sequence[Reference]) -> list[str]:
    """Add references, or replace those of the same name; the names under which another model stood before."""
    for one in found:
        if one.kind == "published":  # the answers of a model that had this name are none of it
            answers_file(run_dir, one.name).unlink(missing_ok=True)
    known = {one.name: one for one in kept(run_dir)}
    others = [one.name for one in found if one.name in known and known[one.name].digest != one.digest]
    _write(run_dir, list((known | {one.name: one for one in found}).values()))
    return others


def forget(run_dir: Path, name: str) -> None:
    """Take a reference and its answers out; FactoryError where there is none of that name."""
    known = kept(run_dir)
    names = [one.name for one in known]
    if name not in names:
        hint = suggest(name, names) if names else "No reference is kept: see factory eval --model."
        raise FactoryError(f"The run has no reference '{name}'.", hint)
    _write(run_dir, [one for one in known if one.name != name])
    answers_file(run_dir, name).unlink(missing_ok=True)


def differing(one: Reference, here: Mapping[str, int]) -> dict[str, bool]:
    """The tasks whose published scores are of another number of items than the run's, `here`: True where more than NEARLY differ."""
    if one.kind != "published":
        return {}
    counts = {task: (int(cell["n"]), here.get(task, 0)) for task, cell in one.cells.items()}
    return {task: abs(n - own) > NEARLY * own for task, (n, own) in counts.items() if n != own}


def apart(one: Reference, here: Mapping[str, int]) -> bool:
    """Whether published scores are of other items than the run's, `here` by task, so that nothing of it stands beside them."""
    return any(differing(one, here).values())


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
