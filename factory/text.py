"""What the stages ask of plain text: normal forms, language, n-grams."""

from __future__ import annotations

import re
import unicodedata

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_MINUS = re.compile(r"(?<![\w\s)\]-])-(?=\d)")  # behind a bracket or an operator, where it is no dash
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")


def normalize_text(text: str) -> str:
    """NFC, full-width letters and digits to half-width, no control characters, no half letters, no trailing spaces."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = (char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    text = "".join(map(_half, kept))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def _half(char: str) -> str:
    """Full-width letters and digits only: full-width punctuation is right in Chinese."""
    return unicodedata.normalize("NFKC", char) if "\uff10" <= char <= "\uff5a" and char.isalnum() else char


def language_share(text: str, language: str) -> float:
    """Share of the letters that belong to the language's script (zh: Han, en: Latin); 1 for a text without letters."""
    letters = len(_LETTER.findall(text))
    return len((_CJK if language == "zh" else _LATIN).findall(text)) / letters if letters else 1.0


def cjk_share(text: str) -> float:
    """Share of all characters that are Chinese."""
    return len(_CJK.findall(text)) / max(1, len(text))


def squeeze(text: str) -> str:
    """Letters and digits only, lower case: what is left when spacing and punctuation are changed. 1.5 and -4 stay."""
    text = _POINT.sub("\ue000", unicodedata.normalize("NFKC", text).lower())
    text = _MINUS.sub("\ue001", text)
    kept = "".join(char for char in text if char.isalnum() or char in "\ue000\ue001")
    return kept.replace("\ue000", ".").replace("\ue001", "-")


def ngrams(text: str, size: int) -> set[str]:
    """Every run of `size` characters."""
    return {text[start : start + size] for start in range(len(text) - size + 1)}
