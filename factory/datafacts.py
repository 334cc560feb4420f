"""What a run's data looks like: figures that `factory data` shows, counted from the folders of ingest, synthesize and curate."""

from __future__ import annotations

import math
import os.path
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from factory.domain import Task
from factory.pii import mask
from factory.quality import language_of
from factory.records import Document, EvalItem, Example, Passage, read_records, read_rows
from factory.text import language_share

Row = dict[str, Any]
BARS = 12  # of a histogram
BARE = 10  # passages shown that carry no row
SOURCES = 10  # shown
UNREAD = 20  # files without a document, shown


@dataclass(frozen=True)
class Held:
    """The records of a run until curate."""

    documents: list[Document]
    passages: list[Passage]
    items: list[EvalItem]
    by_rule: list[Example]
    by_teacher: list[Example]
    train: list[Example]
    dev: list[Example]
    dropped: list[Row]
    refused: list[Row]
    skipped: list[Row]  # files that gave no document

    @property
    def kept(self) -> list[Example]:
        return [*self.train, *self.dev]

    @property
    def may_train(self) -> list[Passage]:
        """The passages that training may see."""
        return [passage for passage in self.passages if passage.split != "eval"]

    @cached_property
    def references(self) -> dict[str, tuple[str, str]]:
        """(question, references) of every eval item, by id."""
        return {item.id: (item.question, " / ".join(item.references)) for item in self.items}

    @cached_property
    def asked(self) -> dict[str, tuple[str, str]]:
        """(question, answer) of every row that came into curate, cleaned, by id."""
        dropped = {row["id"]: (row["question"], row["answer"]) for row in self.dropped}
        return dropped | {row.id: (row.question, row.answer) for row in self.kept}


def read(run: Path) -> Held:
    """Read a run's folders; FactoryError when a file cannot be read."""
    ingest, synthesize, curate = (run / name for name in ("ingest", "synthesize", "curate"))
    train, dev = (read_records(curate / f"{name}.jsonl", Example) for name in ("train", "dev"))
    dropped = _rows(curate / "dropped.jsonl")
    came = {row.id for row in (*train, *dev)} | {row["id"] for row in dropped}
    made = (read_records(folder / "examples.jsonl", Example) for folder in (ingest, synthesize))
    by_rule, by_teacher = ([row for row in rows if row.id in came] for rows in made)  # in a round only some come along
    return Held(
        read_records(ingest / "documents.jsonl", Document),
        read_records(ingest / "passages.jsonl", Passage),
        read_records(ingest / "eval.jsonl", EvalItem),
        by_rule,
        by_teacher,
        train,
        dev,
        dropped,
        _rows(synthesize / "refused.jsonl"),
        _rows(ingest / "skipped.jsonl"),
    )


def _rows(path: Path) -> list[Row]:
    """The rows of a file that only some runs have."""
    return [row for _, row in read_rows(path)] if path.exists() else []


def veil(text: str) -> str:
    """A text as the page may show it: personal data masked, whether the domain masks its rows or not."""
    return mask(text, "zh" if language_share(text, "zh") > 0.1 else "en")[0]


def flow(held: Held) -> Row:
    """Counts of every step, the reasons with the most rows first; rows that [curate] keep left out count as unselected."""
    dropped = reasons(held.dropped)
    unselected = dropped.pop("not selected", 0)
    split = Counter(document.split == "eval" for document in held.documents)
    rows = len(held.dropped) + len(held.kept)
    return {
        "documents": len(held.documents), "documents_eval": split[True],
        "passages": len(held.passages), "passages_eval": len(held.passages) - len(held.may_train),
        "items": len(held.items), "by_rule": len(held.by_rule), "by_teacher": len(held.by_teacher),
        "refused": reasons(held.refused), "rows": rows, "dropped": dropped,
        "by_others": rows - len(held.by_rule) - len(held.by_teacher),
        "unselected": unselected, "kept": len(held.train) + len(held.dev), "train": len(held.train), "dev": len(held.dev),
    }  # fmt: skip


def reasons(rows: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row["reason"] for row in rows).items(), key=lambda entry: (-entry[1], entry[0])))


def tasks(held: Held, known: Mapping[str, Task]) -> list[Row]:
    """Per task: rows to train and dev, its share of the kept ones, dropped rows, eval items, median lengths in characters."""
    parts = (held.train, held.dev, held.items)
    train, dev, items = (Counter(row.task for row in rows) for rows in parts)  # type: ignore[attr-defined]
    dropped = Counter(row["task"] for row in held.dropped)
    found = []
    for name in dict.fromkeys([*known, *train, *dev, *dropped]):
        rows = [row for row in held.kept if row.task == name]
        if rows or dropped[name] or items[name]:
            found.append({
                "name": name, "title": known[name].title if name in known else name, "train": train[name], "dev": dev[name],
                "share": len(rows) / len(held.kept), "dropped": dropped[name], "items": items[name],
                "question": _median([len(row.question) for row in rows]), "answer": _median([len(row.answer) for row in rows]),
            })  # fmt: skip
    return found


