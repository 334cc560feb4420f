"""What each export of a finished run costs: score beside the trained model's, same answers, size, memory. Speed: inference.py.

    python benchmarks/exports.py cooking            # a run of ./runs; makes the exports that are not there yet, then collects
    python benchmarks/exports.py legal --run lawbench  # of benchmarks/legal.py, some 15 minutes each; fewer items: [export] parity_items
    python benchmarks/exports.py cooking --collect  # only collects what `factory export` left in runs/DOMAIN/RUN/export

The rows of that domain and base in benchmarks/results/exports.json are replaced; exports.md is made from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS, processor

from factory.budgets import is_current
from factory.files import read_json

KINDS = {  # folder of the export: what is asked for
    "gguf-f16": ["--to", "gguf", "--quant", "f16"],
    "gguf-q8_0": ["--to", "gguf", "--quant", "q8_0"],
    "gguf-q4_k_m": ["--to", "gguf", "--quant", "q4_k_m"],
    "gguf-q4_0": ["--to", "gguf", "--quant", "q4_0"],
    "gguf-lora-q8_0": ["--to", "gguf-lora"],
    "gguf-f16-original": ["--to", "gguf", "--quant", "f16", "--over", "original"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain")
    parser.add_argument("--run", default="default")
    parser.add_argument("--collect", action="store_true")
    wanted = parser.parse_args()
    run = Path("runs", wanted.domain, wanted.run)
    if not wanted.collect:
        for name, words in KINDS.items():
            if not current(run, name):  # one that fails its parity ends with exit status 1 and is a row all the same
                subprocess.run([FACTORY, "export", wanted.domain, "--run", wanted.run, "--force", *words], check=False)
    found = [row(name, current(run, name)) for name in KINDS if current(run, name)]
    if not found:
        raise SystemExit(f"No measured export of the adapter of now in {run / 'export'}.")
    path = RESULTS / "exports.json"
    rows: list[dict[str, Any]] = read_json(path) if path.exists() else []
    own = (found[0]["domain"], found[0]["base"])
    rows = sorted([one for one in rows if (one["domain"], one["base"]) != own] + found, key=lambda one: one["base"])
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "exports.md").write_text(table(rows), encoding="utf-8")
    sys.stdout.write(table(rows))


def current(run: Path, name: str) -> dict[str, Any]:
    """What export.json tells of an export that was read, measured, and is of the adapter that the run has now; else empty."""
    path = run / "export" / name / "export.json"
    note = read_json(path) if path.exists() else {}
    measured = note.get("budget") and note.get("parity", {}).get("tasks")
    return dict(note) if measured and is_current(run, note) else {}


def row(name: str, note: dict[str, Any]) -> dict[str, Any]:
    """What of an export.json the tables show; `tasks`: score and what it is beside the trained model's, in points."""
    parity, budget = note["parity"], note["budget"]
    tasks = {task: (cell["score"], round(cell["score"] - cell["trained"], 2)) for task, cell in parity["tasks"].items()}
    return {
        "base": note["base"]["name"], "domain": note["domain"], "kind": name, "items": parity["items"],
        "trained": parity["mean"]["trained"], "score": parity["mean"]["score"], "identical": parity["mean"]["identical"],
        "tasks": tasks, "passed": parity["passed"], "logprob": parity["logprob_difference"], "processor": processor(),
        "mb": round(budget["bytes"] / 1e6), "peak_mb": budget["peak_mb"], "packages": note["packages"],
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """For each domain and base what the exports score and need, and their scores by task."""
    lines: list[str] = []
    for base, domain in dict.fromkeys((one["base"], one["domain"]) for one in rows):
        own = [one for one in rows if (one["base"], one["domain"]) == (base, domain)]
        tasks = list(own[0]["tasks"])
        lines += [
            f"**{base}, {domain}**",
            "",
            "| export | items | trained model | export | same answers | log-probability | file | peak memory | limits |",
            "| --- " * 9 + "|",
            *(
                f"| {one['kind']} | {one['items']} | {one['trained']:.1f} | {one['score']:.1f} | {one['identical']:.1f}% | {one['logprob']:.4f} | "
                f"{one['mb']} MB | {one['peak_mb']:.0f} MB | {'kept' if one['passed'] else 'NOT KEPT'} |"
                for one in own
            ),
            "",
            f"| by task, in brackets beside the trained model | {' | '.join(tasks)} |",
            "| --- " * (len(tasks) + 1) + "|",
            *(
                f"| {one['kind']} | {' | '.join('{:.1f} ({:+.1f})'.format(*one['tasks'][task]) for task in tasks)} |"
                for one in own
            ),
            "",
        ]
        told = own[0]["packages"]
        named = ", ".join(
            f"{name} {told[name]}" for name in ("vertical-factory", "torch", "transformers") if name in told
        )
        lines += [
            f"Scores of 100, means over tasks; log-probability: mean difference a token; {own[0]['processor']}; {named}, llama.cpp of xllamacpp.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
