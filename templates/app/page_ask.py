"""The page "Ask": a conversation with the specialist, the passages to check it by, and a word back from the expert."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from typing import Any

import cards
import gradio as gr
from desk import AT_ONCE, QUIET, Desk, notice, told, waiting
from page_correct import Correct
from service import Refused, Turn

MOST_STARTERS = 6
View = dict[Any, Any]


class Ask:
    """The page's parts and what its buttons do. The server keeps the conversation; the browser only shows it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._lay_out()
        self._wire()

    def _lay_out(self) -> None:
        desk, service = self.desk, self.desk.service
        with gr.Row(elem_id="talk"):
            self.chat = desk.say(
                gr.Chatbot, {"label": "specialist", "placeholder": lambda words: html.escape(words["welcome"])}, elem_id="chat", scale=5, min_width=300,
                height="46vh", min_height=240, sanitize_html=True, render_markdown=False, latex_delimiters=[], reasoning_tags=[],
                allow_tags=False, allow_file_downloads=False, feedback_options=None, buttons=[], layout="bubble",
            )  # fmt: skip
            self.near = gr.HTML("", elem_id="near", padding=False, min_width=280)
        self.shares = gr.HTML("", elem_id="shares", padding=False)
        self.notice = gr.HTML("", elem_id="notice", padding=False)
        with gr.Row(visible=False, elem_id="after") as self.after:
            self.good = desk.say(gr.Button, {"value": "good"}, size="sm", min_width=90, elem_id="good")
            self.bad = desk.say(gr.Button, {"value": "bad"}, size="sm", min_width=90, elem_id="bad")
            self.better = desk.say(gr.Button, {"value": "better"}, size="sm", min_width=160, elem_id="better")
            self.retry = desk.say(gr.Button, {"value": "retry"}, size="sm", min_width=90, elem_id="retry")
            self.edit = desk.say(gr.Button, {"value": "edit"}, size="sm", min_width=120, elem_id="edit")
        self.correct = Correct(desk)
        with gr.Row(elem_id="asking", equal_height=False):
            self.box = desk.say(
                gr.Textbox, {"label": "question", "placeholder": "placeholder"}, lines=1, max_lines=10, elem_id="question",
                scale=8, min_width=220, autofocus=True, submit_btn=False, stop_btn=False,
            )  # fmt: skip
            self.send = desk.say(gr.Button, {"value": "send"}, variant="primary", min_width=90, scale=1, elem_id="send")
            self.stop = desk.say(
                gr.Button, {"value": "stop"}, variant="stop", min_width=90, scale=1, visible=False, elem_id="stop"
            )
        with gr.Row(elem_id="options"):
            with gr.Column(min_width=260):
                self.kind = desk.say(
                    gr.Dropdown, {"choices": self._choices, "label": "kind", "info": "kind_info"}, value=self.desk.service.usual,
                    visible=bool(service.kinds), elem_id="kind",
                )  # fmt: skip
            with gr.Column(min_width=260):
                self.follow = desk.say(
                    gr.Checkbox, {"label": "follow", "info": "follow_info"}, value=False, elem_id="follow"
                )
                self.clear = desk.say(gr.Button, {"value": "clear"}, size="sm", elem_id="clear")
        self.starters: list[gr.Button] = []
        if service.app["starters"]:
            desk.say(
                gr.HTML,
                {"value": lambda words: f"<h2>{html.escape(words['starters'])}</h2>"},
                elem_id="starters-label",
                padding=False,
            )
            with gr.Row(elem_id="starters"):
                for question in service.app["starters"][:MOST_STARTERS]:
                    self.starters.append(gr.Button(question, size="sm", min_width=140))

    def _choices(self, words: dict[str, str]) -> list[tuple[str, str]]:
        """The kinds of question; one that looks the passages up leads, a free question leads the rest."""
        named = [
            (words["lookup"] if "{question}" in task["about"] else task["title"], name)
            for name, task in self.desk.service.kinds.items()
        ]
        named.insert(int(bool(self.desk.service.usual)), (words["free"], ""))
        return named

    def _wire(self) -> None:
        self.shown = shown = [
            self.chat,
            self.shares,
            self.notice,
            self.after,
            self.near,
            self.box,
            self.send,
            self.stop,
            *self.correct.shown,
        ]
        for event in (self.box.submit, self.send.click):
            event(self.ask, [self.box, self.kind, self.follow], shown, **QUIET)
        for button in self.starters:
            button.click(self.ask, [button, gr.State(self.desk.service.usual), self.follow], shown, **QUIET)
        self.retry.click(self.again, self.follow, shown, **QUIET)
        self.edit.click(self.change, None, shown, **AT_ONCE)
        self.stop.click(self.halt, None, None, **AT_ONCE)
        self.clear.click(self.begin_anew, None, shown, **AT_ONCE)
        self.kind.change(self.suit, self.kind, self.box, **AT_ONCE)
        self.good.click(self.praise, None, [self.notice, *self.correct.shown], **AT_ONCE)
        self.bad.click(self.open_bad, None, [self.notice, *self.correct.shown], **AT_ONCE)
        self.better.click(self.open_better, None, [self.notice, *self.correct.shown], **AT_ONCE)
        self.correct.wire(self.notice)

    async def ask(self, text: str, kind: str, follow: bool, request: gr.Request) -> AsyncIterator[View]:
        """Put the question into the line and show the answer as it comes, or say why not."""
        async for view in self._ask(text, kind, follow, False, request):
            yield view

    async def again(self, follow: bool, request: gr.Request) -> AsyncIterator[View]:
        """The last question once more: another answer is drawn."""
        turns = self.desk.service.turns(self._talk(request))
        if turns and turns[-1].done.is_set():
            last = turns[-1]
            async for view in self._ask(last.question, last.task, follow, True, request):
                yield view

    async def _ask(self, text: str, kind: str, follow: bool, again: bool, request: gr.Request) -> AsyncIterator[View]:
        service, talk, words = self.desk.service, self._talk(request), self.desk.words(request)
        try:
            turn = service.ask(self.desk.session(request).id, talk, text, kind, follow=follow, again=again)
        except Refused as refused:
            yield {self.notice: notice(told([refused.told], words))}
            return
        yield {**self._view(request), **self._buttons(True), self.box: "", **self.correct.closed()}
        async for _ in service.watch(turn):
            yield {self.chat: self._messages(request), self.shares: cards.labels(turn.choices, turn.shares, words)}
        yield {**self._view(request), **self._buttons(False)}

    def change(self, request: gr.Request) -> View:
        """The last question back into the box; sent again, it takes the place of the old one."""
        turns = self.desk.service.turns(self._talk(request))
        if not turns or not turns[-1].done.is_set():
            return {self.notice: notice(self.desk.words(request)["busy"])}
        last = turns.pop()
        return {**self._view(request), self.box: last.question, **self.correct.closed()}

    def halt(self, request: gr.Request) -> None:
        for turn in self.desk.service.turns(self._talk(request)):
            if not turn.done.is_set():
                self.desk.service.line.leave(turn)

    def begin_anew(self, request: gr.Request) -> View:
        self.desk.service.forget(self._talk(request))
        return {**self._view(request), **self._buttons(False), self.box: "", **self.correct.closed()}

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.desk.service.forget(self._talk(request))

    def redraw(self, request: gr.Request) -> View:
        """The conversation again, after the language was changed."""
        return self._view(request)

    def suit(self, kind: str, request: gr.Request) -> Any:
        """A box for facts where the answer is a label, a line for a question elsewhere."""
        task = self.desk.service.kinds.get(kind, {})
        words = self.desk.words(request)
        form = bool(task.get("choices"))
        label = words["facts"].format(task=task["title"]) if form else words["question"]
        return gr.update(
            lines=5 if form else 1, label=label, placeholder=words["facts_hint" if form else "placeholder"]
        )

    def praise(self, request: gr.Request) -> View:
        return self._rate(request, self.correct.praise)

    def open_bad(self, request: gr.Request) -> View:
        return self._rate(request, self.correct.open, True)

    def open_better(self, request: gr.Request) -> View:
        return self._rate(request, self.correct.open, False)

    def _rate(self, request: gr.Request, act: Any, *more: Any) -> View:
        turns = self.desk.service.turns(self._talk(request))
        if not turns or not turns[-1].done.is_set():
            return {self.notice: notice(self.desk.words(request)["nothing_yet"])}
        return act(turns[-1], *more, request)  # type: ignore[no-any-return]

    def _talk(self, request: gr.Request) -> str:
        return self.desk.talk(request, "ask")

    def _view(self, request: gr.Request) -> View:
        """The whole conversation, and what belongs to its last answer."""
        words, turns = self.desk.words(request), self.desk.service.turns(self._talk(request))
        last = turns[-1] if turns else None
        sentences = list(last.told) if last else []
        if last and last.stop.is_set():
            sentences.append(("stopped", {}))
        return {
            self.chat: self._messages(request),
            self.shares: cards.labels(last.choices, last.shares, words) if last else "",
            self.near: cards.passages(last.near, last.read, words) if last else "",
            self.notice: notice(told(sentences, words)),
            self.after: gr.Row(visible=bool(last and last.done.is_set())),
        }

    def _buttons(self, running: bool) -> View:
        return {self.send: gr.Button(visible=not running), self.stop: gr.Button(visible=running)}

    def _messages(self, request: gr.Request) -> list[dict[str, str]]:
        """Escaped, for a Chatbot lets harmless HTML through."""
        words = self.desk.words(request)
        shown = []
        for turn in self.desk.service.turns(self._talk(request)):
            shown.append({"role": "user", "content": html.escape(turn.question)})
            shown.append({"role": "assistant", "content": html.escape(self._said(turn, words))})
        return shown

    def _said(self, turn: Turn, words: dict[str, str]) -> str:
        text = turn.answers["specialist"]
        return text or (words["no_answer"] if turn.done.is_set() else waiting(self.desk, turn, words))
