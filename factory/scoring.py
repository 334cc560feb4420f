"""Any model on a domain's frozen eval set: a run's own, another run's, a folder, a GGUF, an address, or scores that others published.

A model answers the very items, with the very prompts, that the scoreboard is made from; its answers are kept in the domain's
answers.sqlite by the model's digest, so that nothing is computed twice.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from factory.addresses import is_address
from factory.answers import FILE, Answers, answers_of_weights, weights_digest
from factory.build import open_run, run_domain
from factory.domain import Domain
from factory.errors import FactoryError
from factory.files import digest, read_json, sha256
from factory.generate import Answer, Question, answer
from factory.gguf_check import gguf_parameters
from factory.llama import open_llama, room_for
from factory.models import check_folder, load_answering, own_ends, weights_parameters
from factory.predict import MODELS, gguf_files, resolve_model
from factory.progress import Progress
from factory.records import EvalItem, Message, eval_digest, read_records, scores_by_task, write_records
from factory.references import Cells, Reference, answers_file, differing, standard
from factory.stage import Say, manifest
from factory.statistics import summarize, wilson
from factory.teacher import Again, answers_of, open_teacher

Keep = Callable[[list[tuple[Question, Answer]]], None]
COLUMNS = ("model", "task", "score", "n")
KINDS = (
    "base, sft, dpo, best, RUN:sft, a folder with config.json, FILE.gguf, an export's folder, "
    "http://ADDRESS/v1 or http://ADDRESS/v1#MODEL, or a CSV file of published scores (model, task, score, n)"
)


def score_model(domain: str, run: str, model: str, say: Say, again: bool = False) -> list[Reference]:
    """The scores of `model` (see KINDS) on the run's eval set; a CSV file holds those of several models, the run's own are known.

    The answers behind them are written into the run (factory.references.answers_file). `again`: those that are kept do not count.
    """
    if model in MODELS:
        say(f"    {model} is on the scoreboard as it is")
        return []
    folder, plugin = open_run(domain, run), run_domain(domain, run)
    items, questions = eval_questions(folder, plugin)
    mark = standard(plugin, eval_digest(items))
    if model.endswith(".csv"):
        return _published(plugin, Path(model).expanduser(), mark, items, say)
    one = find_model(folder, plugin, model, again)
    answers = _answers(one, questions, say, again)
    judged = [plugin.judged(item, found.text, found.truncated) for item, found in zip(items, answers, strict=True)]
    write_records(answers_file(folder, one.name), judged)
    scores = scores_by_task(judged)
    cells, bare = summarize(scores, plugin.config.evaluate.resamples), sum(found.bare for found in answers)
    if bare:
        say(f"    {one.name}: {bare} of {len(answers)} answers have not the form that was asked for, and score 0; the same command asks for them again")  # fmt: skip
    return [Reference(one.name, one.kind, model, cells, mark, one.digest, one.parameters, one.tuned, scores, bare)]


def _answers(model: Model, questions: Sequence[Question], say: Say, again: bool) -> list[Answer]:
    """A model's answers, in order; what it answered before is not asked again, unless `again`."""
    found = {} if again else model.kept.find(questions)
    left = [place for place in range(len(questions)) if place not in found]
    if left:
        asked = [questions[place] for place in left]
        with model.open(asked) as opened:
            answers = opened.ask(asked, Progress(say, model.name, len(asked)), model.kept.keep)
        model.kept.keep(zip(asked, answers, strict=True))
        found |= dict(zip(left, answers, strict=True))
    return [found[place] for place in range(len(questions))]


def eval_questions(folder: Path, plugin: Domain) -> tuple[list[EvalItem], list[Question]]:
    """A run's eval items, and each as a model is asked it."""
    if not (folder / "ingest" / "eval.jsonl").exists():
        manifest(folder, "ingest")  # says which command makes it
    items = read_records(folder / "ingest" / "eval.jsonl", EvalItem)
    return items, [Question(item.prompt, plugin.task(item.task)) for item in items]


class Ask(Protocol):
    """Answers questions, in order; `keep` may be given each batch as it is answered."""

    def __call__(
        self, questions: Sequence[Question], progress: Progress, keep: Keep | None = None
    ) -> Sequence[Answer]: ...


@dataclass(frozen=True)
class Opened:
    """A model that answers. `count`: the tokens of a prompt, as it reads them (None: not told)."""

    ask: Ask
    count: Callable[[list[Message]], int] | None = None


@dataclass(frozen=True)
class Model:
    """What can be scored: its name on the scoreboard, what is known of it, the answers that it gave, and how to open it."""

    name: str
    kind: str  # run, folder, gguf, export or address
    digest: str
    kept: Answers
    open: Callable[[Sequence[Question]], AbstractContextManager[Opened]]  # with room for these questions
    parameters: int = 0  # 0: not known
    tuned: bool = False


def find_model(folder: Path, plugin: Domain, model: str, again: bool = False) -> Model:
    """The model of a name, a path or an address (see KINDS); FactoryError for what is none. `again`: an address answers all anew."""
    if is_address(model):
        return _address(folder.parent, model, "all" if again else "bare")
    note = Path(model).expanduser() / "export.json"
    if model.endswith(".gguf") or (note.exists() and read_json(note).get("file", "").endswith(".gguf")):
        return _gguf(folder, plugin, model)
    return _transformers(folder, plugin, model)


