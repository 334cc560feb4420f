"""One export from the order to the finished folder: made beside its place, measured, moved there whole.

`export.json` is in every finished artifact: what it is, its files with digests, where it comes from, and how it compares with
the trained model.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import FactoryError, suggest
from factory.export.folder import write_folder
from factory.export.notices import licence_text
from factory.export.ollama import write_ollama
from factory.export.opened import PLAIN_KINDS
from factory.export.order import open_job
from factory.export.parity import require_parity
from factory.export.release import write_release
from factory.files import atomic_write, digest, lock, sha256, write_json, write_text
from factory.llama import require_llama
from factory.stage import full_disk_named, package_versions
from factory.weights.gguf_files import write_gguf, write_gguf_lora
from factory.weights.job import PLAIN, QUANTS, Job, Order, Say
from factory.weights.merge import write_adapter, write_merged
from factory.weights.quantize import MIXES

Make = Callable[[Job, Path], dict[str, Any]]
Check = Callable[
    [Job, Path, dict[str, Any]], dict[str, Any]
]  # budgets.check: `parity` with the trained model, and `budget`
WEIGHTS = (".gguf", ".safetensors")
WHOLE = ("q8_0", "f16", "f32", "bf16", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: how it is made, and the quantizations that it takes, its own first."""

    make: Make
    quants: tuple[str, ...] = ()


def export(order: Order, say: Say, check: Check | None = None) -> Path:
    """Make the artifact that `order` asks for; return its folder, which holds export.json.

    What `check` finds is kept there; an artifact that fails its parity stays, marked so, and FactoryError says why.
    """
    if order.kind == "onnx":
        raise FactoryError(*ONNX)
    if order.kind not in KINDS:
        raise FactoryError(f"Unknown kind '{order.kind}'.", suggest(order.kind, [*KINDS, "onnx"]))
    kind = KINDS[order.kind]
    if order.kind == "folder" or (check and order.kind not in PLAIN_KINDS):
        require_llama()  # before the work
    job = open_job(order, kind.quants, say)
    if job.adapter is None and order.kind in ("adapter", "gguf-lora"):
        raise FactoryError(f"--to {order.kind} with --model base: the base has no adapter.", "Use --to gguf.")
    target, packed = _places(job)
    for place in (target, packed):
        if place and place.exists() and not order.force:
            raise FactoryError(f"{place} exists.", "Give another place with -o, or --force to replace it.")
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / "export.json").exists()):
        raise FactoryError(
            f"{target} {'is a file' if target.is_file() else 'holds something else than an export'}.",
            "Give another place with -o; --force replaces exports alone.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _require_room(job, target.parent)
    busy = FactoryError(f"Another export to {target} is running.", "Wait for it, or give another place with -o.")
    with (
        lock(job.run_dir / f".export-{digest(str(target))[:12]}.lock", busy),
        full_disk_named("the export", target.parent),
    ):
        _export(job, kind, target, check)
        if packed:
            _zip(target, packed)
    return packed or target


def _places(job: Job) -> tuple[Path, Path | None]:
    """Where the folder goes, and the zip file where one is wanted: `-o NAME.zip` leaves the folder at its usual place."""
    usual = job.run_dir / "export" / _name(job)
    given = job.order.output.resolve() if job.order.output else usual
    if given.suffix == ".zip":
        return usual, given
    return given, given.with_name(f"{given.name}.zip") if job.order.zip else None


def _zip(folder: Path, out: Path) -> None:
    """The folder as one zip file; weights hardly shrink and are stored as they are."""
    with atomic_write(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            kind = zipfile.ZIP_STORED if path.suffix in WEIGHTS else zipfile.ZIP_DEFLATED
            archive.write(path, f"{out.stem}/{path.relative_to(folder).as_posix()}", kind)


def _export(job: Job, kind: Kind, target: Path, check: Check | None) -> None:
    for left in target.parent.glob(f".{target.name}.new.*"):  # by a process that was killed
        shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new."))
    try:
        job.say(f"{job.domain.config.name}: {job.model} over {Path(job.base['name']).name} to {target}")
        write_text(made / "LICENSE.txt", licence_text(job))
        told = kind.make(job, made)
        note = {"kind": job.order.kind, "quant": job.quant, **job.facts(), **told}
        note["packages"] = package_versions()
        if check:
            note |= check(job, made, told)
        note["files"] = {
            path.relative_to(made).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(made.rglob("*"))
            if path.is_file()
        }
        write_json(made / "export.json", note)
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # libraries write weights for their owner alone
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if check:
        require_parity(note["parity"], target)


def _name(job: Job) -> str:
    parts = [job.order.kind, job.quant, "" if job.order.model == "best" else job.model]
    return "-".join(part for part in [*parts, "original" if job.order.over == "original" else ""] if part)


def _require_room(job: Job, place: Path) -> None:
    """Enough disk for the merged weights, what is converted from them, and the artifact."""
    bits = {
        "adapter": 0.0,
        "merged": QUANTS.get(job.quant, 32.0),
        "gguf-lora": QUANTS.get(job.quant, 16.0) + 48.0,
    }.get(job.order.kind, 32.0 + QUANTS.get(job.quant, 0.0) + (16.0 if job.quant in MIXES else 0.0))
    need = int(job.parameters() * bits / 8 * 1.05) + (64 << 20)
    free = shutil.disk_usage(place).free
    if free < need:
        raise FactoryError(
            f"Not enough room in {place}: the export needs {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.",
            "Free some, give a place on another disk with -o, or take a smaller --quant.",
        )


ONNX = (
    "--to onnx: the well-kept exporter (optimum-onnx 0.1.0) needs transformers below 4.58, and training needs 5.10 or later.",
    "Use --to gguf; or --to merged, and run 'optimum-cli export onnx' on that folder in an environment of its own.",
)

KINDS: dict[str, Kind] = {
    "adapter": Kind(write_adapter),
    "merged": Kind(write_merged, PLAIN),
    "gguf": Kind(write_gguf, WHOLE),
    "gguf-lora": Kind(write_gguf_lora, WHOLE),
    "ollama": Kind(write_ollama, WHOLE),
    "folder": Kind(write_folder, WHOLE),
    "release": Kind(write_release),
}
