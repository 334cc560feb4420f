"""The rows that `factory data` shows: dropped ones by reason, kept ones with their provenance; personal data masked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from factory.datafacts import Held, Row, passage_id, place, reasons, veil
from factory.domain import Task
from factory.records import Example

KEPT = 12  # kept rows shown
DROPPED = 3  # dropped rows shown per reason
OTHER = re.compile(  # the eval item or the row that the detail of a dropped row names
    r"eval item (?P<item>.+?)(?: asks(?:, with the same answer| \(cosine [\d.]+\)))?$"
    r"|^(?:same question as|of|means what) (?!eval item )(?P<row>.+?)(?: asks \(cosine [\d.]+\))?$"
)


def refused(rows: Sequence[Row], held: Held, known: Mapping[str, Task]) -> dict[str, list[Row]]:
    """Up to DROPPED rows per reason, the first by hash, each with the row or eval item that its detail names (`other`)."""
    shown: dict[str, list[Row]] = {reason: [] for reason in reasons(rows)}
    for row in sorted(rows, key=lambda row: mark(str(row))):
        if len(shown[row["reason"]]) < DROPPED:
            shown[row["reason"]].append(_dropped(row, held, known))
    return shown


def _dropped(row: Row, held: Held, known: Mapping[str, Task]) -> Row:
    task, named = row.get("task", ""), OTHER.search(row["detail"])
    item = held.references.get(named["item"] or "") if named else None
    other = item or (held.asked.get(named["row"] or "") if named else None)
    told = _turn(*other, known.get(task)) | {"item": bool(item)} if other else None
    return {
        "task": task, "kind": row.get("kind", ""), "id": veil(row.get("id") or row.get("passage", "")), "detail": veil(row["detail"]), "other": told,
        **_turn(row["question"], row["answer"], known.get(task)),
    }  # fmt: skip


def _turn(question: str, answer: str, task: Task | None) -> Row:
    """Question and answer; `asked` is what is asked of a passage that the question carries, empty where it carries none."""
    asked = task.parts(question)[1] if task else ""
    return {"question": veil(question), "answer": veil(answer), "asked": veil(asked) if asked != question else ""}


def samples(held: Held, known: Mapping[str, Task]) -> list[Row]:
    """Up to KEPT rows that training may see, with provenance: tasks in turn, within a task the first by hash of the id."""
    queues: dict[str, list[tuple[str, str, Example]]] = {task: [] for task in known}
    for side, rows in (("train", held.train), ("dev", held.dev)):
        for row in rows:
            queues.setdefault(row.task, []).append((mark(row.id), side, row))
    turns = zip_longest(*(sorted(queue, key=lambda entry: entry[:2]) for queue in queues.values()))
    chosen = [entry for turn in turns for entry in turn if entry][:KEPT]
    places = {passage.id: place(passage) for passage in held.passages}
    found = sorted(chosen, key=lambda entry: list(queues).index(entry[2].task))
    return [_sample(row, side, places, known.get(row.task)) for _, side, row in found]


def _sample(row: Example, side: str, places: Mapping[str, Row], task: Task | None) -> Row:
    made = row.provenance
    stands = places.get(passage_id(row), {"document": veil(made.get("document", "")), "page": None, "heading": ""})
    turns = [turn for turn in row.prompt if turn["role"] != "system"]
    return {
        "id": row.id, "task": row.task, "side": side, **stands, **_turn(row.question, row.answer, task),
        "before": [(turn["role"], veil(turn["content"])) for turn in turns[:-1]],
        "kind": made.get("kind", ""), "teacher": made.get("teacher", ""), "form": made.get("form", ""),
        "quote": veil(made.get("quote", "")),
    }  # fmt: skip


def mark(text: str) -> str:
    """A place in an order that nobody chose."""
    return hashlib.sha256(text.encode()).hexdigest()
