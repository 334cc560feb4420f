"""The page "Review": an expert reads the test questions one by one and approves, corrects or rejects them.

Each decision is written at once to the file that was given with --reviews; the next build of the domain follows it.
"""

from __future__ import annotations

import html
import json
import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr

Words = dict[str, str]
MOST = 4000  # characters of an answer


class Reviews:
    """The test questions and what was decided on each: {id: {verdict, reference, at}}."""

    def __init__(self, items: Path, decisions: Path) -> None:
        self.items: list[dict[str, str]] = json.loads(items.read_text(encoding="utf-8"))
        self.path = decisions
        self.decisions: dict[str, dict[str, str]] = (
            json.loads(decisions.read_text(encoding="utf-8")) if decisions.exists() else {}
        )
        self._lock = threading.Lock()

    def first_open(self) -> int:
        """The place of the first question without a decision; 0 when there is none."""
        return next((at for at, item in enumerate(self.items) if item["id"] not in self.decisions), 0)

    def decide(self, at: int, verdict: str, answer: str) -> None:
        """Keep a decision: the file is replaced as a whole, so that it is never half-written."""
        item = self.items[at]
        row = {"verdict": verdict, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        if verdict == "approved" and answer.strip() and answer.strip() != item["reference"].strip():
            row["reference"] = answer.strip()[:MOST]
        with self._lock:
            self.decisions[item["id"]] = row
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".reviews.", suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.decisions, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)

    def count(self, verdict: str) -> int:
        return sum(self.decisions.get(item["id"], {}).get("verdict") == verdict for item in self.items)


def review_tab(page: gr.Blocks, reviews: Reviews, words: Words) -> None:
    """Lay out the page inside a tab."""
    at = gr.State(0)
    gr.HTML(f"<p>{html.escape(words['review_intro'])}</p>", elem_id="review-intro", padding=False)
    shown = gr.HTML(elem_id="review-item", padding=False)
    answer = gr.Textbox(label=words["review_answer"], lines=3, max_lines=10, elem_id="review-answer")
    with gr.Row(elem_id="review-buttons"):
        back = gr.Button(words["review_back"], min_width=80)
        later = gr.Button(words["review_next"], min_width=80)
        reject = gr.Button(words["review_reject"], variant="stop", min_width=80)
        approve = gr.Button(words["review_approve"], variant="primary", min_width=120)

    def show(place: int) -> list[Any]:
        place %= len(reviews.items)
        item = reviews.items[place]
        kept = reviews.decisions.get(item["id"], {})
        return [place, picture(reviews, place, words), kept.get("reference", item["reference"])]

    def decided(verdict: str) -> Any:
        def keep(place: int, text: str) -> list[Any]:
            reviews.decide(place, verdict, text)
            return show(place + 1)

        return keep

    quiet: Any = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    out = [at, shown, answer]
    approve.click(decided("approved"), [at, answer], out, **quiet)
    reject.click(decided("rejected"), [at, answer], out, **quiet)
    back.click(lambda place: show(place - 1), at, out, **quiet)
    later.click(lambda place: show(place + 1), at, out, **quiet)
    page.load(lambda: show(reviews.first_open()), None, out, **quiet)


def picture(reviews: Reviews, place: int, words: Words) -> str:
    """The question with its place and what was decided; every text is escaped."""
    item = reviews.items[place]
    verdict = reviews.decisions.get(item["id"], {}).get("verdict", "open")
    done = words["review_done"].format(
        approved=reviews.count("approved"), rejected=reviews.count("rejected"), n=len(reviews.items)
    )
    share = 100 * (reviews.count("approved") + reviews.count("rejected")) / len(reviews.items)
    return (
        f'<div class="meter" role="img" aria-label="{html.escape(done)}"><div style="width:{share:.1f}%"></div></div>'
        f"<p><small>{html.escape(done)}</small></p>"
        f"<h3>{place + 1} / {len(reviews.items)} · {html.escape(item['task'])} "
        f'<em class="{verdict}">{html.escape(words["review_" + verdict])}</em></h3>'
        f'<div class="asked">{html.escape(item["question"])}</div>'
    )
