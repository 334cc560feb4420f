"""Any model on a domain's frozen eval set: a run's own, another run's, a folder, a GGUF, an address, or scores that others published.

A model answers the very items, with the very prompts, that the scoreboard is made from; its answers are kept in the domain's
answers.sqlite by the model's digest, so that nothing is computed twice.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from factory.answers import FILE, Answers, answers_of_weights
from factory.build import open_run, run_domain
from factory.domain import Domain
from factory.errors import FactoryError
from factory.files import digest, read_json, sha256
from factory.generate import Answer, Question, answer
from factory.llama import open_llama, room_for
from factory.models import load_answering
from factory.predict import MODELS, gguf_files, resolve_model
from factory.progress import Progress
from factory.records import EvalItem, read_records
from factory.stage import Say, manifest
from factory.statistics import summarize, wilson
from factory.teacher import answers_of, open_teacher

Cells = dict[str, dict[str, float]]  # score, low, high (of 100) and n, by task and "mean"
COLUMNS = ("model", "task", "score", "n")
KINDS = (
    "base, sft, dpo, best, RUN:sft, a folder with config.json, FILE.gguf, an export's folder, "
    "http://ADDRESS/v1 or http://ADDRESS/v1#MODEL, or a CSV file of published scores (model, task, score, n)"
)


def score_model(domain: str, run: str, model: str, say: Say) -> dict[str, Cells]:
    """The scores of `model` (see KINDS) on the run's eval set by the name that the scoreboard shows; a CSV file holds several."""
    folder, plugin = open_run(domain, run), run_domain(domain, run)
    if not (folder / "ingest" / "eval.jsonl").exists():
        manifest(folder, "ingest")  # says which command makes it
    if model.endswith(".csv"):
        return published(plugin, Path(model).expanduser())
    name, kept, ask = _opened(folder, plugin, model)
    items = read_records(folder / "ingest" / "eval.jsonl", EvalItem)
    questions = [Question(item.prompt, plugin.task(item.task)) for item in items]
    found = kept.find(questions)
    left = [place for place in range(len(questions)) if place not in found]
    if left:
        asked = [questions[place] for place in left]
        answers = ask(asked, Progress(say, name, len(asked)))
        kept.keep(zip(asked, answers, strict=True))
        found |= dict(zip(left, answers, strict=True))
    scores: dict[str, list[float]] = defaultdict(list)
    for place, item in enumerate(items):
        scores[item.task].append(plugin.scorer(item.scorer)(found[place].text, item.references, item.question))
    return {name: summarize(scores, plugin.config.evaluate.resamples)}


Asker = Callable[[Sequence[Question], Progress], Sequence[Answer]]


def _opened(folder: Path, plugin: Domain, model: str) -> tuple[str, Answers, Asker]:
    """The model's name on the scoreboard, the answers that it gave before, and what answers for it."""
    runs, evaluate = folder.parent, plugin.config.evaluate
    if model.startswith(("http://", "https://")):
        return _address(runs, model)
    if model.endswith(".gguf") or (Path(model) / "export.json").exists():
        base, adapters = gguf_files(model)
        stop = read_json(folder / "sft" / "base.json")["stop"]

        def by_llama(questions: Sequence[Question], progress: Progress) -> Sequence[Answer]:
            with open_llama(base, adapters, context=room_for(questions)) as llama:
                return llama.answer(questions, stop=stop, no_repeat_ngram=evaluate.no_repeat_ngram, progress=progress)

        mark = digest([sha256(file) for file in (base, *adapters)])
        rules = {"stop": stop, "no_repeat_ngram": evaluate.no_repeat_ngram}
        return Path(model).stem, Answers(runs / FILE, mark, **rules), by_llama
    own, _, stage = model.rpartition(":")
    weights, adapter, quantization, ends = _transformers(folder, plugin, own, stage)

    kept = answers_of_weights(runs, weights, adapter, quantization, ends, evaluate.no_repeat_ngram)

    def by_torch(questions: Sequence[Question], progress: Progress) -> Sequence[Answer]:
        loaded, tokenizer = load_answering(weights, quantization, adapter)
        return answer(
            loaded,
            tokenizer,
            questions,
            batch=evaluate.batch,
            stop=ends,
            no_repeat_ngram=evaluate.no_repeat_ngram,
            progress=progress,
            keep=kept.keep,  # batch by batch: a killed evaluation goes on
        )

    return model if own or stage in MODELS else Path(model).name, kept, by_torch


