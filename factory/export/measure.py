"""What a GGUF needs and how fast it is here, measured in a fresh process: memory, first token, tokens per second, energy.

    python -m factory.export.measure SPEC.json

SPEC: {"files": [model, adapters...], "prompts": [messages...], "tokens": N, "threads": N}; prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import read_json, write_json
from factory.generate import Question
from factory.hardware import peak_memory_gb
from factory.llama import Llama, open_llama, room_for
from factory.meter import Meter
from factory.records import Message

CONTEXT = 2048  # tokens of question and answer that the memory is counted with, or more where the questions need them


def measure(files: Sequence[Path], prompts: Sequence[list[Message]], tokens: int, threads: int) -> dict[str, float]:
    """Medians over the prompts, one at a time, each answered with `tokens` tokens, in a process that does nothing else.

    load_s, first_token_ms, prompt_tps and gen_tps (tokens per second), peak_mb, and where the machine tells joules_per_token: of
    a token written, the reading of the prompt counted in.
    """
    spec = {"files": [str(file) for file in files], "prompts": list(prompts), "tokens": tokens, "threads": threads}
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "spec.json", spec)
        command = [sys.executable, "-m", "factory.export.measure", str(Path(scratch) / "spec.json")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FactoryError(f"{Path(files[0]).name} could not be measured: {last}", "Run it again on an idle machine.")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _run(spec: dict[str, Any]) -> dict[str, float]:
    import time

    start = time.monotonic()
    base, *adapters = [Path(file) for file in spec["files"]]
    context = max(CONTEXT, room_for([Question(prompt) for prompt in spec["prompts"]]))
    with open_llama(base, adapters, context=context, slots=1, threads=spec["threads"]) as llama:
        load = time.monotonic() - start
        _timings(llama, spec["prompts"][0], 1)  # the file comes off the disk once
        with Meter() as meter:
            rows = [_timings(llama, prompt, spec["tokens"]) for prompt in spec["prompts"]]
    found = {
        "load_s": round(load, 2),
        "first_token_ms": round(statistics.median(row["prompt_ms"] for row in rows), 1),
        "prompt_tps": round(statistics.median(1e3 * row["prompt_n"] / row["prompt_ms"] for row in rows), 1),
        "gen_tps": round(
            statistics.median(1e3 * (row["predicted_n"] - 1) / max(row["predicted_ms"], 1e-3) for row in rows), 1
        ),
        "peak_mb": round(peak_memory_gb() * 1e3, 1),
    }
    if "joules" in meter.used:
        found["joules_per_token"] = round(meter.used["joules"] / sum(row["predicted_n"] for row in rows), 3)
    return found


def _timings(llama: Llama, messages: list[Message], tokens: int) -> dict[str, float]:
    """llama.cpp's own times of one answer of exactly so many tokens, with nothing remembered of an earlier one."""
    return llama.timed({"messages": messages, "max_tokens": tokens, "ignore_eos": True, "cache_prompt": False})


if __name__ == "__main__":
    print(json.dumps(_run(read_json(Path(sys.argv[1])))))
