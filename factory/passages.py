"""Documents of any source to passages, written as JSON Lines: `factory ingest`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from factory.errors import FactoryError
from factory.progress import Progress
from factory.readers.base import Skipped, named
from factory.records import Document, Passage, write_records
from factory.sources import read_source, shown
from factory.structure import LEAST, cut
from factory.text import language_share

MOST_NAMED = 20  # skipped files


@dataclass(frozen=True)
class Wish:
    """What to read, and where the passages go."""

    source: str
    output: Path
    language: str = ""  # empty: each document's own
    license: str = ""
    skipped: Path | None = None  # all that is left out, with the reason


def ingest(wish: Wish, say: Callable[[str], None]) -> str:
    """Read the source, cut passages, write them; what was made and what was left out as lines of text.

    Raises FactoryError when there is nothing to write; what was left out is written before.
    """
    if wish.language not in ("", *LEAST):
        raise FactoryError(f"Unknown language '{wish.language}'.", f"One of: {', '.join(LEAST)}; empty: guessed.")
    folder = read_source(wish.source, wish.license, say)
    documents = [replace(document, language=wish.language or language_of(document)) for document in folder.documents]
    passages: list[Passage] = []
    short: list[Skipped] = []
    progress = Progress(say, "cut", len(documents), every=5)
    for number, document in enumerate(documents):
        progress.at(number)
        made = list(cut(document, eval_share=0))
        passages += made
        if not made:
            short.append(Skipped(document.id, f"too short: no passage of {LEAST[document.language]} letters"))
    left_out = [*folder.skipped, *short]
    if wish.skipped:
        write_records(wish.skipped, left_out)
    if not passages:
        raise FactoryError(
            f"{shown(wish.source)} gives no passage: {len(documents)} documents, {len(left_out)} left out"
            + (f" (the first: {left_out[0].name}: {left_out[0].reason})." if left_out else "."),
            "See docs/formats.md for what is read.",
        )
    write_records(wish.output, passages)
    letters = sum(len(passage.text) for passage in passages)
    counts = f"{len(documents)} documents, {len(passages)} passages, {letters} letters: {wish.output}"
    return "\n".join([counts, *named(left_out, MOST_NAMED, str(wish.skipped or "--skipped FILE writes all of them"))])


def language_of(document: Document) -> str:
    """By the share of Chinese letters; English for every other script."""
    return "zh" if language_share(document.text, "zh") > 0.3 else "en"
