"""An expert and a reviewer at the generated app's page, in headless Chromium: ask, write the better answer, approve."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"
WHOLE = 120_000  # milliseconds that an answer may take


def correct(app: Path, store: Path, better: dict[str, str]) -> dict[str, str]:
    """Ask each question (the keys) on the page "Ask", send the better answer, approve all on the page "Feedback".

    Returns the answers that the page showed, by question. `app` is the folder that `factory app` wrote.
    """
    with _served(app, store) as address, _opened(address) as page:
        shown = {text: _ask_and_correct(page, text, wanted) for text, wanted in better.items()}
        page.get_by_role("tab", name="Feedback", exact=True).click()
        for left in range(len(better), 0, -1):
            _count(page, left)
            page.locator("#fb-list label").first.click()
            page.wait_for_selector("#fb-facts dd")
            page.locator("#fb-approve").click()
        _count(page, 0)
    return shown


def _count(page: Any, rows: int) -> None:
    page.wait_for_function("rows => document.querySelectorAll('#fb-list label').length === rows", arg=rows)


def _ask_and_correct(page: Any, text: str, wanted: str) -> str:
    page.locator("#question textarea").fill(text)
    page.locator("#send").click()
    page.locator("#chat .message.user", has_text=text).wait_for(timeout=WHOLE)
    page.locator("#after").wait_for(timeout=WHOLE)  # what can be done with a whole answer
    answer = str(page.locator("#chat .message.bot").last.inner_text())
    page.locator("#better").click()
    page.locator("#correct-better textarea").fill(wanted)
    page.locator("#correct-send").click()
    page.locator("#notice", has_text="number").wait_for()
    page.locator("#clear").click()
    page.locator("#chat .message").first.wait_for(state="detached")
    return answer


@contextmanager
def _served(app: Path, store: Path) -> Iterator[str]:
    """`python app.py` with its own store; gives the address that it prints."""
    command = [sys.executable, "app.py", "--port", "7900", "--feedback", str(store.resolve())]
    with (
        (store.parent / "app.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=app, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if not found:
                raise SystemExit(f"The app did not start: see {store.parent / 'app.log'}")
            yield found[0]
        finally:
            server.kill()


@contextmanager
def _opened(address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_context(viewport={"width": 1200, "height": 900}, locale="en").new_page()
        page.goto(address)
        page.wait_for_selector("#status .ready", timeout=WHOLE)
        yield page
        chromium.close()
