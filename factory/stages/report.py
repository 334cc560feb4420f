"""report: one self-contained HTML page that says whether the specialist is better, by how much, and shows the answers.

Its first sheet is for whoever decides, the rest for who builds. Everything on it comes from the folders of earlier stages and from
what was scored and measured beside them. The labels live in the template, the sentences in factory.verdict, both in English and
Chinese. Documents and model output are untrusted: the template escapes every value.
"""

from __future__ import annotations

import hashlib
from itertools import zip_longest
from pathlib import Path
from typing import Any

from factory import budgets, costs, references, seeds
from factory import gates as release_gates
from factory.beside import beside
from factory.domain import FREE
from factory.failures import KINDS, LABELS, confusion, grouped
from factory.files import digest, digest_tree, read_json, read_sealed, templates, weights_mark, write_json, write_text
from factory.forgetting import FILE as FORGETTING
from factory.pictures import curve, ticks
from factory.reasons import REASONS, why
from factory.records import read_rows
from factory.rounds import FEEDBACK
from factory.stage import Context, Stage, manifest, seconds_of
from factory.verdict import NAMES, against, by, forgotten, gates, in_words, money, name, reason, say, side, signed, tell

Row = dict[str, Any]
ANSWERS = 20  # shown side by side
DROPPED = 3  # dropped rows shown per reason


def run(context: Context) -> Row:
    """Write report.html and report.json from what the earlier stages left."""
    zh = context.config.language == "zh"
    scores = titled(read_json(context.input("evaluate") / "scores.json"), zh)
    adapter = context.input(scores["best"]) / "adapter"
    scores["gates"] += release_gates.kept(context.run_dir, adapter, context.config.evaluate.gates)
    told = tell(scores, context.summary("dpo"), zh)
    page = context.out / "report.html"
    write_text(page, render(gather(context, scores, told)))
    write_json(
        context.out / "report.json", {"models": scores["models"], "best": scores["best"], "verdict": told["verdict"]}
    )
    return {"note": f"report: {page}", "verdict": told["verdict"]}


def titled(scores: Row, zh: bool) -> Row:
    """The scores with the title of free questions in the page's language."""
    if zh and FREE.name in scores["tasks"]:
        scores["tasks"][FREE.name]["title"] = "自由提问"
    return scores


def gather(context: Context, scores: Row, told: Row) -> Row:
    """Every value of the page, by the name that the template uses."""
    config, zh = context.config, context.config.language == "zh"
    done = [stage for stage in ("ingest", *STAGE.reads) if (context.input(stage) / "manifest.json").exists()]
    manifests = {stage: manifest(context.run_dir, stage) for stage in done}
    made = {stage: one | {"seconds": seconds_of(one)} for stage, one in manifests.items()}
    others, wrong = beside(context, scores), failures(context, scores)
    right = say(
        "right",
        zh,
        base=wrong["right"] - wrong["gained"] + wrong["lost"],
        **{k: wrong[k] for k in ("right", "n", "gained", "lost")},
    )
    told = told | {"facts": [right, *told["facts"], *by_seed(context, zh), *forgot(context, zh), *others["facts"]]}
    return others | {
        "title": config.title, "description": config.description, "zh": zh, "seed": config.seed, "scores": scores,
        "told": told, "gates": gates(scores, zh), "review": scores.get("review", {}),
        "names": {model: name(model, zh) for model in (*NAMES, *scores["models"])},
        "models": [model for model in {**NAMES, **scores["models"]} if model in scores["models"] and model != "best"],
        "seeds": seeds.kept(context.run_dir), "forgotten": list(forgotten(found, zh)) if (found := forgetting(context)) else [], "rounds": against_rounds(scores, zh), "feedback": feedback(context), "versus": against(scores),
        "detectable": against(scores).get(("base", "mean"), {}).get("detectable"),
        "failures": wrong, "kinds": KINDS, "confusions": wrong["confusions"], "most_labels": LABELS,
        "data": data(context), "reasons": REASONS, "curves": curves(context), "made": made,
        "sft": {"base": config.base} | context.summary("sft"), "prefer": context.summary("prefer"),
        "dpo": context.summary("dpo"), "skipped": reason(context.summary("dpo"), zh),
        "answers": answers(context.input("evaluate") / "predictions", scores),
        "machines": list({tuple(one["machine"].items()): one["machine"] for one in made.values()}.values()),
        "packages": {package: version for one in made.values() for package, version in one["packages"].items()},
        "judge": judgement(context), "exports": budgets.exports(context.run_dir), "budget": budgets.picture(budgets.exports(context.run_dir), ticks),
    }  # fmt: skip


def by_seed(context: Context, zh: bool) -> list[str]:
    """How far the same training spreads from other seeds, in a sentence."""
    found = seeds.kept(context.run_dir)
    if not found:
        return []
    mean, scores = found["spread"]["mean"], [f"{row['scores']['mean']:.1f}" for row in found["seeds"]]
    return [
        say(
            "seeds",
            zh,
            n=len(scores),
            scores=("、" if zh else ", ").join(scores),
            sd=f"{mean['sd']:.1f}",
            by=by(mean, zh),
        )
    ]


def forgot(context: Context, zh: bool) -> list[str]:
    """What `factory release` measured of this adapter's general ability, in a sentence."""
    found = forgetting(context)
    return [say("forgot", zh, by=by(found["difference"]["mean"], zh))] if found else []


