"""What people say about answers, in one SQLite file: ratings, better answers and votes, and what a reviewer decided on each.

Nothing is ever overwritten: a row stays as it was sent, and every decision on it is a row of its own, the last one counts.
A row whose number was given back is on the disk, whatever happens next (write-ahead log, synced at every commit).
Standard library only. `PRAGMA user_version` holds the version of the layout, `application_id` says whose file it is.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}

MARK, VERSION = 0x66656564, 1  # "feed"
WAIT = 10.0  # seconds for another process that is writing
KINDS = ("rating", "correction", "vote")
STATES = ("open", "approved", "rejected")
VERDICTS = {"rating": ("up", "down"), "correction": ("down",), "vote": ("first", "second", "tie", "bad")}
SCHEMA = """
CREATE TABLE feedback (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL, session TEXT NOT NULL,
  model TEXT NOT NULL, task TEXT NOT NULL, prompt TEXT NOT NULL, answer TEXT NOT NULL, made_by TEXT NOT NULL,
  other TEXT NOT NULL, other_by TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, better TEXT NOT NULL);
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, feedback INTEGER NOT NULL REFERENCES feedback (id), at TEXT NOT NULL,
  reviewer TEXT NOT NULL, state TEXT NOT NULL, better TEXT, promote INTEGER NOT NULL);
CREATE INDEX decisions_by_feedback ON decisions (feedback, id);
CREATE VIEW rows AS SELECT f.*, coalesce(d.state, 'open') AS state, coalesce(d.reviewer, '') AS reviewer,
  coalesce(d.at, '') AS reviewed_at, coalesce(d.better, '') AS edited, coalesce(d.promote, 0) AS promote
  FROM feedback f LEFT JOIN decisions d ON d.id = (SELECT max(id) FROM decisions WHERE feedback = f.id);
"""  # a question is the last message of its prompt
LOOKED_AT = ("json_extract(prompt, '$[#-1].content')", "answer", "other", "reason", "better", "edited", "who")


class StoreError(Exception):
    """A row that could not be kept or read. `why` is one of WHY, for the page to say it; the text is for a terminal."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(f"{path}: {WHY[why]}")
        self.why = why


WHY = {
    "full": "the disk is full",
    "locked": "another program holds the file",
    "unwritable": "the file or its folder cannot be written",
    "damaged": "the file is damaged",
    "foreign": "this is no file of feedback",
    "newer": "a newer version of this app wrote it",
}


@dataclass(frozen=True)
class Row:
    """One thing that a person said, with the last decision on it."""

    id: int
    at: str  # UTC, ISO 8601, seconds
    kind: str  # one of KINDS
    who: str  # as the person calls themselves; may be empty
    session: str
    model: str  # digest of the specialist's adapter
    task: str  # empty: asked freely
    prompt: list[Message]  # as the model was asked
    answer: str  # of a vote: the one that was shown first
    made_by: str  # who gave `answer`: "specialist" or "base"
    other: str  # of a vote: the one that was shown second; else empty
    other_by: str  # who gave `other`
    verdict: str  # one of VERDICTS[kind]
    reason: str
    better: str  # the better answer as it was sent; may be empty
    state: str  # one of STATES
    reviewer: str
    reviewed_at: str  # UTC; empty while open
    edited: str  # the better answer as the reviewer mended it; empty: left as sent
    promote: bool  # becomes an item of the next eval set

    @property
    def question(self) -> str:
        return self.prompt[-1]["content"]

    @property
    def wanted(self) -> str:
        """The answer that is right: mended, else as sent, else the given one that was called good; empty: none is known."""
        return self.edited or self.better or (self.answer if self.verdict == "up" else "")


@dataclass(frozen=True)
class Vote:
    """Which of two answers to one question was better."""

    model: str  # digest of the specialist's adapter
    first: str  # who gave the first answer: "specialist" or "base"
    second: str
    verdict: str  # "first", "second", "tie", "bad" (both)