def _transformers(folder: Path, plugin: Domain, run: str, stage: str) -> tuple[Path, Path | None, str, list[str]]:
    """Weights, adapter, quantization and stop words of a run's model, or of a folder in transformers' layout."""
    if stage in MODELS:
        of = open_run(folder.parent.name, run) if run else folder
        manifest(of, "sft")
        base = read_json(of / "sft" / "base.json")
        name = resolve_model(of, stage)
        adapter = of / name / "adapter" if name != "base" else None
        other = run_domain(folder.parent.name, of.name)
        return Path(base["path"]), adapter, other.config.sft.quantization, base["stop"]
    path = Path(stage).expanduser()
    if (path / "config.json").exists():
        return path, None, "none", []
    raise FactoryError(f"'{stage}' is no model that can be scored.", f"It may be: {KINDS}.")


def _address(runs: Path, model: str) -> tuple[str, Answers, Asker]:
    address, _, named = model.partition("#")
    with open_teacher(address, named) as found:
        teacher = found  # an address has nothing to close

    def by_address(questions: Sequence[Question], progress: Progress) -> Sequence[Answer]:
        return [Answer(text) for text in answers_of(teacher, questions, progress)]

    return teacher.model, Answers(runs / FILE, digest(["address", address, teacher.model])), by_address


def published(plugin: Domain, path: Path) -> dict[str, Cells]:
    """Scores that others published for the same items: columns model, task (a name or an alias), score (of 100) and n.

    The intervals are Wilson's, as of a rate. A mean is given where every task of the domain has a score.
    """
    found: dict[str, Cells] = defaultdict(dict)
    names = {name: task.name for task in plugin.active() for name in (task.name, *task.aliases)}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FactoryError(
            f"{path} cannot be read: {error}.", f"A CSV file with the columns {', '.join(COLUMNS)}."
        ) from error
    if rows and (missing := [column for column in COLUMNS if column not in rows[0]]):
        raise FactoryError(f"{path} has no column {missing[0]}.", f"It needs the columns {', '.join(COLUMNS)}.")
    for number, row in enumerate(rows, 2):
        if (task := names.get(row["task"])) is None:
            continue
        try:
            score, n = float(row["score"]), int(row["n"])
            if not (0 <= score <= 100 and n > 0):
                raise ValueError
        except (TypeError, ValueError):
            raise FactoryError(
                f"{path}:{number}: score '{row['score']}' or n '{row['n']}' is no figure.",
                "A score is 0 to 100, n a count.",
            ) from None
        low, high = wilson(score / 100 * n, n)
        found[row["model"]][task] = {"score": score, "low": round(100 * low, 2), "high": round(100 * high, 2), "n": n}
    if not found:
        raise FactoryError(
            f"{path} has no score of a task of '{plugin.config.name}'.", f"Its tasks: {', '.join(sorted(names))}."
        )
    for cells in found.values():
        if len(cells) == len(plugin.active()):
            cells["mean"] = _mean(cells)
    return dict(found)


def _mean(cells: Cells) -> dict[str, Any]:
    """Each task counts the same; the interval from the tasks' own, as independent."""
    count = len(cells)
    score = sum(cell["score"] for cell in cells.values()) / count
    half = sum(((cell["high"] - cell["low"]) / 2) ** 2 for cell in cells.values()) ** 0.5 / count
    return {
        "score": round(score, 2),
        "low": round(max(0.0, score - half), 2),
        "high": round(min(100.0, score + half), 2),
        "n": sum(int(cell["n"]) for cell in cells.values()),
    }
