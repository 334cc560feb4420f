"""The page "Compare": one question, two answers side by side; blind, in random order, until the expert has voted."""

from __future__ import annotations

import html
import random
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import cards
import gradio as gr
from arena import Strength, strength
from desk import AT_ONCE, QUIET, Desk, notice, told, waiting
from keep import NotKept, keep_vote
from service import MOST_TALKS, Refused, Turn

VOTES = ("first", "second", "tie", "bad")
View = dict[Any, Any]


class Compare:
    """The page's parts and what its buttons do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._orders: OrderedDict[str, tuple[list[str], bool]] = (
            OrderedDict()
        )  # by turn: who stands first, was it blind
        desk.say(
            gr.HTML,
            {"value": lambda words: f'<p class="intro">{html.escape(words["compare_intro"])}</p>'},
            padding=False,
        )
        with gr.Row(elem_id="compare-asking"):
            self.box = desk.say(
                gr.Textbox, {"label": "question", "placeholder": "placeholder"}, lines=1, max_lines=10, scale=8, min_width=220,
                elem_id="compare-question",
            )  # fmt: skip
            self.send = desk.say(
                gr.Button, {"value": "send"}, variant="primary", min_width=90, scale=1, elem_id="compare-send"
            )
            self.stop = desk.say(
                gr.Button,
                {"value": "stop"},
                variant="stop",
                min_width=90,
                scale=1,
                visible=False,
                elem_id="compare-stop",
            )
        self.blind = desk.say(gr.Checkbox, {"label": "blind", "info": "blind_info"}, value=True, elem_id="blind")
        self.notice = gr.HTML("", elem_id="compare-notice", padding=False)
        self.asked = gr.HTML("", elem_id="compare-asked", padding=False)
        with gr.Row(elem_id="answers"):
            self.cards = [gr.HTML("", elem_id=f"answer-{place}", padding=False, min_width=280) for place in (1, 2)]
        with gr.Column(visible=False, elem_id="votes") as self.votes:
            desk.say(gr.HTML, {"value": lambda words: f"<h2>{html.escape(words['vote_ask'])}</h2>"}, padding=False)
            with gr.Row():
                buttons = [
                    desk.say(gr.Button, {"value": f"vote_{vote}"}, min_width=120, elem_id=f"vote-{vote}")
                    for vote in VOTES
                ]
        self.strength = gr.HTML("", elem_id="strength", padding=False)
        self.near = gr.HTML("", elem_id="compare-near", padding=False)
        shown = [
            self.box,
            self.send,
            self.stop,
            self.notice,
            self.asked,
            *self.cards,
            self.votes,
            self.strength,
            self.near,
        ]
        for event in (self.box.submit, self.send.click):
            event(self.ask, [self.box, self.blind], shown, **QUIET)
        self.stop.click(self.halt, None, None, **AT_ONCE)
        for vote, button in zip(VOTES, buttons, strict=True):
            button.click(self._voter(vote), None, shown, **AT_ONCE)

    async def ask(self, text: str, blind: bool, request: gr.Request) -> AsyncIterator[View]:
        """Both answer the same question, one after the other: one model is in memory."""
        service, words = self.desk.service, self.desk.words(request)
        try:
            turn = service.ask(self.desk.session(request).id, self._talk(request), text, service.usual, compare=True)
        except Refused as refused:
            yield {self.notice: notice(told([refused.told], words))}
            return
        order = random.sample(list(turn.answers), 2) if blind else list(turn.answers)
        self._orders[turn.id] = (order, blind)
        while len(self._orders) > MOST_TALKS:
            self._orders.popitem(last=False)
        begun: View = {
            self.send: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.box: "",
            self.notice: "",
        }
        yield {
            **begun,
            **self._view(turn, words),
            self.votes: gr.Column(visible=False),
            self.strength: "",
            self.near: "",
        }
        async for _ in service.watch(turn):
            yield self._view(turn, words)
        sentences = [*turn.told, *([("stopped", {})] if turn.stop.is_set() else [])]
        whole = blind and all(turn.answers.values()) and not turn.stop.is_set()
        yield {
            **self._view(turn, words), self.notice: notice(told(sentences, words)), self.votes: gr.Column(visible=whole),
            self.near: cards.passages(turn.near, turn.read, words),
            self.send: gr.Button(visible=True), self.stop: gr.Button(visible=False),
        }  # fmt: skip

    def halt(self, request: gr.Request) -> None:
        for turn in self.desk.service.turns(self._talk(request)):
            if not turn.done.is_set():
                self.desk.service.line.leave(turn)

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.desk.service.forget(self._talk(request))

    def _voter(self, vote: str) -> Any:
        def cast(request: gr.Request) -> View:
            return self.cast(vote, request)

        return cast

    def cast(self, vote: str, request: gr.Request) -> View:
        """Keep the vote, then show who is who and what all votes say; each pair of answers has one vote."""
        words, turns = self.desk.words(request), self.desk.service.turns(self._talk(request))
        turn = turns[-1] if turns else None
        order, blind = self._orders.get(turn.id, ([], False)) if turn else ([], False)
        if turn is None or not blind or not turn.done.is_set():
            return {self.notice: notice(words["nothing_yet"])}
        try:
            number = keep_vote(self.desk, turn, self.desk.session(request), order, vote)
        except NotKept as lost:
            return {self.notice: notice(words[lost.why])}
        self._orders[turn.id] = (order, False)
        names = [words[f"who_{who}"] for who in order]
        said = words["voted"].format(n=number, first=names[0], second=names[1])
        return {
            **self._view(turn, words), self.notice: notice(said), self.votes: gr.Column(visible=False),
            self.strength: told_strength(strength(self.desk.store().votes(self.desk.service.app["model"])), words),
        }  # fmt: skip

    def _talk(self, request: gr.Request) -> str:
        return self.desk.talk(request, "compare")

    def _view(self, turn: Turn, words: dict[str, str]) -> View:
        """The question and the two answers, with their names where they are not hidden."""
        order, blind = self._orders.get(turn.id, (list(turn.answers), False))
        wait = waiting(self.desk, turn, words)
        empty = words["no_answer"] if turn.done.is_set() else wait
        base = words["base"].format(name=self.desk.service.app["base"])
        titles = (
            [words["first"], words["second"]]
            if blind
            else [base if who == "base" else words["specialist"] for who in order]
        )
        shown = [
            cards.answer(title, turn.answers[who] or empty, "" if blind else who)
            for title, who in zip(titles, order, strict=True)
        ]
        asked = f'<p class="asked">{html.escape(turn.question)}</p>'
        return {self.asked: asked, self.cards[0]: shown[0], self.cards[1]: shown[1]}


def told_strength(found: list[Strength], words: dict[str, str]) -> str:
    """All votes on this specialist in a sentence, and whether they say something yet."""
    return "".join(f'<p class="notice">{html.escape(_sentence(row, words))}</p>' for row in found)


def _sentence(row: Strength, words: dict[str, str]) -> str:
    side = "strength_clear" if row.low > 0 else "strength_worse" if row.high < 0 else "strength_open"
    facts = {"n": row.n, "wins": row.wins, "losses": row.losses, "ties": row.ties - row.bad, "bad": row.bad}
    figures = {"score": f"{row.score:+.0f}", "low": f"{row.low:+.0f}", "high": f"{row.high:+.0f}"}
    return f"{words['strength'].format(**facts, **figures)} {words[side]}"