class Store:
    """The file at `path`, made where it is missing. Every method may be called from any thread, and raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._one = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._inode = 0
        with self._opened():
            pass

    def add_rating(
        self, *, who: str, session: str, model: str, task: str, prompt: list[Message], answer: str, verdict: str, reason: str = "",
    ) -> int:  # fmt: skip
        """Keep a thumb ("up" or "down") on the specialist's answer; return the row's number once it is on the disk."""
        return self._add(
            kind="rating", who=who, session=session, model=model, task=task, prompt=prompt, answer=answer, verdict=verdict,
            reason=reason,
        )  # fmt: skip

    def add_correction(
        self, *, who: str, session: str, model: str, task: str, prompt: list[Message], answer: str, better: str, reason: str = "",
    ) -> int:  # fmt: skip
        """Keep a better answer than the specialist's (its verdict is "down"); return the row's number, as add_rating."""
        return self._add(
            kind="correction", who=who, session=session, model=model, task=task, prompt=prompt, answer=answer, verdict="down",
            reason=reason, better=better,
        )  # fmt: skip

    def add_vote(
        self, *, who: str, session: str, model: str, task: str, prompt: list[Message], answer: str, made_by: str, other: str,
        other_by: str, verdict: str, reason: str = "",
    ) -> int:  # fmt: skip
        """Keep a vote: `answer` was shown first and `made_by` gave it, `other` second; `verdict` "first", "second", "tie", "bad"."""
        return self._add(
            kind="vote", who=who, session=session, model=model, task=task, prompt=prompt, answer=answer, made_by=made_by,
            other=other, other_by=other_by, verdict=verdict, reason=reason,
        )  # fmt: skip

    def rows(
        self, *, kind: str = "", state: str = "", task: str | None = None, search: str = "", limit: int = -1, offset: int = 0,
    ) -> list[Row]:  # fmt: skip
        """The newest first, those alone that fit: `task` "" is asked freely, None any; `search` is part of a text or of a name.

        It is looked for in the question, the answers, the reason and the name; ASCII letters without their case. `limit` -1: all.
        """
        where, values = _where(kind, state, task, search)
        with self._opened() as file:
            query = f"SELECT * FROM rows{where} ORDER BY id DESC LIMIT ? OFFSET ?"  # noqa: S608
            found = file.execute(query, [*values, limit, offset])
            return [_row(row) for row in found]

    def row(self, id: int) -> Row | None:
        """The row of that number; None: there is none."""
        with self._opened() as file:
            found = file.execute("SELECT * FROM rows WHERE id = ?", [id]).fetchone()
            return _row(found) if found else None

    def count(self, *, kind: str = "", state: str = "", task: str | None = None, search: str = "") -> int:
        """How many rows fit, by the same filters as `rows`."""
        where, values = _where(kind, state, task, search)
        with self._opened() as file:
            return int(file.execute(f"SELECT count(*) FROM rows{where}", values).fetchone()[0])  # noqa: S608

    def decide(self, id: int, state: str, reviewer: str, better: str | None = None, promote: bool = False) -> Row:
        """Add a decision and return the row as it now is. Earlier decisions stay in the file; "open" takes the last one back.

        `better`: the answer as the reviewer mended it; None or the text as it was sent: not mended. `promote` asks for a row
        that is approved and has an answer (`Row.wanted`). ValueError: no such row, no such state, nothing to promote.
        """
        _one_of(state, STATES, "state")
        with self._opened() as file:
            found = file.execute("SELECT * FROM rows WHERE id = ?", [id]).fetchone()
            if not found:
                raise ValueError(f"no row {id}")
            row = _row(found)
            mended = better if better and better != row.better else None
            if promote and not (
                state == "approved" and row.kind != "vote" and (mended or row.better or row.verdict == "up")
            ):
                raise ValueError(f"row {id} has no approved answer to promote")
            file.execute(
                "INSERT INTO decisions (feedback, at, reviewer, state, better, promote) VALUES (?, ?, ?, ?, ?, ?)",
                [id, _now(), reviewer, state, mended, promote],
            )
            return _row(file.execute("SELECT * FROM rows WHERE id = ?", [id]).fetchone())

    def votes(self, model: str = "") -> list[Vote]:
        """Every vote that was not rejected, the oldest first; of one specialist where its digest is given."""
        wanted = "SELECT model, made_by, other_by, verdict FROM rows WHERE kind = 'vote' AND state <> 'rejected'"
        with self._opened() as file:
            found = file.execute(f"{wanted} AND (? = '' OR model = ?) ORDER BY id", [model, model])
            return [Vote(*row) for row in found]

    def close(self) -> None:
        """Let the file go; the next use opens it again."""
        with self._one:
            if self._file:
                self._file.close()
            self._file = None

    def _add(
        self, *, kind: str, prompt: list[Message], verdict: str, answer: str, made_by: str = "specialist", other: str = "",
        other_by: str = "", better: str = "", **said: str,
    ) -> int:  # fmt: skip
        _one_of(verdict, VERDICTS[kind], "verdict")
        if not _is_prompt(prompt):
            raise ValueError("a prompt is a list of messages with role and content")
        row = {
            **said, "at": _now(), "kind": kind, "prompt": json.dumps(prompt, ensure_ascii=False), "answer": answer,
            "made_by": made_by, "other": other, "other_by": other_by, "verdict": verdict, "better": better,
        }  # fmt: skip
        insert = f"INSERT INTO feedback ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608
        with self._opened() as file:
            return int(file.execute(insert, list(row.values())).lastrowid or 0)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one transaction; made anew where the file was taken away."""
        with self._one:
            try:
                if self._file is None or _inode(self.path) != self._inode:
                    self._file, self._inode = self._connect(), _inode(self.path)
                with self._file:
                    yield self._file
            except (sqlite3.Error, OSError) as error:
                raise StoreError(_why(error), self.path) from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self.path, timeout=WAIT, check_same_thread=False)
        try:
            self._prepare(file)
        except BaseException:
            file.close()
            raise
        file.execute("PRAGMA synchronous = FULL")
        return file

    def _prepare(self, file: sqlite3.Connection) -> None:
        """Lay out an empty file; refuse one that is not ours or that a newer version wrote."""
        file.execute("BEGIN IMMEDIATE" if os.access(self.path, os.W_OK) else "BEGIN")
        mark, version = (
            int(file.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
        )
        empty = not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty:
            for statement in SCHEMA.strip().split(";")[:-1]:
                file.execute(statement)
            file.execute(f"PRAGMA application_id = {MARK}")
            file.execute(f"PRAGMA user_version = {VERSION}")
        elif mark != MARK:
            raise StoreError("foreign", self.path)
        elif version > VERSION:
            raise StoreError("newer", self.path)
        file.commit()
        if os.access(self.path, os.W_OK):
            _patiently(file, "PRAGMA journal_mode = WAL")


def _patiently(file: sqlite3.Connection, statement: str) -> None:
    """Run a statement for which SQLite does not wait itself: a change of the journal gives up at once beside another opener."""
    until = time.monotonic() + WAIT
    while True:
        try:
            file.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _where(kind: str, state: str, task: str | None, search: str) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for name, value in (("kind", kind or None), ("state", state or None), ("task", task)):
        if value is not None:
            parts.append(f"{name} = ?")
            values.append(value)
    if search:
        like = "".join(f"\\{letter}" if letter in "%_\\" else letter for letter in search)
        parts.append("(" + " OR ".join(f"{part} LIKE ? ESCAPE '\\'" for part in LOOKED_AT) + ")")
        values += [f"%{like}%"] * len(LOOKED_AT)
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _row(values: tuple[Any, ...]) -> Row:
    """Raises DatabaseError where the prompt is none."""
    made = dict(zip(_COLUMNS, values, strict=True))
    try:
        prompt = json.loads(made["prompt"])
    except ValueError:
        prompt = None
    if not _is_prompt(prompt):
        raise sqlite3.DatabaseError(f"row {made['id']} has no prompt")
    return Row(**{**made, "prompt": prompt, "promote": bool(made["promote"])})


def _is_prompt(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return False
    return all(isinstance(turn.get(key), str) for turn in value for key in ("role", "content"))


_COLUMNS = (
    "id", "at", "kind", "who", "session", "model", "task", "prompt", "answer", "made_by", "other", "other_by", "verdict",
    "reason", "better", "state", "reviewer", "reviewed_at", "edited", "promote",
)  # fmt: skip


def _why(error: Exception) -> str:
    """A key of WHY for an error of SQLite or of the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in (28, 122):  # ENOSPC, EDQUOT
        return "full"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return "locked"
    known = {sqlite3.SQLITE_NOTADB: "foreign", sqlite3.SQLITE_CORRUPT: "damaged", sqlite3.SQLITE_ERROR: "damaged"}
    return known.get(code, "unwritable" if isinstance(error, OSError | sqlite3.OperationalError) else "damaged")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _one_of(value: str, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
