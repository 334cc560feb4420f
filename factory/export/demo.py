"""Which engine the generated app answers with: torch, or llama.cpp where the two GGUF files lie in its folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from factory.budgets import is_current
from factory.errors import FactoryError, suggest
from factory.export.artifact import export
from factory.export.budgets import check
from factory.export.parity import require_parity
from factory.files import read_json
from factory.llama import require_llama
from factory.weights.job import Order, Say

ENGINES = ("torch", "llama")
FILES = ("base.gguf", "adapter.gguf")  # as templates/app/llama.py looks for them


def use_engine(domain: str, run: str, engine: str, app: Path, say: Say) -> None:
    """Put the files of an engine into the app's folder, or take them away; what has to be exported for it is exported first."""
    if engine not in ENGINES:
        raise FactoryError(f"Unknown engine '{engine}'.", suggest(engine, ENGINES))
    for name in FILES:
        (app / name).unlink(missing_ok=True)
    if engine == "torch":
        return
    require_llama()
    path = app.parent / "export" / "gguf-lora-q8_0" / "export.json"
    if not path.exists() or not is_current(app.parent, note := read_json(path)) or not Path(note["base_gguf"]).exists():
        export(Order(domain, "gguf-lora", "q8_0", run=run, force=True), say, check)
    note, folder = read_json(path), path.parent
    require_parity(note.get("parity", {"passed": True}), folder)
    for source, name in zip((Path(note["base_gguf"]), folder / note["file"]), FILES, strict=True):
        try:
            os.link(source, app / name)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, app / name)
