"""Does training on general questions beside the domain's rows make a specialist forget less, and what does it cost in the domain?

    python benchmarks/forgetting.py                       # a build for each share, about ten minutes each on 2 cores
    python benchmarks/forgetting.py --shares 0 0.1 0.3 --domain cooking

Builds the domain's sample with each share of `curate.general`, scores it, and measures what it forgot against the base on the frozen
general set (factory/general), which holds none of the questions trained on; half of these are put in the same outward form.
Writes results/forgetting.json and .md.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from quality import RESULTS, built, processor

from factory.files import read_json
from factory.forgetting import forgetting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--domain", default="cooking")
    arguments = parser.parse_args()
    rows = [measured(arguments.domain, share) for share in arguments.shares]
    result = {"domain": arguments.domain, "processor": processor(), "rows": rows}
    (RESULTS / "forgetting.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "forgetting.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def measured(domain: str, share: float) -> dict[str, Any]:
    """Build with this share up to its scores, and measure what was forgotten."""
    run = built(domain, f"general-{share:g}", [f"curate.general={share}"])
    scores, sft = read_json(run / "evaluate" / "scores.json"), read_json(run / "sft" / "manifest.json")["summary"]
    base = read_json(run / "sft" / "base.json")
    found = forgetting(run, base, "nf4", run / scores["best"] / "adapter", print)
    curated = read_json(run / "curate" / "manifest.json")["summary"]
    return {
        "share": share, "rows": curated["train"], "general": curated["general"], "base": sft["base"], "minutes": round(sft["seconds"] / 60, 1),
        "domain": scores["models"][scores["best"]]["mean"], "forgot": found["difference"]["mean"], "perplexity": found["perplexity"],
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    languages = list(result["rows"][0]["perplexity"]["base"])
    heads = ["curate.general", "rows", "eval set of the domain", "general ability, points against the base"]
    lines = [
        "| " + " | ".join([*heads, *(f"perplexity {one}" for one in languages)]) + " |",
        "| --- " * (4 + len(languages)) + "|",
    ]
    for row in result["rows"]:
        score, forgot = row["domain"], row["forgot"]
        cells = [
            f"{row['share']:g}", f"{row['rows']} + {row['general']}", f"{score['score']:.1f} [{score['low']:.0f}, {score['high']:.0f}]",
            f"{forgot['difference']:+.1f} [{forgot['low']:+.1f}, {forgot['high']:+.1f}]",
            *(f"{row['perplexity']['specialist'][one]:.1f} (base {row['perplexity']['base'][one]:.1f})" for one in languages),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    n = result["rows"][0]["forgot"]["n"]
    about = f"{result['domain']} sample, {result['rows'][0]['base']}; {n} general items; {result['processor']}."
    return "\n".join([*lines, "", about, ""])


if __name__ == "__main__":
    main()
