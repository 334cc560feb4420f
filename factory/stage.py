"""The stage engine: run, skip or resume a chain of stages. It knows no stage by name.

A stage writes only its own folder `runs/<domain>/<run>/<stage>/`; `manifest.json` is written last, so its existence means
finished. A stage's fingerprint is its version, its settings and the digests of what it reads: same fingerprint, skip.
`started.json` holds the fingerprint of an unfinished folder: the same one again means that its checkpoints may go on, and
that what it took so far, which is noted there twice a minute, counts.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from factory.config import Config
from factory.domain import Domain
from factory.errors import FactoryError
from factory.files import digest, digest_tree, lock, read_json, sha256, write_json
from factory.hardware import Ranks, give_memory_back
from factory.meter import NOTHING, Meter, Used

PACKAGES = ("vertical-factory", "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "scikit-learn")
SCRATCH = "checkpoints"  # a stage's unfinished work: never an output, removed once the manifest is written
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    `reads` names the earlier stages whose folders it reads; `settings` the config sections or single keys (`section.key`) that matter to it; `watches`
    gives the digests of what it reads from outside the run (documents, eval files, code of the domain).
    """

    name: str
    run: Callable[[Context], dict[str, Any]]  # returns what the manifest keeps as `summary`
    reads: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    version: int = 1
    watches: Callable[[Context], dict[str, str]] | None = None


@dataclass(frozen=True)
class Context:
    """What a stage may touch: its domain, the run's folder and its own folder inside it."""

    domain: Domain
    run_dir: Path
    stage: str
    source: Path | None = None
    say: Say = print
    evals: int = 1  # version of the eval set
    earlier: Path | None = None  # the run of the round before, where this one goes on from it
    ranks: Ranks = field(
        default_factory=Ranks
    )  # the processes that share the training steps: they change no fingerprint

    @property
    def config(self) -> Config:
        return self.domain.config

    @property
    def out(self) -> Path:
        return self.run_dir / self.stage

    def input(self, stage: str) -> Path:
        """The folder of an earlier stage."""
        return self.run_dir / stage

    def summary(self, stage: str) -> dict[str, Any]:
        """What an earlier stage noted in its manifest."""
        summary: dict[str, Any] = manifest(self.run_dir, stage).get("summary", {})
        return summary


@dataclass(frozen=True)
class Decision:
    """Run or skip, and why."""

    stage: Stage
    action: str  # "run", "resume", "skip"; told beforehand also "maybe": it hangs on what an earlier stage makes
    reason: str


def manifest(run_dir: Path, stage: str) -> dict[str, Any]:
    """The manifest of a finished stage; FactoryError names the command that makes a missing one."""
    path = run_dir / stage / "manifest.json"
    if not path.exists():
        raise FactoryError(
            f"No finished '{stage}' in {run_dir}.", f"Run: factory build {run_dir.parent.name} --until {stage}"
        )
    found: dict[str, Any] = read_json(path)
    return found


def seconds_of(made: dict[str, Any]) -> float:
    """What all parts of a stage took, by its manifest; an older one counts the last part alone, but its training every step."""
    return float(max(made["seconds"], made["summary"].get("seconds", 0.0)))


def decide(stages: Sequence[Stage], context: Context, force: Sequence[str] = ()) -> Iterator[Decision]:
    """Say for each stage whether it would run, as things stand on the disk now."""
    fresh: set[str] = set()
    for stage in stages:
        decision = _decide_one(stage, context, force, fresh)
        if decision.action != "skip":
            fresh.add(stage.name)
        yield decision


def _decide_one(stage: Stage, context: Context, force: Sequence[str], fresh: set[str]) -> Decision:
    folder = context.run_dir / stage.name
    if stage.name in force:
        return Decision(stage, "run", "forced")
    parts = _parts(stage, context)
    mark = digest(parts)
    if (folder / "manifest.json").exists():
        old = read_json(folder / "manifest.json")
        if old.get("fingerprint") != mark:
            return Decision(stage, "run", _difference(old.get("inputs", {}), parts))
        if broken := _broken_output(folder, old):
            return Decision(stage, "run", f"{broken} is missing or was changed")
        if upstream := [name for name in stage.reads if name in fresh]:
            return Decision(stage, "maybe", f"only if '{upstream[0]}' comes out different")
        return Decision(stage, "skip", "nothing it reads has changed")
    if (folder / "started.json").exists() and read_json(folder / "started.json").get("fingerprint") == mark:
        return Decision(stage, "resume", "was broken off")
    return Decision(stage, "run", "not built yet")


