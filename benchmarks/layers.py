"""What an adapter on the topmost layers alone costs and saves: `sft.top_layers`, on the embedded cooking sample.

    python benchmarks/layers.py                       # all 30 layers, 20 and 10: about 20 minutes on 2 cores
    python benchmarks/layers.py --layers 0 15

Builds the domain's sample with each, SFT alone, and scores it on the eval set. The default (0: all layers) was not chosen by it.
Writes results/layers.json and .md.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from quality import NO_DPO, RESULTS, built, processor

from factory.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 20, 10])
    parser.add_argument("--domain", default="cooking")
    arguments = parser.parse_args()
    rows = [measured(arguments.domain, layers) for layers in arguments.layers]
    result = {"domain": arguments.domain, "processor": processor(), "rows": rows}
    (RESULTS / "layers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "layers.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def measured(domain: str, layers: int) -> dict[str, Any]:
    """Build with the adapter on so many layers up to its scores."""
    run = built(domain, f"layers-{layers}", [f"sft.top_layers={layers}", *NO_DPO])
    sft = read_json(run / "sft" / "manifest.json")["summary"]
    scored = read_json(run / "evaluate" / "scores.json")["models"]["sft"]
    return {
        "layers": layers, "base": sft["base"], "epochs": sft["epochs"], "planned_minutes": round(sft["plan"]["minutes"], 2),
        "minutes": round(sft["seconds"] / 60, 2), "tokens_per_s": round(sft["tokens"] / sft["seconds"], 1),
        "planned_gb": sft["plan"]["memory_gb"], "peak_gb": sft["peak_memory_gb"], "mean": scored["mean"],
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = ["| sft.top_layers | SFT | tokens/s | memory | eval set |", "| --- " * 5 + "|"]
    for row in result["rows"]:
        mean = row["mean"]
        lines.append(
            f"| {row['layers'] or 'all'} | {row['minutes']:.1f} min (planned {row['planned_minutes']:.1f}) | {row['tokens_per_s']:.0f} | "
            f"{row['peak_gb']:.1f} GB (planned {row['planned_gb']:.1f}) | {mean['score']:.1f} [{mean['low']:.0f}, {mean['high']:.0f}] |"
        )
    first = result["rows"][0]
    about = f"{result['domain']} sample, {first['base']}, {first['epochs']:g} epochs, SFT without DPO; {result['processor']}."
    return "\n".join([*lines, "", about, ""])


if __name__ == "__main__":
    main()
