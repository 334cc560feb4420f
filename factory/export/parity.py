"""Parity: does the exported artifact answer the frozen eval set as the trained model does? If not, why.

The artifact answers with the template and the tokens that it carries. The trained model, in fp32 and over the weights that the
adapter was trained on, then reads each answer: where it would have written another token, the two part.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.export.causes import prompt_cause, rest_cause, weights_cause
from factory.export.opened import PLAIN_KINDS, Artifact, files_of, open_artifact
from factory.export.reading import Reading, load_plain, mean_difference, read_answers
from factory.generate import Question
from factory.llama import Told, room_for
from factory.progress import Progress
from factory.records import EvalItem, Prediction, read_records
from factory.weights.job import PLAIN, Job, base_weights

LOSSLESS = (*PLAIN, "q8_0", "")
EXAMPLES = 5  # answers shown that part from the trained model's


@dataclass(frozen=True)
class Row:
    """One eval item as the artifact answered it."""

    item: EvalItem
    told: Told
    reading: Reading
    score: float
    kept: Prediction  # the trained model's answer, as evaluation kept it


def check_parity(job: Job, folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """What export.json keeps under `parity`; `passed` false where a limit of [export] is past, with the likely `cause`."""
    items, kept = _items(job)
    questions = [Question(item.prompt, job.domain.task(item.task)) for item in items]
    cause = None
    try:
        if job.order.kind not in PLAIN_KINDS:
            cause = weights_cause(job, *files_of(folder, made))
        with open_artifact(job, folder, made, room_for(questions)) as artifact:
            cause = cause or prompt_cause(job, artifact, questions)
            told = _ask(job, artifact, questions)
    except FactoryError as error:
        name, why = cause or ("file", f"{error.message} {error.hint}".strip())
        return {"passed": False, "items": 0, "cause": name, "why": why}
    rows = _rows(job, items, questions, told, kept)
    result = _measured(job, rows)
    for line in _table(result):
        job.say(line)
    past = _past(job, result)
    if past:
        missed = [_ends_missed(job, row) for row in rows if row.reading.parts_at is not None]
        name, why = cause or rest_cause(job, sum(missed) / max(1, len(missed)))
        return {"passed": False, **result, "past": past, "cause": name, "why": why}
    return {"passed": True, **result} | ({"warning": cause[1]} if cause else {})


def require_parity(parity: dict[str, Any], target: Path) -> None:
    """FactoryError for an artifact that does not answer as the trained model did; it stays, marked so."""
    if not parity["passed"]:
        past = f" ({'; '.join(parity['past'])})" if parity.get("past") else ""
        raise FactoryError(
            f"The export does not answer as the trained model does{past}. Likely cause, {parity['cause']}: {parity['why']}",
            f"It is kept in {target}, marked in export.json; the limits are [export] in domain.toml.",
        )


def _table(result: dict[str, Any]) -> list[str]:
    head = f"    {'task':14} {'n':>4} {'trained':>8} {'export':>8} {'same answer':>12}"
    rows = [
        f"    {name:14} {row['n']:>4} {row['trained']:>8.1f} {row['score']:>8.1f} {row['identical']:>11.1f}%"
        for name, row in {**result["tasks"], "mean": result["mean"]}.items()
    ]
    first, apart = result["first_difference"], result["logprob_difference"]
    parts = f"; answers part first at token {first['median_position']} (median)" if first["answers"] else ""
    return [
        head,
        *rows,
        f"    log-probability {'not told' if apart is None else f'differs by {apart:.4f} a token'}{parts}",
    ]


def _items(job: Job) -> tuple[list[EvalItem], dict[str, Prediction]]:
    path = job.run_dir / "evaluate" / "predictions" / f"{job.model}.jsonl"
    if not path.exists():
        raise FactoryError(
            f"Nothing to compare the export with: {path} does not exist.", f"Run: factory eval {job.domain.config.name}"
        )
    kept = {row.id: row for row in read_records(path, Prediction)}
    most = job.domain.config.export.parity_items
    by_task: dict[str, list[EvalItem]] = defaultdict(list)
    for item in read_records(job.run_dir / "ingest" / "eval.jsonl", EvalItem):
        if item.id in kept:
            by_task[item.task].append(item)
    if not by_task:
        raise FactoryError(
            f"Nothing to compare the export with: {path} answers no item of the eval set.",
            f"Run: factory eval {job.domain.config.name}",
        )
    return [item for rows in by_task.values() for item in _spread(rows, most)], kept


def _spread(rows: list[EvalItem], most: int) -> list[EvalItem]:
    """At most `most` of the rows (0: all), evenly out of their order."""
    if not most or most >= len(rows):
        return rows
    return [rows[place * len(rows) // most] for place in range(most)]


def _ask(job: Job, artifact: Artifact, questions: list[Question]) -> list[Told]:
    return artifact.answer(
        questions,
        no_repeat_ngram=job.domain.config.evaluate.no_repeat_ngram,
        logprobs=True,
        progress=Progress(job.say, "parity", len(questions)),
    )


def _rows(
    job: Job, items: list[EvalItem], questions: list[Question], told: list[Told], kept: dict[str, Prediction]
) -> list[Row]:
    config = job.domain.config
    model, tokenizer = load_plain(base_weights(job.base, config.sft.quantization, "trained", job.say), job.adapter)
    rules: dict[str, Any] = {
        "stop": job.base["stop"],
        "no_repeat_ngram": config.evaluate.no_repeat_ngram,
        "progress": Progress(job.say, "parity, the trained model reads", len(told)),
    }
    read = read_answers(model, tokenizer, questions, told, **rules)
    return [
        Row(item, one, reading, _score(job, item, one), kept[item.id])
        for item, one, reading in zip(items, told, read, strict=True)
    ]


def _score(job: Job, item: EvalItem, told: Told) -> float:
    return job.domain.scorer(item.scorer)(told.text, item.references, item.question)


def _measured(job: Job, rows: list[Row]) -> dict[str, Any]:
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row.item.task].append(row)
    tasks = {task: _task(found) for task, found in by_task.items()}
    mean = {key: round(statistics.mean(row[key] for row in tasks.values()), 2) for key in ("score", "trained")}
    parted = [row for row in rows if row.reading.parts_at is not None]
    same = 100 * (1 - len(parted) / len(rows))
    return {
        "items": len(rows),
        "tasks": tasks,
        "mean": {"n": len(rows), **mean, "identical": round(same, 2)},
        "kept_identical": round(100 * statistics.mean(row.told.text == row.kept.prediction for row in rows), 2),
        "logprob_difference": mean_difference([row.told.logprobs for row in rows], [row.reading for row in rows]),
        "first_difference": {
            "answers": len(parted),
            "median_position": round(statistics.median(row.reading.parts_at or 0 for row in parted)) if parted else None,
            "examples": [_example(job, row) for row in parted[:EXAMPLES]],
        },
    }  # fmt: skip


def _task(rows: list[Row]) -> dict[str, float]:
    """`trained`: where the trained model would have written the very same answer, its score is that answer's; the kept
    answers may have been written in a shorter type."""
    trained = [row.score if row.reading.parts_at is None else row.kept.score for row in rows]
    return {
        "n": len(rows),
        "score": round(100 * statistics.mean(row.score for row in rows), 2),
        "trained": round(100 * statistics.mean(trained), 2),
        "identical": round(100 * statistics.mean(row.reading.parts_at is None for row in rows), 2),
    }


def _example(job: Job, row: Row) -> dict[str, Any]:
    place = row.reading.parts_at or 0
    own = row.told.tokens[place] if place < len(row.told.tokens) else job.ends[0]
    words = job.tokenizer.convert_ids_to_tokens([own, row.reading.choices[place]])
    return {"id": row.item.id, "position": place, "export": words[0], "trained": words[1]}


def _ends_missed(job: Job, row: Row) -> bool:
    return row.reading.choices[row.reading.parts_at or 0] in job.ends


def _past(job: Job, result: dict[str, Any]) -> list[str]:
    """The limits that the artifact is past, in words."""
    limits = job.domain.config.export
    points = limits.parity_points if job.quant in LOSSLESS else limits.parity_points_small
    found = []
    for name, row in {**result["tasks"], "mean": result["mean"]}.items():
        allowed = points if name == "mean" else max(points, 100 / row["n"])
        if row["trained"] - row["score"] > allowed + 1e-9:
            found.append(f"{name} {row['score']:.1f} instead of {row['trained']:.1f}")
    if job.quant in ("", "f16", "f32") and result["mean"]["identical"] < limits.parity_identical:
        found.append(
            f"{result['mean']['identical']:.1f}% of the answers are the same, {limits.parity_identical:g}% asked"
        )
    return found
