"""LawBench with one small specialist for all eight tasks, beside 51 models' published scores on the very same items (but for 2-2: see its n).

    python benchmarks/legal.py --data ../shared/data      # about two hours on 2 cores; a broken-off build goes on
    python benchmarks/legal.py --table                    # the table alone, of a finished run
    python benchmarks/legal.py --ladder FOLDER FILE.gguf  # untuned models on the same items, largest last; an hour or more

Trained on `train.jsonl`, the Criminal Law (where each charge stands, what it is) and the domain's own sample; scored on
`dev.jsonl`, which no setting was chosen by. Writes benchmarks/results/lawbench.json and .md and the READMEs' table; the ladder goes to
lawbench-ladder.json and .md.
The domain's scorers follow LawBench's definitions but for two: 3-3 there counts a charge whose name stands inside another's
(both figures are given), 1-1 compares words of jieba where ours compares characters.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS, processor, refresh

from factory.density import Rung, density
from factory.domain import load_domain
from factory.models import weights_parameters
from factory.records import Prediction, read_records, read_rows
from factory.references import kept
from factory.stage import seconds_of
from factory.verdict import say, size

RUN = Path("runs/legal/lawbench")
SETTINGS = ("tasks=[]", "options.recite=false")
LEGAL = "chatlaw fuzi hanfei lawgpt lawyer-llama lexilaw wisdom".split()  # models made for law
CLAIMED = ("focus", "marriage", "topic", "entities", "articles", "charge")  # 2-2, 2-3, 2-4, 2-6, 3-1, 3-3
CLASSIC = {"focus": 65, "marriage": 79, "topic": 49, "articles": 71, "charge": 34, "entities": 80}
# of the data's README: TF-IDF and logistic regression, charges by their names, windows of characters; on other rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with legal/")
    parser.add_argument("--table", action="store_true", help="build nothing")
    parser.add_argument("--ladder", nargs="+", metavar="MODEL", help="score these beside a finished run")
    arguments = parser.parse_args()
    if arguments.ladder:
        ladder(arguments.ladder)
        return
    started = time.monotonic()
    if not arguments.table:
        settings = [word for one in SETTINGS for word in ("--set", one)]
        source = ["--source", str(arguments.data / "legal")]
        subprocess.run([FACTORY, "build", "legal", "--run", "lawbench", *source, *settings], check=True)
    lawbench = arguments.data / "legal" / "lawbench"
    result = figures(lawbench / "published_scores_dev.csv") | {"looked_up": looked_up(lawbench / "3-1" / "dev.jsonl")}
    result["wall_seconds_of_this_call"] = round(time.monotonic() - started)
    (RESULTS / "lawbench.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "lawbench.md").write_text(table(result), encoding="utf-8")
    print(table(result))
    refresh()


def ladder(models: list[str]) -> None:
    """Score untuned models on the same items; what their sizes give, and the size that the specialist's score stands for."""
    for model in models:
        subprocess.run([FACTORY, "eval", "legal", "--run", "lawbench", "--model", model], check=True)
    scores = json.loads((RUN / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    base = Path(json.loads((RUN / "sft" / "base.json").read_text(encoding="utf-8"))["path"])
    own = weights_parameters(base)
    rows = [{"name": "gemma-3-270m, the base", "parameters": own, "cells": scores["models"]["base"]}]
    rows += [{"name": one.name, "parameters": one.parameters, "cells": one.cells} for one in kept(RUN) if not one.tuned]
    rows.sort(key=lambda row: row["parameters"])
    specialist = {"name": "the specialist", "parameters": own, "cells": scores["models"]["best"]}
    rungs = [Rung(row["name"], row["parameters"], row["cells"]["mean"]["score"]) for row in rows]
    found = density(rungs, specialist["cells"]["mean"]["score"], own)
    result = {"ladder": rows, "specialist": specialist, "density": asdict(found), "processor": processor()}
    tasks = list(load_domain("legal", SETTINGS).active())
    lines = [
        "| model | parameters | " + " | ".join(f"{task.aliases[0]} {task.name}" for task in tasks) + " | mean |",
        "| --- " * (len(tasks) + 3) + "|",
    ]
    for row in [*rows, specialist]:
        cells = row["cells"]
        mean = cells["mean"]
        lines.append(
            f"| {row['name']} | {row['parameters'] / 1e6:.0f} M | "
            + " | ".join(f"{cells[task.name]['score']:.1f}" for task in tasks)
            + f" | {mean['score']:.1f} [{mean['low']:.0f}, {mean['high']:.0f}] |"
        )
    if found.problem:
        told = say(f"dense_{found.problem}", False, n=len(rungs), high=size(found.high), low=size(found.low))
    else:
        told = f"Effective size of the specialist: {found.effective / 1e9:.2g} B parameters, {found.density:.0f} times its own."
    text = "\n".join([*lines, "", f"{told} {scores['models']['best']['mean']['n']} items; {processor()}.", ""])
    (RESULTS / "lawbench-ladder.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (RESULTS / "lawbench-ladder.md").write_text(text, "utf-8")
    print(text)


def figures(csv_file: Path) -> dict[str, Any]:
    """Every score on the same items, and what the build took."""
    stages = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in RUN.glob("*/manifest.json")}
    scores = json.loads((RUN / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    domain = load_domain("legal", SETTINGS)
    alias = {name: task.name for task in domain.active() for name in task.aliases}
    published: dict[str, dict[str, float]] = defaultdict(dict)
    counts: dict[str, set[int]] = defaultdict(set)
    with open(csv_file, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            published[row["model"]][alias[row["task"]]] = float(row["score"])
            counts[alias[row["task"]]].add(int(row["n"]))
    sft = stages["sft"]
    return {
        "scores": scores,
        "aliases": {task.name: task.aliases[0] for task in domain.active()},
        "published": published,
        "published_n": {task: sorted(found) for task, found in counts.items()},
        "nested": {model: _nested(domain, model) for model in ("base", scores["best"])},
        "base": sft["summary"]["base"],
        "rows": stages["curate"]["summary"]["train"],
        "seconds": {name: round(seconds_of(one)) for name, one in stages.items()},
        "packages": sft["packages"],
        "machine": {**sft["machine"], "processor": processor()},
    }


def looked_up(path: Path) -> float:
    """The articles task by its look-up alone: every article that the prompt names for the case's charges, and no model."""
    from factory.domains.legal import rules

    domain = load_domain("legal", SETTINGS)
    scores = []
    for _, row in read_rows(path):
        found = domain.clean(domain.task("articles"), row["input"]).partition("\n刑法：")[2]
        scores.append(
            rules.score_articles("、".join(re.findall(r"\d+", found)), [rules.answer("articles", row["answer"])])
        )
    return round(100 * sum(scores) / len(scores), 1)


def _nested(domain: Any, model: str) -> float:
    """The charge task's score with a name inside another's counted as LawBench counts it."""
    from factory.domains.legal import rules

    score = rules.named(domain.task("charge").choices, nested=True)
    rows = [
        row for row in read_records(RUN / f"evaluate/predictions/{model}.jsonl", Prediction) if row.task == "charge"
    ]
    return round(100 * sum(score(row.prediction, row.references) for row in rows) / len(rows), 2)


def other_counts(result: dict[str, Any]) -> str:
    """The tasks whose published scores are of another number of items than ours; empty: none."""
    own = {task: result["scores"]["models"]["base"][task]["n"] for task in result["aliases"]}
    differ = [
        f"{result['aliases'][task]} {'/'.join(map(str, found))} (here {own[task]})"
        for task, found in sorted(result["published_n"].items(), key=lambda one: result["aliases"][one[0]])
        if found != [own[task]]
    ]
    return f"Published on another number of items: {', '.join(differ)}. " if differ else ""


def table(result: dict[str, Any]) -> str:
    """Each task's scores; in bold a specialist's score above GPT-4's and above both classical rivals'."""
    scores, published = result["scores"], result["published"]
    best = scores["best"]
    names = [name for name in ("base", "sft", "dpo", "ngram") if name in scores["models"]]
    of_law = [model for model in published if any(word in model.lower() for word in LEGAL)]
    lines = [
        "| task | n | " + " | ".join(names) + " | classic | GPT-4 | best of 51 | best legal LLM |",
        "| --- " * (len(names) + 6) + "|",
    ]
    won = []
    for task, alias in sorted(result["aliases"].items(), key=lambda one: one[1]):
        cells = {name: scores["models"][name][task] for name in names}
        gpt4, classic = published["GPT4"][task], CLASSIC.get(task)
        rival = max(gpt4, cells["ngram"]["score"], classic or 0)
        if task in CLAIMED and cells[best]["score"] > rival:
            won.append(alias)
        text = [
            ("**{}**" if name == best and cells[best]["score"] > rival else "{}").format(
                f"{cell['score']:.1f} [{cell['low']:.0f}, {cell['high']:.0f}]"
            )
            for name, cell in cells.items()
        ]
        others = [max(published[model].get(task, 0.0) for model in group) for group in (published, of_law)]
        lines.append(
            f"| {alias} {task} | {cells[best]['n']} | {' | '.join(text)} | {classic or '–'} | {gpt4:.1f} | {others[0]:.1f} | {others[1]:.1f} |"
        )
    means = [scores["models"][name]["mean"] for name in names]
    told = [f"{cell['score']:.1f} [{cell['low']:.0f}, {cell['high']:.0f}]" for cell in means]
    every = [sum(one.values()) / len(one) for one in published.values() if len(one) == len(result["aliases"])]
    law = [sum(published[model].values()) / len(published[model]) for model in of_law]
    gpt4 = sum(published["GPT4"].values()) / len(published["GPT4"])
    lines.append(
        f"| mean | {means[0]['n']} | {' | '.join(told)} | – | {gpt4:.1f} | {max(every):.1f} | {max(law):.1f} |"
    )
    minutes = {stage: seconds / 60 for stage, seconds in result["seconds"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    lines += [
        "",
        f"{result['base']}, {result['rows']} training rows, SFT {minutes['sft']:.0f} and all stages {sum(minutes.values()):.0f} minutes on "
        f"{result['machine']['processor']} ({result['machine']['cpus']} cores, no GPU); handed on: {best}. Above GPT-4, the n-gram model and "
        f"`classic` on {len(won)} of 6 ({', '.join(won) or 'none'}). 3-3 as LawBench counts nested names: base {result['nested']['base']:.1f}, "
        f"{best} {result['nested'][best]:.1f}. 3-1 by the look-up in its prompt alone, without a model: {result['looked_up']:.1f}. {other_counts(result)}{versions}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
