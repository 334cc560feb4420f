"""Plan against fact: five trainings of different shape, what the plan said before each and what it then took.

    python benchmarks/plan.py --data ../shared/data

Trains a part of an epoch of each (a quarter of an hour in all on two cores) and writes results/plan.json and plan.md. Run it on an
idle machine: the plan measures a second of the machine as it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS

BUILDS = {  # name: domain, source below --data, settings
    "legal": ("legal", "legal", ["sft.task_epochs={}", "sft.epochs=0.2"]),
    "legal-length": ("legal", "legal", ["sft.task_epochs={}", "options.cut=400", "sft.batch=4", "sft.epochs=0.05"]),
    "legal-sample": ("legal", "", ["sft.task_epochs={}", "sft.batch=16", "sft.epochs=1.0"]),
    "cooking": ("cooking", "cooking/en", ["sft.epochs=0.2"]),
    "cooking-gemma": ("cooking", "", ["base=gemma-3-270m", "sft.lora_r=32"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real documents")
    data = parser.parse_args().data.resolve()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (domain, source, settings) in BUILDS.items():
            command = [FACTORY, "build", domain, "--run", name, "--until", "sft"]
            command += ["--source", str(data / source)] if source else []
            for setting in settings:
                command += ["--set", setting]
            subprocess.run(command, cwd=folder, check=True)
            manifest = json.loads((Path(folder) / f"runs/{domain}/{name}/sft/manifest.json").read_text())
            told = manifest["summary"]
            found[name] = {
                "domain": domain, "source": source or "embedded sample", "settings": settings, "tokens": told["tokens"],
                "planned_gb": told["plan"]["memory_gb"], "peak_gb": told["peak_memory_gb"],
                "planned_minutes": round(told["plan"]["minutes"], 2), "minutes": round(told["seconds"] / 60, 2),
            }  # fmt: skip
    result = {"builds": found, "packages": manifest["packages"], "machine": manifest["machine"]}
    (RESULTS / "plan.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "plan.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, with the deviation of plan from fact."""
    lines = ["| training | tokens | memory planned | peak | | time planned | taken | |", "| --- " * 8 + "|"]
    for name, row in result["builds"].items():
        memory = row["planned_gb"] / row["peak_gb"] - 1
        minutes = row["planned_minutes"] / row["minutes"] - 1
        lines.append(
            f"| {name} | {row['tokens']:,} | {row['planned_gb']:.2f} GB | {row['peak_gb']:.2f} GB | {memory:+.0%} "
            f"| {row['planned_minutes']:.1f} min | {row['minutes']:.1f} min | {minutes:+.0%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
