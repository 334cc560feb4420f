"""What experts said, as records: an approved row becomes an example, a preference pair, or an eval item.

A row is what templates/app/store.py calls one: this module reads its fields and no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from factory.domain import FREE, Domain, Task
from factory.errors import FactoryError
from factory.files import digest
from factory.records import EvalItem, Example, Message, Preference
from factory.rounds import asks
from factory.sieve import Sieve, sieve_of
from factory.text import squeeze

LETTERS = 12  # of the digests that are ids and names


@dataclass
class Gathered:
    """What the approved rows come to. `told` says of each row that is left out why; `merged` counts those said twice,
    `known` those that are part of an earlier round or of the eval set."""

    examples: list[Example] = field(default_factory=list)
    pairs: list[Preference] = field(default_factory=list)
    items: list[EvalItem] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    merged: int = 0
    known: int = 0
    masked: dict[str, int] = field(default_factory=dict)  # personal data, by its kind


def gather(
    rows: Sequence[Any], domain: Domain, items: Sequence[EvalItem], used: Collection[str] = (), trained: Collection[str] = ()
) -> Gathered:  # fmt: skip
    """Sort approved `rows`, the oldest first. `items` is the eval set as it stands, `used` the ids of earlier rounds' records,
    `trained` what was asked (factory.rounds.asks) in the training rows of those rounds.

    Texts are cleaned as curation cleans them. Whatever gives an eval item away (factory.leaks) is left out, and so is
    everything about a promoted question. Answers that contradict each other are left out on both sides.
    """
    found = Gathered()
    sieve = Sieve(domain.config.curate, {})
    cleaned = (_cleaned(row, sieve) for row in rows)
    rows = _agreed([row for row in cleaned if _fits(row, domain, found)], found)
    found.masked = dict(sieve.masked)
    for row in [row for row in rows if row.promote]:
        _promote(row, domain, [*items, *found.items], trained, found)
    leaks = sieve_of(domain, [*items, *found.items], same_meaning=0).leaks
    examples: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for row in [row for row in rows if not row.promote]:
        task = task_of(row, domain)
        if why := leaks.find(task.parts(row.question)[0], row.wanted, task.name):
            found.told.append(f"row {row.id} {why}")
            continue
        records: list[tuple[dict[str, Any], Any]] = [(examples, _example(row, domain))] if row.wanted else []
        if pair := _pair(row, domain):
            records.append((pairs, pair))
        new = [(held, record) for held, record in records if record.id not in used]
        for held, record in new:
            _add(held, record, found)
        if records:
            found.known += not new
        else:
            found.told.append(
                f"row {row.id} " + ("prefers neither answer" if row.kind == "vote" else "has no better answer")
            )
    found.examples = list(examples.values())
    found.pairs = _not_opposed(list(pairs.values()), found)
    return found


def task_of(row: Any, domain: Domain) -> Task:
    """The task that was chosen, else the one whose template the question is written in, else the one of free questions."""
    if row.task:
        return domain.task(row.task)
    fixed = {task: task.template.partition("{input}")[::2] for task in domain.active()}
    like = [task for task, (before, after) in fixed.items() if before + after and _between(row.question, before, after)]
    return max(like, key=lambda task: len(task.template), default=FREE)


def _between(question: str, before: str, after: str) -> bool:
    longest = len(question) - len(before) - len(after)
    return longest > 0 and question.startswith(before) and question.endswith(after)


def _fits(row: Any, domain: Domain, found: Gathered) -> bool:
    """Whether the row's task is known and its answer one that the task allows; else it is told."""
    try:
        task = task_of(row, domain)
    except FactoryError as error:
        found.told.append(f"row {row.id}: {error.message}")
        return False
    said = row.wanted.split(task.separator) if task.separator else [row.wanted]
    strange = [label for label in said if task.choices and row.wanted and label.strip() not in task.choices]
    if strange:
        found.told.append(f"row {row.id}: '{strange[0][:60]}' is none of the labels of '{task.name}'")
    return not strange