def forgetting(context: Context) -> Row:
    """What was measured of this adapter's general ability; empty where nothing was."""
    best = read_json(context.input("evaluate") / "scores.json")["best"]
    found = read_sealed(context.run_dir / FORGETTING)
    return found if found.get("adapter") == weights_mark(context.input(best) / "adapter") else {}


def failures(context: Context, scores: Row) -> Row:
    """The specialist's failures by kind, and the confusions of tasks with labels."""
    folder = context.input("evaluate") / "predictions"
    best, base = (_rows(folder / f"{model}.jsonl") for model in (scores["best"], "base"))
    closed = [task.name for task in context.domain.tasks() if task.choices and task.name in scores["tasks"]]
    scorers = {task: entry["scorer"] for task, entry in scores["tasks"].items()}
    found = grouped(best, {row["id"]: row for row in base}, scorers, closed)
    return found | {"confusions": {task: confusion([row for row in best if row["task"] == task]) for task in closed}}


def against_rounds(scores: Row, zh: bool) -> list[Row]:
    """The base and every round with its scores, and by how much this round differs; empty in a first round."""
    if not scores["rounds"]:
        return []
    versus = against(scores)
    rows = [
        {
            "name": name(model, zh),
            "scores": scores["models"][model],
            "versus": {task: d for (worse, task), d in versus.items() if worse == model},
        }
        for model in ("base", *scores["rounds"])
    ]
    return [*rows, {"name": name(f"round{len(rows)}", zh), "scores": scores["models"]["best"], "versus": {}}]


def feedback(context: Context) -> Row:
    """What experts gave to this round; empty in a first round."""
    if not context.earlier:
        return {}
    known: Row = read_json(context.run_dir / FEEDBACK / "summary.json")
    return known | {"trained": context.summary("curate")["by_experts"], "sources": context.summary("prefer")["sources"]}


def judgement(context: Context) -> Row:
    """What `factory judge` kept; empty where no judge was asked."""
    path = context.input("evaluate") / "judge.json"
    return dict(read_json(path)) if path.exists() else {}


def judge_mark(context: Context) -> dict[str, str]:
    """The digest of what a judge said, so that the report is made anew after it."""
    found = judgement(context)
    return {"judge": digest(found)} if found else {}


def curves(context: Context) -> dict[str, Row | None]:
    sft, dpo = (_rows(context.input(stage) / "log.jsonl") for stage in ("sft", "dpo"))
    return {
        "sft": curve(sft, "loss", "dev_loss"),
        "dpo": curve(dpo, "loss"),
        "accuracy": curve(dpo, "rewards/accuracies"),
    }


def data(context: Context) -> Row:
    """What became of the rows, and a few dropped ones per reason, the first by hash."""
    summary = context.summary("curate")
    dropped = dict(sorted(summary["dropped"].items(), key=lambda entry: (-entry[1], entry[0])))
    shown: dict[str, list[Row]] = {reason: [] for reason in dropped}
    for row in sorted(_rows(context.input("curate") / "dropped.jsonl"), key=lambda row: _mark(str(row))):
        if len(shown.setdefault(row["reason"], [])) < DROPPED:
            shown[row["reason"]].append(row)
    came_in = summary["train"] + summary["dev"] + sum(dropped.values())
    return summary | {"dropped": dropped, "shown": shown, "came_in": came_in}


def answers(folder: Path, scores: Row) -> list[Row]:
    """Up to ANSWERS questions with the base's and the specialist's answers: tasks in turn, then first by hash of id."""
    base = {row["id"]: row for row in _rows(folder / "base.jsonl")}
    queues: dict[str, list[Row]] = {task: [] for task in scores["tasks"]}
    for row in _rows(folder / f"{scores['best']}.jsonl"):
        if row["id"] in base:
            queues.setdefault(row["task"], []).append(row | {"base": base[row["id"]]})
    turns = zip_longest(*(sorted(queue, key=lambda row: _mark(row["id"])) for queue in queues.values()))
    chosen = [row for turn in turns for row in turn if row][:ANSWERS]
    return sorted(chosen, key=lambda row: list(queues).index(row["task"]))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(path: Path) -> list[Row]:
    return [row for _, row in read_rows(path)] if path.exists() else []


def render(values: Row) -> str:
    """The page; Jinja2 escapes every value."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FileSystemLoader(templates("report")),
    )  # fmt: skip
    page.filters |= {"signed": signed, "money": money, "side": side}
    page.globals |= {"why": why, "in_words": in_words}
    return page.get_template("report.html.jinja").render(values)


def _watches(context: Context) -> dict[str, str]:
    forgotten = context.run_dir / FORGETTING
    more = {"forgetting": digest(read_json(forgotten))} if forgotten.exists() else {}
    own = (
        costs.marks(context.run_dir, context.domain.folder)
        | references.marks(context.run_dir)
        | seeds.marks(context.run_dir)
        | release_gates.marks(context.run_dir)
    )
    return (
        budgets.marks(context.run_dir)
        | own
        | more
        | judge_mark(context)
        | {"report template": digest(digest_tree(templates("report")))}
    )


STAGE = Stage(
    "report",
    run,
    ("curate", "sft", "prefer", "dpo", "evaluate"),
    settings=("title", "language", "description", "cost.price_per_hour", "evaluate.gates"),
    watches=_watches,
    version=3,
)
