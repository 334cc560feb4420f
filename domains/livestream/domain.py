"""直播带货: product sheets to a script, answers for viewers, a product for a need, and a check for forbidden words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from factory.documents import leave_out, read_documents
from factory.domain import Domain, Task, passage_of
from factory.errors import FactoryError
from factory.records import Document, EvalItem, Example, Passage, read_rows
from factory.scorers import Scorer

from . import sheets


class Livestream(Domain):
    # defaults of [options] in domain.toml
    options: ClassVar[Mapping[str, Any]] = {"eval_share": 0.25}

    def tasks(self) -> Sequence[Task]:
        return sheets.TASKS

    def documents(self, source: Path | None) -> Iterator[Document]:
        """One product sheet a file, in any format that factory.documents reads; others are passed over."""
        held = {str(item.provenance["document"]) for item in self.frozen_items()} if source is None else set()
        root = source or self.folder / "data"
        for document in read_documents(root, self.config.language, self.config.license if source is None else ""):
            sheet = sheets.parse(document.text)
            if sheet is None:
                leave_out(document.id, "no product sheet")
                continue
            kept_back = document.id in held if source is None else _share(document.text) < self.option("eval_share")
            yield Document(
                document.id, document.text, sheet.title, document.language, document.license, document.source,
                "eval" if kept_back else "train",
            )  # fmt: skip

    def passages(self, document: Document) -> Iterator[Passage]:
        yield passage_of(document, document.text)  # a sheet is short: it stays whole

    def examples(self, passages: Sequence[Passage]) -> Iterator[Example]:
        for task, passage, text, answer, number in self._asked(passages):
            yield self.make_example(task, passage, text, answer, number)

    def eval_items(self, passages: Sequence[Passage], source: Path | None) -> Iterable[EvalItem]:
        """The frozen rows of evals/, about sheets that training never sees; for another source its own held-back sheets."""
        if source is None:
            yield from self.frozen_items()
            return
        for task, passage, text, answer, number in self._asked(passages):
            yield self.make_item(task, passage, text, answer, number)

    def scorers(self) -> Mapping[str, Scorer]:
        return {
            "script": sheets.score_script, "answer": sheets.score_answer, "declines": sheets.score_declines,
            "adwords": sheets.score_adwords,
        }  # fmt: skip

    def _asked(self, passages: Sequence[Passage]) -> Iterator[tuple[Task, Passage, str, str, int]]:
        """Task, passage, input, answer and number: rows written by hand where a sheet has some, else by rule."""
        written = self._written(passages)
        parsed = {passage.id: sheet for passage in passages if (sheet := sheets.parse(passage.text))}
        for passage in passages:
            sheet = parsed[passage.id]
            rows = written.get(Path(passage.document).stem) or list(sheets.by_rule(sheet))
            for number, (kind, text, answer) in enumerate(rows):
                if kind == "need":
                    kind, text = "pick", sheets.pick_input(text, sheet, list(parsed.values()))
                elif kind == "script":
                    text = passage.text
                elif kind in ("answer", "decline"):
                    text = self.task(kind).about.format(passage=passage.text, question=text)
                yield self.task(kind), passage, text, answer, number

    def _written(self, passages: Sequence[Passage]) -> dict[str, list[tuple[str, str, str]]]:
        """Rows written by hand, {product, task, input, reference} in rows.jsonl at the root of the sheets, by product."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        roots = {Path(row.source).parents[len(Path(row.document).parts) - 1] for row in passages}
        for path in sorted(root / "rows.jsonl" for root in roots):
            for number, row in read_rows(path) if path.is_file() else ():
                if not all(isinstance(row.get(key), str) for key in ("product", "task", "input", "reference")):
                    form = 'It is {"product": FILE_STEM, "task", "input", "reference"}, all texts.'
                    raise FactoryError(f"{path}:{number} is no row.", form)
                found.setdefault(row["product"], []).append((row["task"], row["input"], row["reference"]))
        return found


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
