"""evaluate: base, SFT and DPO answer the same frozen items; cheap baselines too; scores with intervals; which is handed on.

In a round after the first the models of the rounds before it answer the same items, too.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

from factory.answers import answers_of_weights
from factory.baselines import BASELINES
from factory.domain import FREE, Task
from factory.files import read_json, write_json
from factory.generate import Answer, Question, answer
from factory.models import load_answering
from factory.progress import Progress
from factory.records import EvalItem, Example, Prediction, Preference, read_records, scores_by_task, write_records
from factory.rounds import adapter_mark, best_adapter, earlier_runs, rows_mark
from factory.sieve import sieve_of
from factory.stage import Context, Stage, code_parts
from factory.statistics import Scores, compare, summarize


def run(context: Context) -> dict[str, Any]:
    items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
    dev = [_as_item(context, example) for example in read_records(context.input("curate") / "dev.jsonl", Example)]
    adapters = [name for name in ("sft", "dpo") if (context.input(name) / "adapter").exists()]
    rounds = list(earlier_runs(context))
    _answer_all(context, items, dev, adapters)
    for name in rounds:
        answer_files(context, name, {name: items})
    runs = [*earlier_runs(context).values(), context.run_dir]
    learned = [row for run in runs for row in read_records(run / "curate" / "train.jsonl", Example)]
    seen = list({row.id: row for row in learned}.values())  # a rival learns what the specialist learned in all rounds
    for name, baseline in BASELINES.items():
        _judge_baseline(context, name, baseline, seen, items)

    scores = {name: scores_of(context, name) for name in ["base", *rounds, *adapters, *BASELINES]}
    on_dev = {name: scores_of(context, f"{name}.dev") for name in adapters if dev}
    chosen_on = {name: summarize(rows, context.config.evaluate.resamples)["mean"] for name, rows in on_dev.items()}
    best = max(adapters, key=lambda name: (chosen_on[name]["score"], name == "sft")) if chosen_on else "sft"
    scores["best"] = scores[best]
    result = _result(context, items, scores, best) | {
        "chosen_on": chosen_on,
        "leak_free": not _leaks(context, items, [*learned, *(row for run in runs for row in _preferred(run))]),
    }
    result["gates"] = _gates(context, result)
    write_json(context.out / "scores.json", result)
    mean = {name: result["models"][name]["mean"] for name in ("base", "best")}
    failed = [gate["name"] for gate in result["gates"] if not gate["passed"]]
    note = f"mean over tasks: base {mean['base']['score']:.1f}, {best} {mean['best']['score']:.1f} ({mean['best']['n']} items)"
    return {"note": note, "best": best, "failed_gates": failed}


def _as_item(context: Context, example: Example) -> EvalItem:
    task = context.domain.task(example.task)
    return EvalItem(example.id, task.name, example.prompt, [example.answer], task.scorer)


def _answer_all(context: Context, items: list[EvalItem], dev: list[EvalItem], adapters: list[str]) -> None:
    """Every model answers the eval items, and each adapter the dev rows too."""
    if dev:
        context.say(
            f"    {len(items)} eval items for every model; {len(dev)} kept-back rows for the adapters, to choose one"
        )
    for name in ["base", *adapters]:
        answer_files(context, name, {name: items} | ({f"{name}.dev": dev} if dev and name != "base" else {}))


def answer_files(context: Context, model: str, files: dict[str, list[EvalItem]]) -> None:
    """The base, or the adapter of the stage `model`, answers the items of each file of predictions that is not there yet."""
    missing = {file: rows for file, rows in files.items() if not _path(context, file).exists()}
    together = [item for rows in missing.values() for item in rows]  # one pass: fuller batches
    answers = iter(_answered(context, model, [Question(i.prompt, context.domain.task(i.task)) for i in together]))
    for file, rows in missing.items():
        _judge(context, file, rows, list(islice(answers, len(rows))))


def _answered(context: Context, model: str, questions: list[Question]) -> list[Answer]:
    """The model's answers, in order; what it answered in an earlier build of this domain is not asked again."""
    base, quantization = read_json(context.input("sft") / "base.json"), context.config.sft.quantization
    folder, before = Path(base["path"]), earlier_runs(context)
    own = context.input(model) / "adapter" if model != "base" else None
    adapter = best_adapter(before[model]) if model in before else own
    decoding = {"stop": base["stop"], "no_repeat_ngram": context.config.evaluate.no_repeat_ngram}
    kept = answers_of_weights(context.run_dir.parent, folder, adapter, quantization, **decoding)
    found = kept.find(questions)
    left = [place for place in range(len(questions)) if place not in found]
    if found:
        context.say(f"    {model}: {len(found)} of {len(questions)} answers are known from an earlier build")
    if left:
        loaded, tokenizer = load_answering(folder, quantization, adapter)
        answers = answer(
            loaded,
            tokenizer,
            [questions[place] for place in left],
            batch=context.config.evaluate.batch,
            **decoding,
            progress=Progress(context.say, f"{context.stage} {model}", len(left)),
            keep=kept.keep,
        )
        found |= dict(zip(left, answers, strict=True))
    return [found[place] for place in range(len(questions))]


