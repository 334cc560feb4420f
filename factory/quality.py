"""Signals of a text's quality that need no model: broken encodings, repetition, its language."""

from __future__ import annotations

import re

from factory.text import language_share, squeeze

REPEATED = 0.6  # share of a text's 10-letter runs that stand in it before, from which it goes round in circles
_BROKEN = re.compile(
    r"\ufffd|锟斤拷|烫烫烫|屯屯屯|[\ue000-\uf8ff]|(?:â€[™œ\x9d“”]|Ã[\x80-\xbf©¨¼¶¤]){1,}|[ÃÂäåæçèé][\x80-\xbf]"
)


def broken(text: str) -> str:
    """What is left of a text that was read in the wrong encoding, or an empty text."""
    found = _BROKEN.search(text)
    if found:
        return f"'{text[max(0, found.start() - 4) : found.end() + 4]}'"
    from ftfy.badness import badness

    return "letters of a wrong encoding" if badness(text) > 0.02 * len(text) + 2 else ""


def repetition(text: str) -> float:
    """Share of the 10-letter runs of a text that stand in it before, 0 to 1; 0 for a short text."""
    text = squeeze(text)
    runs = [text[start : start + 10] for start in range(len(text) - 9)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= 30 else 0.0


def is_language(text: str, languages: tuple[str, ...], share: float) -> bool:
    """Whether enough of the letters belong to the script of one of the languages."""
    return not languages or any(language_share(text, language) >= share for language in languages)


def language_of(text: str) -> str:
    """zh, en or other, by script."""
    if language_share(text, "zh") >= 0.3:
        return "zh"
    return "en" if language_share(text, "en") >= 0.5 else "other"
