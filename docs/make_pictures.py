"""Takes the pictures in docs/images from a finished build: its app, asked and corrected in Chromium, and its report.

Run: python docs/make_pictures.py runs/cooking/default    (Playwright and /usr/bin/chromium; what is sent stays in a copy)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

IMAGES = Path(__file__).parent / "images"
QUESTION = "List the ingredients of Guacamole."
BETTER = "- 3 ripe avocados\n- 1 lime\n- 1 small onion\n- 1 tomato\n- cilantro\n- salt"
SLOW = 120_000  # milliseconds that an answer may take


@contextmanager
def app(folder: Path) -> Iterator[str]:
    """The address of a copy of the app."""
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copytree(folder, Path(place) / "app", ignore=shutil.ignore_patterns("feedback.db*"))
        server = subprocess.Popen([sys.executable, "app.py"], cwd=copy, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert found, "the app did not start"
            yield found[0]
        finally:
            server.terminate()
            server.wait()


def shots(page: Any, address: str) -> None:
    """Ask, correct, and look at the correction as a reviewer."""
    expect.set_options(timeout=SLOW)
    page.goto(address)
    page.wait_for_selector("#status .ready", timeout=SLOW)
    page.locator("#question textarea").fill(QUESTION)
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#after")).to_be_visible()
    expect(page.locator("#send")).to_be_visible()
    page.screenshot(path=IMAGES / "demo.png")
    page.add_style_tag(
        content="#disclaimer { position: static !important }"
    )  # a whole page has no lower edge to keep it at
    page.screenshot(path=IMAGES / "app-ask.png", full_page=True)
    page.locator("#better").click()
    page.locator("#correct-better textarea").fill(BETTER)
    page.locator("#correct-send").click()
    expect(page.locator("#notice")).to_contain_text("number 1")
    page.get_by_role("tab", name="Feedback", exact=True).first.click()
    page.locator("#fb-list label").first.click()
    expect(page.locator("#fb-facts")).to_contain_text(QUESTION)
    page.screenshot(path=IMAGES / "app-feedback.png", full_page=True)


def main() -> None:
    run = Path(sys.argv[1])
    with sync_playwright() as playwright, app(run / "app") as address:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shots(chromium.new_page(viewport={"width": 1200, "height": 900}), address)
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.goto((run / "report" / "report.html").resolve().as_uri())
        page.screenshot(path=IMAGES / "report.png")
        chromium.close()


if __name__ == "__main__":
    main()
