"""From the app's store to what the next round learns: examples, preference pairs, and items of the next eval set.

Only rows that a reviewer approved are taken. Their records lie in `runs/DOMAIN/RUN-rN/feedback/`, each with its provenance.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from factory.build import RUNS, Order, a_round_itself, prepare
from factory.errors import FactoryError
from factory.expert import Gathered, gather
from factory.files import lock, templates, write_json
from factory.records import EvalItem, Example, Preference, read_records, write_records
from factory.rounds import FEEDBACK, asks, run_name
from factory.stage import Context
from factory.versions import freeze, newest, promoted


@dataclass(frozen=True)
class Wish:
    """What the command asks for; `store` None: the demo's; `round` 0: the one after the last that is built."""

    domain: str
    run: str = "default"
    store: Path | None = None
    round: int = 0
    dry: bool = False


def take(wish: Wish) -> list[str]:
    """Write the feedback of the next round whole or not at all; return what to tell. With `dry` nothing is written."""
    context = prepare(Order(wish.domain, wish.run))[1]
    if context.earlier:
        raise a_round_itself(wish.run)
    number = wish.round or _next_round(wish)
    before = [RUNS / wish.domain / run_name(wish.run, n) for n in range(1, number)]
    if not before or not (before[-1] / "evaluate" / "manifest.json").exists():
        raise FactoryError(
            f"Round {max(1, number - 1)} of '{wish.domain}' is not built: there is nothing to go on from.",
            f"Run: factory build {wish.domain}{_flag(wish)}" + (f" --round {number - 1}" if number > 2 else ""),
        )
    path = wish.store or RUNS / wish.domain / "feedback.db"
    rows = read_approved(path, wish)
    folder = context.domain.folder
    items = [*read_records(before[0] / "ingest" / "eval.jsonl", EvalItem), *promoted(folder, newest(folder))]
    found = gather(
        rows, context.domain, list({item.id: item for item in items}.values()), _used(before), _trained(before)
    )
    if not (found.examples or found.pairs or found.items):
        why = "; ".join([*found.told, *_known(found)])
        raise FactoryError(f"No approved row of {path} is new to round {number}: {why}.", "Approve more in the demo.")
    target = RUNS / wish.domain / run_name(wish.run, number)
    if not wish.dry:
        _write(target, found, context, {"store": str(path), "round": number, "approved": len(rows)})
    return [
        *_told(found, len(rows), path, newest(folder) + (1 if wish.dry and found.items else 0)),
        *_then(wish, found, number, target),
    ]


def read_approved(path: Path, wish: Wish) -> list[Any]:
    """The approved rows of a store, the oldest first; FactoryError where there is no store, no such row, or no reading it."""
    hint = f"Open the demo (factory demo {wish.domain}{_flag(wish)}), correct answers and approve the corrections."
    if not path.is_file():
        raise FactoryError(f"No feedback in {path}.", hint + " Or name an app's file: --store PATH")
    with stored(path) as store:
        rows: list[Any] = store.rows(state="approved")[::-1]
        waiting = store.count(state="open")
    if not rows:
        raise FactoryError(f"No row of {path} is approved ({waiting} wait for a reviewer).", hint)
    return rows


@contextmanager
def stored(path: Path) -> Iterator[Any]:
    """The store in a file that exists; FactoryError where it cannot be read."""
    module = store_module()
    try:
        store = module.Store(path)
        yield store
        store.close()
    except module.StoreError as error:
        raise FactoryError(f"Cannot read the feedback: {error}.", "Give the app's file: --store PATH") from error


def store_module() -> ModuleType:
    """The app's own module for its store: the app runs without the factory, so the factory takes the app's."""
    name = "factory_app_store"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, templates("app") / "store.py")
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _next_round(wish: Wish) -> int:
    number = 1
    while (RUNS / wish.domain / run_name(wish.run, number) / "evaluate" / "manifest.json").exists():
        number += 1
    return max(2, number)


def _used(before: list[Path]) -> set[str]:
    """The ids of the records that earlier rounds learned from."""
    used: set[str] = set()
    for run in before[1:]:
        used |= {row.id for row in read_records(run / FEEDBACK / "examples.jsonl", Example)}
        used |= {row.id for row in read_records(run / FEEDBACK / "pairs.jsonl", Preference)}
    return used


def _trained(before: list[Path]) -> set[str]:
    """What was asked in the training rows of earlier rounds."""
    return {asks(row) for run in before for row in read_records(run / "curate" / "train.jsonl", Example)}


def _write(target: Path, found: Gathered, context: Context, facts: dict[str, Any]) -> None:
    busy = FactoryError(f"A build of {target} is running.", "Wait for it, then run this again.")
    with lock(target / ".lock", busy):
        version = freeze(context.domain.folder, found.items) if found.items else newest(context.domain.folder)
        new, old = target / f".{FEEDBACK}.new", target / FEEDBACK
        shutil.rmtree(new, ignore_errors=True)
        write_records(new / "examples.jsonl", found.examples)
        write_records(new / "pairs.jsonl", found.pairs)
        counts = {"examples": len(found.examples), "pairs": len(found.pairs), "merged": found.merged}
        left = {"promoted": len(found.items), "eval_version": version, "left_out": found.told, "masked": found.masked}
        write_json(new / "summary.json", facts | counts | left)
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)


def _told(found: Gathered, rows: int, path: Path, version: int) -> list[str]:
    merged = f", {found.merged} merged with one that says the same" if found.merged else ""
    lines = [
        f"{path}: {rows} approved row{'s' * (rows != 1)}",
        f"    examples: {len(found.examples)}, preference pairs: {len(found.pairs)}{merged}",
    ]
    if found.items:
        lines.append(f"    {len(found.items)} promoted: version {version} of the eval set")
    return [*lines, *(f"    left out: {line}" for line in [*found.told, *_known(found)])]


def _known(found: Gathered) -> list[str]:
    """How many rows are nothing new; nothing where each is."""
    rows = f"{found.known} row{'s are' if found.known > 1 else ' is'}"
    return [f"{rows} part of an earlier round or of the eval set"] if found.known else []


def _then(wish: Wish, found: Gathered, number: int, target: Path) -> list[str]:
    if wish.dry:
        return ["Nothing was written."]
    if not found.examples:
        return ["There is no example to learn from: approve better answers before the next round."]
    return [f"{target / FEEDBACK}", f"Next: factory build {wish.domain}{_flag(wish)} --round {number}"]


def _flag(wish: Wish) -> str:
    return "" if wish.run == "default" else f" --run {wish.run}"
