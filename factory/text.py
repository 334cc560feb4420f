"""What the stages ask of plain text: normal forms, language, n-grams, leaks."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")


def normalize_text(text: str) -> str:
    """NFC, full-width letters and digits to half-width, no control characters, no trailing spaces."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(_half(char) for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def _half(char: str) -> str:
    """Full-width letters and digits only: full-width punctuation is right in Chinese."""
    return unicodedata.normalize("NFKC", char) if "\uff10" <= char <= "\uff5a" and char.isalnum() else char


def language_share(text: str, language: str) -> float:
    """Share of the letters that belong to the language's script; 1 for a text without letters."""
    letters = _LETTER.findall(text)
    chinese = len(_CJK.findall(text))
    if not letters:
        return 1.0
    return chinese / len(letters) if language == "zh" else 1 - chinese / len(letters)


def squeeze(text: str) -> str:
    """Letters and digits only, lower case: what is left when spacing and punctuation are changed."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


def ngrams(text: str, size: int) -> set[str]:
    """Every run of `size` characters."""
    return {text[start : start + size] for start in range(len(text) - size + 1)}


class LeakIndex:
    """Finds training questions that give away an eval question.

    A leak is the same text once spacing and punctuation are gone, or n-grams in common that cover `share` of either text
    (so that one sentence inside a longer text is found both ways). N-grams that several eval texts share are the
    task's own wording or the trade's set phrases and do not count; items about the same text count as one.
    """

    def __init__(self, questions: Mapping[str, str], size: int, share: float) -> None:
        self.size, self.share = size, share
        self.exact: dict[str, str] = {}
        for name, text in questions.items():
            self.exact.setdefault(squeeze(text), name)
        owner: dict[str, str] = {}
        self.common: set[str] = set()
        for text, name in self.exact.items():
            for gram in ngrams(text, size):
                if owner.setdefault(gram, name) != name:
                    self.common.add(gram)
        self.owner = {gram: name for gram, name in owner.items() if gram not in self.common}
        self.size_of: dict[str, int] = defaultdict(int)
        for name in self.owner.values():
            self.size_of[name] += 1

    def find(self, question: str) -> str:
        """Why the question is a leak, or an empty text."""
        text = squeeze(question)
        if text in self.exact:
            return f"same question as eval item {self.exact[text]}"
        own = ngrams(text, self.size) - self.common
        hits: dict[str, int] = defaultdict(int)
        for gram in own:
            if gram in self.owner:
                hits[self.owner[gram]] += 1
        for name, count in sorted(hits.items()):
            share = count / min(len(own), self.size_of[name])
            if share >= self.share:
                return f"shares {share:.0%} of its text with eval item {name}"
        return ""
