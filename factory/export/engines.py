"""Which engine answers sooner on this machine, transformers or llama.cpp: a moment of each, over the run's own questions."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.budgets import is_current
from factory.build import RUNS, run_domain
from factory.export.opened import files_of
from factory.files import read_json
from factory.generate import Question, answer
from factory.llama import SLOTS, open_llama, room_for
from factory.models import load_answering
from factory.records import EvalItem, read_records

TOKENS = 16  # of each answer: about a second of work


def engine_line(domain: str, run: str) -> str:
    """What a plan says of the engine; empty where a run has no export that answers as it was trained."""
    folder = RUNS / domain / run
    found = _export(folder)
    if found is None:
        return ""
    name, files = found
    rates = {"llama.cpp": _llama_rate(questions := _questions(domain, run), *files), "transformers": 0.0}
    rates["transformers"] = _torch_rate(questions, domain, run)
    best = max(rates, key=lambda engine: rates[engine])
    told = ", ".join(f"{engine} {rate:.0f}" for engine, rate in rates.items())
    use = f"--model {folder / 'export' / name}" if best == "llama.cpp" else "--model best"
    return f"{'engine':13} {best} (tokens/s here, {len(questions)} answers at once: {told}): factory predict {domain} ROWS {use}"


def _export(folder: Path) -> tuple[str, tuple[Path, list[Path]]] | None:
    """The first whole model or adapter in GGUF, of the adapter that is there now, that passed its parity, q8_0 before others; and its files."""
    notes = sorted(
        (folder / "export").glob("[!.]*/export.json"),
        key=lambda path: ("q8_0" not in path.parent.name, "lora" in path.parent.name, path),
    )
    for path in notes:
        note = read_json(path)
        passed = note.get("parity", {}).get("passed") and note.get("model") != "base" and is_current(folder, note)
        if note["kind"] in ("gguf", "gguf-lora") and passed:
            return path.parent.name, files_of(path.parent, note)
    return None


def _questions(domain: str, run: str) -> list[Question]:
    """Up to SLOTS questions of the eval set with free answers, of TOKENS tokens at the most."""
    plugin = run_domain(domain, run)
    items = read_records(RUNS / domain / run / "ingest" / "eval.jsonl", EvalItem)
    chosen = items[:: max(1, len(items) // SLOTS)][:SLOTS]
    return [
        Question(item.prompt, replace(plugin.task(item.task), choices=(), max_new_tokens=TOKENS)) for item in chosen
    ]


def _llama_rate(questions: list[Question], base: Path, adapters: list[Path]) -> float:
    with open_llama(base, adapters, context=room_for(questions)) as llama:
        return _rate(lambda some: llama.answer(some), questions)


def _torch_rate(questions: list[Question], domain: str, run: str) -> float:
    folder = RUNS / domain / run
    base, best = read_json(folder / "sft" / "base.json"), read_json(folder / "evaluate" / "scores.json")["best"]
    quantization = run_domain(domain, run).config.sft.quantization
    model, tokenizer = load_answering(Path(base["path"]), quantization, folder / best / "adapter")
    return _rate(lambda some: answer(model, tokenizer, some, batch=SLOTS, stop=base["stop"]), questions)


def _rate(ask: Any, questions: list[Question]) -> float:
    """Tokens written per second; the first answer of all is not counted."""
    ask(questions[:1])
    start = time.perf_counter()
    told = ask(questions)
    return sum(len(one.tokens) for one in told) / (time.perf_counter() - start)
