"""A team's own rows through the sieve: kept rows and dropped rows as two files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from factory.config import Curate
from factory.errors import FactoryError
from factory.files import atomic_write, read_lines
from factory.leaks import Expected
from factory.progress import Progress
from factory.records import read_rows
from factory.selection import NEEDS_BASE, Candidate, left_out
from factory.sieve import Row, Sieve, languages_of, tell
from factory.stage import Say

FORM = 'A row is {"prompt": ..., "completion": ...} or {"messages": [...]}; prompt and completion may be messages, too.'
ITEM = 'An eval item is {"id": ..., "prompt": ..., "reference": ...}.'
Turn = dict[str, Any]  # a message, with whatever else it carries
Given = tuple[dict[str, Any], list[Turn]]  # a row as it was, and its messages cleaned
Sift = Callable[[Iterable[tuple[Row, Given]]], Iterator[tuple[Given, str, str]]]


@dataclass(frozen=True)
class Wish:
    """What to clean: `against` holds eval items, `languages` which rows may be in (empty: those of the eval items)."""

    rows: Path
    output: Path
    against: Path | None = None
    dropped: Path | None = None
    languages: tuple[str, ...] = ()
    settings: Curate = field(default_factory=Curate)


def clean_file(wish: Wish, say: Say) -> str:
    """Write the rows that training may see to `output` and the others, with `reason` and `detail`, to `dropped`.

    Kept rows keep their form and their other keys; personal data in them is masked. Returns a line on what happened.
    Raises FactoryError for a row that cannot be read and when no row is left; both files are written whole or not at all, and
    `dropped` also when no row is left.
    """
    for language in wish.languages:
        if language not in ("zh", "en"):
            raise FactoryError(
                f"Unknown language '{language}'.", "Rows are told apart by their letters: zh (Chinese) or en (Latin)."
            )
    for path in (wish.output, wish.dropped):
        if (
            path
            and path.exists()
            and any(path.samefile(read) for read in (wish.rows, wish.against) if read and read.exists())
        ):
            raise FactoryError(f"{path} would overwrite what it is made from.", "Choose another name.")
    items = list(_items(wish.against)) if wish.against else []
    languages = wish.languages or languages_of(asked for _, asked, _ in items)
    if not languages:
        say("    languages are not checked: give --lang, or eval items with --against")
    texts, answers = {id: asked for id, asked, _ in items}, {id: Expected(answer) for id, _, answer in items}
    sieve = Sieve(wish.settings, texts, answers, languages, say)
    rows = kept = 0
    with contextlib.ExitStack() as files:
        out = _open(files, wish.output)
        reasons = files.enter_context(contextlib.ExitStack())
        rest = _open(reasons, wish.dropped) if wish.dropped else None
        sifted = _selected(wish.settings, sieve, say) if wish.settings.keep < 1 else sieve.sift
        for (row, cleaned), reason, detail in sifted(_read(wish.rows, sieve, say)):
            rows += 1
            if not reason:
                kept += 1
                _write(out, with_turns(row, cleaned))
            elif rest:
                _write(rest, {**row, "reason": reason, "detail": detail})
        if not rows:
            raise FactoryError(f"{wish.rows} has no rows.", FORM)
        if not kept:
            reasons.close()  # a whole file although the other one comes to nothing
            raise FactoryError(
                f"No row is left: {tell(rows, 0, sieve.dropped)}.",
                f"Each with its reason: {wish.dropped or 'ask for them with --dropped FILE'}. Loosen it: --set curate.KEY=VALUE",
            )
    masked = ", ".join(f"{count:,} {kind}" for kind, count in sieve.masked.most_common())
    return tell(rows, kept, sieve.dropped) + (f"; masked {masked}" if masked else "")


def _read(path: Path, sieve: Sieve, say: Say) -> Iterator[tuple[Row, Given]]:
    """Each row of a file as the sieve sees it, as it was, and its messages cleaned."""
    progress = Progress(say, "row", sum(1 for _ in read_lines(path)))
    for count, (number, row) in enumerate(read_rows(path), 1):
        progress.at(count)
        turns = turns_of(row, f"{path}:{number}")
        cleaned = [{**turn, "content": sieve.clean(turn["content"])} for turn in turns]
        asked = "\n".join(turn["content"] for turn in cleaned if turn["role"] == "user")
        answer = "\n".join(turn["content"] for turn in cleaned if turn["role"] == "assistant")
        yield Row(str(row.get("id", f"line {number}")), asked, answer, str(row.get("task", ""))), (row, cleaned)


def _selected(settings: Curate, sieve: Sieve, say: Say) -> Sift:
    """A sift that also leaves rows out, as [curate] keep says; it holds all rows in memory."""
    if settings.keep_by in NEEDS_BASE:
        raise FactoryError(
            f"curate.keep_by = '{settings.keep_by}' needs a base model, which a build has.",
            "Here: random or coverage.",
        )

    def sift(rows: Iterable[tuple[Row, Given]]) -> Iterator[tuple[Given, str, str]]:
        found = list(sieve.sift((row, (row, given)) for row, given in rows))
        kept = [number for number, (_, reason, _) in enumerate(found) if not reason]
        asked = [found[number][0][0] for number in kept]
        candidates = [Candidate(row.id, row.task, row.question) for row in asked]
        out = left_out(candidates, settings.keep, settings.keep_by, 0, say)
        sieve.dropped["not selected"] = len(out)
        details = {kept[place]: detail for place, detail in out.items()}
        for number, ((_, given), reason, detail) in enumerate(found):
            yield given, *(("not selected", details[number]) if number in details else (reason, detail))

    return sift


def turns_of(row: dict[str, Any], where: str) -> list[Turn]:
    """The messages of a row, the answer last; FactoryError names the row that has none."""
    if "messages" in row:
        asked = answer = turns = _turns(row["messages"], "user")
    else:
        asked, answer = _turns(row.get("prompt"), "user"), _turns(row.get("completion"), "assistant")
        turns = [*asked, *answer]
    if "user" not in [turn["role"] for turn in asked] or "assistant" not in [turn["role"] for turn in answer]:
        raise FactoryError(f"{where}: no question and answer as text.", FORM)
    return turns


def with_turns(row: dict[str, Any], turns: list[Turn]) -> dict[str, Any]:
    """The row with these messages in its own form."""
    if "messages" in row:
        return {**row, "messages": turns}
    asked = 1 if isinstance(row["prompt"], str) else len(row["prompt"])

    def form(key: str, part: list[Turn]) -> Any:
        return part[0]["content"] if isinstance(row[key], str) else part

    return {**row, "prompt": form("prompt", turns[:asked]), "completion": form("completion", turns[asked:])}


def _turns(value: Any, role: str) -> list[Turn]:
    """A text as one message of this role, or a list of messages; nothing where one of them lacks its role or text."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    whole = isinstance(value, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    )
    return value if whole else []


def _items(path: Path) -> Iterator[tuple[str, str, str]]:
    """Id, question and first reference of every eval item."""
    found = 0
    for number, row in read_rows(path):
        prompt = row.get("prompt", row.get("messages", row.get("input")))
        asked = "\n".join(turn["content"] for turn in _turns(prompt, "user") if turn["role"] == "user")
        if not asked.strip():
            raise FactoryError(f"{path}:{number}: no prompt.", ITEM)
        found += 1
        reference = row.get("reference", row.get("references", row.get("completion", "")))
        first = reference[0] if isinstance(reference, list) and reference else reference
        yield str(row.get("id", f"line {number}")), asked, first if isinstance(first, str) else ""
    if not found:
        raise FactoryError(f"{path} has no eval items.", ITEM)


def _open(files: contextlib.ExitStack, path: Path) -> TextIO:
    temporary = files.enter_context(atomic_write(path))
    return files.enter_context(open(temporary, "w", encoding="utf-8"))


def _write(file: TextIO, row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
