"""The door of the server: every request passes here before Gradio sees it."""

from __future__ import annotations

import asyncio
import html
from pathlib import Path
from typing import Any

from guard import HOURS, LOOPBACK, REVIEWER, USER, Passwords, Session, Sessions, Tries, new_session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from words import LANGUAGES, WORDS, Words

MOST_BYTES = 1_000_000  # of one request
FORM_BYTES = 10_000  # of the login form
OPEN = ("/gradio_api/startup-events", "/theme.css", "/static/", "/assets/", "/favicon.ico", "/robots.txt")
INSIDE = ("/config/", "/gradio_api/queue/", "/gradio_api/run/predict/", "/gradio_api/call/answer/", "/gradio_api/call/rate/",
          "/gradio_api/heartbeat/", "/gradio_api/cancel/", "/gradio_api/reset/", "/gradio_api/theme.css/", "/manifest.json/")  # fmt: skip
CARE = {
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co; object-src 'none'; base-uri 'self'",
}  # fmt: skip
SEALED = (
    "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the report runs no script
)


class Gate:
    """What the door knows."""

    def __init__(self, passwords: Passwords, port: int, language: str, title: str, folder: Path, local: bool) -> None:
        self.passwords, self.sessions, self.tries = passwords, Sessions(), Tries()
        self.cookie = f"session_{port}"  # browsers share cookies between the ports of one machine
        self.language, self.title, self.report, self.local = language, title, folder / "report.html", local

    def session(self, request: Request) -> Session | None:
        return self.sessions.read(request.cookies.get(self.cookie, ""))

    def words(self, request: Request) -> Words:
        """In the language that the browser remembers, else the domain's."""
        chosen = request.query_params.get("lang", request.cookies.get("lang", ""))
        return WORDS[chosen if chosen in WORDS else self.language]

    def guest(self) -> str:
        """The role of somebody without a password; empty where one is needed."""
        if self.passwords.has(USER) or not self.local:
            return ""
        return USER if self.passwords.has(REVIEWER) else REVIEWER

    async def answer(self, request: Request, path: str) -> Response | None:
        """The door's own answer; None lets the request through to the page."""
        host = request.url.hostname or ""
        if self.local and host not in LOOPBACK:
            return PlainTextResponse("This app answers on 127.0.0.1 only.", status_code=421)
        if request.method == "POST" and not 0 <= _length(request) <= (FORM_BYTES if path == "/login" else MOST_BYTES):
            return PlainTextResponse(self.words(request)["too_big"], status_code=413)
        if path == "/login":
            return await self._log_in(request) if request.method == "POST" else self._form(request)
        if path == "/logout":
            gone = RedirectResponse("login", 303)
            gone.delete_cookie(self.cookie)
            return gone
        if path.startswith(OPEN):
            return None
        session = self.session(request)
        if path == "/":
            return None if session or request.method == "HEAD" else self._welcome(request)
        if session is None:
            return PlainTextResponse(self.words(request)["gone"], status_code=401)
        if path == "/report":
            there = self.report.exists()
            return FileResponse(self.report, headers={"content-security-policy": SEALED}) if there else _nothing()
        return None if f"{path}/".startswith(INSIDE) else _nothing()

    def _welcome(self, request: Request) -> Response:
        """Someone new: let in where no password is needed, else sent to the form."""
        role = self.guest()
        if not role:
            return RedirectResponse("login", 303)
        return self._let_in(request, RedirectResponse("./", 303), new_session(role))

    def _let_in(self, request: Request, response: Response, session: Session) -> Response:
        response.set_cookie(
            self.cookie, self.sessions.write(session), max_age=HOURS * 3600, httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    async def _log_in(self, request: Request) -> Response:
        words = self.words(request)
        address = request.client.host if request.client else ""
        if wait := self.tries.wait(address):
            told = words["login_wait"].format(s=round(wait + 0.5))
            return self._form(request, told, 429, {"retry-after": str(round(wait + 0.5))})
        form = await request.form()
        role = await run_in_threadpool(self.passwords.role, str(form.get("password", "")))
        if not role:
            await asyncio.sleep(0.5)
            return self._form(request, words["login_wrong"], 403)
        self.tries.right(address)
        name = "".join(letter for letter in str(form.get("name", "")) if letter.isprintable()).strip()[:60]
        return self._let_in(request, RedirectResponse("./", 303), new_session(role, name))

    def _form(
        self, request: Request, told: str = "", status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        words, chosen = self.words(request), self.words(request)["code"]
        others = "".join(
            f'<a href="?lang={code}" lang="{code}">{name}</a> ' for code, name in LANGUAGES.items() if code != chosen
        )
        body = (
            f'<!doctype html><html lang="{chosen}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{html.escape(self.title)}</title><style>{LOOK}</style><main><p class=lang>{others}</p>"
            f"<h1>{html.escape(self.title)}</h1>" + (f'<p role="alert">{html.escape(told)}</p>' if told else "")
            + f'<form method="post" action="login"><label for="name">{words["login_name"]}</label>'
            f'<input id="name" name="name" maxlength="60" autocomplete="nickname"><label for="password">{words["login_password"]}'
            f'</label><input id="password" name="password" type="password" required autocomplete="current-password" autofocus>'
            f"<button>{words['login_enter']}</button></form></main></html>"
        )  # fmt: skip
        response = Response(body, status, headers, media_type="text/html")
        response.set_cookie("lang", chosen, max_age=365 * 24 * 3600, samesite="lax")
        return response


class Guard:
    """The middleware: asks the gate, and puts its headers on whatever the page answers."""

    def __init__(self, app: Any, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":  # this page opens no web sockets
            await self._http(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        async def careful(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in CARE.items() if name.encode() not in there]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        answer = await self.gate.answer(Request(scope, receive), path)
        await (answer or self.app)(scope, receive, careful)


def _length(request: Request) -> int:
    """Bytes of a request's body; -1 where it does not say."""
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() else -1


def _nothing() -> Response:
    return PlainTextResponse("closed", status_code=403)


LOOK = """
:root { color-scheme: light dark; }
body { background: #fff; color: #1e293b; font: 1rem/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; margin: 0; }
main { max-width: 22rem; margin: 10vh auto; padding: 1rem; }
h1 { font-size: 1.5rem; } .lang { text-align: right; margin: 0; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem; border: 1px solid #71717a; border-radius: 6px; }
button { font: inherit; font-weight: 600; width: 100%; margin-top: 1.25rem; padding: .7rem; border: 0; border-radius: 6px; background: #1d4ed8; color: #fff; }
[role=alert] { border-left: 4px solid #b91c1c; padding-left: .75rem; }
:focus-visible { outline: 3px solid #1d4ed8; outline-offset: 2px; }
a { color: #1d4ed8; }
@media (prefers-color-scheme: dark) { body { background: #0f172a; color: #f1f5f9; } a { color: #93c5fd; } :focus-visible { outline-color: #93c5fd; } }
"""
