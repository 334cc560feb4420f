"""The page "Feedback", for reviewers only: read what people sent, mend it, approve or reject it, promote it to the tests."""

from __future__ import annotations

import html
import sys
from typing import Any

import cards
import gradio as gr
from desk import AT_ONCE, Desk, notice
from service import MOST_CHARACTERS, clean, plain
from store import KINDS, STATES, Row, StoreError
from words import Words

PAGE = 20  # rows of the list
FREE = "*"  # as a task: asked freely
View = dict[Any, Any]


class Feedback:
    """The list with its filters, and the row that is read. Every function asks first who is there."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.tasks: dict[str, dict[str, Any]] = {task["name"]: task for task in desk.service.app["tasks"]}
        self._lay_out()
        self._wire()

    def _lay_out(self) -> None:
        desk = self.desk
        desk.say(
            gr.HTML, {"value": lambda words: f'<p class="intro">{html.escape(words["fb_intro"])}</p>'}, padding=False
        )
        with gr.Row(elem_id="fb-filters"):
            self.kind = desk.say(
                gr.Dropdown, {"label": "fb_kind", "choices": _named(KINDS)}, value="", min_width=120, elem_id="fb-kind"
            )
            self.state = desk.say(
                gr.Dropdown,
                {"label": "fb_state", "choices": _named(STATES)},
                value="open",
                min_width=120,
                elem_id="fb-state",
            )
            self.task = desk.say(
                gr.Dropdown, {"label": "fb_task", "choices": self._tasks}, value="", min_width=120, elem_id="fb-task"
            )
            self.search = desk.say(gr.Textbox, {"label": "fb_search"}, max_lines=1, min_width=160, elem_id="fb-search")
        self.wanted = gr.State({"at": 0, "kind": "", "state": "open", "task": "", "search": ""})
        self.notice = gr.HTML("", elem_id="fb-notice", padding=False)
        self.list = desk.say(gr.Radio, {"label": "fb_choose"}, choices=[], elem_id="fb-list")
        with gr.Row():
            self.newer = desk.say(gr.Button, {"value": "fb_newer"}, size="sm", min_width=90)
            self.older = desk.say(gr.Button, {"value": "fb_older"}, size="sm", min_width=90)
        with gr.Column(visible=False, elem_id="fb-row") as self.row:
            self.facts = gr.HTML("", padding=False, elem_id="fb-facts")
            self.better = desk.say(gr.Textbox, {"label": "fb_better"}, lines=3, max_lines=14, elem_id="fb-better")
            with gr.Row():
                self.approve = desk.say(
                    gr.Button, {"value": "fb_approve"}, variant="primary", min_width=110, elem_id="fb-approve"
                )
                self.reject = desk.say(
                    gr.Button, {"value": "fb_reject"}, variant="stop", min_width=110, elem_id="fb-reject"
                )
                self.promote = desk.say(gr.Button, {"value": "fb_promote"}, min_width=180, elem_id="fb-promote")

    def _tasks(self, words: Words) -> list[tuple[str, str]]:
        return [
            (words["fb_all"], ""),
            (words["free"], FREE),
            *((task["title"], name) for name, task in self.tasks.items()),
        ]

    def _wire(self) -> None:
        filters = [self.kind, self.state, self.task, self.search]
        self.listed = [self.wanted, self.list, self.row, self.notice]
        for event in (self.kind.input, self.state.input, self.task.input, self.search.submit):
            event(self.filter, filters, self.listed, **AT_ONCE)
        self.newer.click(self.turn_back, self.wanted, self.listed, **AT_ONCE)
        self.older.click(self.turn_on, self.wanted, self.listed, **AT_ONCE)
        self.list.input(self.read, self.list, [self.row, self.facts, self.better, self.notice], **AT_ONCE)
        for button, act in ((self.approve, self.say_yes), (self.reject, self.say_no), (self.promote, self.say_test)):
            button.click(act, [self.list, self.better, self.wanted], self.listed, **AT_ONCE)

    def filter(self, kind: str, state: str, task: str, search: str, request: gr.Request) -> View:
        """The first page of the rows that fit."""
        return self.turn({"at": 0, "kind": kind, "state": state, "task": task, "search": clean(search)[:100]}, request)

    def again(self, wanted: View, request: gr.Request) -> View:
        """What stands there when the page is opened: the newest."""
        return self.turn({**wanted, "at": 0}, request)

    def redraw(self, wanted: View, request: gr.Request) -> View:
        """The list again, after the language was changed."""
        return self.turn(wanted, request) if self.desk.session(request).reviewer else {self.notice: ""}

    def turn_back(self, wanted: View, request: gr.Request) -> View:
        return self.turn({**wanted, "at": max(0, wanted["at"] - PAGE)}, request)

    def turn_on(self, wanted: View, request: gr.Request) -> View:
        return self.turn({**wanted, "at": wanted["at"] + PAGE}, request)

    def turn(self, wanted: View, request: gr.Request) -> View:
        """The list at a place, with no row chosen."""
        self.desk.reviewer(request)
        words = self.desk.words(request)
        task = {"": None, FREE: ""}.get(wanted["task"], wanted["task"])
        fits = {"kind": wanted["kind"], "state": wanted["state"], "task": task, "search": wanted["search"]}
        try:
            n = self.desk.store().count(**fits)
            at = min(wanted["at"], max(0, n - 1) // PAGE * PAGE)
            rows = self.desk.store().rows(**fits, limit=PAGE, offset=at)
        except StoreError as error:
            return {self.notice: notice(_failed(error, words))}
        shown = f"{at + 1}-{at + len(rows)}" if rows else "0"
        label = words["fb_list"].format(shown=shown, n=n) if rows else words["fb_none"]
        choices = [(self._line(row, words), row.id) for row in rows]
        return {
            self.wanted: {**wanted, "at": at}, self.list: gr.Radio(choices=choices, value=None, label=label),
            self.row: gr.Column(visible=False), self.notice: "",
        }  # fmt: skip

    def read(self, number: int | None, request: gr.Request) -> View:
        """The whole of one row."""
        self.desk.reviewer(request)
        words = self.desk.words(request)
        try:
            row = self.desk.store().row(int(number or 0))
        except StoreError as error:
            return {self.notice: notice(_failed(error, words))}
        if row is None:
            return {self.row: gr.Column(visible=False), self.notice: notice(words["fb_choose"])}
        vote = row.kind == "vote"
        return {
            self.row: gr.Column(visible=True), self.facts: self._facts(row, words), self.notice: "",
            self.better: gr.Textbox(value=row.edited or row.better, visible=not vote),
        }  # fmt: skip

    def say_yes(self, number: int | None, better: str, wanted: View, request: gr.Request) -> View:
        return self._decide("approved", False, number, better, wanted, request)

    def say_no(self, number: int | None, better: str, wanted: View, request: gr.Request) -> View:
        return self._decide("rejected", False, number, better, wanted, request)

    def say_test(self, number: int | None, better: str, wanted: View, request: gr.Request) -> View:
        return self._decide("approved", True, number, better, wanted, request)

    def _decide(
        self, state: str, promote: bool, number: int | None, better: str, wanted: View, request: gr.Request
    ) -> View:
        """Keep the decision and show the list again; or say what is missing, and leave everything as it stands."""
        session, words = self.desk.reviewer(request), self.desk.words(request)
        better = clean(better)
        try:
            row = self.desk.store().row(int(number or 0))
            if row is None:
                return {self.notice: notice(words["fb_choose"])}
            if len(better) > MOST_CHARACTERS:
                return {self.notice: notice(words["correct_long"].format(most=MOST_CHARACTERS, n=len(better)))}
            if promote and (row.kind == "vote" or not (better or row.wanted)):
                return {self.notice: notice(words["fb_needs"])}
            self.desk.store().decide(row.id, state, session.name or session.role, better or None, promote)
        except StoreError as error:
            return {self.notice: notice(_failed(error, words))}
        said = words["fb_promoted" if promote else "fb_done"].format(n=number, state=words[f"fb_{state}"])
        return {**self.turn(wanted, request), self.notice: notice(said)}

    def _line(self, row: Row, words: Words) -> str:
        """One row of the list: plain text, which Gradio shows as such."""
        mark = "" if row.state == "open" else f" · {words[f'fb_{row.state}']}"
        return f"{row.id} · {words[f'fb_{row.kind}']}{mark} · {' '.join(self._asked(row).split())[:90]}"

    def _asked(self, row: Row) -> str:
        """The question itself, out of its task's words."""
        return plain(self.tasks[row.task], row.question) if row.task in self.tasks else row.question

    def _facts(self, row: Row, words: Words) -> str:
        verdict = words.get(f"fb_{row.verdict}") or words[f"vote_{row.verdict}"]
        answers = {words["fb_answer"]: row.answer}
        if row.kind == "vote":
            answers = {
                f"{words['first']} ({words[f'who_{row.made_by}']})": row.answer,
                f"{words['second']} ({words[f'who_{row.other_by}']})": row.other,
            }
        return cards.facts({
            words["fb_question"]: self._asked(row), words["fb_whole"]: "" if self._asked(row) == row.question else row.question, **answers, words["fb_verdict"]: verdict, words["fb_reason"]: row.reason,
            words["fb_better_sent"]: row.better, words["fb_task"]: self.tasks[row.task]["title"] if row.task in self.tasks else words["free"],
            words["fb_who"]: row.who or words["fb_nameless"], words["fb_when"]: row.at, words["fb_model"]: row.model[:12],
            words["fb_by"]: f"{row.reviewer}, {row.reviewed_at}" if row.reviewed_at else "",
        })  # fmt: skip


def _named(names: tuple[str, ...]) -> Any:
    return lambda words: [(words["fb_all"], ""), *((words[f"fb_{name}"], name) for name in names)]


def _failed(error: StoreError, words: Words) -> str:
    print(f"feedback: {error}", file=sys.stderr, flush=True)
    return words["store_failed"]
