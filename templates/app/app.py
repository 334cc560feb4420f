"""A small specialist model in the browser, beside its own base. Start it with: python app.py [--port 7860]

Everything stays on this machine: the page listens on 127.0.0.1 unless told otherwise and asks nothing of the network.
"""

from __future__ import annotations

import argparse
import html
import os
import socket
import sys
from pathlib import Path
from typing import Any

os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")

import gradio as gr
from api import add_api
from desk import AT_ONCE, Desk, notice, told
from gate import Gate, Guard
from guard import LOOPBACK, REVIEWER, SHORTEST, USER, Passwords
from page_ask import Ask
from page_compare import Compare
from page_feedback import Feedback
from review import Reviews, review_page
from scoreboard import scoreboard
from service import Service
from starlette.middleware import Middleware
from store import StoreError
from words import Words

HERE = Path(__file__).resolve().parent
SESSIONS = 200  # kept by Gradio at 170 KB each; each call of a program without a session_hash is one
MOST_PORT = 65535
REMEMBER = """() => {
  const lang = document.documentElement.lang.startsWith('zh') ? 'en' : 'zh';
  document.cookie = `lang=${lang}; path=/; max-age=31536000; samesite=lax`;
  document.documentElement.lang = lang == 'zh' ? 'zh-CN' : 'en';
}"""


def build(desk: Desk, reviews: Reviews | None) -> gr.Blocks:
    """Lay out the page: the head, a tab for each thing to do, and the line that says what the model is not."""
    app = desk.service.app
    with gr.Blocks(title=app["title"], analytics_enabled=False, fill_width=False) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(
                f"<h1>{html.escape(app['title'])}</h1><p>{html.escape(app['subtitle'])}</p>",
                padding=False,
                elem_id="title",
            )
            language = desk.say(gr.Button, {"value": "other"}, size="sm", min_width=70, scale=0, elem_id="language")
        status = gr.HTML(elem_id="status", padding=False)
        timer = gr.Timer(1)
        with gr.Tabs():
            with desk.say(gr.Tab, {"label": "ask"}):
                ask = Ask(desk)
            with desk.say(gr.Tab, {"label": "compare"}):
                compare = Compare(desk)
            with desk.say(gr.Tab, {"label": "scoreboard"}):
                desk.say(
                    gr.HTML,
                    {"value": lambda words: scoreboard(desk.service.scores, words)},
                    elem_id="scores",
                    padding=False,
                )
            with desk.say(gr.Tab, {"label": "report"}):
                desk.say(
                    gr.HTML, {"value": lambda words: report(desk.gate.report, words)}, elem_id="report", padding=False
                )
            private = [desk.say(gr.Tab, {"label": "feedback"}, visible=False)]
            with private[0]:
                feedback = Feedback(desk)
            if reviews and reviews.items:
                private.append(desk.say(gr.Tab, {"label": "review"}, visible=False))
                with private[1]:
                    review = review_page(page, desk, reviews)
        desk.say(gr.HTML, {"value": lambda words: disclaimer(app, words)}, elem_id="disclaimer", padding=False)

        def state(request: gr.Request) -> list[Any]:
            return show_state(desk, request)

        def welcome(request: gr.Request) -> list[Any]:
            seen = desk.session(request).reviewer
            return [*desk.speak(request), *state(request), *(gr.Tab(visible=seen) for _ in private)]

        spoken, loading = desk.spoken(), [status, timer, ask.notice]
        page.load(welcome, None, [*spoken, *loading, *private], **AT_ONCE)
        private[0].select(feedback.again, feedback.wanted, feedback.listed, **AT_ONCE)
        timer.tick(state, None, loading, **AT_ONCE)
        chosen = language.click(desk.speak, None, spoken, js=REMEMBER, **AT_ONCE)
        chosen.then(state, None, loading, **AT_ONCE).then(ask.redraw, None, ask.shown, **AT_ONCE)
        chosen.then(ask.suit, ask.kind, ask.box, **AT_ONCE)
        chosen.then(feedback.redraw, feedback.wanted, feedback.listed, **AT_ONCE)
        if len(private) > 1:
            chosen.then(*review, **AT_ONCE)
        page.unload(ask.leave)
        page.unload(compare.leave)
        add_api(desk)
    return page.queue(max_size=500, api_open=True, default_concurrency_limit=None)


def show_state(desk: Desk, request: gr.Request) -> list[Any]:
    """The line about the model, the timer that asks for it, and the notice of loading: both end with the loading."""
    words, why = desk.words(request), desk.service.loading()
    kind = "failed" if why and why[0] == "failed" else "loading" if why else "ready"
    line = f'<p class="status {kind}" role="status">{html.escape(told([why], words) if why else words["ready"])}</p>'
    return [line, gr.Timer(active=kind == "loading"), gr.skip() if kind == "loading" else notice("")]


def disclaimer(app: dict[str, Any], words: Words) -> str:
    return f"<p><b>{html.escape(app['disclaimer'] or words['disclaimer'])}</b> {html.escape(words['not'])}</p>"


def report(page: Path, words: Words) -> str:
    """The report of the build in a frame in which no script runs."""
    if not page.exists():
        return f"<p>{html.escape(words['report_none'])}</p>"
    return (
        f'<p><a href="report" target="_blank" rel="noopener">{html.escape(words["report_open"])}</a></p>'
        f'<iframe src="report" sandbox="allow-popups" title="{html.escape(words["report"])}" loading="lazy"></iframe>'
    )


