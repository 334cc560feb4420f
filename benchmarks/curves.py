"""How much data is enough: the learning curves of two LawBench tasks and of real recipes, rows chosen by coverage against random ones.

    python benchmarks/curves.py --data ../shared/data               # about an hour and a half on 2 cores; a broken-off one goes on
    python benchmarks/curves.py --data ../shared/data --only legal
    python benchmarks/curves.py --table                             # the tables alone, of finished curves

Each point is a training of its own with as many steps as the full set takes (`factory curve`), scored on items that no setting was
chosen by. Writes results/curve-<name>.json and .md and the pages' tables; `factory curve` drew runs/<name>/bench-curve/curve.html.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS, processor, refresh

from factory.curvepage import lines, told
from factory.files import read_json
from factory.records import Prediction, read_records, scores_by_task
from factory.statistics import compare
from factory.verdict import signed

RUN = "bench"  # of cooking the one that quality.py builds: its SFT is not trained twice
CURVES = {  # domain: folders beneath --data, shares, settings
    "legal": (
        ("legal/lawbench/2-4", "legal/lawbench/3-3"),
        (0.05, 0.25),
        ('tasks=["topic", "charge"]', "options.add_sample=false", "sft.task_epochs={topic=2.0, charge=2.0}"),
    ),
    "cooking": (("cooking/en",), (0.05, 0.25), ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with legal/ and cooking/")
    parser.add_argument("--only", choices=list(CURVES))
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    for domain in [arguments.only] if arguments.only else CURVES:
        if not arguments.table:
            subprocess.run(command(domain, arguments.data), check=True)
        folder = Path("runs") / domain
        result = read_json(folder / f"{RUN}-curve" / "curve.json") | made(folder)
        (RESULTS / f"curve-{domain}.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
        (RESULTS / f"curve-{domain}.md").write_text(table(result), "utf-8")
        print(table(result))
    refresh()


def command(domain: str, data: Path) -> list[str]:
    folders, shares, settings = CURVES[domain]
    source = data / folders[0]
    if len(folders) > 1:  # these alone: their neighbours' rows would be trained on, too
        source = Path(".work") / f"curve-{domain}"
        for folder in folders:
            shutil.copytree(data / folder, source / Path(folder).name, dirs_exist_ok=True)
    words = [word for one in settings for word in ("--set", one)]
    given = ["--shares", ",".join(map(str, shares)), "--source", str(source)]
    return [FACTORY, "curve", domain, "--run", RUN, *given, *words]


def made(runs: Path) -> dict[str, Any]:
    """What the full set's training was made with, and each part's score beside the full set's, item by item."""
    sft = read_json(runs / f"{RUN}-curve-all-100" / "sft" / "manifest.json")
    curve = read_json(runs / f"{RUN}-curve" / "curve.json")
    scores = {
        (point["method"], point["share"]): scores_by_task(
            read_records(runs / point["run"] / "score" / "predictions" / "sft.jsonl", Prediction)
        )
        for point in curve["points"]
    }
    full = scores.pop(("all", 1.0))
    beside = [
        {"method": method, "share": share, **compare(one, full, 10000)["mean"]}
        for (method, share), one in scores.items()
    ]
    return {"beside_full": beside, "packages": sft["packages"], "machine": {**sft["machine"], "processor": processor()}}


def table(result: dict[str, Any]) -> str:
    """The curve as Markdown: the means first, then what a part lost, then each task's scores."""
    by, full, versions = result["by"], result["points"][0], result["packages"]
    methods, tasks = (by, "random"), list(full["tasks"])
    lost = {(one["method"], one["share"]): one for one in result["beside_full"]}
    points = {(point["method"], point["share"]): point for point in result["points"]}
    head = ["rows", "passes", *methods, f"{by} beside random", *(f"{name} beside all" for name in methods)]
    head += [f"{task}: {', '.join(methods)}" for task in tasks]
    out = [f"| share | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for row, share in zip(lines(result), sorted({share for _, share in points}), strict=True):
        pair = [points.get((method, share)) or full for method in methods]
        gaps = [lost.get((method, share)) for method in methods]
        cells = [", ".join(f"{one['tasks'][task]['score']:.1f}" for one in pair) for task in tasks]
        out.append(f"| {' | '.join([*row, *map(gap, gaps), *cells])} |")
    minutes = sum(point["seconds"] for point in result["points"]) / 60
    counts = ", ".join(f"{task} {cell['n']}" for task, cell in full["tasks"].items())
    return "\n".join([
        *out, "",
        f"Score of 100 [95% interval over the items]; base {result['base']['score']:.1f}. {told(full['mean'], result['reached'], False)} {result['base_model']}, {full['steps']} steps each, "
        f"one training a point, {minutes:.0f} minutes in all; items: {counts}; {result['machine']['processor']}, {result['machine']['cpus']} cores, no GPU; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", "",
    ])  # fmt: skip


def gap(cell: dict[str, float] | None) -> str:
    return f"{signed(cell['difference'])} [{signed(cell['low'])}, {signed(cell['high'])}]" if cell else ""


if __name__ == "__main__":
    main()
