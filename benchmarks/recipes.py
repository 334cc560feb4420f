"""Which recipe trains the law best: each tried on a part of LawBench's training rows, chosen on the rest of them.

    python benchmarks/recipes.py --data ../shared/data                     # about four hours on 2 cores; a finished one is skipped
    python benchmarks/recipes.py --data ../shared/data --only alone passes # some of them
    python benchmarks/recipes.py --table

A quarter of the cases, whole (a case that several tasks ask about is on one side), is kept to choose on; no eval row is read. The
differences are paired, item by item, to the first recipe of the same tasks. Writes results/recipes.json and .md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quality import NO_DPO, RESULTS, built, processor

from factory.files import read_json
from factory.records import Prediction, read_records, read_rows, scores_by_task
from factory.statistics import compare

SPLIT = Path(".work/legal-split")
KEPT = 27  # percent of the cases to choose on
LABELS, CHARGE = ("topic", "focus", "marriage"), ("charge",)  # charges, of which there are most rows, by themselves
NAIVE = ("sft.learning_rate=4e-4", "sft.epochs=3.0", "sft.task_epochs={}")
PASSES = "sft.task_epochs={topic=2.0, focus=3.0, marriage=6.0, charge=2.0}"
RECIPES: dict[
    str, tuple[tuple[str, ...], str, tuple[str, ...]]
] = {  # name: tasks, what it is, settings beside the domain's
    "passes": (LABELS, "2, 3 and 6 passes, at 6e-4", (PASSES,)),
    "alone": (LABELS, "each task by itself, 3 passes at 4e-4: naive", NAIVE),
    "together": (LABELS, "3 passes at 4e-4", NAIVE),
    "slower": (LABELS, "as `passes`, at 3e-4", (PASSES, "sft.learning_rate=3e-4")),
    "dropout": (LABELS, "as `passes`, dropout 0.1", (PASSES, "sft.lora_dropout=0.1")),
    "rank": (LABELS, "as `passes`, rank 64 instead of 16", (PASSES, "sft.lora_r=64", "sft.lora_alpha=128")),
    "plain": (LABELS, "as `passes`, base not rounded to NF4", (PASSES, "sft.quantization=none")),
    "shorter": (LABELS, "as `passes`, half of a dispute's text", (PASSES, "options.cut=60")),
    "twice": (CHARGE, "2 passes, at 6e-4", (PASSES,)),
    "lawless": (CHARGE, "as `twice`, without the Criminal Law", (PASSES,)),
    "longer": (CHARGE, "as `twice`, half as much text again", (PASSES, "options.cut=180")),
    "thrice": (CHARGE, "3 passes, at 6e-4", ("sft.task_epochs={charge=3.0}",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with legal/")
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--table", action="store_true", help="build nothing")
    arguments = parser.parse_args()
    path = RESULTS / "recipes.json"
    result = read_json(path) if path.exists() else {"rows": {}}
    if not arguments.table:
        split(arguments.data / "legal", SPLIT)
        for name in arguments.only:
            result["rows"][name] = measured(name)
            result["processor"] = processor()
            path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "recipes.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def split(source: Path, folder: Path) -> None:
    """The training rows of `source` as train.jsonl and dev.jsonl in folder/rows and folder/with law, the statutes in the latter."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(source.glob("lawbench/*/train.jsonl")):
        sides: dict[bool, list[Any]] = {True: [], False: []}
        for _, row in read_rows(path):
            case = re.sub(r"^(?:句子|事实|咨询)[:：]", "", row["input"].strip())[:40]
            sides[int(hashlib.sha256(case.encode()).hexdigest(), 16) % 100 < KEPT].append(row)
        for kept, rows in sides.items():
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            for part in ("rows", "with law"):
                file = folder / part / path.parent.name / ("dev.jsonl" if kept else "train.jsonl")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    shutil.copytree(source / "statutes", folder / "with law" / "statutes")


def measured(name: str) -> dict[str, Any]:
    """Build with this recipe, SFT alone, up to the scores of the rows kept to choose on."""
    tasks, _, settings = RECIPES[name]
    source = SPLIT / ("rows" if name == "lawless" else "with law")
    found: dict[str, Any] = {"minutes": 0.0, "loss": 0.0, "scores": {}, "rivals": {}}
    for group in [[task] for task in tasks] if name == "alone" else [list(tasks)]:
        run = "-".join(["recipe", name, *(group if name == "alone" else [])])
        chosen = [f"tasks={json.dumps(group)}", "options.recite=false", *settings, *NO_DPO]
        folder = built("legal", run, chosen, "--source", str(source))
        sft = read_json(folder / "sft" / "manifest.json")["summary"]
        found["minutes"] += sft["seconds"] / 60
        found["loss"] = max(found["loss"], sft["final_loss"])
        found["scores"] |= answered(folder, "sft")
        found["rivals"] |= answered(folder, "ngram")
    return found


def answered(run: Path, model: str) -> Mapping[str, Sequence[float]]:
    """The scores of a model's answers by task, in the order of the items."""
    return scores_by_task(read_records(run / "evaluate" / "predictions" / f"{model}.jsonl", Prediction))


def table(result: dict[str, Any]) -> str:
    tasks = (*LABELS, *CHARGE)
    head = ["recipe", *tasks, "mean", "beside the first", "last loss", "SFT"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    items: dict[str, int] = {}
    for group in (LABELS, CHARGE):
        rows = {name: row for name, row in result["rows"].items() if RECIPES[name][0] == group}
        first = next((rows[name] for name in RECIPES if name in rows), None)
        if first is None:
            continue
        items |= {task: len(values) for task, values in first["scores"].items()}
        shown = [(f"{name}: {RECIPES[name][1]}", rows[name], "scores") for name in RECIPES if name in rows]
        for title, row, key in [*shown, ("n-gram model", first, "rivals")]:
            scores = row[key]
            means = {task: 100 * sum(values) / len(values) for task, values in scores.items()}
            cells = [f"{means[task]:.1f}" if task in means else "–" for task in tasks]
            beside = "–"
            if scores is not first["scores"]:
                gap = compare(scores, first["scores"], 10000)["mean"]
                beside = f"{gap['difference']:+.1f} [{gap['low']:+.1f}, {gap['high']:+.1f}]"
            trained = [f"{row['loss']:.2f}", f"{row['minutes']:.0f} min"] if key == "scores" else ["–", "–"]
            mean = f"{sum(means.values()) / len(means):.1f}"
            lines.append(f"| {' | '.join([title, *cells, mean, beside, *trained])} |")
    n = ", ".join(f"{task} {count}" for task, count in items.items())
    return "\n".join([*lines, "", f"gemma-3-270m, SFT alone; items: {n}; {result['processor']}, 2 cores.", ""])


if __name__ == "__main__":
    main()
