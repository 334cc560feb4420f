"""What each export of a finished run costs: score beside the trained model's, same answers, size, memory, speed.

    python benchmarks/exports.py cooking            # a run of ./runs; makes the exports that are not there yet, then collects
    python benchmarks/exports.py cooking --collect  # only collects what `factory export` left in runs/DOMAIN/RUN/export

Rows are added to benchmarks/results/exports.json by base and kind; exports.md is made from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS

QUANTS = ("f16", "q8_0", "q4_k_m", "q4_0")
ORDER = {f"gguf {quant}": place for place, quant in enumerate(QUANTS)} | {"gguf-lora q8_0": 9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain")
    parser.add_argument("--run", default="default")
    parser.add_argument("--collect", action="store_true")
    wanted = parser.parse_args()
    if not wanted.collect:
        for more in (*(["--to", "gguf", "--quant", quant] for quant in QUANTS), ["--to", "gguf-lora"]):
            subprocess.run([FACTORY, "export", wanted.domain, "--run", wanted.run, *more], check=False)
    path = RESULTS / "exports.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    folder = Path("runs", wanted.domain, wanted.run, "export")
    notes = [json.loads(note.read_text(encoding="utf-8")) for note in folder.glob("*/export.json")]
    found = [row(note) for note in notes if f"{note['kind']} {note['quant']}" in ORDER]
    new = {(one["domain"], one["base"], one["kind"]) for one in found}
    rows = [one for one in rows if (one["domain"], one["base"], one["kind"]) not in new] + found
    rows.sort(key=lambda one: (one["base"], one["domain"], ORDER[one["kind"]]))
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "exports.md").write_text(table(rows), encoding="utf-8")
    sys.stdout.write(table(rows))


def row(note: dict[str, Any]) -> dict[str, Any]:
    """What of an export.json the table shows; `worst` is the task that falls most, in points."""
    parity, budget = note["parity"], note["budget"]
    worst, falls = min(
        ((name, task["score"] - task["trained"]) for name, task in parity["tasks"].items()), key=lambda pair: pair[1]
    )
    return {
        "base": note["base"]["name"], "domain": note["domain"], "kind": f"{note['kind']} {note['quant']}", "items": parity["items"],
        "trained": parity["mean"]["trained"], "score": parity["mean"]["score"], "identical": parity["mean"]["identical"],
        "worst": worst, "falls": round(falls, 1), "passed": parity["passed"], "logprob": parity["logprob_difference"],
        "mb": round(budget["bytes"] / 1e6), "peak_mb": budget["peak_mb"], "tps": budget["threads"]["2"]["gen_tps"],
        "first_ms": budget["threads"]["2"]["first_token_ms"], "packages": note["packages"],
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| base, domain | export | items | trained | exported | largest change down | same answers | file | peak memory | first token | tokens/s | limits |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in rows:
        worst = f"{one['worst']} {one['falls']:+.1f}" if one["falls"] < 0 else "none"
        lines.append(
            f"| {one['base']}, {one['domain']} | {one['kind']} | {one['items']} | {one['trained']:.1f} | {one['score']:.1f} | {worst} | "
            f"{one['identical']:.1f}% | {one['mb']} MB | {one['peak_mb']:.0f} MB | {one['first_ms']:.0f} ms | {one['tps']:.0f} | "
            f"{'kept' if one['passed'] else 'NOT KEPT'} |"
        )
    packages = rows[0]["packages"] if rows else {}
    told = ", ".join(
        f"{name} {packages[name]}" for name in ("vertical-factory", "torch", "transformers") if name in packages
    )
    note = f"Scores of 100, means over tasks; speed on 2 threads of {processor()}; {told}, llama.cpp of xllamacpp."
    return "\n".join([*lines, "", note, ""])


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else "this machine"


if __name__ == "__main__":
    main()