def _median(values: Sequence[int]) -> int | None:
    return round(median(values)) if values else None


def histogram(values: Sequence[int], zero: bool = False) -> Row | None:
    """Up to BARS + 1 bars of one round width, each {low, high, count}; None without values.

    The last bar is open where the longest 2% would squeeze the others; `zero`: zero has a bar of its own.
    """
    if not values:
        return None
    ordered = sorted(values)
    high = max(_at(ordered, 0.98), int(zero and ordered[-1] > 0))
    base = 1 if zero and ordered[0] == 0 and high >= BARS else 0
    low = 1 if base else ordered[0]
    step = next(step for step in _steps() if high // step - low // step < BARS)
    first, last = (low - base) // step, max(0, high - base) // step
    counts = Counter(-1 if base and value == 0 else min((value - base) // step, last) for value in values)
    bars = [
        {"low": n * step + base, "high": (n + 1) * step + base - 1, "count": counts[n]} for n in range(first, last + 1)
    ]
    if base:
        bars.insert(0, {"low": 0, "high": 0, "count": counts[-1]})
    return {
        "bars": bars, "open": ordered[-1] > bars[-1]["high"], "most": max(bar["count"] for bar in bars), "step": step,
        "n": len(ordered), "median": _median(ordered), "long": _at(ordered, 0.95), "longest": ordered[-1],
    }  # fmt: skip


def _at(ordered: Sequence[int], share: float) -> int:
    """The value that this share of the values does not pass (nearest rank)."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def _steps() -> Iterator[int]:
    return (factor * 10**power for power in count() for factor in (1, 2, 5))


def coverage(held: Held) -> Row:
    """How many rows each passage carries that training may see, and the longest passages that carry none."""
    made = Counter(passage_id(row) for row in (*held.by_rule, *held.by_teacher))
    kept = Counter(passage_id(row) for row in held.kept)
    bare = sorted((p for p in held.may_train if not kept[p.id]), key=lambda passage: (-len(passage.text), passage.id))
    cut = Counter(passage.document for passage in held.passages)
    return {
        "per_document": histogram([cut[document.id] for document in held.documents], zero=True),
        "per_passage": histogram([kept[passage.id] for passage in held.may_train], zero=True),
        "uncut": sum(not cut[document.id] for document in held.documents),
        "bare": len(bare),
        "shown": [_bare(passage, made[passage.id]) for passage in bare[:BARE]],
    }


def _bare(passage: Passage, made: int) -> Row:
    return place(passage) | {"letters": len(passage.text), "made": made, "text": veil(passage.text[:400])}


def passage_id(row: Example) -> str:
    """The id of the passage that a row is about; empty where its maker named none."""
    return row.provenance.get("passage", "")


def place(passage: Passage) -> Row:
    """Where a passage stands: its document, page and heading."""
    headings = str(passage.meta.get("headings") or "")
    return {"document": veil(passage.title or passage.document), "page": passage.meta.get("page"), "heading": veil(headings)}  # fmt: skip


def languages(held: Held) -> dict[str, int]:
    """Kept rows per language, by script."""
    found = Counter(language_of(f"{row.question}\n{row.answer}") for row in held.kept)
    return {name: found[name] for name in ("zh", "en", "other")}


def sources(held: Held) -> Row:
    """Licences by documents; sources by the rows that training may see, files without the folder that they share."""
    licenses = Counter(document.license for document in held.documents)
    home = shared_folder({document.source for document in held.documents})
    passages = Counter(passage.source for passage in held.may_train)
    rows = Counter(row.provenance.get("source", "") for row in held.kept)
    documents = Counter(document.source for document in held.documents)
    order = sorted(documents, key=lambda source: (-rows[source], -passages[source], source))
    listed = [
        {"source": veil(source.removeprefix(home)), "documents": documents[source], "passages": passages[source], "rows": rows[source]}
        for source in order[:SOURCES]
    ]  # fmt: skip
    return {"licenses": dict(licenses.most_common()), "listed": listed, "more": len(order) - len(listed)}


def unread(held: Held) -> Row:
    """The first files that gave no document, with the reason, and how many more there are."""
    listed = [{"name": veil(row["name"]), "reason": veil(row["reason"])} for row in held.skipped[:UNREAD]]
    return {"n": len(held.skipped), "listed": listed, "more": len(held.skipped) - len(listed)}


def shared_folder(names: set[str]) -> str:
    """The folder that all absolute paths among the sources share, with its slash."""
    folders = [str(Path(name).parent) for name in names if Path(name).is_absolute()]
    return os.path.commonpath(folders).rstrip("/") + "/" if folders else ""


def personal(held: Held, masked: Mapping[str, int], masks: bool) -> dict[str, int]:
    """Pieces of personal data by kind: those that curate masked; where the domain masks none, those left in the kept rows."""
    if masks:
        return dict(masked)
    found: Counter[str] = Counter()
    for row in held.kept:
        for turn in (*row.prompt, *row.completion):
            text = turn["content"]
            found.update(mask(text, "zh" if language_share(text, "zh") > 0.1 else "en")[1])
    return dict(found.most_common())
