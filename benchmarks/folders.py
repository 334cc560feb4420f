"""From a folder of documents to a scoreboard, with no edit between: factory new-domain, then factory build, both timed.

    python benchmarks/folders.py --data ../shared/data            # four folders, about an hour on 2 cores
    python benchmarks/folders.py --data ../shared/data --only tips

tips: 18 Chinese articles on cooking; recipes: 349 English recipes; pdf: one PDF (the Company Law, printed by Chromium); files: 2,000
text files (an article of a Chinese statute each). Results go to benchmarks/results/folders.json and .md; builds lie in .work/folders.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from quality import FACTORY, RESULTS, processor, refresh

WORK = Path(".work/folders").resolve()
CHROMIUM = ("/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer")
LANGUAGES = {"tips": "zh", "recipes": "en", "pdf": "zh", "files": "zh"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=list(LANGUAGES))
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else LANGUAGES:
        measure(name, prepare(name, arguments.data.resolve()))


def prepare(name: str, data: Path) -> Path:
    """The folder of documents."""
    statutes = sorted((data / "legal/statutes").rglob("*.md"))
    if name == "tips":
        return data / "cooking/zh/tips"
    if name == "recipes":
        return data / "cooking/en"
    folder = WORK / f"{name}-documents"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name == "pdf":
        law = next(path for path in statutes if "公司法" in path.name)
        page = WORK / "page.html"
        page.write_text(as_html(law.read_text(encoding="utf-8")), encoding="utf-8")
        subprocess.run(
            [*CHROMIUM, f"--print-to-pdf={folder / '公司法.pdf'}", str(page)], check=True, capture_output=True
        )
        return folder
    articles = [
        line
        for path in statutes
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"第\S+条\s", line)
    ]
    for number, article in enumerate(articles[:2000]):
        (folder / f"{number:04}.txt").write_text(article + "\n", encoding="utf-8")
    return folder


def as_html(markdown: str) -> str:
    """Headings and paragraphs of a statute as a page."""
    lines = [line.strip() for line in re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL).splitlines() if line.strip()]
    told = []
    for line in lines:
        marks = len(line) - len(line.lstrip("#"))
        tag = f"h{marks}" if marks else "p"
        told.append(f"<{tag}>{html.escape(line.lstrip('# '))}</{tag}>")
    return f"<!doctype html><meta charset=utf-8><body>{''.join(told)}"


def measure(name: str, documents: Path) -> None:
    """new-domain and build in an empty folder; the figures join those of the other folders."""
    place = WORK / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    seconds = {}
    for command in (
        ["new-domain", name, "--docs", str(documents), "--lang", LANGUAGES[name], "--yes"],
        ["build", name],
    ):
        started = time.monotonic()
        subprocess.run([FACTORY, *command], cwd=place, check=True)
        seconds[command[0]] = round(time.monotonic() - started, 1)
    run = place / "runs" / name / "default"
    stages = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in run.glob("*/manifest.json")}
    scores = json.loads((run / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    path = RESULTS / "folders.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[name] = {
        "documents": stages["ingest"]["summary"]["documents"], "passages": stages["ingest"]["summary"]["passages"],
        "rows": stages["curate"]["summary"]["train"], "base": stages["sft"]["summary"]["base"], "seconds": seconds,
        "stages": {stage: manifest["seconds"] for stage, manifest in stages.items()}, "scores": scores,
        "packages": stages["sft"]["packages"], "machine": {**stages["sft"]["machine"], "processor": processor()},
    }  # fmt: skip
    path.write_text(
        json.dumps({key: results[key] for key in LANGUAGES if key in results}, ensure_ascii=False, indent=1) + "\n"
    )
    (RESULTS / "folders.md").write_text(table(results), encoding="utf-8")
    refresh()
    sys.stdout.write(table(results))


def table(results: dict) -> str:
    """A row a folder."""
    lines = [
        "| folder | documents | rows | eval items | base | specialist | ngram | above base | both commands |",
        "| --- " * 9 + "|",
    ]
    for name in [key for key in LANGUAGES if key in results]:
        row = results[name]
        mean = {model: row["scores"]["models"][model]["mean"] for model in ("base", "best", "ngram")}
        cells = [f"{cell['score']:.1f} [{cell['low']:.0f}, {cell['high']:.0f}]" for cell in mean.values()]
        above = next(gate["detail"] for gate in row["scores"]["gates"] if gate["name"] == "above base")
        minutes = sum(row["seconds"].values()) / 60
        lines.append(
            f"| {name} | {row['documents']} | {row['rows']} | {mean['base']['n']} | {' | '.join(cells)} | {above} | {minutes:.1f} min |"
        )
    last = list(results.values())[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["packages"].items())
    machine = f"{last['machine']['processor']} ({last['machine']['cpus']} cores, no GPU)"
    bases = ", ".join(sorted({row["base"] for row in results.values()}))
    return "\n".join([*lines, "", f"{bases} on {machine}; the eval items are drafts by rule; {versions}.", ""])


if __name__ == "__main__":
    main()
