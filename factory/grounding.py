"""Does a passage bear an answer out? Its numbers, quoted titles and articles, names and the quotation it rests on are looked up."""

from __future__ import annotations

import re

from factory.numerals import numbers
from factory.text import cjk_share, ngrams, squeeze

LIKE_QUOTE = 88  # of 100: similarity of the quotation to the best stretch of the passage
OWN_WORDS = (
    0.75  # share of the answer's two-letter (Latin: five-letter) runs that may be neither in passage nor question
)
_TITLE = re.compile(r"《([^》]+)》")
_NAME = re.compile(r"(?<![.!?:\"'“] )(?<!^)\b[A-Z][a-z]{2,}\b")


def unsupported(answer: str, passage: str, question: str, quote: str = "") -> str:
    """Why the passage does not bear the answer out, or an empty text. What the question names may be named again."""
    from rapidfuzz.fuzz import partial_ratio

    source = f"{passage}\n{question}"
    if quote and partial_ratio(squeeze(quote), squeeze(passage)) < LIKE_QUOTE:
        return f"the quotation is not in the passage: {quote[:40]}"
    if missing := numbers(answer) - numbers(source) - {1}:
        return f"the passage has no number {min(missing):g}"
    known = squeeze(source)
    for title in _TITLE.findall(answer):
        if squeeze(title) not in known:
            return f"the passage does not name 《{title}》"
    for name in _NAME.findall(answer):
        if name.lower() not in known:
            return f"the passage does not name {name}"
    own = 1 - known_share(answer, source)
    return f"{own:.0%} of the answer is not in the passage" if own > OWN_WORDS else ""


def known_share(text: str, source: str) -> float:
    """Share of a text's two-letter (Latin: five-letter) runs that stand in the source."""
    size = 2 if cjk_share(text) > 0.3 else 5
    said = ngrams(squeeze(text), size)
    return len(said & ngrams(squeeze(source), size)) / max(1, len(said))
