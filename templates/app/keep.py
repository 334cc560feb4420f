"""What a person says about an answer, put into the store with what it is about."""

from __future__ import annotations

import sys
from typing import Any

from desk import Desk
from guard import Session
from service import Turn
from store import StoreError

MOST_WORDS = 5  # on one answer


class NotKept(Exception):
    """Nothing of it is kept; `why` is a key of words.py."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def keep_word(desk: Desk, turn: Turn, session: Session, *, good: bool, reason: str = "", better: str = "") -> int:
    """Keep a rating, or a correction where there is a better answer; return its number. Raises NotKept."""
    facts = {**_facts(desk, turn, session), "answer": turn.answers["specialist"], "reason": reason}
    if better:
        return _kept(desk, turn, "add_correction", {**facts, "better": better})
    return _kept(desk, turn, "add_rating", {**facts, "verdict": "up" if good else "down"})


def keep_vote(desk: Desk, turn: Turn, session: Session, order: list[str], verdict: str) -> int:
    """Keep a blind vote on two answers in the order in which they were shown; return its number. Raises NotKept."""
    first, second = order
    shown = {"answer": turn.answers[first], "made_by": first, "other": turn.answers[second], "other_by": second}
    return _kept(desk, turn, "add_vote", {**_facts(desk, turn, session), **shown, "verdict": verdict})


def _facts(desk: Desk, turn: Turn, session: Session) -> dict[str, Any]:
    return {
        "who": session.name, "session": session.id, "model": desk.service.app["model"], "task": turn.task, "prompt": turn.prompt,
    }  # fmt: skip


def _kept(desk: Desk, turn: Turn, method: str, row: dict[str, Any]) -> int:
    if turn.words >= MOST_WORDS:
        raise NotKept("enough")
    try:
        number = int(getattr(desk.store(), method)(**row))
    except StoreError as error:
        print(f"feedback: {error}", file=sys.stderr, flush=True)
        raise NotKept("not_kept") from error
    turn.words += 1
    return number
