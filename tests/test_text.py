"""Normal forms and language."""

from __future__ import annotations

import pytest

from factory.text import language_share, ngrams, normalize_text, squeeze


def test_normalize_text() -> None:
    assert normalize_text(" ＡＢ１２，\r\nx \u200by\x07\ud83d \r ") == "AB12，\nx y"
    assert normalize_text("e\u0301") == "é"


def test_language_share() -> None:
    assert language_share("盗窃 abcd", "zh") == pytest.approx(2 / 6)
    assert language_share("盗窃 abcd", "en") == pytest.approx(4 / 6)
    assert language_share("12。", "zh") == 1.0


def test_squeeze_and_ngrams() -> None:
    assert squeeze("  ＡＢ-c， 盗 窃!1") == "abc盗窃1"
    assert ngrams("abcd", 3) == {"abc", "bcd"} and ngrams("ab", 3) == set()