def run_stages(
    stages: Sequence[Stage],
    context: Context,
    force: Sequence[str] = (),
    on_lock: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """Bring every stage up to date, in order, under the run's lock; `on_lock` is called once it is held."""
    busy = FactoryError(
        f"Another build of {context.run_dir} is running.", "Wait for it, or choose another name with --run."
    )
    done: list[Decision] = []
    with lock(context.run_dir / ".lock", busy):
        with full_disk_named("the build", context.run_dir):
            on_lock()
        for number, stage in enumerate(stages, 1):
            decision = _decide_one(stage, context, force, set())
            label = f"[{number}/{len(stages)}] {stage.name}"
            if decision.action == "skip":
                context.say(f"{label}: skipped, {decision.reason}")
            else:
                context.say(f"{label}: {decision.action} ({decision.reason})")
                summary = _run_one(stage, context, keep=decision.action == "resume")
                give_memory_back()
                if summary.get("note"):
                    context.say(f"    {summary['note']}")
            done.append(decision)
    return done


def _run_one(stage: Stage, context: Context, keep: bool) -> dict[str, Any]:
    context = replace(context, stage=stage.name)
    for name in stage.reads:
        manifest(context.run_dir, name)
    parts = _parts(stage, context)
    if not keep:
        shutil.rmtree(context.out, ignore_errors=True)
    for left in context.out.rglob(".*.tmp"):  # half-written by a process that was killed: no output of this stage
        left.unlink()
    context.out.mkdir(parents=True, exist_ok=True)
    note = context.out / "started.json"
    before: Used = read_json(note).get("used", {"seconds": 0.0}) if keep else NOTHING
    mark = digest(parts)

    def keep_used(used: Used) -> None:
        with suppress(OSError):  # a full disk: the stage says so itself
            write_json(note, {"fingerprint": mark, "used": used})

    with full_disk_named(f"'{stage.name}'", context.out):
        write_json(note, {"fingerprint": mark, "used": before})
        with Meter(before, keep_used) as meter:
            summary = stage.run(context)
        _finish(stage, context, parts, summary, meter.used)
    return summary


@contextmanager
def full_disk_named(what: str, folder: Path) -> Iterator[None]:
    """Turn whatever a library makes of a full disk into one FactoryError."""
    try:
        yield
    except FactoryError:
        raise
    except Exception as error:
        if _disk_is_full(error):
            raise FactoryError(
                f"The disk is full: {what} stopped in {folder}.",
                "Free some space and run the same command again: it goes on from there.",
            ) from error
        raise


def _finish(stage: Stage, context: Context, parts: dict[str, Any], summary: dict[str, Any], used: Used) -> None:
    outputs = {
        path.relative_to(context.out).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(context.out.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in ("started.json", "manifest.json")
        if path.relative_to(context.out).parts[0] != SCRATCH
    }
    write_json(
        context.out / "manifest.json",
        {
            "stage": stage.name,
            "fingerprint": digest(parts),
            "inputs": parts,
            "outputs": outputs,
            "summary": summary,
            "seed": context.config.seed,
            **used,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "python": sys.version.split()[0]},
            "packages": package_versions(),
        },
    )
    (context.out / "started.json").unlink()
    shutil.rmtree(context.out / SCRATCH, ignore_errors=True)


def _parts(stage: Stage, context: Context) -> dict[str, Any]:
    """All that decides a stage's result, by name, so that a change can be told in words."""
    parts: dict[str, Any] = {"version": stage.version, "seed": context.config.seed}
    for key in stage.settings:
        section, _, name = key.partition(".")
        value = context.config.section(section)
        value = value[name] if name else value
        parts |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value}
    for name in stage.reads:
        parts[f"stage {name}"] = _outputs_mark(context.run_dir, name)
    if stage.watches:
        parts |= stage.watches(context)
    return parts


def _outputs_mark(run_dir: Path, stage: str) -> str | None:
    path = run_dir / stage / "manifest.json"
    return digest(read_json(path)["outputs"]) if path.exists() else None


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"changed: {', '.join(changed[:3])}{more}" if changed else "changed"


def _broken_output(folder: Path, old: dict[str, Any]) -> str:
    """The first output that is gone or differs; large files (over 64 MB) are compared by size only."""
    for name, known in old.get("outputs", {}).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != known["bytes"]:
            return str(name)
        if known["bytes"] < 64_000_000 and sha256(path) != known["sha256"]:
            return str(name)
    return ""


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if (
            "No space left" in str(error)
            or "os error 28" in str(error)
            or "enforce fail at inline_container" in str(error)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def package_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def code_parts(context: Context) -> dict[str, str]:
    """The domain's code as a fingerprint part: its tasks bound the answers, its scorers judge them."""
    return {"code": code_digest(context.domain)}


def code_digest(domain: Domain) -> str:
    """The digest of a domain's code."""
    return digest([path.read_text(encoding="utf-8") for path in sorted(domain.folder.glob("*.py"))])


def tree_parts(label: str, root: Path) -> dict[str, str]:
    """Digests below a folder as fingerprint parts."""
    return {f"{label} {name}": mark for name, mark in digest_tree(root).items()}
