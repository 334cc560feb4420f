"""The page "Feedback", for reviewers only: read what people sent, mend it, approve or reject it, promote it to the tests."""

from __future__ import annotations

import html
from typing import Any

import cards
import gradio as gr
from desk import AT_ONCE, Desk, notice
from service import MOST_CHARACTERS, clean
from words import Words

PAGE = 20  # rows of the list
KINDS = ("correction", "rating", "vote")
STATES = ("new", "approved", "rejected")
View = dict[Any, Any]


class Feedback:
    """The list with its filters, and the row that is read. Every function asks first who is there."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        tasks = [(task["title"], task["name"]) for task in desk.service.app["tasks"]]
        desk.say(gr.HTML, {"value": lambda words: f'<p class="intro">{html.escape(words["fb_intro"])}</p>'}, padding=False)
        with gr.Row(elem_id="fb-filters"):
            self.kind = desk.say(gr.Dropdown, {"label": "fb_kind", "choices": _named("fb_", KINDS)}, value="", min_width=120)
            self.state = desk.say(gr.Dropdown, {"label": "fb_state", "choices": _named("fb_", STATES)}, value="new", min_width=120, elem_id="fb-state")
            self.task = desk.say(
                gr.Dropdown, {"label": "fb_task", "choices": lambda words: [(words["fb_all"], ""), *tasks]}, value="", min_width=120,
            )  # fmt: skip
            self.search = desk.say(gr.Textbox, {"label": "fb_search"}, max_lines=1, min_width=160, elem_id="fb-search")
        self.at = gr.State(0)
        self.notice = gr.HTML("", elem_id="fb-notice", padding=False)
        self.list = gr.Radio([], label="…", elem_id="fb-list")
        with gr.Row():
            self.newer = desk.say(gr.Button, {"value": "fb_newer"}, size="sm", min_width=90)
            self.older = desk.say(gr.Button, {"value": "fb_older"}, size="sm", min_width=90)
        with gr.Column(visible=False, elem_id="fb-row") as self.row:
            self.facts = gr.HTML("", padding=False, elem_id="fb-facts")
            self.better = desk.say(gr.Textbox, {"label": "fb_better"}, lines=3, max_lines=14, elem_id="fb-better")
            with gr.Row():
                approve = desk.say(gr.Button, {"value": "fb_approve"}, variant="primary", min_width=110, elem_id="fb-approve")
                reject = desk.say(gr.Button, {"value": "fb_reject"}, variant="stop", min_width=110, elem_id="fb-reject")
                promote = desk.say(gr.Button, {"value": "fb_promote"}, min_width=180, elem_id="fb-promote")
        filters = [self.kind, self.state, self.task, self.search]
        listed = [self.at, self.list, self.row, self.notice]
        for part in (self.kind, self.state, self.task):
            part.input(self.first, filters, listed, **AT_ONCE)
        self.search.submit(self.first, filters, listed, **AT_ONCE)
        self.newer.click(self.turn_back, [self.at, *filters], listed, **AT_ONCE)
        self.older.click(self.turn_on, [self.at, *filters], listed, **AT_ONCE)
        self.list.input(self.read, self.list, [self.row, self.facts, self.better, self.notice], **AT_ONCE)
        self.shown, self.filters = listed, filters
        for button, state in ((approve, "approved"), (reject, "rejected"), (promote, "promoted")):
            button.click(self._decider(state), [self.list, self.better, self.at, *filters], listed, **AT_ONCE)
