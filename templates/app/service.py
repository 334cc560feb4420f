"""What the app does for a person, whatever page asks for it: takes a question, has it answered in its turn, or says why not."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import MAX_NEW_TOKENS, Engine, Message, TooLong
from line import Full, Line
from search import Passage, Passages

MOST_CHARACTERS = 4000  # of one text that a person sends
MOST_WAITING = 60  # questions in the line
MOST_OPEN = 3  # of one person at once
MOST_A_MINUTE = 20  # of one person
MOST_TURNS = 50  # remembered of one conversation
MOST_TALKS = 512  # conversations remembered; the one that slept longest goes first
DRAWN = 0.7  # the temperature of another answer to the same question
LOOK = 0.1  # seconds between two looks at an answer that is being written
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)  # control characters
Told = tuple[str, dict[str, Any]]  # the key of a sentence in words.py and what goes into it


class Refused(Exception):
    """A question or a note that is not taken; `told` says why."""

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.told: Told = (key, values)


@dataclass(eq=False)
class Turn:
    """A question and what became of it. The line's thread writes `answers`, `shares` and `told`; pages only read."""

    owner: str
    task: str  # empty: asked freely
    question: str  # as typed
    prompt: list[Message]  # as the model is asked
    answers: dict[str, str]  # by who answers, in order: "specialist", "base"
    read: Passage | None = None  # the passage that is part of the prompt
    near: list[Passage] = field(default_factory=list)  # for the person to check the answer by
    choices: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of each choice
    temperature: float = 0.0
    told: list[Told] = field(default_factory=list)
    words: int = 0  # ratings, corrections and votes that were kept on it
    id: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    begun: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)


