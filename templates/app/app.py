"""A small specialist model in the browser, beside its own base. Start it with: python app.py [--port 7860]

Everything stays on this machine: the page listens on 127.0.0.1 only and asks nothing of the network.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")

import gradio as gr
from engine import MAX_NEW_TOKENS, Engine, Message, TooLong
from review import Reviews, review_tab
from scoreboard import scoreboard
from search import Passage, Passages
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from words import WORDS

MOST_CHARACTERS = 4000
MOST_STARTERS = 8
MOST_WAITING = 16
CLOSED = ("/upload", "/info", "/openapi.json", "/component_server")  # paths that this page never uses
HERE = Path(__file__).resolve().parent
Turn = dict[str, str]  # question, asked (the question in its task's words), specialist, base


@dataclass
class Job:
    """A question that is being answered, at most one for each browser tab."""

    turn: Turn
    turns: list[Turn]  # the conversation with this turn at its end
    note: str = ""  # shown until the answer is there, and after it
    taken: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


class Demo:
    """What the page shows and what its buttons do. The server keeps the conversation; the browser only shows it."""

    def __init__(self, folder: Path, reviews: Path | None = None) -> None:
        self.app: dict[str, Any] = _read(folder / "app.json")
        self.scores: dict[str, Any] = _read(folder / "scoreboard.json")
        self.words = WORDS[self.app["language"]]
        self.passages = Passages(folder / "passages.jsonl")
        self.kinds = kinds(self.app["tasks"], bool(self.passages.rows))
        items = folder / "items.json"
        self.reviews = Reviews(items, reviews) if reviews and items.exists() else None
        self.engine = Engine(folder, self.app["stop"], self.app["no_repeat_ngram"])
        self.jobs: dict[str, Job] = {}

    def accept(self, text: str, kind: str, compare: bool, turns: list[Turn], request: gr.Request) -> list[Any]:
        """Take the question and show it at once, or say why not: box, notice, turns, specialist, base, source."""
        text = (text or "").strip()
        busy = self.words["busy"] if _session(request) in self.jobs else ""
        refusal = busy or self.loading() or ("" if text else self.words["empty"])
        reading = bool(self.kinds.get(kind, {}).get("about")) and not refusal
        passage = self.passages.nearest(text[:MOST_CHARACTERS]) if reading else None
        if reading and passage is None:
            refusal = self.words["no_source"]
        if refusal:
            return [gr.skip(), notice(refusal), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
        cut = self.words["cut"].format(most=MOST_CHARACTERS) if len(text) > MOST_CHARACTERS else ""
        text = text[:MOST_CHARACTERS]
        asked = self.worded(text, kind, passage)
        turn = {"question": text, "asked": asked, "specialist": ""} | ({"base": ""} if compare else {})
        turns = [*turns, turn]
        self.jobs[_session(request)] = Job(turn, turns, cut)
        box = gr.Textbox("", submit_btn=False, stop_btn=self.words["stop"])
        return [box, notice(cut), turns, *self.columns(turns), source(passage, self.words)]

    def worded(self, text: str, kind: str, passage: Passage | None) -> str:
        """The question in the words that training used for its kind, with the passage that was looked up."""
        if kind not in self.kinds:
            return text
        task = self.kinds[kind]
        about = task["about"].format(passage=passage["text"], question=text) if passage else text
        return str(task["template"].format(input=about))

    def answer(self, follow: bool, request: gr.Request) -> Iterator[list[Any]]:
        """Stream the specialist's answer, then the base's: notice, turns, specialist, base."""
        job = self.jobs.get(_session(request))
        if job is None or job.taken:
            yield [gr.skip()] * 4
            return
        job.taken, told = True, ""
        try:
            for who in ("specialist", "base"):
                for text, ended in self.ask(job, who, follow) if who in job.turn else ():
                    job.turn[who] = text
                    told = self.words["ceiling"].format(most=MAX_NEW_TOKENS) if ended else told
                    yield [gr.skip(), gr.skip(), *self.columns(job.turns)]
        except TooLong:
            told = self.words["too_long"]
        except Exception as error:  # whatever torch says, the page goes on
            told = self.words["error"].format(error=error)
        told = self.words["stopped"] if job.stop.is_set() else told
        self.close(job)
        yield [notice(f"{job.note} {told}".strip()), job.turns, *self.columns(job.turns)]

    def ask(self, job: Job, who: str, follow: bool) -> Iterator[tuple[str, bool]]:
        messages = self.messages(job.turn, job.turns[:-1] if follow else [], who)
        return self.engine.stream(messages, who == "specialist", job.stop)

    def close(self, job: Job) -> None:
        """Say so where there is no answer; a base that was stopped before its first word was not asked."""
        if job.stop.is_set() and not job.turn.get("base"):
            job.turn.pop("base", None)
        job.turn.update({key: self.words["no_answer"] for key, text in job.turn.items() if not text})

    def finish(self, request: gr.Request) -> Any:
        self.jobs.pop(_session(request), None)
        return gr.Textbox(submit_btn=self.words["send"], stop_btn=False)

    def stop(self, request: gr.Request) -> None:
        if job := self.jobs.get(_session(request)):
            job.stop.set()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed: nobody waits for the answer."""
        self.stop(request)
        self.jobs.pop(_session(request), None)

    def clear(self, request: gr.Request) -> list[Any]:
        if _session(request) in self.jobs:
            return [notice(self.words["busy"]), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
        return [notice(""), [], [], [], ""]

    def messages(self, turn: Turn, before: list[Turn], who: str) -> list[Message]:
        """What the model is asked: the system prompt, earlier turns of the same model, the question."""
        told = [{"role": "system", "content": self.app["system_prompt"]}] if self.app["system_prompt"] else []
        for old in before:
            if who in old:
                told += [{"role": "user", "content": old["asked"]}, {"role": "assistant", "content": old[who]}]
        return [*told, {"role": "user", "content": turn["asked"]}]

    def columns(self, turns: list[Turn]) -> list[list[Message]]:
        """The turns as the two chat columns show them: escaped, for a Chatbot lets harmless HTML through."""
        shown: list[list[Message]] = [[], []]
        for column, who in zip(shown, ("specialist", "base"), strict=True):
            for turn in turns:
                column.append({"role": "user", "content": html.escape(turn["question"])})
                told = turn.get(who, self.words["not_asked"]) or self.words["waiting"]
                column.append({"role": "assistant", "content": html.escape(told)})
        return shown

    def loading(self) -> str:
        """Why no question can be asked yet; empty when the model is ready."""
        if self.engine.error:
            return self.words["failed"].format(error=self.engine.error)
        return "" if self.engine.ready.is_set() else self.words["loading"]

    def status(self) -> tuple[str, gr.Timer, Any]:
        """The line about the model, the timer that asks for it, and the notice: both end with the loading."""
        told = self.loading()
        kind = "failed" if self.engine.error else "loading" if told else "ready"
        line = f'<p class="status {kind}" role="status">{html.escape(told or self.words["ready"])}</p>'
        return line, gr.Timer(active=kind == "loading"), gr.skip() if kind == "loading" else notice("")


def kinds(tasks: list[dict[str, str]], documents: bool) -> dict[str, dict[str, str]]:
    """The kinds of question by name; of those that are asked in the same words the first; questions about a passage lead."""
    found = {(task["template"], task["about"]): task for task in reversed(tasks) if documents or not task["about"]}
    chosen = [task for task in tasks if task in found.values()]
    return {task["name"]: task for task in sorted(chosen, key=lambda task: "{question}" not in task["about"])}


def notice(text: str) -> str:
    """A line above the question box; the style sheet hides it when there is nothing to say."""
    return f'<p class="notice" role="alert">{html.escape(text)}</p>' if text else ""


def source(passage: Passage | None, words: dict[str, str]) -> str:
    """The passage that an answer was read from, folded; empty where none was looked up."""
    if passage is None:
        return ""
    where = html.escape(words["source"].format(where=passage["where"]))
    return f"<details open><summary>{where}</summary><div>{html.escape(passage['text'])}</div></details>"


def build(demo: Demo) -> gr.Blocks:
    """Lay out the page."""
    app, words = demo.app, demo.words
    with gr.Blocks(title=app["title"], analytics_enabled=False, fill_width=False) as page:
        gr.HTML(
            f"<h1>{html.escape(app['title'])}</h1><p>{html.escape(app['subtitle'])}</p>", elem_id="head", padding=False
        )
        status = gr.HTML(demo.status()[0], elem_id="status", padding=False)
        timer = gr.Timer(1)
        with gr.Tabs():
            with gr.Tab(words["chat"]):
                told = _chat(demo)
            with gr.Tab(words["scoreboard"]):
                gr.HTML(scoreboard(demo.scores, words), elem_id="scores", padding=False)
            if demo.reviews:
                with gr.Tab(words["review"]):
                    review_tab(page, demo.reviews, words)
        gr.HTML(f"<p>{html.escape(app['disclaimer'] or words['disclaimer'])}</p>", elem_id="disclaimer", padding=False)
        quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
        timer.tick(demo.status, outputs=[status, timer, told], queue=False, **quiet)
        page.load(demo.status, outputs=[status, timer, told], queue=False, **quiet)
        page.unload(demo.leave)
    return page.queue(max_size=MOST_WAITING, api_open=False, default_concurrency_limit=1)


def _chat(demo: Demo) -> gr.HTML:
    """The chat; returns the line that says what became of a question."""
    app, words = demo.app, demo.words
    turns = gr.State([], time_to_live=4 * 3600)
    with gr.Row(elem_id="answers"):
        specialist = _column(words["specialist"], words["welcome"], "specialist")
        base = _column(words["base"].format(name=app["base"]), words["welcome"], "base", visible=False)
    read = gr.HTML("", elem_id="source", padding=False)
    line = gr.HTML("", elem_id="notice", padding=False)
    box = gr.Textbox(
        show_label=False, placeholder=words["placeholder"], submit_btn=words["send"], lines=1, max_lines=8,
        autofocus=True, elem_id="question", label=words["placeholder"],
    )  # fmt: skip
    starters = _starters(app["starters"][:MOST_STARTERS], words["starters"])
    with gr.Row(elem_id="options"):
        choices = [
            (words["lookup"] if "{question}" in task["about"] else task["title"], name)
            for name, task in demo.kinds.items()
        ]
        first = any("{question}" in task["about"] for task in demo.kinds.values())
        choices.insert(int(first), (words["free"], ""))
        usual = choices[0][1]
        kind = gr.Dropdown(choices, value=usual, label=words["kind"], info=words["kind_info"], visible=len(choices) > 1)
        with gr.Column(min_width=260):
            compare = gr.Checkbox(label=words["compare"], elem_id="compare")
            follow = gr.Checkbox(label=words["follow"], info=words["follow_info"], elem_id="follow")
    clear = gr.Button(words["clear"], size="sm", elem_id="clear")
    _wire(demo, turns, specialist, base, line, read, box, starters, usual, kind, compare, follow, clear)
    return line


def _column(label: str, welcome: str, name: str, visible: bool = True) -> gr.Chatbot:
    return gr.Chatbot(
        label=label, placeholder=welcome, visible=visible, elem_id=name, height="42vh", min_height=260, min_width=300,
        sanitize_html=True, render_markdown=False, latex_delimiters=[], reasoning_tags=[], allow_file_downloads=False,
        feedback_options=None, buttons=[], layout="bubble",
    )  # fmt: skip


def _starters(questions: list[str], label: str) -> list[gr.Button]:
    if not questions:
        return []
    gr.HTML(f"<p>{html.escape(label)}</p>", elem_id="starters-label", padding=False)
    with gr.Row(elem_id="starters"):
        return [gr.Button(question, size="sm", min_width=120) for question in questions]


def _wire(
    demo: Demo, turns: gr.State, specialist: gr.Chatbot, base: gr.Chatbot, line: gr.HTML, read: gr.HTML, box: gr.Textbox,
    starters: list[gr.Button], usual: str, kind: gr.Dropdown, compare: gr.Checkbox, follow: gr.Checkbox, clear: gr.Button,
) -> None:  # fmt: skip
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [line, turns, specialist, base]

    def ask(event: Any, text: Any, task: Any) -> None:
        taken = event(demo.accept, [text, task, compare, turns], [box, *shown, read], queue=False, **quiet)
        told = taken.success(demo.answer, follow, shown, concurrency_id="model", **quiet)
        told.then(demo.finish, None, box, queue=False, **quiet)

    ask(box.submit, box, kind)
    for button in starters:
        ask(button.click, button, gr.State(usual))
    box.stop(demo.stop, queue=False, **quiet)
    clear.click(demo.clear, None, [*shown, read], queue=False, **quiet)
    compare.change(lambda on: gr.Chatbot(visible=on), compare, base, queue=False, **quiet)


class Closed:
    """Refuses the paths that this page never uses, uploads first of all."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "").rstrip("/")
        if scope["type"] == "http" and path.removeprefix("/gradio_api").startswith(CLOSED):
            await PlainTextResponse("closed", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def theme(color: str) -> gr.themes.Base:
    hue = color if hasattr(gr.themes.colors, color) else "indigo"
    names = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")  # none is downloaded
    fonts = [gr.themes.Font(name) for name in names]
    return gr.themes.Soft(primary_hue=hue, secondary_hue=hue, neutral_hue="slate", font=fonts, font_mono=fonts[-1:])


def free_port(first: int) -> int:
    """The first free port from `first` on."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit(f"No free port between {first} and {first + 99}: choose another with --port.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask the specialist in your browser.")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; the next free one is taken")
    parser.add_argument(
        "--reviews", type=Path, help="file for decisions on the test questions: shows the page for them"
    )
    wanted = parser.parse_args()
    port = free_port(wanted.port)
    demo = Demo(HERE, wanted.reviews)
    demo.engine.start()
    page = build(demo)
    page.launch(
        server_name="127.0.0.1", server_port=port, share=False, quiet=True, prevent_thread_lock=True, show_error=False,
        footer_links=[], run_history=False, enable_monitoring=False, mcp_server=False, pwa=False, ssr_mode=False,
        max_file_size=1, max_threads=8, state_session_capacity=64, app_kwargs={"middleware": [Middleware(Closed)]},
        theme=theme(demo.app["color"]), css_paths=HERE / "style.css",
        js=f"() => {{ document.documentElement.lang = '{'zh-CN' if demo.app['language'] == 'zh' else 'en'}'; }}",
    )  # fmt: skip
    print(f"Open http://127.0.0.1:{port} in a browser. Ctrl-C ends it.", flush=True)
    page.block_thread()


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _session(request: gr.Request) -> str:
    return request.session_hash or ""


if __name__ == "__main__":
    main()
