"""What stands beside the specialist in the report: references, sizes and density, measured costs and hosted prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory import costs, density, references
from factory.answers import weights_digest
from factory.costs import Measured
from factory.files import read_json
from factory.models import catalog, weights_parameters
from factory.pictures import scatter
from factory.records import Prediction, read_records
from factory.references import Reference
from factory.stage import Context
from factory.statistics import Scores
from factory.verdict import about_references, money, name, say, size

Row = dict[str, Any]
DRAWN = 5  # references in the pictures: the best on the mean


def beside(context: Context, scores: Row) -> Row:
    """Every value by the name that the template uses, and `facts` for a manager."""
    zh, mark = context.config.language == "zh", references.standard(context.domain, scores["eval_digest"])
    fresh, stale = references.current(context.run_dir, mark)
    own = _scores(context.input("evaluate") / "predictions" / f"{scores['best']}.jsonl")
    versus = {one.name: references.against(own, one, context.config.evaluate.resamples) for one in fresh}
    parameters = base_parameters(context)
    dense, ladder = _density(scores, fresh, parameters)
    known = _measured(context, scores, mark, fresh)
    price = costs.price_per_hour(context.run_dir, context.config.cost.price_per_hour)
    hosted = costs.prices(context.domain.folder)
    like = known.get(scores["best"])
    facts = about_references({one: d["mean"] for one, d in versus.items() if d}, [one.name for one in stale], zh)
    return {
        "references": [{"versus": versus[one.name], "size": size(one.parameters), **_plain(one)} for one in fresh],
        "drawn": [one.name for one in sorted(fresh, key=_mean, reverse=True) if "mean" in one.cells][:DRAWN],
        "stale": [one.name for one in stale], "size": size(parameters) if parameters else "",
        "sizes": _sizes(scores, fresh, parameters, dense, zh), "density": dense, "density_told": _told(dense, ladder, scores, zh),
        "costs": _costs(known, like, price, hosted), "spent": _spent(scores, fresh, known, like, price, hosted, zh),
        "facts": [*facts, *_cost_fact(like, price, hosted, zh), *([] if dense.problem else [_told(dense, ladder, scores, zh)])],
    }  # fmt: skip


def _plain(one: Reference) -> Row:
    return {key: getattr(one, key) for key in ("name", "kind", "cells", "parameters", "tuned")} | {
        "when": one.when[:10]
    }


def _mean(one: Reference) -> float:
    return one.cells.get("mean", {}).get("score", -1.0)


def _scores(path: Path) -> Scores:
    found: dict[str, list[float]] = defaultdict(list)
    for row in read_records(path, Prediction) if path.exists() else []:
        found[row.task].append(row.score)
    return found


def base_parameters(context: Context) -> int:
    """How many weights the base has: counted where its files are here, else as the catalog says; 0: not known."""
    path = context.input("sft") / "base.json"
    folder = Path(read_json(path)["path"]) if path.exists() else None
    known = catalog().get(context.config.base)
    return (weights_parameters(folder) if folder else 0) or (known.parameters if known else 0)


# Sizes


def _density(scores: Row, fresh: Sequence[Reference], parameters: int) -> tuple[density.Density, list[density.Rung]]:
    rungs = [density.Rung("base", parameters, scores["models"]["base"]["mean"]["score"])] if parameters else []
    rungs += [
        density.Rung(one.name, one.parameters, one.cells["mean"]["score"])
        for one in fresh
        if one.parameters and not one.tuned and "mean" in one.cells
    ]
    return density.density(rungs, scores["models"]["best"]["mean"]["score"], parameters), rungs


def _told(found: density.Density, ladder: Sequence[density.Rung], scores: Row, zh: bool) -> str:
    if found.problem:
        sizes = len({rung.parameters for rung in ladder})
        return say(f"dense_{found.problem}", zh, n=sizes, high=size(found.high), low=size(found.low))
    mean = scores["models"]["best"]["mean"]
    low, high = size(found.size_at(mean["low"])), size(found.size_at(mean["high"]))
    return say("dense", zh, size=size(found.effective), low=low, high=high, times=f"{found.density:.2g}")


def _sizes(scores: Row, fresh: Sequence[Reference], parameters: int, found: density.Density, zh: bool) -> Row | None:
    own = [_point(name(model, zh), parameters, scores["models"][model]["mean"], model) for model in ("base", "best")]
    others = [_point(one.name, one.parameters, one.cells["mean"], "reference") for one in fresh if "mean" in one.cells]
    drawn = [point for point in [*own, *others] if point["x"]]
    if not any(point["kind"] == "reference" for point in drawn):
        return None
    return scatter(drawn, found.score_at if found.slope > 0 else None)


def _point(label: str, x: float, cell: Row, kind: str) -> Row:
    return {"name": label, "x": x, "kind": kind} | {key: cell[key] for key in ("score", "low", "high")}


# Costs


def _measured(context: Context, scores: Row, mark: str, fresh: Sequence[Reference]) -> dict[str, Measured]:
    """What was measured of the models as they are now, by name; the specialist's own name is that of its stage."""
    found = costs.measured(context.run_dir)
    path = context.input("sft") / "base.json"
    folder = Path(read_json(path)["path"]) if path.exists() else None
    marks = {one.name: one.digest for one in fresh}
    for model in ("base", scores["best"]) if folder else ():
        adapter = context.input(model) / "adapter" if model != "base" else None
        marks[model] = weights_digest(folder, adapter)
    return {
        model: row
        for model, row in found.items()
        if row.standard == mark and row.digest == marks.get(model, row.digest)
    }


