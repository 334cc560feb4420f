"""The page's two calls for programs: /gradio_api/call/answer and /gradio_api/call/rate, for whoever has a session.

POST {"data": [question, task, talk]} gives an event_id; GET /gradio_api/call/answer/EVENT_ID streams states until the answer
is whole. `task` is a kind of question of app.json or empty, `talk` any name: one question at a time is answered in each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from desk import Desk, told
from keep import NotKept, keep_word
from service import MOST_CHARACTERS, Refused, Turn, clean

OPTIONS: dict[str, Any] = {"api_visibility": "undocumented", "concurrency_limit": None}


def add_api(desk: Desk) -> None:
    """Register the calls; must run inside the page's Blocks."""

    async def answer(question: str, task: str, talk: str, request: gr.Request) -> AsyncIterator[dict]:  # type: ignore[type-arg]
        words, session = desk.words(request), desk.session(request)
        try:
            turn = desk.service.ask(session.id, _talk(session.id, talk), question, task)
        except Refused as refused:
            yield {"state": "refused", "why": refused.told[0], "notice": told([refused.told], words)}
            return
        try:
            async for _ in desk.service.watch(turn):
                place = desk.service.line.place(turn)
                wait = desk.service.line.seconds(place)
                yield {"state": "waiting" if place else "answering", "place": place, "seconds": wait, **_said(turn)}
        finally:  # the caller went away: nobody waits for the answer
            if not turn.done.is_set():
                desk.service.line.leave(turn)
        failed = {key for key, _ in turn.told} & {"error", "too_long"}
        yield {"state": "failed" if failed else "done", "notice": told(turn.told, words), **_said(turn)}

    def rate(turn_id: str, talk: str, good: bool, reason: str, better: str, request: gr.Request) -> dict:  # type: ignore[type-arg]
        words, session = desk.words(request), desk.session(request)
        turns = desk.service.turns(_talk(session.id, talk))
        turn = next((turn for turn in turns if turn.id == turn_id and turn.done.is_set()), None)
        if turn is None:
            return {"state": "refused", "why": "nothing_yet", "notice": words["nothing_yet"]}
        reason, better = clean(reason), clean(better)
        if max(len(reason), len(better)) > MOST_CHARACTERS:
            long = words["correct_long"].format(most=MOST_CHARACTERS, n=max(len(reason), len(better)))
            return {"state": "refused", "why": "correct_long", "notice": long}
        try:
            number = keep_word(desk, turn, session, good=good, reason=reason, better=better)
        except NotKept as lost:
            return {"state": "refused", "why": lost.why, "notice": words[lost.why]}
        return {"state": "kept", "number": number}

    gr.api(answer, api_name="answer", **OPTIONS)
    gr.api(rate, api_name="rate", **OPTIONS)


def _talk(owner: str, name: str) -> str:
    """The name of a program's conversation: below its own session, apart from those of pages."""
    return f"{owner}/{str(name)[:40]}/api"


def _said(turn: Turn) -> dict[str, Any]:
    near = [passage["where"] for passage in turn.near]
    return {
        "id": turn.id,
        "answer": turn.answers["specialist"],
        "shares": dict(zip(turn.choices, turn.shares, strict=False)),
        "near": near,
    }
