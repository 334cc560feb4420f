"""What stands beside the specialist in the report: references, sizes and density, measured costs and hosted prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory import costs, references
from factory.answers import weights_digest
from factory.costs import Measured, Price
from factory.density import Density, Rung, density
from factory.files import read_json
from factory.models import catalog, weights_parameters
from factory.pictures import scatter
from factory.records import Prediction, read_records, scores_by_task
from factory.references import Reference
from factory.stage import Context
from factory.statistics import Scores
from factory.verdict import about_references, money, name, not_shown, say, size

Row = dict[str, Any]
DRAWN = 5  # references in the pictures of each task: the best on the mean


@dataclass(frozen=True)
class Known:
    """What is known of a run beside its scores."""

    scores: Row
    zh: bool
    fresh: Sequence[Reference]
    parameters: int  # of the base, and so of the specialist; 0: not known
    measured: Mapping[str, Measured]
    price: float  # dollars an hour; 0: not known
    hosted: Mapping[str, Price]

    @property
    def like(self) -> Measured | None:
        """What the specialist's answers took; hosted prices are told for the same tokens."""
        return self.measured.get(self.scores["best"])

    @property
    def here(self) -> dict[str, int]:
        """How many items the run has, by task and "mean"."""
        return {task: cell["n"] for task, cell in self.scores["models"]["base"].items()}

    def ranked(self) -> list[Reference]:
        """The references that have a mean on the run's items, the best first."""
        found = (one for one in self.fresh if "mean" in one.cells and not references.apart(one, self.here))
        return sorted(found, key=lambda one: -one.cells["mean"]["score"])


def beside(context: Context, scores: Row) -> Row:
    """Every value by the name that the template uses, and `facts` for a manager."""
    config, mark = context.config, references.standard(context.domain, scores["eval_digest"])
    fresh, stale = references.current(context.run_dir, mark)
    price, hosted = (
        costs.price_per_hour(context.run_dir, config.cost.price_per_hour),
        costs.prices(context.domain.folder),
    )
    measured = _measured(context, scores, mark, fresh)
    known = Known(scores, config.language == "zh", fresh, base_parameters(context), measured, price, hosted)
    own = _scores(context.input("evaluate") / "predictions" / f"{scores['best']}.jsonl")
    versus = {one.name: references.against(own, one, config.evaluate.resamples) for one in fresh}
    on_mean = {other: found["mean"] for other, found in versus.items() if found}
    ladder = _ladder(known)
    dense = density(ladder, scores["models"]["best"]["mean"]["score"], known.parameters)
    told = _told(dense, ladder, known)
    return {
        "references": [_row(one, known.here) | {"versus": versus[one.name]} for one in fresh], "here": known.here,
        "drawn": [one.name for one in known.ranked()[:DRAWN]],
        "sizes": _sizes(known, dense), "density_told": told, "costs": _costs(known), "spent": _spent(known),
        "facts": [
            *about_references(on_mean, known.zh), *([] if dense.problem else [told]), *_cost_fact(known),
            *not_shown([one.name for one in stale], known.zh),
        ],
    }  # fmt: skip


def _row(one: Reference, here: Mapping[str, int]) -> Row:
    row = {key: getattr(one, key) for key in ("name", "kind", "cells", "tuned", "unanswered")}
    row |= {"differing": references.differing(one, here), "apart": references.apart(one, here)}
    return row | {"when": one.when[:10], "size": size(one.parameters) if one.parameters else ""}


def _scores(path: Path) -> Scores:
    return scores_by_task(read_records(path, Prediction)) if path.exists() else {}


# Sizes


def base_parameters(context: Context) -> int:
    """How many weights the base has: counted where its files are here, else as the catalog says; 0: not known."""
    folder, known = _base(context), catalog().get(context.config.base)
    return (weights_parameters(folder) if folder else 0) or (known.parameters if known else 0)


def _base(context: Context) -> Path | None:
    path = context.input("sft") / "base.json"
    return Path(read_json(path)["path"]) if path.exists() else None


def _ladder(known: Known) -> list[Rung]:
    """The base and the untuned references of known size."""
    base = known.scores["models"]["base"]["mean"]["score"]
    own = [Rung("base", known.parameters, base)] if known.parameters else []
    return own + [
        Rung(one.name, one.parameters, one.cells["mean"]["score"])
        for one in known.ranked()
        if one.parameters and not one.tuned
    ]


