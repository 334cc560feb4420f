"""GGUF files: the whole model, the adapter alone, and the base that adapters share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import digest, sha256, write_text
from factory.models import home, once
from factory.weights.convert import DIRECT, SCRIPT, adapter_gguf, model_gguf
from factory.weights.job import Job
from factory.weights.merge import settings_of
from factory.weights.quantize import quantize_gguf

PARTLY = {"minicpm3": "what it changes in q_a, q_b, kv_a and kv_b has no effect there"}  # measured, xllamacpp 2026.10
README = """# {title}: the adapter alone

The base's GGUF, which any number of adapters over it share: `{base}`

    llama-server -m {base} --lora {adapter}

Without `--lora` the same file is the base. Several `--lora` files may be loaded at once and switched by the server's
`/lora-adapters`. The adapter fits this base and no other: its digest is in export.json.
"""


@contextmanager
def scratch_in(out: Path) -> Iterator[Path]:
    """A folder inside `out` for what is only needed on the way."""
    scratch = Path(tempfile.mkdtemp(dir=out, prefix=".scratch."))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def write_gguf(job: Job, out: Path) -> dict[str, Any]:
    """The whole model as one GGUF; its name is under `file`."""
    file = out / f"{job.name}.gguf"
    with scratch_in(out) as scratch:
        if job.quant in DIRECT:
            model_gguf(job, job.quant, scratch, file)
        else:
            model_gguf(job, "f16", scratch, scratch / "plain.gguf")
            shutil.rmtree(scratch / "merged")
            quantize_gguf(scratch / "plain.gguf", job.quant, file)
    return {"file": file.name}


def write_gguf_lora(job: Job, out: Path) -> dict[str, Any]:
    """The adapter's GGUF in f16; the base's, which every adapter over it shares, lies below home()/gguf in `job.quant`."""
    settings = settings_of(job.base_dir)
    kind = settings.get("model_type")
    if kind in PARTLY:
        raise FactoryError(
            f"llama.cpp applies only a part of an adapter to {kind}: {PARTLY[kind]}.", "Use --to gguf: it merges it."
        )
    mark = digest([job.base_mark, settings])[:8]  # two bases may have one name
    folder = home() / "gguf" / f"{job.base_dir.name}-{job.quant}-{mark}"
    once(folder, lambda place: _write_base(replace(job, model="base"), place), stamp=sha256(SCRIPT)[:16])
    base = folder / "base.gguf"
    file = out / f"{job.domain.config.name}-{Path(job.base['name']).name}-lora.gguf".lower()
    with scratch_in(out) as scratch:
        adapter_gguf(job, scratch, file)
    write_text(out / "README.md", README.format(title=job.title, base=base, adapter=file.name))
    return {"file": file.name, "base_gguf": str(base), "base_gguf_sha256": sha256(base)}


def _write_base(job: Job, place: Path) -> None:
    made = write_gguf(job, place)
    (place / made["file"]).rename(place / "base.gguf")
