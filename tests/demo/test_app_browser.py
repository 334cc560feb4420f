"""The generated app in a headless browser: what an expert does with it, on a phone's screen unless said otherwise."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from apps import EVIL, NAAN, Library, browser, make_app, opened, served

from factory.files import read_json

pytestmark = pytest.mark.browser
SLOW = 60_000


def expecting() -> Any:
    expect = pytest.importorskip("playwright.sync_api").expect
    expect.set_options(timeout=20_000)
    return expect


def tab(page: Any, name: str) -> None:
    """Open a tab; on a narrow screen some of them stand in a menu."""
    if not page.get_by_role("tab", name=name, exact=True).first.is_visible():
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()
    else:
        page.get_by_role("tab", name=name, exact=True).first.click()


def ask(page: Any, text: str) -> None:
    box = page.locator("#question textarea")
    box.fill(text)
    box.press("Enter")


def answered(page: Any) -> None:
    """The answer is whole: it can be sent again."""
    expecting()(page.locator("#send")).to_be_visible(timeout=SLOW)
    expecting()(page.locator("#after")).to_be_visible(timeout=SLOW)


def rows(folder: Path, query: str = "SELECT kind, verdict, better, reason FROM feedback ORDER BY id") -> list[Any]:
    with sqlite3.connect(folder / "feedback.db") as file:
        return file.execute(query).fetchall()


def test_ask_stop_retry_edit_and_the_passages_beside_it(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    with served(folder) as address, opened(address) as page:
        page.locator("#question textarea").press("Enter")
        expect(page.locator("#notice")).to_contain_text("Please type a question first.")
        ask(page, f"{EVIL} naan")
        expect(page.locator("#chat")).to_contain_text(EVIL)  # as text
        answered(page)
        first = page.locator("#chat .message.bot").last.inner_text()
        expect(page.locator("#near details")).to_have_count(1)
        page.locator("#near summary").click()
        expect(page.locator("#near .text")).to_contain_text(NAAN)
        page.locator("#retry").click()
        expect(page.locator("#chat .message.bot").last).not_to_have_text(first, timeout=SLOW)  # another one is drawn
        answered(page)
        page.locator("#edit").click()
        expect(page.locator("#question textarea")).to_have_value(f"{EVIL} naan")
        expect(page.locator("#chat .message")).to_have_count(0)
        ask(page, "naan " * 20_000)
        expect(page.locator("#notice")).to_contain_text("4000", timeout=SLOW)
        expect(page.locator("#notice")).to_contain_text("too long for this model", timeout=SLOW)
        answered(page)
        page.locator("#clear").click()
        expect(page.locator("#chat .message")).to_have_count(0)
        page.locator("#starters button").first.click()
        expect(page.locator("#chat")).to_contain_text("What is naan?")
        answered(page)
        expect(page.locator("#disclaimer")).to_be_in_viewport()


def test_an_answer_streams_and_is_stopped_and_others_wait_in_the_line(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path, layers=40)
    with served(folder) as address, opened(address) as page:
        other = page.context.new_page()
        other.goto(address)
        other.wait_for_selector("#status .ready")
        ask(page, "What is naan?")
        expect(page.locator("#chat .message.bot").last).not_to_have_text("…", timeout=SLOW)
        half = page.locator("#chat .message.bot").last.inner_text()
        ask(other, "And flat bread?")
        expect(other.locator("#chat")).to_contain_text("You are in the line: 1 before you.")
        expect(page.locator("#chat .message.bot").last).not_to_have_text(half, timeout=SLOW)
        page.locator("#stop").click()
        expect(page.locator("#notice")).to_contain_text("Stopped")
        answered(page)
        expect(other.locator("#chat .message.bot").last).not_to_contain_text("You are in the line", timeout=SLOW)
        other.locator("#stop").click()
        answered(other)


def test_a_form_for_facts_gives_labels_with_their_shares(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    with served(folder) as address, opened(address) as page:
        page.locator("#kind input").click()
        page.get_by_role("option", name="Which course?").click()
        expect(page.locator("#question")).to_contain_text("Which course?: the text to judge")
        page.locator("#question textarea").fill("Tomato soup with bread")
        page.locator("#send").click()
        answered(page)
        shares = [float(text[:-1]) for text in page.locator("#shares td:last-child").all_inner_texts()]
        assert (
            len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.3) and shares == sorted(shares, reverse=True)
        )
        best = page.locator("#shares th").first.inner_text()
        expect(page.locator("#chat .message.bot").last).to_have_text(best)
        page.locator("#better").click()
        page.locator("#correct-choice input").click()
        page.get_by_role("option", name="dessert" if best != "dessert" else "starter").click()
        page.locator("#correct-send").click()
        expect(page.locator("#notice")).to_contain_text("number 1")
    assert rows(folder, "SELECT kind, task, better FROM feedback") == [
        ("correction", "course", "dessert" if best != "dessert" else "starter")
    ]


def test_correct_approve_promote_and_reject(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    with served(folder) as address, opened(address) as page:
        ask(page, f"What is naan? {EVIL}")
        answered(page)
        page.locator("#good").click()
        expect(page.locator("#notice")).to_contain_text("Kept as number 1")
        page.locator("#bad").click()
        page.locator("#correct-reason textarea").fill("It is no sense")
        page.locator("#correct-send").click()
        expect(page.locator("#notice")).to_contain_text("A reviewer reads it next")
        page.locator("#better").click()
        page.locator("#correct-better textarea").fill("x" * 5000)
        page.locator("#correct-send").click()
        expect(page.locator("#notice")).to_contain_text("Nothing was sent")
        page.locator("#correct-better textarea").fill(f"A flat bread {EVIL}")
        page.locator("#correct-send").click()
        expect(page.locator("#notice")).to_contain_text("number 3")
        tab(page, "Feedback")
        expect(page.locator("#fb-list label")).to_have_count(3)
        page.locator("#fb-list label").first.click()
        expect(page.locator("#fb-facts")).to_contain_text(EVIL)
        page.locator("#fb-better textarea").fill("A flat bread from India")
        page.locator("#fb-approve").click()
        expect(page.locator("#fb-notice")).to_contain_text("Number 3: approved")
        expect(page.locator("#fb-list label")).to_have_count(2)
        page.locator("#fb-list label").first.click()
        page.locator("#fb-promote").click()
        expect(page.locator("#fb-notice")).to_contain_text("write it first")
        page.locator("#fb-better textarea").fill("Bread")
        page.locator("#fb-promote").click()
        expect(page.locator("#fb-notice")).to_contain_text("will not train")
        page.locator("#fb-list label").first.click()
        page.locator("#fb-reject").click()
        expect(page.locator("#fb-list label")).to_have_count(0)
        page.locator("#fb-search textarea, #fb-search input").first.fill("flat bread from")
        page.locator("#fb-search textarea, #fb-search input").first.press("Enter")
        expect(page.locator("#fb-list label")).to_have_count(0)
        page.locator("#fb-state input").click()
        page.get_by_role("option", name="approved").click()
        expect(page.locator("#fb-list label")).to_have_count(1)
    assert [row[:2] for row in rows(folder)] == [("rating", "up"), ("rating", "down"), ("correction", "down")]
    decided = rows(folder, "SELECT feedback, state, better, promote FROM decisions ORDER BY id")
    assert decided == [
        (3, "approved", "A flat bread from India", 0),
        (2, "approved", "Bread", 1),
        (1, "rejected", None, 0),
    ]


def test_a_blind_vote_is_kept_then_the_names_are_shown(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    with served(folder) as address, opened(address) as page:
        tab(page, "Compare")
        box = page.locator("#compare-question textarea")
        box.fill("What is naan?")
        box.press("Enter")
        expect(page.locator("#answer-1 h3")).to_have_text("Answer 1")
        expect(page.locator("#votes")).to_be_visible(timeout=SLOW)
        texts = [page.locator(f"#answer-{place} .plain").inner_text() for place in (1, 2)]
        assert texts[0] != texts[1] and "tiny" not in page.locator("#answers").inner_text()
        page.locator("#vote-first").click()
        expect(page.locator("#compare-notice")).to_contain_text("Kept as number 1")
        expect(page.locator("#strength")).to_contain_text("All votes so far (1;")
        expect(page.locator("#votes")).to_be_hidden()
        shown = {page.locator(f"#answer-{place} h3").inner_text() for place in (1, 2)}
        assert shown == {"Specialist", "Base model: tiny"}
        page.locator("#blind input").uncheck()
        box.fill("Once more")
        box.press("Enter")
        expect(page.locator("#answer-1 h3")).to_have_text("Specialist")
        expect(page.locator("#compare-send")).to_be_visible(timeout=SLOW)
        expect(page.locator("#votes")).to_be_hidden()
    (vote,) = rows(folder, "SELECT kind, verdict, made_by, other_by, answer, other FROM feedback")
    assert vote[:2] == ("vote", "first") and {vote[2], vote[3]} == {"specialist", "base"}
    assert [" ".join(text.split()) for text in vote[4:]] == [" ".join(text.split()) for text in texts]


def test_the_language_is_switched_and_remembered(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path, language="zh")
    with served(folder) as address, opened(address) as page:
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        expect(page.get_by_role("tab").first).to_have_text("提问")
        page.locator("#language").click()
        expect(page.get_by_role("tab").first).to_have_text("Ask")
        expect(page.locator("#send")).to_have_text("Send")
        ask(page, "naan")
        answered(page)
        expect(page.locator("#near")).to_contain_text("Check it")
        page.locator("#language").click()
        expect(page.locator("#near")).to_contain_text("核对一下")  # what stands there is drawn again
        page.locator("#language").click()
        expect(page.locator("#near")).to_contain_text("Check it")
        page.reload()
        expect(page.get_by_role("tab").first).to_have_text("Ask")
        assert page.evaluate("document.documentElement.lang") == "en"
        page.locator("#question textarea").press("Enter")
        expect(page.locator("#notice")).to_contain_text("Please type")


def test_looking_up_and_reviewing_test_questions(tmp_path: Path) -> None:
    expect, folder, kept = expecting(), make_app(tmp_path, Library), tmp_path / "evals" / "reviews.json"
    with served(folder, "--reviews", str(kept)) as address, opened(address) as page:
        ask(page, "xylophone zebra")
        expect(page.locator("#notice")).to_contain_text("No passage")
        ask(page, "how hot for oolong?")
        answered(page)
        expect(page.locator("#near")).to_contain_text("Tea › Oolong › p. 3")
        expect(page.locator("#near em")).to_have_text("the model read this one")
        page.locator("#near summary").first.click()
        expect(page.locator("#near .text").first).to_contain_text("<b>Bold</b>")  # as text, never as markup
        expect(page.locator("#near td").first).to_have_text("Oolong")
        tab(page, "Review")
        expect(page.locator("#review-item")).to_contain_text("1 / 3")
        expect(page.locator("#review-item .asked")).to_have_text(EVIL)
        expect(page.locator("#review-passage th").first).to_have_text("Tea")
        page.get_by_role("button", name="Approve").last.scroll_into_view_if_needed()
        page.get_by_role("button", name="Approve").last.click()
        expect(page.locator("#review-item")).to_contain_text("2 / 3")
        page.get_by_role("button", name="Reject the question").click()
        expect(page.locator("#review-item")).to_contain_text("3 / 3")
        page.locator("#review-answer textarea").fill("a better answer")
        page.get_by_role("button", name="Approve").last.click()
        expect(page.locator("#review-item")).to_contain_text("2 approved, 1 rejected")
    decided = read_json(kept)
    verdicts = {name: row["verdict"] for name, row in decided.items()}
    assert verdicts == {"i0": "approved", "i1": "rejected", "i2": "approved"}
    assert "reference" not in decided["i0"] and decided["i2"]["reference"] == "a better answer"


def test_keys_alone_are_enough(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    with served(folder) as address, opened(address, 1100) as page:
        page.locator("#question textarea").focus()
        page.keyboard.type("What is naan?")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "send"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        answered(page)
        page.locator("#good").focus()
        page.keyboard.press("Space")
        expect(page.locator("#notice")).to_contain_text("number 1")


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("zh", "dark")])
def test_no_serious_accessibility_fault(tmp_path: Path, language: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    folder = make_app(tmp_path, Library, language=language)
    found: list[str] = []

    def look(page: Any, place: str) -> None:
        page.wait_for_timeout(500)
        for fault in axe.run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found.append(f"{place}: {fault['id']} at {[node['target'] for node in fault['nodes']][:3]}")

    with served(folder, "--reviews", str(tmp_path / "reviews.json")) as address, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
        page.goto(address)
        page.wait_for_selector("#status .ready", timeout=90_000)
        look(page, "at first")
        ask(page, "how hot for oolong?")
        answered(page)
        page.locator("#better").click()
        page.locator("#correct-better textarea").fill("95 degrees")
        look(page, "correcting")
        page.locator("#correct-send").click()
        names = page.get_by_role("tab").all_inner_texts()
        assert len(names) >= 6
        for name in names[1:6]:
            tab(page, name)
            look(page, name)
            if page.locator("#compare-question").is_visible():
                page.locator("#compare-question textarea").fill("oolong")
                page.locator("#compare-question textarea").press("Enter")
                page.wait_for_selector("#votes", timeout=SLOW)
                page.locator("#vote-tie").click()
                look(page, f"{name}, voted")
            if page.locator("#fb-list").is_visible():
                page.locator("#fb-list label").first.click()
                look(page, f"{name}, reading")
        page.goto(f"{address}/login")
        look(page, "login")
    assert not found, "\n".join(found)


def test_a_password_lets_in_and_reviewers_alone_see_feedback(tmp_path: Path) -> None:
    expect, folder = expecting(), make_app(tmp_path)
    secret = {"FACTORY_APP_PASSWORD": "open sesame", "FACTORY_APP_REVIEWER_PASSWORD": "of the reviewers"}
    with served(folder, **secret) as address, browser() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.goto(address)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("alert")).to_contain_text("not right")
        page.get_by_label(re.compile("Your name")).fill("Ann")
        page.get_by_label("Password").fill(secret["FACTORY_APP_PASSWORD"])
        page.get_by_role("button", name="Enter").click()
        page.wait_for_selector("#status .ready", timeout=90_000)
        ask(page, "What is naan?")
        answered(page)
        page.locator("#good").click()
        expect(page.locator("#notice")).to_contain_text("number 1")
        expect(page.get_by_role("tab", name="Feedback")).to_have_count(0)
    assert rows(folder, "SELECT who FROM feedback") == [("Ann",)]
