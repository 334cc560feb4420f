"""Build specialists on real documents and print their scoreboards as Markdown, with the machine and versions beside them.

    python benchmarks/quality.py --data ../shared/data            # all three builds, about an hour on 2 cores
    python benchmarks/quality.py --data ../shared/data --only cooking

The embedded samples need no data: python benchmarks/quality.py --only embedded (cooking) or --only livestream. Law: legal.py.
Results are written to benchmarks/results/quality-<name>.json and .md and into the READMEs' tables; builds lie in runs/ and are skipped when up to date.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from factory.stage import seconds_of

RESULTS = Path(__file__).parent / "results"
FACTORY = str(Path(sys.executable).with_name("factory"))  # the command beside this Python, wherever PATH points
NAMES = ("base", "sft", "dpo", "ngram", "majority")
NO_DPO = ("prefer.max_prompts=1", "prefer.min_pairs=1000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with cooking/en")
    parser.add_argument("--only", choices=("embedded", "livestream", "cooking"))
    arguments = parser.parse_args()
    builds = {
        "embedded": ("cooking", []),
        "livestream": ("livestream", []),
        "cooking": ("cooking", ["--run", "bench", "--source", str(arguments.data / "cooking/en")]),
    }
    for name, (domain, options) in builds.items():
        if arguments.only in (None, name):
            measure(name, domain, options)


def built(domain: str, run: str, settings: Sequence[str], *options: str) -> Path:
    """Build a run with these settings up to its scores; return its folder."""
    words = [word for one in settings for word in ("--set", one)]
    subprocess.run([FACTORY, "build", domain, "--run", run, "--until", "evaluate", *options, *words], check=True)
    return Path("runs") / domain / run


def measure(name: str, domain: str, options: list[str]) -> None:
    """Build one specialist and write its scoreboard."""
    started = time.monotonic()
    subprocess.run([FACTORY, "build", domain, *options], check=True)
    wall = time.monotonic() - started
    folder = Path("runs") / domain / ("bench" if options else "default")
    write(name, domain, folder, wall)


def write(name: str, domain: str, folder: Path, wall: float) -> None:
    """Write the scoreboard of a finished run as JSON and Markdown."""
    scores = json.loads((folder / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    stages = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/manifest.json")}
    sft = stages["sft"]
    result = {
        "name": name,
        "domain": domain,
        "base": sft["summary"]["base"],
        "wall_seconds_of_this_call": round(wall),
        "seconds": {stage: seconds_of(manifest) for stage, manifest in stages.items()},
        "rows": stages["curate"]["summary"]["train"],
        "scores": scores,
        "packages": sft["packages"],
        "machine": {**sft["machine"], "processor": processor()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"quality-{name}.json").write_text(
        json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / f"quality-{name}.md").write_text(table(result), encoding="utf-8")
    sys.stdout.write(table(result))
    refresh()


def refresh() -> None:
    """Every page with tables as the results have them."""
    for path in pages():
        path.write_text(inserted(path.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> list[Path]:
    """The pages that may hold tables."""
    root = RESULTS.parents[1]
    return sorted([*root.glob("README*.md"), *root.glob("docs/**/*.md")])


def inserted(page: str) -> str:
    """A page with each table between its marks as the results have it; a test compares."""

    def fresh(match: re.Match[str]) -> str:
        table = (RESULTS / f"{match[2]}.md").read_text(encoding="utf-8")
        return f"{match[1]}\n{table}{match[3]}"

    return re.sub(r"(<!-- table: ([\w-]+) -->)\n.*?(<!-- end -->)", fresh, page, flags=re.DOTALL)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(result: dict) -> str:
    """The scoreboard as a Markdown table, with what it was measured on."""
    scores = result["scores"]
    names = [name for name in NAMES if name in scores["models"]]
    lines = ["| task | n | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for task in [*scores["tasks"], "mean"]:
        cells = [scores["models"][name][task] for name in names]
        text = [f"{cell['score']:.1f} [{cell['low']:.0f}, {cell['high']:.0f}]" for cell in cells]
        lines.append(f"| {task} | {cells[0]['n']} | " + " | ".join(text) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    minutes = sum(result["seconds"].values()) / 60
    lines += [
        "",
        f"{result['base']}, {result['rows']} training rows, {minutes:.0f} minutes in all stages on {result['machine']['processor']} "
        f"({result['machine']['cpus']} cores, no GPU); handed on: {scores['best']}; {versions}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
