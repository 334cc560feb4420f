"""curate: normalise, mask personal data, drop what training must not see, and keep some rows back. Every drop has a reason."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any

from factory.config import Curate
from factory.errors import FactoryError
from factory.records import EvalItem, Example, read_records, write_records
from factory.sieve import Row, Sieve, tell
from factory.stage import Context, Stage


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
    settings, domain = context.config.curate, context.domain
    examples = [
        example
        for stage in ("ingest", "synthesize")
        for example in read_records(context.input(stage) / "examples.jsonl", Example)
    ]
    items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
    texts = {item.id: domain.task(item.task).parts(item.question)[0] for item in items}
    sieve = Sieve(settings, texts, {}, (context.config.language,))
    kept: list[Example] = []
    dropped: list[Dropped] = []
    for example in (_cleaned(example, sieve) for example in examples):
        text, asked = domain.task(example.task).parts(example.question)
        reason, detail = sieve.reason(Row(example.id, example.question, example.answer, example.task, text, asked))
        if reason:
            dropped.append(Dropped(reason, detail, example.task, example.id, example.question, example.answer))
        else:
            kept.append(example)
    if not kept:
        raise FactoryError(
            f"No rows are left after curate: {tell(len(examples), 0, sieve.dropped)}.",
            "Loosen [curate] in domain.toml, or check the documents.",
        )
    train, dev = _split(kept, settings, context.config.seed)
    write_records(context.out / "train.jsonl", train)
    write_records(context.out / "dev.jsonl", dev)
    write_records(context.out / "dropped.jsonl", dropped)
    reasons = dict(sieve.dropped.most_common())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "nothing dropped"
    if sieve.masked:
        said += f"; masked {', '.join(f'{count} {kind}' for kind, count in sieve.masked.most_common())}"
    return {
        "note": f"{len(examples)} rows: {len(train)} to train, {len(dev)} kept back; {said}",
        "rows": len(examples),
        "train": len(train),
        "dev": len(dev),
        "dropped": reasons,
        "masked": dict(sieve.masked.most_common()),
        "per_task": dict(sorted(Counter(row.task for row in train).items())),
    }


def _cleaned(example: Example, sieve: Sieve) -> Example:
    """Normalized and masked, but for the system prompt, which is the domain's own."""
    prompt = [
        {**turn, "content": sieve.clean(turn["content"])} if turn["role"] != "system" else turn
        for turn in example.prompt
    ]
    completion = [{**turn, "content": sieve.clean(turn["content"])} for turn in example.completion]
    return dataclasses.replace(example, prompt=prompt, completion=completion)


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


STAGE = Stage("curate", run, reads=("ingest", "synthesize"), settings=("language", "curate"), version=2)
