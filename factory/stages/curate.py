"""curate: normalise, mask personal data, drop what training must not see, keep some rows back, and of the others the share
that is wanted. Every drop has a reason.

In a round after the first the rows are those of experts, and some of the earlier ones again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any

from factory.config import Curate
from factory.difficulty import signals
from factory.errors import FactoryError
from factory.forgetting import general_rows
from factory.models import find_base
from factory.records import EvalItem, Example, read_records, write_records
from factory.rounds import adapter_mark, feedback_mark, rows_of_round
from factory.selection import NEEDS_BASE, Candidate, left_out
from factory.sieve import Row, Sieve, sieve_of, tell
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
    said, examples, held = rows_of_round(context) if context.earlier else ([], _made(context), [])
    examples = [*said, *examples, *held]
    items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
    sieve = sieve_of(domain, items, context.say)
    kept: list[Example] = []
    dropped: list[Dropped] = []
    cleaned = (_cleaned(example, sieve) for example in examples)
    for example, reason, detail in sieve.sift((_row(context, example), example) for example in cleaned):
        if reason:
            dropped.append(_dropped(example, reason, detail))
        else:
            kept.append(example)
    write_records(context.out / "dropped.jsonl", dropped)  # before anything is refused: it says why
    if not kept:
        raise FactoryError(
            f"No rows are left after curate: {tell(len(examples), 0, sieve.dropped)}.",
            f"Loosen [curate] in domain.toml, or check the documents; each row with its reason: {context.out / 'dropped.jsonl'}",
        )
    if context.earlier:
        train, dev = _as_before(kept, said, held)
    else:
        train, dev = _split(kept, settings, context.config.seed)
    if settings.keep < 1 and not context.earlier:
        out = _left_out(context, train)
        dropped += [_dropped(train[number], "not selected", detail) for number, detail in out.items()]
        write_records(context.out / "dropped.jsonl", dropped)
        sieve.dropped["not selected"] = len(out)
        train = [example for number, example in enumerate(train) if number not in out]
    asked = 0 if context.earlier else round(settings.general * len(train))
    general = general_rows(context.config.base, asked, context.config.seed)
    if len(general) < asked:
        context.say(f"    curate.general asks for {asked} general questions; there are {len(general)}")
    write_records(context.out / "train.jsonl", train)
    write_records(context.out / "general.jsonl", general)
    write_records(context.out / "dev.jsonl", dev)
    reasons = dict(sieve.dropped.most_common())
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "nothing dropped"
    if settings.keep < 1 and not context.earlier:
        told += f"; {settings.keep:.1%} selected by {settings.keep_by}"
    if general:
        told += f"; {len(general)} general questions beside them"
    if sieve.masked:
        told += f"; masked {', '.join(f'{count} {kind}' for kind, count in sieve.masked.most_common())}"
    return {
        "note": f"{len(examples)} rows: {len(train)} to train{_of_experts(train, said)}, {len(dev)} kept back; {told}",
        "rows": len(examples),
        "train": len(train),
        "dev": len(dev),
        "general": len(general),
        "by_experts": _count(train, said),
        "dropped": reasons,
        "masked": dict(sieve.masked.most_common()),
        "per_task": dict(sorted(Counter(row.task for row in train).items())),
    }


def _made(context: Context) -> list[Example]:
    """The examples by rule and those of the teacher."""
    stages = (context.input(stage) / "examples.jsonl" for stage in ("ingest", "synthesize"))
    return [example for path in stages for example in read_records(path, Example)]


def _as_before(kept: list[Example], said: list[Example], held: list[Example]) -> tuple[list[Example], list[Example]]:
    """The rows to train, and the rows kept back in the round before."""
    back = {row.id for row in held}
    train = [row for row in kept if row.id not in back]
    if said and not _count(train, said):
        raise FactoryError("Curate drops every row of the feedback.", "Loosen [curate], or see curate/dropped.jsonl.")
    return train, [row for row in kept if row.id in back]


def _count(train: list[Example], said: list[Example]) -> int:
    ids = {row.id for row in said}
    return sum(row.id in ids for row in train)


def _of_experts(train: list[Example], said: list[Example]) -> str:
    return f" ({_count(train, said)} of {len(said)} by experts)" if said else ""


def _row(context: Context, example: Example) -> Row:
    text, asked = context.domain.task(example.task).parts(example.question)
    return Row(example.id, example.question, example.answer, example.task, text, asked)


def _dropped(example: Example, reason: str, detail: str) -> Dropped:
    return Dropped(reason, detail, example.task, example.id, example.question, example.answer)


def _left_out(context: Context, train: list[Example]) -> dict[int, str]:
    """The places of the rows that [curate] keep leaves out; what the base makes of each row goes to signals.jsonl."""
    settings, config = context.config.curate, context.config
    hard = [0.0] * len(train)
    if settings.keep_by in NEEDS_BASE:
        found = signals(train, config.base, config.sft, context.say)
        write_records(context.out / "signals.jsonl", found)
        hard = [signal.difficulty for signal in found]
    rows = [
        Candidate(row.id, row.task, context.domain.task(row.task).bare(row.question), difficulty)
        for row, difficulty in zip(train, hard, strict=True)
    ]
    return left_out(rows, settings.keep, settings.keep_by, config.seed, context.say)


def _cleaned(example: Example, sieve: Sieve) -> Example:
    """Normalized and masked, but for the system prompt, which is the domain's own."""
    prompt = [
        {**turn, "content": sieve.clean(turn["content"])} if turn["role"] != "system" else turn
        for turn in example.prompt
    ]
    completion = [{**turn, "content": sieve.clean(turn["content"])} for turn in example.completion]
    return dataclasses.replace(example, prompt=prompt, completion=completion)


def _split(kept: list[Example], settings: Curate, seed: int) -> tuple[list[Example], list[Example]]:
    """Keep back the rows whose hashed passage is lowest: a passage's rows stay on one side; one that would fill most of it is learned."""

    def mark(example: Example) -> str:
        unit = example.provenance.get("passage") or example.provenance.get("document") or example.id
        return hashlib.sha256(f"{seed}/{unit}".encode()).hexdigest()

    wanted = min(settings.dev_most, int(len(kept) * settings.dev_share))
    sizes = Counter(map(mark, kept))
    dev_marks: set[str] = set()
    for unit in sorted(sizes):
        if sum(sizes[chosen] for chosen in dev_marks) >= wanted:
            break
        if sizes[unit] <= max(1, wanted / 2):
            dev_marks.add(unit)
    train = [row for row in kept if mark(row) not in dev_marks]
    dev = [row for row in kept if mark(row) in dev_marks]
    return (train, dev) if train else (kept, [])


def _watches(context: Context) -> dict[str, str]:
    """The feedback of a round; the base, where rows are chosen by what it makes of them."""
    settings, config = context.config.curate, context.config
    if context.earlier:
        return feedback_mark(context) | adapter_mark(context) | {"rounds.replay": str(context.config.rounds.replay)}
    base, found = find_base(config.base), {}
    if settings.general:
        found["languages of the base"] = ", ".join(base.languages)
    if settings.keep < 1 and settings.keep_by in NEEDS_BASE:
        known = f"{base.sha256 or base.id or base.name} {config.sft.quantization} {config.sft.max_length}"
        found["base of the difficulty"] = known
    return found


STAGE = Stage(
    "curate", run, reads=("ingest", "synthesize"), settings=("language", "curate"), watches=_watches, version=4
)
