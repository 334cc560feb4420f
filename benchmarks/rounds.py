"""Does a round of corrections teach? Twenty answers corrected, round 2 built, the same things asked in other words.

    python benchmarks/rounds.py                # the figures: writes benchmarks/results/rounds.json and .md
    python benchmarks/rounds.py --set tune     # other questions, to choose a recipe by: prints only

The questions (benchmarks/texts/corrections.jsonl) are rules of a kitchen that no model can know. Each is put to the
specialist of round 1; where its answer lacks the key word, the question is asked again on the app's page in headless
Chromium, the better answer is written and approved there, and learned by `factory feedback` and `factory build cooking
--round 2`. Asked afterwards are two rewordings of each, never trained on.
Works in the current folder, on runs/cooking/default (built where it is missing); round 2 of it is made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from page import correct
from quality import FACTORY

from factory.files import read_json
from factory.statistics import compare, summarize

HERE = Path(__file__).parent
RUNS = Path("runs/cooking")
WORK = Path("runs/rounds-benchmark")
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="report", choices=("report", "tune"), help="which questions")
    parser.add_argument(
        "--setting", action="append", default=[], help="of the round, e.g. rounds.epochs=5; may be repeated"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where the figures are written")
    arguments = parser.parse_args()
    texts = (HERE / "texts" / "corrections.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [row for row in map(json.loads, filter(None, texts)) if row["set"] == arguments.set]
    if not (RUNS / "default" / "evaluate" / "manifest.json").exists():
        factory("build", "cooking")
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.rmtree(RUNS / "default-r2", ignore_errors=True)
    WORK.mkdir(parents=True)
    first = ask("default", rows)
    wrong = [row for row, answer in zip(rows, first["asked"], strict=True) if not right(row, answer)]
    print(f"{len(wrong)} of {len(rows)} answered wrongly", flush=True)
    shown = correct(RUNS / "default" / "app", WORK / "feedback.db", {row["asked"]: row["better"] for row in wrong})
    print(f"{len(shown)} corrected and approved on the page", flush=True)
    factory("feedback", "cooking", "--store", str(WORK / "feedback.db"))
    started = time.monotonic()
    factory("build", "cooking", "--round", "2", *(word for one in arguments.setting for word in ("--set", one)))
    result = figures(rows, first, ask("default-r2", rows)) | {
        "corrected": len(wrong), "minutes": round((time.monotonic() - started) / 60, 1), "settings": arguments.setting,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
    }  # fmt: skip
    page = table(result)
    print(page, answers(result), sep="\n")
    if arguments.set == "report":
        (arguments.out / "rounds.json").write_text(
            json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (arguments.out / "rounds.md").write_text(page, encoding="utf-8")
        (arguments.out / "rounds-answers.md").write_text(answers(result), encoding="utf-8")


def factory(*words: str) -> None:
    subprocess.run([FACTORY, *words], check=True)


def ask(run: str, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What the best model of a run answers to the questions as they were asked, and to the reworded ones in a row."""
    asked = [row["asked"] for row in rows]
    other = [text for row in rows for text in row["reworded"]]
    questions, answers = WORK / "questions.jsonl", WORK / f"{run}.jsonl"
    questions.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in [*asked, *other]), encoding="utf-8")
    factory("predict", "cooking", str(questions), "--output", str(answers), "--run", run, "--model", "best")
    lines = answers.read_text(encoding="utf-8").split("\n")
    said = [json.loads(line)["prediction"] for line in lines if line]
    return {"asked": said[: len(asked)], "reworded": said[len(asked) :]}


def right(row: dict[str, Any], answer: str) -> float:
    return float(all(re.search(rf"\b{re.escape(key)}", answer.lower()) for key in row["key"]))


def figures(rows: list[dict[str, Any]], first: dict[str, list[str]], second: dict[str, list[str]]) -> dict[str, Any]:
    """Shares of right answers before and after with intervals (a question's rewordings count as one), and the eval set."""
    found: dict[str, Any] = {"questions": len(rows), "answers": []}
    for kind, times in (("asked", 1), ("reworded", 2)):
        scores = []
        for said in (first[kind], second[kind]):
            parts = [said[at * times : (at + 1) * times] for at in range(len(rows))]
            scores.append(
                {"all": [sum(right(row, text) for text in part) / times for row, part in zip(rows, parts, strict=True)]}
            )
        before, after = (summarize(score, RESAMPLES)["mean"] for score in scores)
        found[kind] = {"before": before, "after": after, "difference": compare(scores[1], scores[0], RESAMPLES)["mean"]}
    for at, row in enumerate(rows):
        question, old, new = row["reworded"][0], first["reworded"][2 * at], second["reworded"][2 * at]
        found["answers"].append({"question": question, "wanted": row["better"], "before": old, "after": new})
    scores = read_json(RUNS / "default-r2" / "evaluate" / "scores.json")
    moved = next(row for row in scores["differences"] if (row["worse"], row["task"]) == ("round1", "mean"))
    models = {"base": "base", "before": "round1", "after": "best"}
    found["eval"] = {name: scores["models"][model]["mean"] for name, model in models.items()} | {"difference": moved}
    found |= {"items": scores["items"], "eval_version": scores["eval_version"], "best": scores["best"]}
    return found


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown, as docs/feedback.md shows them."""
    lines = [
        "| share of right answers, of 100 | round 1 | round 2 | difference, 95% interval |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    names = {
        "asked": f"the {result['questions']} questions as corrected", "reworded": f"{2 * result['questions']} rewordings, never trained on",
        "eval": f"the eval set ({result['items']} items), mean score",
    }  # fmt: skip
    for kind, name in names.items():
        before, after, moved = (result[kind][part] for part in ("before", "after", "difference"))
        lines.append(
            f"| {name} | {before['score']:.1f} | {after['score']:.1f} | {moved['difference']:+.1f} [{moved['low']:+.1f}, {moved['high']:+.1f}] |"
        )
    told = f"{result['corrected']} of {result['questions']} answers were wrong and corrected; round 2 took {result['minutes']} minutes"
    return "\n".join([*lines, "", f"{told} ({result['machine']}) and handed on {result['best']}.", ""])


def answers(result: dict[str, Any]) -> str:
    """The first rewording of each question with both answers."""
    lines = ["| reworded question | wanted | round 1 | round 2 |", "| --- | --- | --- | --- |"]
    for row in result["answers"]:
        cells = (
            row[name].replace("|", "/").replace("\n", " ")[:90] for name in ("question", "wanted", "before", "after")
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
