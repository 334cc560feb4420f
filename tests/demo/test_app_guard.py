"""Passwords, sessions and tries; the door of the server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

RIGHT, REVIEWERS = "correct horse battery", "staple of the reviewers"


def test_a_password_opens_its_own_role_and_is_kept_as_a_hash_only() -> None:
    from guard import Passwords  # type: ignore[import-not-found]

    passwords = Passwords(RIGHT, REVIEWERS)
    assert (passwords.role(RIGHT), passwords.role(REVIEWERS), passwords.role("wrong")) == ("user", "reviewer", "")
    assert passwords.role("") == "" and Passwords("", "").role("") == ""
    assert RIGHT.encode() not in repr(vars(passwords)).encode() and RIGHT not in repr(vars(passwords))


def test_a_session_cannot_be_changed_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from guard import HOURS, Session, Sessions

    sessions = Sessions()
    cookie = sessions.write(Session("a", "user", "王芳"))
    assert sessions.read(cookie) == Session("a", "user", "王芳")
    forged = Sessions().write(Session("a", "reviewer"))
    for bad in ("", ".", "x.y", forged, cookie[:-1], "é.é", forged.split(".")[0] + "." + cookie.split(".")[1]):
        assert sessions.read(bad) is None
    later = time.time() + HOURS * 3600 + 1
    monkeypatch.setattr("guard.time.time", lambda: later)
    assert sessions.read(cookie) is None


def test_a_thousand_tries_are_held_up_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from guard import FREE_TRIES, MOST_ADDRESSES, PAUSE, Tries

    now = 100.0
    monkeypatch.setattr("guard.time.monotonic", lambda: now)
    tries = Tries()
    waits = [tries.wait("1.2.3.4") for _ in range(1000)]
    assert waits[:FREE_TRIES] == [0.0] * FREE_TRIES and all(0 < wait <= PAUSE for wait in waits[FREE_TRIES:])
    assert tries.wait("another") == 0.0
    now += PAUSE
    assert tries.wait("1.2.3.4") == 0.0 < tries.wait("1.2.3.4")
    for number in range(MOST_ADDRESSES + 10):
        tries.wait(str(number))
    assert len(tries._left) == MOST_ADDRESSES


def make_client(tmp_path: Path, user: str = "", reviewer: str = "", local: bool = True, **settings: Any) -> Any:
    from gate import Gate, Guard  # type: ignore[import-not-found]
    from guard import Passwords
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    (tmp_path / "report.html").write_text("<h1>Report</h1>", encoding="utf-8")
    gate = Gate(Passwords(user, reviewer), 7860, "en", "<Kitchen>", tmp_path, local)

    async def page(request: Any) -> Any:
        return PlainTextResponse(f"inside as {gate.session(request).role}")

    routes = [Route("/{path:path}", page, methods=["GET", "POST"])]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, gate=gate)])
    return TestClient(app, **{"base_url": "http://127.0.0.1:7860", "follow_redirects": True, **settings})


def test_on_this_machine_everybody_is_a_reviewer_until_reviewers_have_a_password(tmp_path: Path) -> None:
    assert make_client(tmp_path).get("/").text == "inside as reviewer"
    client = make_client(tmp_path, reviewer=REVIEWERS)
    assert client.get("/").text == "inside as user"
    assert client.post("/login", data={"password": REVIEWERS}).text == "inside as reviewer"


def test_nothing_but_the_form_without_a_session(tmp_path: Path) -> None:
    client = make_client(tmp_path, RIGHT, local=False, base_url="http://expert.example")
    page = client.get("/")
    assert page.url.path == "/login" and "&lt;Kitchen&gt;" in page.text and "<Kitchen>" not in page.text
    for path in ("/config", "/report", "/gradio_api/queue/data", "/gradio_api/info", "/gradio_api/file=app.json"):
        assert client.get(path).status_code == 401, path
    assert client.post("/gradio_api/call/answer", json={"data": []}).status_code == 401
    inside = client.post("/login", data={"password": RIGHT, "name": "Ann"})
    assert inside.text == "inside as user"
    cookie = inside.history[0].headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and RIGHT not in cookie
    assert client.get("/logout").url.path == "/login" and client.get("/config").status_code == 401


def test_a_call_from_elsewhere_is_given_no_session(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    assert client.post("/gradio_api/call/answer", json={"data": []}).status_code == 401
    assert make_client(tmp_path, base_url="http://rebound.example:7860").get("/").status_code == 421


def test_only_the_paths_of_this_page_are_open(tmp_path: Path) -> None:
    client = make_client(tmp_path)
    client.get("/")
    for path in (
        "/gradio_api/upload",
        "/gradio_api/info",
        "/gradio_api/file=app.json",
        "/gradio_api/proxy=http://x",
        "/monitoring",
    ):
        assert client.post(path, content=b"x").status_code == 403, path
    assert client.post("/gradio_api/run/predict", content=b"x" * 1_000_001).status_code == 413
    assert client.get("/config").text == "inside as reviewer"
    report = client.get("/report")
    assert report.text == "<h1>Report</h1>" and report.headers["content-security-policy"].startswith("sandbox")
    assert client.get("/config").headers["x-content-type-options"] == "nosniff"


def test_a_thousand_wrong_passwords_do_not_get_in_nor_lock_the_right_person_out(tmp_path: Path) -> None:
    from guard import FREE_TRIES, PAUSE

    client = make_client(tmp_path, RIGHT, REVIEWERS, local=False, base_url="http://expert.example")
    start = time.monotonic()
    codes = [client.post("/login", data={"password": f"wrong {n}"}).status_code for n in range(1000)]
    most = FREE_TRIES + (time.monotonic() - start) / PAUSE + 1
    assert set(codes) == {403, 429} and codes.count(403) <= most
    assert client.get("/config").status_code == 401
    deadline = time.monotonic() + 5
    while (page := client.post("/login", data={"password": RIGHT})).status_code == 429:
        assert time.monotonic() < deadline and int(page.headers["retry-after"]) <= 3
        time.sleep(0.2)
    assert page.text == "inside as user"


def test_the_form_speaks_the_chosen_language(tmp_path: Path) -> None:
    client = make_client(tmp_path, RIGHT, local=False)
    assert 'lang="en"' in client.get("/login").text
    assert "密码" in client.get("/login?lang=zh").text and "密码" in client.get("/login").text
    assert "Password" in client.get("/login?lang=xx").text
