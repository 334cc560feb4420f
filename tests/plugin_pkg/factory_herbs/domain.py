"""Herbs and what they go with: the smallest domain that a package can bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.domain import Domain, Task
from factory.files import read_text
from factory.records import Document, Example, Passage
from factory.scorers import Scorer


class Herbs(Domain):
    """Which dish wants which herb."""

    options: Mapping[str, Any] = {"fresh": True}

    def tasks(self) -> Sequence[Task]:
        return [Task("pairing", "Pairing", "herb", "Which herb goes with {input}?", max_new_tokens=8)]

    def documents(self, source: Path | None) -> Iterator[Document]:
        for path in sorted((source or self.folder / "data").glob("*.txt")):
            yield Document(path.name, read_text(path), path.stem, "en", "CC0-1.0", path.name)

    def examples(self, passages: Sequence[Passage]) -> Iterator[Example]:
        for passage in passages:
            for number, line in enumerate(passage.text.splitlines()):
                dish, _, herb = line.partition(": ")
                yield self.make_example(self.task("pairing"), passage, dish, herb, number)

    def scorers(self) -> Mapping[str, Scorer]:
        return {"herb": lambda prediction, references: float(prediction.strip().lower() in references)}