def _costs(known: dict[str, Measured], like: Measured | None, price: float, hosted: dict[str, costs.Price]) -> Row:
    """Tables: what was measured, and hosted models for the same tokens."""
    if like is None:
        return {}
    return {
        "price": price, "machine": like.machine, "told": any(row.joules is not None for row in known.values()),
        "tokens_in": like.tokens_in / like.answers, "tokens_out": like.tokens_out / like.answers, "n": like.answers,
        "measured": {model: {"row": row, "million": row.per_million(price), "thousand": 1000 * row.per_answer(price)} for model, row in known.items()},
        "hosted": [
            {"row": row, "million": row.per_million(like), "thousand": 1000 * row.per_answer(like),
             "from": price / row.per_answer(like) if price and row.per_answer(like) else 0.0}
            for row in sorted(hosted.values(), key=lambda row: row.per_answer(like))
        ],
        "most": like.answers_per_hour,
    }  # fmt: skip


def _spent(
    scores: Row, fresh: Sequence[Reference], known: dict[str, Measured], like: Measured | None,
    price: float, hosted: dict[str, costs.Price], zh: bool,
) -> Row | None:  # fmt: skip
    """Score against dollars for a thousand answers, of whatever has both."""
    cells = {model: scores["models"][model]["mean"] for model in ("base", scores["best"])}
    cells |= {one.name: one.cells["mean"] for one in fresh if "mean" in one.cells}
    points = []
    for model, cell in cells.items():
        kind = "best" if model == scores["best"] else model if model == "base" else "reference"
        label = name(kind, zh) if kind != "reference" else model
        if price and model in known:
            points.append(_point(label, 1000 * known[model].per_answer(price), cell, kind))
        elif like and (row := costs.price_of(model, hosted)):
            points.append(_point(label, 1000 * row.per_answer(like), cell, kind))
    return scatter(points) if like else None


def _cost_fact(like: Measured | None, price: float, hosted: dict[str, costs.Price], zh: bool) -> list[str]:
    if like is None:
        return []
    seconds = f"{like.seconds_alone:.2g}"
    paid = [row for row in hosted.values() if row.per_answer(like)]
    if not price or not paid:
        return [say("speed", zh, seconds=seconds)]
    other = min(paid, key=lambda row: row.per_answer(like))
    own, cheapest = money(1000 * like.per_answer(price)), money(1000 * other.per_answer(like))
    return [
        say(
            "cost", zh, seconds=seconds, price=f"{price:g}", own=own, model=other.model, date=other.date, other=cheapest
        )
    ]