def _agreed(rows: list[Any], found: Gathered) -> list[Any]:
    """The rows without those whose better answers to one question differ; what was written outweighs a thumb up."""
    written: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.edited or row.better:
            written[_key(row)][squeeze(row.wanted)].append(row)
    for answers in written.values():
        if len(answers) > 1:
            numbers = ", ".join(str(row.id) for same in answers.values() for row in same)
            found.told.append(
                f"rows {numbers} give different better answers to one question: reject those that are wrong"
            )
    kept = []
    for row in rows:
        answers = written.get(_key(row), {})
        if row.kind == "vote" or not row.wanted or answers.keys() <= {squeeze(row.wanted)}:
            kept.append(row)
        elif len(answers) == 1:
            found.told.append(f"row {row.id} praises an answer that another row corrects")
    return kept


def _key(row: Any) -> str:
    return asks(Example("", "", row.prompt, []))


def _promote(row: Any, domain: Domain, items: Sequence[EvalItem], trained: Collection[str], found: Gathered) -> None:
    task, name, asked = task_of(row, domain), _id(row, row.wanted), _key(row)
    same = next((item for item in items if asks(item) == asked), None)
    if same and same.id != name:
        found.told.append(f"row {row.id} is promoted, but eval item {same.id} asks the same")
    elif asked in trained:
        found.told.append(f"row {row.id} is promoted, but an earlier round was trained on its question")
    elif same:
        found.known += same not in found.items
    else:
        found.items.append(EvalItem(name, task.name, row.prompt, [row.wanted], task.scorer, _provenance(row)))


def _cleaned(row: Any, sieve: Sieve) -> Any:
    """The row with its texts normalized and personal data masked, but for the system prompt, which is the domain's own."""
    prompt = [
        turn if turn["role"] == "system" else {**turn, "content": sieve.clean(turn["content"])} for turn in row.prompt
    ]
    texts = {name: sieve.clean(getattr(row, name)) for name in ("answer", "other", "better", "edited")}
    return replace(row, prompt=prompt, **texts)


def _example(row: Any, domain: Domain) -> Example:
    name = _id(row, row.wanted)
    return Example(name, task_of(row, domain).name, row.prompt, _said(row.wanted), _provenance(row))


def _pair(row: Any, domain: Domain) -> Preference | None:
    """Better over given, or the winner of a vote over the loser; None where neither is known."""
    if row.kind == "vote":
        sides = {"first": (row.answer, row.other), "second": (row.other, row.answer)}.get(row.verdict)
    else:
        sides = (row.wanted, row.answer) if row.wanted and row.verdict == "down" else None
    if not sides or not all(sides) or squeeze(sides[0]) == squeeze(sides[1]):
        return None
    name = _id(row, *sides)
    return Preference(name, task_of(row, domain).name, row.prompt, _said(sides[0]), _said(sides[1]), _provenance(row))


def _add(records: dict[str, Any], record: Any, found: Gathered) -> None:
    """Keep a record; one that says the same as another (the same id) adds its row to that one's provenance."""
    if record.id in records:
        found.merged += 1
        records[record.id].provenance["row"] += f", {record.provenance['row']}"
    else:
        records[record.id] = record


def _not_opposed(pairs: list[Preference], found: Gathered) -> list[Preference]:
    """The pairs without those two that prefer opposite answers to one question."""
    sides = {
        (asks(pair), squeeze(pair.chosen[0]["content"]), squeeze(pair.rejected[0]["content"])): pair for pair in pairs
    }
    opposed = [pair for (asked, good, bad), pair in sides.items() if (asked, bad, good) in sides]
    if opposed:
        numbers = ", ".join(str(pair.provenance["row"]) for pair in opposed)
        found.told.append(f"rows {numbers} prefer opposite answers to one question")
    return [pair for pair in pairs if pair not in opposed]


def _id(row: Any, *answers: str) -> str:
    """The same for whatever asks and answers the same, however it is written."""
    return f"expert/{_mark([_key(row), *(squeeze(answer) or answer for answer in answers)])}"


def _said(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def _provenance(row: Any) -> dict[str, str]:
    """Who said it (a pseudonym: the store, by the row's number, knows the name), when, of which model, and who approved it."""
    who, reviewer = (_mark(name) if name else "" for name in (row.who, row.reviewer))
    return {
        "kind": "expert", "said": row.kind, "row": str(row.id), "at": row.at, "who": who, "model": row.model,
        "reviewer": reviewer, "reviewed_at": row.reviewed_at,
    }  # fmt: skip


def _mark(value: Any) -> str:
    return digest(value)[:LETTERS]
