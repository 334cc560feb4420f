"""The panel in which an expert says what is wrong with an answer, and writes the better one."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr
from desk import AT_ONCE, Desk, notice
from keep import NotKept, keep_word
from service import MOST_CHARACTERS, Turn, clean

View = dict[Any, Any]


class Correct:
    """One panel for one answer at a time."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.turn = gr.State("")  # the id of the turn that is spoken about
        self.bad = gr.State(False)  # was it called wrong
        with gr.Column(visible=False, elem_id="correct") as self.panel:
            self.title = gr.HTML("", padding=False)
            self.reason = desk.say(
                gr.Textbox, {"label": "correct_reason"}, lines=1, max_lines=4, elem_id="correct-reason"
            )
            self.text = desk.say(
                gr.Textbox, {"label": "correct_better"}, lines=3, max_lines=14, elem_id="correct-better"
            )
            self.choice = desk.say(
                gr.Dropdown, {"label": "correct_choice"}, choices=[], visible=False, elem_id="correct-choice"
            )
            with gr.Row():
                self.send = desk.say(
                    gr.Button, {"value": "correct_send"}, variant="primary", min_width=160, elem_id="correct-send"
                )
                self.cancel = desk.say(gr.Button, {"value": "correct_cancel"}, min_width=100, elem_id="correct-cancel")
        self.shown = [self.turn, self.bad, self.panel, self.title, self.reason, self.text, self.choice]

    def wire(self, line: gr.HTML) -> None:
        """`line` is the page's notice."""
        self.line = line
        inputs = [self.turn, self.bad, self.reason, self.text, self.choice]
        self.send.click(self.submit, inputs, [line, *self.shown], **AT_ONCE)
        self.cancel.click(self.close, None, self.shown, **AT_ONCE)

    def close(self) -> View:
        return self.closed()

    def closed(self) -> View:
        return {self.panel: gr.Column(visible=False), self.turn: ""}

    def open(self, turn: Turn, bad: bool, request: gr.Request) -> View:
        """Show the panel for a turn; the answer stands in the box, to be mended."""
        title = self.desk.words(request)["correct_title"].format(question=turn.question[:200])
        choices = bool(turn.choices)
        return {
            self.turn: turn.id, self.bad: bad, self.panel: gr.Column(visible=True), self.reason: "", self.line: "",
            self.title: f"<h2>{html.escape(title)}</h2>",
            self.text: gr.Textbox(value=turn.answers["specialist"], visible=not choices),
            self.choice: gr.Dropdown(choices=turn.choices, value=None, visible=choices),
        }  # fmt: skip

    def praise(self, turn: Turn, request: gr.Request) -> View:
        """Thumbs up needs no more words."""
        line, _ = self._keep(turn, "thanks_good", request, good=True)
        return {self.line: line, **self.closed()}

    def submit(self, turn_id: str, bad: bool, reason: str, text: str, choice: str | None, request: gr.Request) -> View:
        words = self.desk.words(request)
        turn = next(
            (turn for turn in self.desk.service.turns(self.desk.talk(request, "ask")) if turn.id == turn_id), None
        )
        if turn is None:
            return {self.line: notice(words["nothing_yet"]), **self.closed()}
        reason, better = clean(reason), clean(choice if turn.choices else text)
        better = "" if better == clean(turn.answers["specialist"]) else better
        longest = max(len(reason), len(better))
        if longest > MOST_CHARACTERS:
            return {self.line: notice(words["correct_long"].format(most=MOST_CHARACTERS, n=longest))}
        if not reason and not better and not bad:
            return {self.line: notice(words["correct_nothing"])}
        line, kept = self._keep(turn, "thanks", request, good=False, reason=reason, better=better)
        return {self.line: line, **(self.closed() if kept else {})}

    def _keep(self, turn: Turn, thanks: str, request: gr.Request, **said: Any) -> tuple[str, bool]:
        """The line that says it is kept and what happens next, or that it is not; and whether it is."""
        words = self.desk.words(request)
        try:
            number = keep_word(self.desk, turn, self.desk.session(request), **said)
        except NotKept as lost:
            return notice(words[lost.why]), False
        return notice(words[thanks].format(n=number)), True
