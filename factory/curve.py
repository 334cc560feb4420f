"""How much data is enough: SFT on growing shares of the rows, selected against random, with the full set's number of steps.

Every point is a run of its own, `runs/DOMAIN/RUN-curve-METHOD-PERCENT`, with the stages up to sft and one that answers the
frozen eval set. So a broken-off curve goes on, and what is up to date is skipped.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from factory.build import RUNS, Order, prepare
from factory.console import console
from factory.curvepage import ALL, Cell, lines, render, told
from factory.embedding import embed
from factory.errors import FactoryError, suggest
from factory.files import read_json, write_json, write_text
from factory.progress import duration
from factory.records import EvalItem, read_records
from factory.stage import Context, Say, Stage, code_parts, manifest, run_stages
from factory.stages.evaluate import answer_files, scores_of
from factory.statistics import compare, summarize
from factory.training import passes

METHODS = ("coverage", "difficulty", "mix")


@dataclass(frozen=True)
class Wish:
    """What curve to draw: the run whose data it takes, growing shares of its rows, and how the selected ones are chosen."""

    order: Order
    shares: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 1.0)
    by: str = "coverage"


@dataclass(frozen=True)
class Point:
    """One training and what it scored: `mean` and each of `tasks` are {score, low, high, n} of 100."""

    method: str  # all, random, or that of the wish
    share: float
    rows: int
    epochs: float
    steps: int
    seconds: float
    run: str
    mean: Cell
    tasks: dict[str, Cell]


def draw(wish: Wish, say: Say) -> Path:
    """Train and score what is not there yet, write curve.json and curve.html, print the table; return their folder.

    Raises FactoryError for shares or a method that make no curve.
    """
    shares = sorted({*wish.shares, 1.0})
    if len(shares) < 2 or shares[0] <= 0 or shares[-1] > 1:
        raise FactoryError("A curve needs shares between 0 and 1.", "Example: --shares 0.05,0.25,1")
    if wish.by not in METHODS:
        raise FactoryError(f"'{wish.by}' is no method that a curve compares with random.", suggest(wish.by, METHODS))
    if wish.by != "difficulty":
        embed([])  # says now, not after the first training, that its package is missing
    chain, parent, notes = prepare(replace(wish.order, until="synthesize"))
    run_stages(chain, replace(parent, say=say), on_lock=lambda: write_json(parent.run_dir / "run.json", notes))

    wanted = [(ALL, 1.0), *((method, share) for share in shares[:-1] for method in (wish.by, "random"))]
    say(f"{len(wanted)} trainings, each with as many steps as the full set takes")
    contexts: list[Context] = []
    points: list[Point] = []
    for number, (method, share) in enumerate(wanted, 1):
        contexts.append(_train(wish.order, parent, notes, method, share, points[0] if points else None, say))
        points.append(_point(contexts[-1], method, share))
        todo = [_run_name(wish.order.run, *one) for one in wanted[number:]]
        todo = [name for name in todo if not (parent.run_dir.parent / name / "score" / "manifest.json").exists()]
        left = len(todo) * sum(point.seconds for point in points) / len(points)
        say(f"[{number}/{len(wanted)}] {_told(points[-1])}" + (f"; about {duration(left)} left" if todo else ""))
    result = _result(wish, points, contexts)
    folder = RUNS / wish.order.domain / f"{wish.order.run}-curve"
    write_json(folder / "curve.json", result)
    write_text(folder / "curve.html", render(result))
    print_curve(result)
    return folder


# One point


def _train(
    order: Order, parent: Context, notes: dict[str, Any], method: str, share: float, full: Point | None, say: Say
) -> Context:
    """Bring the run of one point up to date. `full` is the point of the full set, which knows rows and epochs."""
    settings = [*notes["settings"], f"curate.keep={share}"]
    if full:
        settings.append(f"curate.keep_by={method}")
    name = _run_name(order.run, method, share)
    sub = Order(order.domain, name, notes["source"] or "sample", notes["tasks"], settings, until="curate")
    _borrow(parent.run_dir, parent.run_dir.parent / name, whole=method == ALL)
    context = _run(sub, (), say)
    if full:  # as many rows in all, so as many steps: a smaller part is seen more often
        more = full.rows / context.summary("curate")["train"]
        tasks = {f"task_epochs.{task}": seen for task, seen in context.config.sft.task_epochs.items()}
        epochs = passes(context.config.sft.epochs, full.rows)
        often = [f"sft.{key}={seen * more!r}" for key, seen in {"epochs": epochs, **tasks}.items()]
        sub = replace(sub, settings=[*settings, *often])
    context = _run(replace(sub, until="sft"), (_score(("base", "sft") if method == ALL else ("sft",)),), say)
    gc.collect()  # the trainer's cycles hold a model each
    return context


def _run_name(run: str, method: str, share: float) -> str:
    return f"{run}-curve-{method}-{100 * share:g}"


def _run(order: Order, more: tuple[Stage, ...], say: Say) -> Context:
    chain, context, notes = prepare(order)

    def tell(text: str) -> None:
        if ": skipped, " not in text:
            say(f"    {text}")

    run_stages(
        (*chain, *more), replace(context, say=tell), on_lock=lambda: write_json(context.run_dir / "run.json", notes)
    )
    return replace(context, stage="score")


def _borrow(source: Path, target: Path, whole: bool) -> None:
    """Copy the parent's stages that this run would build alike; the stage engine judges whether they hold.

    What training made is copied once: where it does not hold, this run makes its own, and keeps it.
    """
    for stage in ("ingest", "synthesize", *(("curate", "sft") if whole else ())):
        made, here = source / stage / "manifest.json", target / stage
        if not made.exists() or (stage in ("curate", "sft") and here.exists()):
            continue
        if not (here / "manifest.json").exists() or read_json(here / "manifest.json") != read_json(made):
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(made.parent, here)


def _score(models: tuple[str, ...]) -> Stage:
    """A stage in which these models answer the frozen eval set: no DPO, no dev rows, no gates."""

    def run(context: Context) -> dict[str, Any]:
        items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
        for model in models:
            answer_files(context, model, {model: items})
        return {}

    return Stage("score", run, reads=("ingest", "sft"), settings=("evaluate",), watches=code_parts)


def _point(context: Context, method: str, share: float) -> Point:
    cells = summarize(scores_of(context, "sft"), context.config.evaluate.resamples)
    return Point(
        method,
        share,
        context.summary("curate")["train"],
        context.summary("sft")["epochs"],
        context.summary("sft")["steps"],
        round(sum(manifest(context.run_dir, stage)["seconds"] for stage in ("sft", "score")), 1),
        context.run_dir.name,
        cells.pop("mean"),
        cells,
    )


def _told(point: Point) -> str:
    mean = point.mean
    return (
        f"{point.method} {100 * point.share:g}%: {mean['score']:.1f} [{mean['low']:.1f}, {mean['high']:.1f}], "
        f"{point.rows} rows x {point.epochs:.3g} epochs"
    )


# The result


def _result(wish: Wish, points: Sequence[Point], contexts: Sequence[Context]) -> dict[str, Any]:
    full, context = points[0], contexts[0]
    resamples = context.config.evaluate.resamples
    scores = {(point.method, point.share): scores_of(of, "sft") for point, of in zip(points, contexts, strict=True)}
    differences = [
        {"share": share, **compare(scores[method, share], scores["random", share], resamples)["mean"]}
        for method, share in scores
        if method == wish.by
    ]
    reached = {method: reaches(points, method) for method in (wish.by, "random")}
    return {
        "domain": wish.order.domain,
        "title": context.config.title,
        "language": context.config.language,
        "base_model": context.config.base,
        "by": wish.by,
        "base": summarize(scores_of(context, "base"), resamples)["mean"],
        "points": [asdict(point) for point in points],
        "selected_minus_random": differences,
        "reached": reached,
        "told": told(full.mean, reached, context.config.language == "zh"),
    }


def reaches(points: Sequence[Point], method: str) -> float | None:
    """The share from which on every score of the method lies in the full set's interval or above; None: at none below 1."""
    found: float | None = None
    full = next(point for point in points if point.method == ALL)
    for point in sorted((one for one in points if one.method == method), key=lambda one: -one.share):
        if point.mean["score"] < full.mean["low"]:
            break
        found = point.share
    return found


def print_curve(result: dict[str, Any]) -> None:
    """The points as a table on the console."""
    table = Table(title=f"\nScore of 100 [95% interval], base {result['base']['score']:.1f}", title_justify="left")
    for name in ("share", "rows", "epochs", result["by"], "random", "difference"):
        table.add_column(name, justify="right")
    for row in lines(result):
        table.add_row(*row)
    console.print(table)
    console.print(result["told"], highlight=False)