def theme(color: str) -> gr.themes.Base:
    hue = color if hasattr(gr.themes.colors, color) else "indigo"
    names = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")  # none is downloaded
    fonts = [gr.themes.Font(name) for name in names]
    return gr.themes.Soft(primary_hue=hue, secondary_hue=hue, neutral_hue="slate", font=fonts, font_mono=fonts[-1:])


def free_port(host: str, first: int) -> int:
    """The first free port from `first` on; ends the program where there is none."""
    if not 0 <= first <= MOST_PORT:
        raise SystemExit(f"There is no port {first}. Choose one from 1024 to {MOST_PORT} with --port.")
    for port in range(first, min(first + 100, MOST_PORT + 1)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError as error:
                raise SystemExit(
                    f"Port {port} is not allowed here: {error}. Choose one above 1023 with --port."
                ) from None
            except OSError as error:
                if error.errno not in (98, 48, 10048):  # taken, on Linux, macOS and Windows
                    raise SystemExit(f"Cannot listen on {host}: {error}. Give an address of this machine.") from None
                continue
            return int(probe.getsockname()[1])  # of port 0 a free one
    raise SystemExit(f"No free port between {first} and {first + 99}: choose another with --port.")


def passwords(local: bool) -> Passwords:
    """From the environment, which forgets them; ends the program where others could come in without one."""
    user, reviewer = (os.environ.pop(name, "") for name in ("FACTORY_APP_PASSWORD", "FACTORY_APP_REVIEWER_PASSWORD"))
    if not local and not user:
        raise SystemExit(
            "Other machines could reach this page, and it has no password.\n"
            "Set FACTORY_APP_PASSWORD (and FACTORY_APP_REVIEWER_PASSWORD for those who approve feedback), or use --host 127.0.0.1."
        )
    if user == reviewer and user:
        raise SystemExit(
            "FACTORY_APP_PASSWORD and FACTORY_APP_REVIEWER_PASSWORD are the same.\nGive reviewers one of their own."
        )
    if any(text and len(text) < SHORTEST for text in (user, reviewer)):
        raise SystemExit(f"A password has fewer than {SHORTEST} characters.\nChoose a longer one.")
    return Passwords(user, reviewer)


def arguments() -> argparse.Namespace:
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # set on Hugging Face Spaces
    parser = argparse.ArgumentParser(description="Ask the specialist in your browser.")
    parser.add_argument("--host", default=host, help="address to listen on; any but 127.0.0.1 needs a password")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; the next free one is taken")
    parser.add_argument(
        "--share", action="store_true", help="also make a public link through gradio.live; needs a password"
    )
    parser.add_argument(
        "--feedback", type=Path, default=HERE / "feedback.db", help="file that keeps ratings, corrections and votes"
    )
    parser.add_argument(
        "--reviews", type=Path, help="file for decisions on the test questions: shows the page for them"
    )
    return parser.parse_args()


def main() -> None:
    wanted = arguments()
    local = wanted.host in LOOPBACK and not wanted.share
    allowed = passwords(local)
    port = free_port(wanted.host, wanted.port)
    items = HERE / "items.json"
    try:
        reviews = Reviews(items, wanted.reviews) if wanted.reviews and items.exists() else None
    except (OSError, ValueError) as error:
        raise SystemExit(f"The page Review cannot be opened: {error}") from None
    service = Service(HERE)
    gate = Gate(allowed, port, service.app["language"], service.app["title"], HERE, local)
    desk = Desk(service, wanted.feedback, gate)
    try:
        desk.store()
    except StoreError as error:  # people can ask; what they send is refused until it is mended
        print(f"Feedback cannot be kept: {error}", file=sys.stderr, flush=True)
    page = build(desk, reviews)
    service.start()
    page.launch(
        server_name=wanted.host, server_port=port, share=wanted.share, quiet=True, prevent_thread_lock=True, show_error=False,
        footer_links=[], run_history=False, enable_monitoring=False, mcp_server=False, pwa=False, ssr_mode=False,
        max_file_size=1, max_threads=200, state_session_capacity=SESSIONS, app_kwargs={"middleware": [Middleware(Guard, gate=gate)]},
        theme=theme(service.app["color"]), css_paths=HERE / "style.css", js=_at_first(gate.language),
    )  # fmt: skip
    shown = "127.0.0.1" if wanted.host in ("0.0.0.0", "::", *LOOPBACK) else wanted.host
    print(f"Open http://{shown}:{port} in a browser. Ctrl-C ends it.", flush=True)
    if wanted.share:
        print(f"Public link: {page.share_url}", flush=True)
    if not allowed.has(REVIEWER) and allowed.has(USER):
        print("Nobody can approve feedback: FACTORY_APP_REVIEWER_PASSWORD is not set.", flush=True)
    page.block_thread()


def _at_first(usual: str) -> str:
    """Script of the page's start: the language that the browser remembers, else the domain's; a chat that keys can scroll."""
    return f"""() => {{
  const kept = (document.cookie.match(/(?:^|; )lang=(en|zh)/) || [])[1] || '{usual}';
  document.documentElement.lang = kept == 'zh' ? 'zh-CN' : 'en';
  const reach = () => document.querySelectorAll('#chat .bubble-wrap:not([tabindex])').forEach(part => {{ part.tabIndex = 0; }});
  new MutationObserver(reach).observe(document.body, {{ childList: true, subtree: true }});
}}"""


if __name__ == "__main__":
    main()