def _path(context: Context, name: str) -> Path:
    return context.out / "predictions" / f"{name}.jsonl"


def _judge(context: Context, name: str, items: list[EvalItem], answers: list[Answer]) -> None:
    judged = context.domain.judged
    rows = (judged(item, found.text, found.truncated) for item, found in zip(items, answers, strict=True))
    write_records(_path(context, name), rows)


def _asked(context: Context, items: list[EvalItem]) -> list[Task]:
    """The chosen tasks, and the one of free questions where experts promoted some."""
    return [*context.domain.active(), *([FREE] if any(item.task == FREE.name for item in items) else [])]


def _judge_baseline(context: Context, name: str, baseline: Any, train: list[Example], items: list[EvalItem]) -> None:
    """Tasks that are asked in the same words are one to a baseline, as they are to a model."""
    alike: dict[tuple[Any, ...], list[Task]] = defaultdict(list)
    for task in _asked(context, items):
        alike[task.template, task.choices, task.separator].append(task)
    answers: dict[str, Answer] = {}
    for tasks in alike.values():
        names = {task.name for task in tasks}
        rows = [item for item in items if item.task in names]
        if rows:
            found = baseline(tasks[0], [example for example in train if example.task in names], rows)
            answers |= {item.id: Answer(text) for item, text in zip(rows, found, strict=True)}
    _judge(context, name, items, [answers[item.id] for item in items])


def scores_of(context: Context, name: str) -> Scores:
    """The scores of a file of predictions, by task."""
    return scores_by_task(read_records(_path(context, name), Prediction))


def _preferred(run: Path) -> list[Example]:
    """The pairs that a run's DPO trained on, as rows with the chosen answer; none where it was left out.

    The rejected one says nothing more: it is another answer to the same question, and learned to be avoided.
    """
    pairs = read_records(run / "prefer" / "pairs.jsonl", Preference) if (run / "dpo" / "adapter").exists() else []
    return [Example(pair.id, pair.task, pair.prompt, pair.chosen) for pair in pairs]


def _leaks(context: Context, items: list[EvalItem], rows: list[Example]) -> list[str]:
    """The rows that curate would drop as leaks; the slow comparison by meaning is not made again."""
    leaks = sieve_of(context.domain, items, same_meaning=0).leaks
    asked = {(context.domain.task(row.task).parts(row.question)[0], row.answer, row.task): row.id for row in rows}
    return [id for row, id in asked.items() if leaks.find(*row)]


def _result(context: Context, items: list[EvalItem], scores: dict[str, Scores], best: str) -> dict[str, Any]:
    resamples = context.config.evaluate.resamples
    rounds = list(earlier_runs(context))
    rivals = ["base", *rounds, *BASELINES] + (["sft"] if best != "sft" else [])
    differences = [
        {"better": "best", "worse": rival, "task": task, **row}
        for rival in rivals
        for task, row in compare(scores["best"], scores[rival], resamples).items()
    ]
    tasks = {
        task.name: {"title": task.title, "scorer": task.scorer, "n": sum(item.task == task.name for item in items)}
        for task in _asked(context, items)
    }
    return {
        "items": len(items),
        "eval_version": context.summary("ingest").get("eval_version", 1),
        "rounds": rounds,
        "eval_digest": context.summary("ingest")["eval_digest"],
        "review": context.summary("ingest").get("review", {}),
        "tasks": {name: task for name, task in tasks.items() if task["n"]},
        "models": {name: summarize(rows, resamples) for name, rows in scores.items()},
        "best": best,
        "differences": differences,
    }


def _gates(context: Context, result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the specialist must show; `detail` holds the figures that decide."""
    limits = context.config.evaluate.gates
    by_rival = {row["worse"]: row for row in result["differences"] if row["task"] == "mean"}
    gates = []
    not_below = [*limits.not_below, *result["rounds"][-1:]]
    for rivals, name, least in ((limits.above, "above", 0.0), (not_below, "not below", -limits.margin)):
        for rival in rivals:
            row = by_rival.get(rival)
            detail = f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]" if row else "not scored"
            if least:
                detail += f", margin {limits.margin:g}"
            clear = bool(row and row["low"] > least and (least or row["p"] < 0.05))
            gates.append({"name": f"{name} {rival}", "passed": clear, "detail": detail})
    gates.append({"name": "leak-free", "passed": result["leak_free"], "detail": "training rows against eval items"})
    answers = read_records(_path(context, result["best"]), Prediction)
    kept = sum(bool(row.prediction.strip()) and not row.truncated for row in answers)
    detail = f"{kept} of {len(answers)} answers are not empty and end by themselves, at least {limits.format:.0%} must"
    gates.append({"name": "format", "passed": kept >= limits.format * len(answers), "detail": detail})
    return gates


STAGE = Stage(
    "evaluate",
    run,
    reads=("ingest", "curate", "sft", "prefer", "dpo"),
    settings=("evaluate",),
    watches=lambda context: code_parts(context) | adapter_mark(context) | rows_mark(context),
    version=9,  # leaks are looked for in the pairs, too
)