class Service:
    """One model, its documents, the conversations; no page and no words."""

    def __init__(self, folder: Path) -> None:
        self.app: dict[str, Any] = json.loads((folder / "app.json").read_text(encoding="utf-8"))
        self.scores: dict[str, Any] = json.loads((folder / "scoreboard.json").read_text(encoding="utf-8"))
        self.passages = Passages(folder / "passages.jsonl")
        self.kinds = kinds(self.app["tasks"], bool(self.passages.rows))
        self.engine = Engine(folder, self.app["stop"], self.app["no_repeat_ngram"])
        self.line = Line(self._work, MOST_WAITING)
        self.started = time.monotonic()
        self._took = folder / "loading.json"  # seconds that the last start took: the estimate for this one
        told = self._took.read_text(encoding="utf-8") if self._took.exists() else ""
        self._usual = int(told) if told.isdigit() else 0
        self._talks: OrderedDict[str, list[Turn]] = OrderedDict()
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def usual(self) -> str:
        """The kind of a question where nobody chose one: that which looks a passage up; empty where there is none."""
        return next((name for name, task in self.kinds.items() if "{question}" in task["about"]), "")

    def start(self) -> None:
        """Load the model, in a thread of its own."""
        self.started = time.monotonic()
        self.engine.start()
        threading.Thread(target=self._time_it, daemon=True).start()

    def _time_it(self) -> None:
        self.engine.ready.wait()
        with suppress(OSError):  # a folder that cannot be written is no reason to stop
            self._took.write_text(str(round(time.monotonic() - self.started)), encoding="utf-8")

    def ask(
        self, owner: str, talk: str, text: str, kind: str = "", *, compare: bool = False, follow: bool = False,
        again: bool = False,
    ) -> Turn:  # fmt: skip
        """Put a question into the line; raises Refused. `owner` is a person, `talk` one of their open pages.

        `again`: another answer is drawn, and takes the place of the last turn.
        """
        text = clean(text)
        if told := self.loading():
            raise Refused(told[0], **told[1])
        if not text:
            raise Refused("empty")
        turns = self.turns(talk)
        if any(not turn.done.is_set() for turn in turns):
            raise Refused("busy")
        self._hold_back(owner)
        old = turns[-1:] if again else []
        before = [turn for turn in turns if turn not in old] if follow else []
        turn = self._turn(owner, text, kind, before, compare)
        turn.temperature = DRAWN if again and not turn.choices else 0.0
        try:
            self.line.join(turn)
        except Full:
            raise Refused("full", n=MOST_WAITING) from None
        with self._lock:
            turns = self._talks.setdefault(talk, [])
            turns[:] = [*(turn for turn in turns if turn not in old), turn][-MOST_TURNS:]
            self._talks.move_to_end(talk)
            while len(self._talks) > MOST_TALKS:
                for slept in self._talks.popitem(last=False)[1]:
                    slept.stop.set()
        return turn

    async def watch(self, turn: Turn) -> AsyncIterator[None]:
        """Wake up whenever there is something new to show, until the turn is done."""
        seen: Any = None
        while not turn.done.is_set():
            now = (tuple(turn.answers.values()), self.line.place(turn), turn.begun.is_set())
            if now != seen:
                seen = now
                yield
            await asyncio.sleep(LOOK)

    def turns(self, talk: str) -> list[Turn]:
        """The turns of a conversation, the oldest first; only `ask`, which has limits, begins one."""
        with self._lock:
            if talk in self._talks:
                self._talks.move_to_end(talk)
            return self._talks.get(talk, [])

    def forget(self, talk: str) -> None:
        """The page was closed or begun anew: nobody waits for its answers."""
        with self._lock:
            turns = self._talks.pop(talk, [])
        for turn in turns:
            if not turn.done.is_set():
                self.line.leave(turn)

    def loading(self) -> Told | None:
        """Why no question can be asked yet; None when the model is ready."""
        if self.engine.error:
            return "failed", {}
        if self.engine.ready.is_set():
            return None
        seconds = round(time.monotonic() - self.started)
        told = {"s": seconds, "n": self._usual}
        return ("loading_of", told) if seconds < self._usual else ("loading", told)

    def _hold_back(self, owner: str) -> None:
        """Refuse a person who asks too much at once or too fast."""
        now = time.monotonic()
        with self._lock:
            waiting = sum(
                turn.owner == owner and not turn.done.is_set() for turns in self._talks.values() for turn in turns
            )
            times = self._asked.setdefault(owner, deque(maxlen=MOST_A_MINUTE))
            self._asked.move_to_end(owner)
            while len(self._asked) > 4 * MOST_TALKS:
                self._asked.popitem(last=False)
            if waiting >= MOST_OPEN:
                raise Refused("busy")
            if len(times) == MOST_A_MINUTE and now - times[0] < 60:
                raise Refused("fast", s=round(61 - (now - times[0])))
            times.append(now)

    def _turn(self, owner: str, text: str, kind: str, before: list[Turn], compare: bool) -> Turn:
        """The question in the words that training used for its kind, with the passage that is looked up; raises Refused."""
        cut, text = len(text) > MOST_CHARACTERS, text[:MOST_CHARACTERS]
        task = self.kinds.get(kind, {})
        near = self.passages.nearest(text)
        if task.get("about") and not near:
            raise Refused("no_source")
        read = near[0] if task.get("about") else None
        asked = worded(task, text, read) if task else text
        turn = Turn(owner, task.get("name", ""), text, self._prompt(asked, before), {"specialist": ""}, read, near)
        turn.answers |= {"base": ""} if compare else {}
        turn.choices = task["choices"] if task and not compare else []
        turn.told = [("cut", {"most": MOST_CHARACTERS})] if cut else []
        return turn

    def _prompt(self, asked: str, before: list[Turn]) -> list[Message]:
        """The system prompt, the specialist's earlier turns where they are wanted, the question."""
        told = [{"role": "system", "content": self.app["system_prompt"]}] if self.app["system_prompt"] else []
        for old in before:
            told += [old.prompt[-1], {"role": "assistant", "content": old.answers["specialist"]}]
        return [*told, {"role": "user", "content": asked}]

    def _work(self, turn: Any) -> None:
        """Answer a turn; whatever the model's library says goes to the server's own screen, a plain sentence to the person."""
        try:
            if turn.choices:
                turn.shares = self.engine.weigh(turn.prompt, turn.choices)
                turn.answers["specialist"] = turn.choices[turn.shares.index(max(turn.shares))]
                return
            drawn = {"temperature": turn.temperature} if turn.temperature else {}
            for who in turn.answers:
                self._write(turn, who, drawn)
        except TooLong:
            turn.told.append(("too_long", {}))
        except Exception as error:  # the page goes on
            print(f"while answering: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            turn.told.append(("error", {}))

    def _write(self, turn: Turn, who: str, drawn: dict[str, float]) -> None:
        """One model's answer, piece by piece."""
        cut = False
        for text, ended in self.engine.stream(turn.prompt, who == "specialist", turn.stop, **drawn):
            turn.answers[who], cut = text, ended
        if cut and "ceiling" not in dict(turn.told):
            turn.told.append(("ceiling", {"most": MAX_NEW_TOKENS}))


def kinds(tasks: list[dict[str, Any]], documents: bool) -> dict[str, dict[str, Any]]:
    """The kinds of question by name; of those that are asked in the same words the first; questions about a passage lead."""
    wanted = [task for task in tasks if documents or not task["about"]]
    found = {(task["template"], task["about"], tuple(task["choices"])): task for task in reversed(wanted)}
    chosen = [task for task in tasks if task in found.values()]
    return {task["name"]: task for task in sorted(chosen, key=lambda task: "{question}" not in task["about"])}


def worded(task: dict[str, Any], text: str, passage: Passage | None) -> str:
    """A text in its task's words; replaced, not formatted: a person's braces are only braces."""
    if passage:
        before, _, after = task["about"].partition("{passage}")
        text = before.replace("{question}", text) + passage["text"] + after.replace("{question}", text)
    before, _, after = task["template"].partition("{input}")
    return f"{before}{text}{after}"


def plain(task: dict[str, Any], asked: str) -> str:
    """What a person asked, out of the task's words and without the passage: `worded` undone; else the text as it is."""
    before, _, after = task["template"].partition("{input}")
    if not (asked.startswith(before) and asked.endswith(after)):
        return asked
    text = asked[len(before) : len(asked) - len(after)]
    shape = re.escape(task["about"]).replace(r"\{passage\}", ".*").replace(r"\{question\}", "(.*?)")
    found = re.fullmatch(shape, text, re.DOTALL) if "{question}" in task["about"] else None
    return (found[1] if found else text).strip()


def clean(text: Any) -> str:
    """A person's text without control characters (tabs and line ends stay) and without white space around it."""
    return UNSEEN.sub("", str(text or "").replace("\r\n", "\n")).strip()
