"""The domain contract, and how domains are found: ./domains first, then entry points of the group `factory.domains`."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar

from factory.config import Config, load_config
from factory.errors import FactoryError, suggest
from factory.files import read_json
from factory.records import Document, EvalItem, Example, Message, Passage, Prediction, read_rows
from factory.scorers import Judge, Scorer, find

GROUP = "factory.domains"


@dataclass(frozen=True)
class Task:
    """One kind of question.

    `choices` closes the answer space: every model's decoding is held to these labels; `separator` joins several of them
    where more than one may hold. `template` turns a row's `input` into the question. `aliases` are names that other
    people's files give the task. `about` says how a passage and a question about it make an input: the app then looks up
    the passage.
    """

    name: str
    title: str
    scorer: str
    template: str = "{input}"
    choices: tuple[str, ...] = ()
    separator: str = ""
    max_new_tokens: int = 64
    aliases: tuple[str, ...] = ()
    about: str = ""  # with {passage} and {question}

    def bare(self, question: str) -> str:
        """The input inside a question: what the template put around it is taken off."""
        before, _, after = self.template.partition("{input}")
        return question.removeprefix(before).removesuffix(after)

    def parts(self, question: str) -> tuple[str, str]:
        """The text that a question is about and what it asks of it; without `about` the whole input, and nothing."""
        text = self.bare(question)
        before, has_passage, rest = self.about.partition("{passage}")
        middle, has_question, after = rest.partition("{question}")
        text = text.removeprefix(before)
        if not has_passage or not has_question:
            return text.removesuffix(rest), ""
        passage, _, asked = text.removesuffix(after).rpartition(middle)
        return passage, asked


FREE = Task("free", "Free question", "rouge_l", max_new_tokens=256)  # of no task: as people ask in the app


_KINDS = {
    bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", tuple: "a list"
}  # fmt: skip


class Domain:
    """A plugin: a folder with domain.toml and a subclass of this in domain.py."""

    options: ClassVar[Mapping[str, Any]] = {}  # the defaults of [options] in domain.toml

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        where = folder / "domain.toml"
        for key, value in config.options.items():
            if key not in self.options:
                raise FactoryError(f"{where}: unknown key 'options.{key}'.", suggest(key, self.options))
            default = self.options[key]
            wanted = _KINDS.get(type(default))
            if wanted and wanted != _KINDS.get(type(value)):
                raise FactoryError(f"{where}: options.{key} = {value!r} is not {wanted}.", f"Its default: {default!r}")
        for name in (*config.tasks, *config.sft.task_epochs):
            self.task(name)

    # What a domain supplies

    def tasks(self) -> Sequence[Task]:
        """Every task that the domain knows."""
        raise NotImplementedError

    def documents(self, source: Path | None) -> Iterable[Document]:
        """The documents below `source`, or the embedded sample when there is none."""
        raise NotImplementedError

    def passages(self, document: Document) -> Iterable[Passage]:
        """Cut a document; by default paragraphs of up to about 1200 characters."""
        text = ""
        number = 0
        for block in [*re.split(r"\n\s*\n", document.text), ""]:
            if text and (not block or len(text) + len(block) > 1200):
                yield passage_of(document, text, number)
                number, text = number + 1, ""
            text = f"{text}\n\n{block}".strip()

    def examples(self, passages: Sequence[Passage]) -> Iterable[Example]:
        """Training examples by rule from the passages that training may see."""
        return ()

    def eval_items(self, passages: Sequence[Passage], source: Path | None) -> Iterable[EvalItem]:
        """The frozen eval set: by default evals/*.jsonl. `passages` are those that training never sees."""
        return self.frozen_items()

    def taught(self, passage: Passage, question: str) -> tuple[Task, str]:
        """The task and input of a question that a teacher wrote about a passage: by default that of [synthesize] task."""
        wanted = self.config.synthesize.task
        about = [task for task in self.active() if task.about and not task.choices]
        named = [task for task in about if task.name == (wanted or "ask")] or ([] if wanted else about)
        if not named:
            raise FactoryError(
                f"'{self.config.name}' has no task for a teacher's questions about passages.",
                "Give one in domain.py an `about` with {passage} and {question}, and name it: [synthesize] task = ...",
            )
        return named[0], named[0].about.format(passage=passage.text, question=question)

    def scorers(self) -> Mapping[str, Scorer]:
        """Scorers beside the built-in ones; one with a third parameter `question` gets the question (and a text in it), too."""
        return {}

    def clean(self, task: Task, text: str) -> str:
        """Prepare a row's `input` for the question: cut it, strip marks."""
        return text.strip()

    # What the factory asks

    def option(self, name: str) -> Any:
        return self.config.options.get(name, self.options[name])

    def task(self, name: str, where: str = "") -> Task:
        """A task by name or alias; `where` (file:line) begins the error for an unknown one."""
        for task in self.tasks():
            if name == task.name or name in task.aliases:
                return task
        if name == FREE.name:
            return FREE
        raise FactoryError(
            f"{where + ': ' if where else ''}domain '{self.config.name}' has no task '{name}'.",
            suggest(name, [task.name for task in self.tasks()]),
        )

    def active(self) -> list[Task]:
        """The tasks that config and command line chose."""
        chosen = [self.task(name).name for name in self.config.tasks]
        return [task for task in self.tasks() if not chosen or task.name in chosen]

    def prompt(self, task: Task | None, text: str) -> list[Message]:
        """The messages that every model gets for this question."""
        question = task.template.format(input=self.clean(task, text)) if task else text
        system = [{"role": "system", "content": self.config.system_prompt}] if self.config.system_prompt else []
        return [*system, {"role": "user", "content": question}]

    def scorer(self, name: str, where: str = "") -> Judge:
        """A scorer by name, called with (prediction, references, question) whether it reads the question or not."""
        found = find(name, dict(self.scorers()), where)
        if "question" in inspect.signature(found).parameters:
            return found
        return lambda prediction, references, question: found(prediction, references)

    def judged(self, item: EvalItem, text: str, truncated: bool = False) -> Prediction:
        """An answer to an eval item, with its score."""
        score = round(self.scorer(item.scorer)(text, item.references, item.question), 6)
        return Prediction(item.id, item.task, item.question, item.references, text, score, truncated)

    def frozen_items(self) -> Iterator[EvalItem]:
        """The rows of evals/*.jsonl: `id`, `task`, `input`, `reference` (a text or a list), optional `scorer`, `draft`.

        What an expert decided in the app (evals/reviews.json) holds: a rejected row is left out, a changed answer counts.
        """
        reviews = read_reviews(self.folder)
        for path in sorted((self.folder / "evals").glob("*.jsonl")):
            for number, row in read_rows(path):
                where = f"{path}:{number}"
                form = "An eval row is {id, task, input, reference}: texts; reference may be a list of texts."
                missing = [key for key in ("id", "task", "input", "reference") if not row.get(key)]
                if missing:
                    raise FactoryError(f"{where}: '{missing[0]}' is missing.", form)
                references = row["reference"] if isinstance(row["reference"], list) else [row["reference"]]
                if not all(isinstance(text, str) for text in (row["id"], row["task"], row["input"], *references)):
                    raise FactoryError(f"{where}: id, task, input and reference must be texts.", form)
                task = self.task(row["task"], where)
                scorer = str(row.get("scorer") or task.scorer)
                self.scorer(scorer, where)
                review = reviews.get(row["id"], {})
                if review.get("verdict") == "rejected":
                    continue
                references = [review["reference"]] if review.get("reference") else references
                state = "approved" if review else "draft" if row.get("draft") else ""
                provenance = {
                    "file": path.name, "document": row.get("document", ""), "passage": row.get("passage", ""), "state": state
                }  # fmt: skip
                yield EvalItem(row["id"], task.name, self.prompt(task, row["input"]), references, scorer, provenance)

    def make_example(self, task: Task, passage: Passage, text: str, answer: str, number: int = 0) -> Example:
        """An example by rule, with its provenance."""
        return Example(
            f"{passage.id}/{task.name}/{number}",
            task.name,
            self.prompt(task, text),
            [{"role": "assistant", "content": answer}],
            {"kind": "rule", "passage": passage.id, "source": passage.source},
        )

    def make_item(self, task: Task, passage: Passage, text: str, answer: str, number: int = 0) -> EvalItem:
        """An eval item by rule from a passage that training never sees."""
        provenance = {"file": passage.source, "document": passage.document, "passage": passage.id}
        return EvalItem(
            f"{passage.id}/{task.name}/{number}", task.name, self.prompt(task, text), [answer], task.scorer, provenance
        )


def passage_of(document: Document, text: str, number: int = 0, **meta: Any) -> Passage:
    """A passage that carries its document's title, language, licence, source and split."""
    return Passage(
        f"{document.id}#{number}", document.id, text, document.title, document.language, document.license,
        document.source, document.split, {**document.meta, **meta},
    )  # fmt: skip


def read_reviews(folder: Path) -> dict[str, Mapping[str, str]]:
    """What experts decided on a domain's eval rows, by id: `verdict` (approved, rejected), `reference`, `at`."""
    path = folder / "evals" / "reviews.json"
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict) or not all(isinstance(review, dict) for review in found.values()):
        raise FactoryError(f"{path} is not what the app writes.", 'It holds {"ID": {"verdict": "approved"}, ...}.')
    return found


# Discovery


@dataclass(frozen=True)
class Found:
    """Where a domain was found."""

    name: str
    folder: Path
    origin: str  # "./domains" or the distribution that installed it
    kind: type[Domain]


def domain_places(local: Path | None = None) -> dict[str, EntryPoint | Path]:
    """Where each domain is, none loaded. A folder ./domains/<name> wins over an installed domain of the same name."""
    folders = {file.parent.name: file.parent.resolve() for file in (local or Path("domains")).glob("*/domain.toml")}
    return {**{point.name: point for point in entry_points(group=GROUP)}, **dict(sorted(folders.items()))}


