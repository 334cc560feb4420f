"""What each exported file costs on a device: size, memory, first token, tokens per second on one and two threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.export.measure import measure
from factory.export.opened import PLAIN_KINDS, files_of
from factory.export.parity import check_parity
from factory.records import EvalItem, read_records
from factory.weights.job import Job

PROMPTS = 3  # eval questions of middle length that are answered
TOKENS = 48  # of each answer


def check(job: Job, folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """What export.json keeps of a finished artifact: its `parity`, and its `budget` where it could be read and measured."""
    parity, budget = check_parity(job, folder, made), {}
    try:
        budget = measure_budget(job, folder, made) if parity["items"] else {}
    except FactoryError as error:  # what it answers is known; how fast it is can be asked again
        job.say(f"    {error.message} {error.hint}")
    return {"parity": parity, "budget": budget}


def measure_budget(job: Job, folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """What export.json keeps under `budget`: bytes and peak_mb, and by threads the rates; empty for what llama.cpp does not run."""
    if job.order.kind in PLAIN_KINDS:
        return {}
    base, adapters = files_of(folder, made)
    items = sorted(read_records(job.run_dir / "ingest" / "eval.jsonl", EvalItem), key=lambda item: len(item.question))
    middle = max(0, len(items) // 2 - PROMPTS // 2)
    prompts = [item.prompt for item in items[middle : middle + PROMPTS]]
    rows = {
        threads: measure((base, *adapters), prompts, TOKENS, threads)
        for threads in (1, 2)
        if threads <= (os.cpu_count() or 1)
    }
    budget = {
        "bytes": sum(file.stat().st_size for file in (base, *adapters)),
        "peak_mb": max(row["peak_mb"] for row in rows.values()),
        "threads": {str(threads): row for threads, row in rows.items()},
    }
    for threads, row in rows.items():
        energy = f", {row['joules_per_token']:.2f} J a token" if "joules_per_token" in row else ""
        job.say(
            f"    {threads} thread{'s' * (threads > 1)}: first token after {row['first_token_ms']:.0f} ms, "
            f"{row['gen_tps']:.0f} tokens/s, {row['peak_mb']:.0f} MB at its peak{energy}"
        )
    return budget