def _gguf(folder: Path, plugin: Domain, model: str) -> Model:
    base, adapters = gguf_files(model)
    rules = {
        "stop": read_json(folder / "sft" / "base.json")["stop"],
        "no_repeat_ngram": plugin.config.evaluate.no_repeat_ngram,
    }
    mark = digest([sha256(file) for file in (base, *adapters)])

    @contextmanager
    def by_llama(questions: Sequence[Question]) -> Iterator[Opened]:
        with open_llama(base, adapters, context=room_for(questions)) as llama:
            yield Opened(
                lambda asked, progress, keep=None: llama.answer(asked, **rules, progress=progress),
                lambda messages: len(llama.tokenize(llama.render(messages), special=True)),
            )

    path = Path(model).expanduser()
    note = next((place for place in (path / "export.json", path.parent / "export.json") if place.exists()), None)
    tuned = bool(adapters) or (note is not None and read_json(note).get("model") != "base")
    kind, kept = "export" if note else "gguf", Answers(folder.parent / FILE, mark, **rules)
    return Model(path.name if path.is_dir() else path.stem, kind, mark, kept, by_llama, gguf_parameters(base), tuned)


def _transformers(folder: Path, plugin: Domain, model: str) -> Model:
    own, _, stage = model.rpartition(":")
    weights, adapter, quantization, ends = _weights(folder, plugin, own, stage)
    evaluate = plugin.config.evaluate
    kept = answers_of_weights(folder.parent, weights, adapter, quantization, ends, evaluate.no_repeat_ngram)

    @contextmanager
    def by_torch(_: Sequence[Question]) -> Iterator[Opened]:
        loaded, tokenizer = load_answering(weights, quantization, adapter)
        rules: dict[str, Any] = {"stop": ends, "no_repeat_ngram": evaluate.no_repeat_ngram, "batch": evaluate.batch}

        yield Opened(
            lambda asked, progress, keep=None: answer(loaded, tokenizer, asked, **rules, progress=progress, keep=keep),
            lambda messages: len(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]),
        )

    name = model if own or stage in MODELS else Path(model).name
    kind = "run" if stage in MODELS else "folder"
    mark, note = weights_digest(weights, adapter), weights / "export.json"
    tuned = adapter is not None or (note.exists() and read_json(note).get("model") != "base")
    return Model(name, kind, mark, kept, by_torch, weights_parameters(weights), tuned)


def _weights(folder: Path, plugin: Domain, run: str, stage: str) -> tuple[Path, Path | None, str, list[str]]:
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
        check_folder(path)
        return path, None, "none", own_ends(path)
    raise FactoryError(f"'{stage}' is no model that can be scored.", f"It may be: {KINDS}.")


def _address(runs: Path, model: str, again: Again) -> Model:
    address, _, named = model.partition("#")
    with open_teacher(address, named, again=again) as found:
        teacher = found  # an address has nothing to close

    @contextmanager
    def by_address(_: Sequence[Question]) -> Iterator[Opened]:
        yield Opened(lambda asked, progress, keep=None: answers_of(teacher, asked, progress))

    mark = digest(["address", address, teacher.model])
    kept = Answers(runs / FILE, mark, bare=False)  # those of an earlier version, which kept bare answers, do not count
    return Model(teacher.model, "address", mark, kept, by_address)


def _published(plugin: Domain, path: Path, mark: str, items: Sequence[EvalItem], say: Say) -> list[Reference]:
    """Scores that others published, and a line for each task of which they had another number of items than the run."""
    found, here = published(plugin, path, mark, say), dict(Counter(item.task for item in items)) | {"mean": len(items)}
    differ = Counter((task, one.cells[task]["n"], far) for one in found for task, far in differing(one, here).items())
    for (task, n, far), models in differ.items():
        told = "other items, kept apart from the run's scores" if far else "nearly the same items"
        if task != "mean":
            say(f"    {path.name}: {task}: n {n}, here {here.get(task, 0)}: {told} ({models} of {len(found)} models)")
    return found


def published(plugin: Domain, path: Path, mark: str, say: Say) -> list[Reference]:
    """Scores that others published for items that should be the run's: columns model, task (a name or an alias), score (of 100) and n.

    The intervals are Wilson's, as of a rate. A mean is given where every task of the domain has a score. A column
    `parameters` (7e9) tells a model's size and makes it a rung of the ladder.
    """
    found: dict[str, Cells] = defaultdict(dict)
    sizes: dict[str, int] = {}
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
    others: Counter[str] = Counter()
    for number, row in enumerate(rows, 2):
        if (task := names.get(row["task"])) is None:
            others[str(row["task"])] += 1
            continue
        if not row["model"] or task in found[row["model"]]:
            why = f"a second score of {row['model']} on {row['task']}" if row["model"] else "no model"
            raise FactoryError(f"{path}:{number}: {why}.", f"A row is {','.join(COLUMNS)}.")
        try:
            score, n, size = float(row["score"]), int(row["n"]), float(row.get("parameters") or 0)
            if not (0 <= score <= 100 and n > 0 and 0 <= size < math.inf):
                raise ValueError
        except (TypeError, ValueError):
            raise FactoryError(
                f"{path}:{number}: score '{row['score']}', n '{row['n']}' or parameters '{row.get('parameters') or ''}' is no figure.",
                "A score is 0 to 100, n and parameters are counts.",
            ) from None
        low, high = wilson(score / 100 * n, n)
        found[row["model"]][task] = {"score": score, "low": round(100 * low, 2), "high": round(100 * high, 2), "n": n}
        sizes[row["model"]] = int(size)
    if not found:
        raise FactoryError(
            f"{path} has no score of a task of '{plugin.config.name}'.", f"Its tasks: {', '.join(sorted(names))}."
        )
    if others:
        told = ", ".join(f"{task} {count}" for task, count in sorted(others.items()))
        say(f"    {path.name}: rows of tasks that this run has not, left out: {told}")
    for cells in found.values():
        if len(cells) == len(plugin.active()):
            cells["mean"] = _mean(cells)
    return [
        Reference(name, "published", str(path), cells, mark, sha256(path), sizes[name]) for name, cells in found.items()
    ]


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
