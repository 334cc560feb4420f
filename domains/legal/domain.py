"""法律 (legal): statutes in Markdown and task files in JSON Lines (LawBench's rows) to eight kinds of questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from factory.documents import files, leave_out
from factory.domain import Domain, Task, passage_of
from factory.errors import FactoryError
from factory.files import read_text, utf8
from factory.records import Document, EvalItem, Example, Passage, read_rows
from factory.scorers import Scorer

from . import rules


class Legal(Domain):
    """Chinese law: the embedded sample in data/, or a source folder with statutes and task files."""

    options: ClassVar[Mapping[str, Any]] = {"cut": 120, "add_sample": True, "recite": True}

    def tasks(self) -> Sequence[Task]:
        return _tasks(self.folder)

    def documents(self, source: Path | None) -> Iterator[Document]:
        if source is None or self.option("add_sample"):
            sample = sorted((self.folder / "data").glob("*.jsonl"))
            yield from self._rows([(path.name, path) for path in sample], "sample", self.config.license)
        if source is not None:
            found = list(files(source, ".jsonl", ".md"))
            yield from self._rows((one for one in found if one[1].suffix.lower() == ".jsonl"), "source", "")
            for name, path in (one for one in found if one[1].suffix.lower() == ".md"):
                text = read_text(path)
                if re.search(r"^第.{1,9}条", text, re.MULTILINE):
                    place = Path(utf8(path))
                    yield Document(name, text, place.stem, "zh", "", str(place), "train", {"kind": "statute"})
                else:
                    leave_out(name, "no statute: no line begins with 第…条")

    def _rows(self, found: Iterable[tuple[str, Path]], prefix: str, license: str) -> Iterator[Document]:
        """A document for each row of the task files; a file named dev or test holds eval rows."""
        for file, path in found:
            split = "eval" if path.stem in ("dev", "test") else "train"
            for number, row in read_rows(path):
                if not all(isinstance(row.get(key), str) for key in ("task", "input", "answer")):
                    raise FactoryError(
                        f"{path}:{number} lacks task, input or answer as text.",
                        'A row is {"task": ..., "input": ..., "answer": ...}.',
                    )
                name = f"{prefix}/{Path(file).with_suffix('').as_posix()}/{row.get('index', number)}"
                task = self.task(row["task"], f"{path}:{number}").name
                if not row["input"].strip() or not rules.answer(task, row["answer"]):
                    leave_out(name, "no input, or no answer that can be read")
                    continue
                meta = {"kind": "row", "task": task, "answer": row["answer"]}
                yield Document(name, row["input"], "", "zh", license, utf8(path), split, meta)

    def passages(self, document: Document) -> Iterator[Passage]:
        if document.meta["kind"] == "row":
            yield passage_of(document, document.text)
            return
        for number, (article, text) in enumerate(rules.articles(document.text)):
            yield passage_of(document, text, number, article=article)

    def examples(self, passages: Sequence[Passage]) -> Iterator[Example]:
        wanted = set(self.config.tasks or [task.name for task in self.tasks()])
        for passage in passages:
            made = self._of_row(passage) if passage.meta["kind"] == "row" else self._of_article(passage, wanted)
            yield from made

    def _of_row(self, passage: Passage) -> Iterator[Example]:
        """The row itself; what it says besides (charge, articles) makes one more case for those tasks."""
        task = self.task(passage.meta["task"])
        yield self.make_example(task, passage, passage.text, rules.answer(task.name, passage.meta["answer"]))
        if task.name in ("articles", "term"):
            facts, charges = rules.named_charge(passage.text)
            if charges and all(charge in self.task("charge").choices for charge in charges.split(";")):
                yield self.make_example(self.task("charge"), passage, facts, charges)
        if task.name == "term":
            case, articles = rules.named_articles(passage.text)
            if articles:
                yield self.make_example(self.task("articles"), passage, case, articles)

    def _of_article(self, passage: Passage, wanted: Set[str]) -> Iterator[Example]:
        """An article of a statute to recite; one of the Criminal Law defines charges."""
        law = re.sub(r"\(.*?\)", "", passage.title)
        article = passage.meta["article"]
        if "recital" in wanted and self.option("recite"):
            yield self.make_example(self.task("recital"), passage, f"{law}{article}的内容是什么？", passage.text)
        if law != "刑法":
            return
        charges = _charges(self.folder).get(rules.article_number(article), [])
        if "charge" in wanted:
            for number, (definition, names) in enumerate(rules.offences(passage.text, charges)):
                yield self.make_example(self.task("charge"), passage, definition, names, number)

    def eval_items(self, passages: Sequence[Passage], source: Path | None) -> Iterable[EvalItem]:
        if source is None:
            yield from self.frozen_items()
            return
        for passage in passages:
            task = self.task(passage.meta["task"])
            yield self.make_item(task, passage, passage.text, rules.answer(task.name, passage.meta["answer"]))

    def clean(self, task: Task, text: str) -> str:
        text = rules.shorten(task.name, text, int(self.option("cut")))
        return rules.with_statute(text, _places(self.folder)) if task.name == "articles" else text

    def scorers(self) -> Mapping[str, Scorer]:
        return {
            "topic": rules.one_of(rules.TOPICS), "focus": rules.one_of(rules.FOCUSES), "marriage": rules.named(rules.MARRIAGE),
            "charge": rules.named(self.task("charge").choices), "entities": rules.score_entities,
            "articles": rules.score_articles, "term": rules.score_term,
        }  # fmt: skip


@cache
def _charges(folder: Path) -> dict[str, list[str]]:
    """The charges of each article of the Criminal Law (264; 120之一), from data/charges.tsv."""
    rows = [line.split("\t") for line in read_text(folder / "data" / "charges.tsv").splitlines()[1:] if line.strip()]
    found: dict[str, list[str]] = {}
    for article, charge in rows:
        found.setdefault(article, []).append(charge)
    return found


@cache
def _places(folder: Path) -> dict[str, list[str]]:
    """The articles of each charge, by number: 盗窃: 264, 265; 资助恐怖活动 (120之一): 120."""
    found: dict[str, list[str]] = {}
    for article, charges in _charges(folder).items():
        for charge in charges:
            found.setdefault(charge, []).append(article.partition("之")[0])
    return found


@cache
def _tasks(folder: Path) -> tuple[Task, ...]:
    """The tasks; the charge task's labels are the charges that exist."""
    return rules.tasks(tuple(dict.fromkeys(charge for charges in _charges(folder).values() for charge in charges)))
