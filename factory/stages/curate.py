"""curate: normalise, drop duplicates, leaks and rows that do not fit, and keep some rows back. Every drop has a reason."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datasketch import MinHash, MinHashLSH

from factory.config import Curate
from factory.errors import FactoryError
from factory.records import EvalItem, Example, Message, read_records, write_records
from factory.stage import Context, Stage
from factory.text import LeakIndex, language_share, ngrams, normalize_text, squeeze

Parts = Callable[[Example | EvalItem], tuple[str, str]]  # the text that a row is about, and what it asks of it


@dataclasses.dataclass(frozen=True)
class Dropped:
    """A row that training will not see, and why."""

    reason: str
    detail: str
    task: str
    id: str
    question: str
    answer: str


def run(context: Context) -> dict[str, Any]:
    settings = context.config.curate
    examples = [_normalized(example) for example in read_records(context.input("ingest") / "examples.jsonl", Example)]
    items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
    dropped: list[Dropped] = []

    def parts(row: Example | EvalItem) -> tuple[str, str]:
        return context.domain.task(row.task).parts(row.question)

    kept = list(_fit(examples, settings, context.config.language, dropped))
    kept = list(_unleaked(kept, items, settings, parts, dropped))
    kept = list(_unique(kept, settings, parts, dropped))
    if not kept:
        counts = Counter(row.reason for row in dropped)
        raise FactoryError(
            f"No rows are left after curate: {', '.join(f'{n} {reason}' for reason, n in counts.most_common())}.",
            "Loosen [curate] in domain.toml, or check the documents.",
        )
    train, dev = _split(kept, settings, context.config.seed)
    write_records(context.out / "train.jsonl", train)
    write_records(context.out / "dev.jsonl", dev)
    write_records(context.out / "dropped.jsonl", dropped)
    reasons = dict(Counter(row.reason for row in dropped).most_common())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "nothing dropped"
    return {
        "note": f"{len(examples)} rows: {len(train)} to train, {len(dev)} kept back; {said}",
        "rows": len(examples),
        "train": len(train),
        "dev": len(dev),
        "dropped": reasons,
        "per_task": dict(sorted(Counter(row.task for row in train).items())),
    }


def _normalized(example: Example) -> Example:
    def clean(messages: list[Message]) -> list[Message]:
        return [{**message, "content": normalize_text(message["content"])} for message in messages]

    return dataclasses.replace(example, prompt=clean(example.prompt), completion=clean(example.completion))


def _drop(example: Example, reason: str, detail: str) -> Dropped:
    return Dropped(reason, detail, example.task, example.id, example.question, example.answer)


def _fit(examples: Iterable[Example], settings: Curate, language: str, dropped: list[Dropped]) -> Iterator[Example]:
    for example in examples:
        length = len(example.question) + len(example.answer)
        if len(example.answer) < max(1, settings.min_chars):
            dropped.append(_drop(example, "too short", f"answer of {len(example.answer)} characters"))
        elif length > settings.max_chars:
            dropped.append(_drop(example, "too long", f"{length} characters"))
        elif (share := language_share(example.question + example.answer, language)) < settings.language_share:
            dropped.append(_drop(example, "language", f"{share:.0%} {language}"))
        else:
            yield example


def _unleaked(
    examples: Iterable[Example], items: list[EvalItem], settings: Curate, parts: Parts, dropped: list[Dropped]
) -> Iterator[Example]:
    leaks = LeakIndex({item.id: parts(item)[0] for item in items}, settings.leak_ngram, settings.leak_share)
    for example in examples:
        found = leaks.find(parts(example)[0])
        if found:
            dropped.append(_drop(example, "leak", found))
        else:
            yield example


def _unique(examples: Iterable[Example], settings: Curate, parts: Parts, dropped: list[Dropped]) -> Iterator[Example]:
    """Drop a row that asks what was asked before in its task, of the same text or one near to it by MinHash (Broder 1997)."""
    first = MinHashLSH(
        threshold=settings.near_duplicate, num_perm=64
    )  # finding its bands costs as much as a hundred rows
    seen: dict[tuple[str, str, str], str] = {}
    indexes: dict[tuple[str, str], MinHashLSH] = {}
    for example in examples:
        text, asked = map(squeeze, parts(example))
        if (example.task, asked, text) in seen:
            dropped.append(_drop(example, "duplicate", f"same question as {seen[example.task, asked, text]}"))
            continue
        seen[example.task, asked, text] = example.id
        shingles = ngrams(text, 5) or {text}
        sketch = MinHash(num_perm=64, seed=1, hashfunc=_hash32)
        sketch.update_batch([shingle.encode() for shingle in sorted(shingles)])
        if (example.task, asked) not in indexes:
            indexes[example.task, asked] = MinHashLSH(num_perm=64, params=(first.b, first.r))
        index = indexes[example.task, asked]
        near = sorted(index.query(sketch))
        if near:
            dropped.append(_drop(example, "near-duplicate", f"of {near[0]}"))
            continue
        index.insert(example.id, sketch)
        yield example


def _hash32(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


def _split(kept: list[Example], settings: Curate, seed: int) -> tuple[list[Example], list[Example]]:
    """Keep back the rows whose hashed passage is lowest: a passage's rows stay on one side."""

    def mark(example: Example) -> str:
        unit = example.provenance.get("document") or example.provenance.get("passage") or example.id
        return hashlib.sha256(f"{seed}/{unit}".encode()).hexdigest()

    wanted = min(settings.dev_most, int(len(kept) * settings.dev_share))
    dev_marks: set[str] = set()
    for example in sorted(kept, key=mark):
        if sum(mark(row) in dev_marks for row in kept) >= wanted:
            break
        dev_marks.add(mark(example))
    train = [row for row in kept if mark(row) not in dev_marks]
    dev = [row for row in kept if mark(row) in dev_marks]
    return (train, dev) if train else (kept, [])


STAGE = Stage("curate", run, reads=("ingest",), settings=("language", "curate"))
