"""The page "Review": an expert reads the test questions one by one and approves, corrects or rejects them.

Each decision is written at once to the file that was given with --reviews; the next build of the domain follows it.
"""

from __future__ import annotations

import html
import json
import os
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cards
import gradio as gr
from desk import AT_ONCE, Desk, notice, told
from service import MOST_CHARACTERS, Refused, clean
from words import Words

Redraw = tuple[Any, gr.State, list[Any]]
Decisions = dict[str, dict[str, str]]


class Reviews:
    """The test questions and what was decided on each: {id: {verdict, reference, at}}.

    Raises OSError or ValueError where one of the two files cannot be read.
    """

    def __init__(self, items: Path, decisions: Path) -> None:
        try:
            self.items: list[dict[str, str]] = json.loads(items.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{items} is damaged: {error}") from error
        self.path = decisions
        self.decisions = self._read()
        self._lock = threading.Lock()

    def first_open(self) -> int:
        """The place of the first question without a decision; 0 when there is none."""
        return next((at for at, item in enumerate(self.items) if item["id"] not in self.decisions), 0)

    def decide(self, at: int, verdict: str, answer: str) -> None:
        """Keep a decision beside those that another demo of this domain wrote meanwhile; raises Refused."""
        item, answer = self.items[at], clean(answer)
        row = {"verdict": verdict, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        if verdict == "approved" and answer and answer != clean(item["reference"]):
            if len(answer) > MOST_CHARACTERS:
                raise Refused("correct_long", most=MOST_CHARACTERS, n=len(answer))
            row["reference"] = answer
        with self._lock:
            try:
                decisions = self.decisions | self._read() | {item["id"]: row}
                self._write(decisions)
            except (OSError, ValueError) as error:
                print(f"review: {error}", file=sys.stderr, flush=True)
                raise Refused("not_kept") from error
            self.decisions = decisions

    def _read(self) -> Decisions:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
            raise ValueError(f"{self.path} is not what this page writes. Mend or delete it.")
        return found

    def _write(self, decisions: Decisions) -> None:
        """The file is replaced as a whole, so that it is never half-written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".reviews.", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(decisions, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        finally:
            Path(name).unlink(missing_ok=True)

    def count(self, verdict: str) -> int:
        return sum(self.decisions.get(item["id"], {}).get("verdict") == verdict for item in self.items)


def review_page(page: gr.Blocks, desk: Desk, reviews: Reviews) -> Redraw:
    """Lay out the page inside a tab; every button asks who pressed it. Returns what draws it again, from what, onto what."""
    at = gr.State(0)
    desk.say(
        gr.HTML, {"value": lambda words: f'<p class="intro">{html.escape(words["review_intro"])}</p>'}, padding=False
    )
    shown = gr.HTML(elem_id="review-item", padding=False)
    answer = desk.say(gr.Textbox, {"label": "review_answer"}, lines=2, max_lines=8, elem_id="review-answer")
    with gr.Row(elem_id="review-buttons"):
        approve = desk.say(gr.Button, {"value": "review_approve"}, variant="primary", min_width=110)
        reject = desk.say(gr.Button, {"value": "review_reject"}, variant="stop", min_width=110)
        later = desk.say(gr.Button, {"value": "review_next"}, min_width=80)
        back = desk.say(gr.Button, {"value": "review_back"}, min_width=80)
    line = gr.HTML("", elem_id="review-notice", padding=False)
    passage = gr.HTML(elem_id="review-passage", padding=False)

    def show(place: int, request: gr.Request) -> list[Any]:
        desk.reviewer(request)
        place, words = place % len(reviews.items), desk.words(request)
        item = reviews.items[place]
        kept = reviews.decisions.get(item["id"], {})
        about = about_passage(item.get("passage", ""), words)
        return [place, picture(reviews, place, words), kept.get("reference", item["reference"]), about, ""]

    def first(request: gr.Request) -> list[Any]:
        return show(reviews.first_open(), request) if desk.session(request).reviewer else [gr.skip()] * 5

    def redraw(place: int, request: gr.Request) -> list[Any]:
        return show(place, request) if desk.session(request).reviewer else [gr.skip()] * 5

    def earlier(place: int, request: gr.Request) -> list[Any]:
        return show(place - 1, request)

    def next_one(place: int, request: gr.Request) -> list[Any]:
        return show(place + 1, request)

    def decided(verdict: str) -> Any:
        def keep(place: int, text: str, request: gr.Request) -> list[Any]:
            desk.reviewer(request)
            try:
                reviews.decide(int(place) % len(reviews.items), verdict, text)
            except Refused as refused:
                return [*[gr.skip()] * 4, notice(told([refused.told], desk.words(request)))]
            return show(place + 1, request)

        return keep

    out = [at, shown, answer, passage, line]
    approve.click(decided("approved"), [at, answer], out, **AT_ONCE)
    reject.click(decided("rejected"), [at, answer], out, **AT_ONCE)
    back.click(earlier, at, out, **AT_ONCE)
    later.click(next_one, at, out, **AT_ONCE)
    page.load(first, None, out, **AT_ONCE)
    return redraw, at, out


def picture(reviews: Reviews, place: int, words: Words) -> str:
    """The question first, its place and what was decided; every text is escaped."""
    item = reviews.items[place]
    verdict = reviews.decisions.get(item["id"], {}).get("verdict", "open")
    done = words["review_done"].format(
        approved=reviews.count("approved"), rejected=reviews.count("rejected"), n=len(reviews.items)
    )
    share = 100 * (reviews.count("approved") + reviews.count("rejected")) / len(reviews.items)
    return (
        f'<div class="meter" aria-hidden="true"><div style="width:{share:.1f}%"></div></div>'
        f'<p class="small">{html.escape(done)}</p>'
        f"<h2>{place + 1} / {len(reviews.items)} · {html.escape(item['task'])} "
        f'<em class="{verdict}">{html.escape(words["review_" + verdict])}</em></h2>'
        f'<div class="asked" tabindex="0">{cards.text(item["question"])}</div>'
    )


def about_passage(passage: str, words: Words) -> str:
    """The passage that a question is about, in a box that scrolls by itself; its tables as tables."""
    if not passage:
        return ""
    title = html.escape(words["review_passage"])
    return f'<h2>{title}</h2><div class="passage" tabindex="0" role="region" aria-label="{title}">{cards.text(passage)}</div>'
