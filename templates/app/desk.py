"""What every page of the app needs: who is asking, in which language, and the parts that change when the language does."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gate import Gate
from guard import Session
from service import Service, Told
from store import Store
from words import WORDS, Words

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
Said = str | Callable[[Words], Any]  # a key of words.py, or what makes a value of the words


class Desk:
    """The service, the store of feedback, the door, and every component that has words on it."""

    def __init__(self, service: Service, feedback: Path, gate: Gate) -> None:
        self.service, self.gate = service, gate
        self._feedback = feedback
        self._store: Store | None = None
        self._said: list[tuple[Any, dict[str, Said]]] = []

    def store(self) -> Store:
        """The store of feedback, opened when it is first used and again after it could not be; raises StoreError."""
        self._store = self._store or Store(self._feedback)
        return self._store

    def say(self, kind: Any, said: dict[str, Said], **rest: Any) -> Any:
        """A component whose properties `said` are words: they follow the language that a person chooses."""
        made = kind(**_spoken(said, WORDS[self.gate.language]), **rest)
        self._said.append((made, said))
        return made

    def spoken(self) -> list[Any]:
        """Every component with words on it, in the order of `speak`."""
        return [made for made, _ in self._said]

    def speak(self, request: gr.Request) -> list[Any]:
        """The words of every component in the language of the browser."""
        return [gr.update(**_spoken(said, self.words(request))) for _, said in self._said]

    def words(self, request: gr.Request) -> Words:
        return self.gate.words(request.request)  # type: ignore[arg-type]

    def session(self, request: gr.Request) -> Session:
        """Who asks; the door lets nobody in without a session."""
        session = self.gate.session(request.request)  # type: ignore[arg-type]
        if session is None:
            raise gr.Error(self.words(request)["gone"], print_exception=False)
        return session

    def reviewer(self, request: gr.Request) -> Session:
        """Who asks, and no one but a reviewer."""
        session = self.session(request)
        if not session.reviewer:
            raise gr.Error(self.words(request)["closed"], print_exception=False)
        return session

    def talk(self, request: gr.Request, page: str) -> str:
        """The name of a conversation: one for each person, open tab and page."""
        return f"{self.session(request).id}/{request.session_hash}/{page}"


def _spoken(said: dict[str, Said], words: Words) -> dict[str, Any]:
    return {name: words[key] if isinstance(key, str) else key(words) for name, key in said.items()}


def told(sentences: list[Told], words: Words) -> str:
    """Sentences one after another, as plain text."""
    return " ".join(words[key].format(**values) for key, values in sentences)


def notice(text: str) -> str:
    """A line that a screen reader speaks; the style sheet hides it when there is nothing to say."""
    return f'<p class="notice" role="alert">{html.escape(text)}</p>' if text else ""


def waiting(desk: Desk, turn: Any, words: Words) -> str:
    """What stands in an answer's place while it is waited for."""
    place = desk.service.line.place(turn)
    if not place:
        return words["waiting"]
    seconds = desk.service.line.seconds(place)
    about = words["about_s"].format(s=round(seconds)) if seconds else ""
    return words["place"].format(n=place) + about