def _told(found: Density, ladder: Sequence[Rung], known: Known) -> str:
    if found.problem:
        sizes = len({rung.parameters for rung in ladder})
        return say(f"dense_{found.problem}", known.zh, n=sizes, high=size(found.high), low=size(found.low))
    mean = known.scores["models"]["best"]["mean"]
    low, high = size(found.size_at(mean["low"])), size(found.size_at(mean["high"]))
    times = f"{found.density:.2g}"
    return say("dense", known.zh, size=size(found.effective), low=low, high=high, times=times)


def _sizes(known: Known, found: Density) -> Row | None:
    """Score against parameters, with the ladder's line; None where no reference has a size."""
    models = known.scores["models"]
    points = [
        _point(name(model, known.zh), known.parameters, models[model]["mean"], model) for model in ("base", "best")
    ]
    others = [
        _point(one.name, one.parameters, one.cells["mean"], "reference") for one in known.ranked() if one.parameters
    ]
    return scatter([*points, *others], found.score_at if found.slope > 0 else None) if others else None


def _point(label: str, x: float, cell: Row, kind: str) -> Row:
    return {"name": label, "x": x, "kind": kind} | {key: cell[key] for key in ("score", "low", "high")}


# Costs


def _measured(context: Context, scores: Row, mark: str, fresh: Sequence[Reference]) -> dict[str, Measured]:
    """What was measured of the models as they are now, by name; the specialist's is that of its stage."""
    digests = {one.name: one.digest for one in fresh}
    if folder := _base(context):
        best = scores["best"]
        digests |= {"base": weights_digest(folder, None), best: weights_digest(folder, context.input(best) / "adapter")}
    found = costs.measured(context.run_dir).items()
    return {model: row for model, row in found if row.standard == mark and row.digest == digests.get(model, row.digest)}


def _costs(known: Known) -> Row:
    """Tables: what was measured, and hosted models for the same tokens; empty before `factory cost`."""
    like, price = known.like, known.price
    if like is None:
        return {}
    hosted = sorted(known.hosted.values(), key=lambda row: row.per_answer(like))
    return {
        "price": price, "machine": like.machine, "told": any(row.joules is not None for row in known.measured.values()),
        "tokens_in": like.tokens_in / like.answers, "tokens_out": like.tokens_out / like.answers, "n": like.answers,
        "measured": {
            model: {"row": row, "million": row.per_million(price), "thousand": 1000 * row.per_answer(price)}
            for model, row in known.measured.items()
        },
        "hosted": [
            {"row": row, "million": row.per_million(like), "thousand": 1000 * row.per_answer(like), "from": row.even(price, like)}
            for row in hosted
        ],
        "most": like.answers_per_hour,
    }  # fmt: skip


def _spent(known: Known) -> Row | None:
    """Score against dollars for a thousand answers, of whatever has both; None where fewer than two have."""
    like, own = known.like, {"base": "base", known.scores["best"]: "best"}
    cells = {model: known.scores["models"][model]["mean"] for model in own}
    cells |= {one.name: one.cells["mean"] for one in known.ranked()}
    points = []
    for model, cell in cells.items() if like else ():
        measured, hosted = known.measured.get(model), costs.price_of(model, known.hosted)
        dollars = measured.per_answer(known.price) if measured else hosted.per_answer(like) if hosted and like else 0.0
        kind = own.get(model, "reference")
        points.append(_point(name(kind, known.zh) if model in own else model, 1000 * dollars, cell, kind))
    return scatter(points)


def _cost_fact(known: Known) -> list[str]:
    like, price = known.like, known.price
    if like is None:
        return []
    seconds = f"{like.seconds_alone:.2g}"
    paid = [row for row in known.hosted.values() if row.per_answer(like)]
    if not price or not paid:
        return [say("speed", known.zh, seconds=seconds)]
    other = min(paid, key=lambda row: row.per_answer(like))
    own, cheapest = money(1000 * like.per_answer(price)), money(1000 * other.per_answer(like))
    facts = {"seconds": seconds, "price": f"{price:g}", "own": own, "other": cheapest}
    return [say("cost", known.zh, model=other.model, date=other.date, **facts)]