def find_domain(name: str, local: Path | None = None) -> Found:
    """A domain by name; the others are not loaded, so that a broken one breaks itself alone.

    Raises FactoryError where there is none of this name, or it does not load.
    """
    places = domain_places(local)
    if name not in places:
        raise FactoryError(
            f"Unknown domain '{name}' (looked in {(local or Path('domains')).resolve()} and among installed packages).",
            suggest(name, places),
        )
    place = places[name]
    return _from_folder(place) if isinstance(place, Path) else _from_entry_point(place)


def load_domain(name: str, overrides: list[str] | None = None, local: Path | None = None) -> Domain:
    """A domain by name, with `section.key=value` overrides applied; `local`: another folder than ./domains."""
    entry = find_domain(name, local)
    return entry.kind(load_config(entry.folder / "domain.toml", overrides), entry.folder)


def _from_entry_point(point: EntryPoint) -> Found:
    try:
        kind = point.load()
    except Exception as error:
        raise FactoryError(
            f"Domain '{point.name}' ({point.value}) does not load: {error}", "Mend or uninstall its package."
        ) from error
    if not (inspect.isclass(kind) and issubclass(kind, Domain)):
        raise FactoryError(f"Entry point '{point.name}' ({point.value}) is no Domain class.", "See docs/domains.md.")
    origin = point.dist.name if point.dist else "installed"
    return Found(point.name, Path(inspect.getfile(kind)).resolve().parent, origin, kind)


def _from_folder(folder: Path) -> Found:
    path = folder / "domain.py"
    if not path.exists():
        raise FactoryError(f"{folder} has no domain.py.", "A domain folder holds domain.toml and domain.py.")
    package = types.ModuleType(f"factory_local_domain_{folder.name}")  # no dot: its parent would be imported
    package.__path__ = [str(folder)]  # so that domain.py may import its neighbours: from . import rules
    name = f"{package.__name__}.domain"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FactoryError(f"{path} cannot be loaded.", "Is it a Python file?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package.__name__], sys.modules[name] = package, module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise FactoryError(f"{path} does not load: {type(error).__name__}: {error}", "Mend that file.") from error
    own = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == name]
    kinds = [kind for kind in own if issubclass(kind, Domain)]
    if len(kinds) != 1:
        raise FactoryError(f"{path} defines {len(kinds)} Domain classes.", "It must define exactly one.")
    return Found(folder.name, folder, "./domains", kinds[0])
