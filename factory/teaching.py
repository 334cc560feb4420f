"""factory synthesize: passages in, examples by a teacher out, without a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.drafts import Draft
from factory.errors import FactoryError, suggest
from factory.kinds import TASKS
from factory.quality import language_of
from factory.records import Message, Passage, read_rows, write_records
from factory.rules import reading
from factory.stage import Say
from factory.synthesis import KINDS, Wanted, estimate, write
from factory.teacher import Limits, open_teacher


@dataclass(frozen=True)
class Wish:
    """What to write: `bare` leaves the passage out of the prompt, so that the model must know the answer."""

    passages: Path
    output: Path
    teacher: str
    model: str = ""
    refused: Path | None = None
    language: str = ""
    per_passage: int = 3
    most: int = 0
    kinds: Sequence[str] = ()
    bare: bool = False
    seed: int = 0
    limits: Limits = field(default_factory=Limits)


def synthesize_file(wish: Wish, say: Say) -> dict[str, Any]:
    """Write the accepted examples to `output` and the others, with the reason, to `refused`; return what came of it.

    Rows are Examples ({id, task, prompt, completion, provenance}; the task is the kind). Where the budget ends, those accepted by
    then are written. Raises FactoryError when no passage can be read, the teacher does not answer, or nothing was accepted; what
    the teacher answered is kept for the next try.
    """
    if wish.language and wish.language not in TASKS:
        raise FactoryError(f"Unknown language '{wish.language}'.", suggest(wish.language, TASKS))
    for kind in wish.kinds:
        if kind not in KINDS:
            raise FactoryError(f"Unknown kind '{kind}'.", suggest(kind, KINDS))
    passages = _passages(wish.passages)
    language = wish.language or ("zh" if language_of("\n".join(p.text for p in passages[:200])) == "zh" else "en")
    chosen = [kind for kind in wish.kinds or KINDS if kind != "decline" or not wish.bare]
    if not chosen:
        raise FactoryError("Only 'decline' is left, which needs the passage in the prompt.", "Leave out --bare.")
    wanted = Wanted(passages, language, wish.per_passage, wish.most, chosen, wish.seed)
    with open_teacher(wish.teacher, wish.model, wish.limits) as teacher:
        say(f"    {len(passages)} passages; teacher {teacher.model}")
        say(f"    {estimate(wanted, teacher)}")
        written = write(wanted, teacher, say, wish.refused)
    rows = [
        example_row(draft, number, language, teacher.model, wish.bare) for number, draft in enumerate(written.accepted)
    ]
    write_records(wish.output, rows)
    return {
        **written.summary(), "stopped": str(written.stopped or ""), "calls": teacher.called, "answered_before": teacher.told,
        "tokens_in": teacher.tokens_in, "tokens_out": teacher.tokens_out, "money": round(teacher.money, 4),
    }  # fmt: skip


def told(summary: dict[str, Any]) -> list[str]:
    """What came of it, in a few lines."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary["kinds"].items())
    lines = [
        f"{summary['accepted']} examples accepted: {kinds}",
        f"{summary['passages_used']} of {summary['passages']} passages carry one; they rest on {summary['sentences_used']:.0%} of the passages' sentences",
        f"{summary['calls']} calls, {summary['answered_before']} answered before; {summary['tokens_in']} tokens in, {summary['tokens_out']} out",
    ]
    if refused := ", ".join(f"{count} {reason}" for reason, count in summary["refused"].items()):
        lines.insert(1, f"{sum(summary['refused'].values())} refused: {refused}")
    if summary["stopped"]:
        lines.append(f"Stopped before the end. {summary['stopped']} What was accepted is written; to go on, raise the limit and run the same command again: nothing is asked twice.")  # fmt: skip
    return lines


def example_row(draft: Draft, number: int, language: str, teacher: str, bare: bool) -> dict[str, Any]:
    """A draft as an Example; in a talk the first question stands with the passage."""
    questions = [*draft.before[::2], draft.question]
    first = questions[0] if bare else reading(draft.passage.text, questions[0], language)
    prompt: list[Message] = [{"role": "user", "content": first}]
    for answer, question in zip(draft.before[1::2], questions[1:], strict=True):
        prompt += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    return {
        "id": f"{draft.passage.id}/{draft.kind}/{number}",
        "task": draft.kind,
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": draft.answer}],
        "provenance": draft.provenance(teacher),
    }


def _passages(path: Path) -> list[Passage]:
    """Rows with a text; `factory ingest` writes them."""
    found = []
    names = set(Passage.__dataclass_fields__)
    for number, row in read_rows(path):
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            raise FactoryError(
                f"{path}:{number}: no text.", 'A passage is {"id": ..., "text": ...}: see factory ingest.'
            )
        row = {"id": f"line {number}", "document": path.name, **{key: row[key] for key in row if key in names}}
        if odd := [key for key, value in row.items() if not isinstance(value, dict if key == "meta" else str)]:
            raise FactoryError(
                f"{path}:{number}: '{odd[0]}' is not of its kind.", "meta is an object, the rest are texts."
            )
        found.append(Passage(**row))
    if not found:
        raise FactoryError(f"{path} has no passages.", "Make them with: factory ingest FOLDER -o passages.jsonl")
    return found
