"""Pieces of the pages: whatever a text holds, none of it becomes markup."""

from __future__ import annotations

import re

from apps import EVIL, TABLE

NASTY = f"{EVIL} <img src=x onerror=alert(1)> \" ' &"


def test_words_are_the_same_in_both_languages() -> None:
    from words import WORDS  # type: ignore[import-not-found]

    assert set(WORDS["en"]) == set(WORDS["zh"])
    for key, text in WORDS["en"].items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", WORDS["zh"][key])), key


def test_every_piece_escapes_what_it_is_given() -> None:
    import cards  # type: ignore[import-not-found]
    from words import WORDS

    passage = {"text": f"{NASTY}\n\n| {NASTY} |\n| --- |\n| {NASTY} |", "where": NASTY}
    pieces = [
        cards.passages([passage], passage, WORDS["en"]),
        cards.labels([NASTY, "b"], [0.6, 0.4], WORDS["zh"]),
        cards.answer(NASTY, NASTY),
        cards.facts({NASTY: NASTY}),
    ]
    for piece in pieces:
        assert "<script" not in piece and "<img" not in piece and "&lt;script&gt;" in piece


def test_a_markdown_table_becomes_a_real_one_and_the_rest_stays_text() -> None:
    import cards

    made = cards.text(f"---\ntitle: x\n---\n\nBefore | not a table\n\n{TABLE}\n\nAfter")
    assert "title: x" not in made and "Before | not a table" in made
    assert "<th>Tea</th><th>Degrees</th>" in made and "<td>Oolong</td><td>&lt;b&gt;95&lt;/b&gt;</td>" in made
    assert made.index("Before") < made.index("<table>") < made.index("After") and "| ---" not in made


def test_the_likeliest_labels_lead_and_the_rest_is_summed() -> None:
    import cards
    from words import WORDS

    choices = [f"label {n}" for n in range(12)]
    shares = [0.5, *[0.05] * 10, 0.0]
    made = cards.labels(choices, shares, WORDS["en"])
    assert (
        made.index("label 0") < made.index("label 1") and "50.0%" in made and "4 other labels together: 15.0%" in made
    )
    assert cards.labels(choices, [], WORDS["en"]) == ""


def test_scoreboard_escapes_every_name() -> None:
    from scoreboard import scoreboard  # type: ignore[import-not-found]
    from words import WORDS

    cell = {"score": 70.0, "low": 61.5, "high": 120.0, "n": 40}
    models = {EVIL: {EVIL: cell, "mean": cell}, "base": {}, "best": {EVIL: cell}}
    page = scoreboard({"models": models, "tasks": {EVIL: {"title": EVIL}}, "best": EVIL, "items": 40}, WORDS["en"])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "70.0 (61.5" in page and "n = 40" in page and 'x2="100.00"' in page
    assert page.count('class="bar') == 2  # the picture's frame and one bar: "best" is no row of its own
