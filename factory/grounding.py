"""Does a passage bear an answer out? Its numbers, quoted titles and articles, names and the quotation it rests on are looked up."""

from __future__ import annotations

import re

from factory.numerals import articles, numbers
from factory.text import cjk_share, ngrams, squeeze

LIKE_QUOTE = 88  # of 100: similarity of the quotation to the best stretch of the passage
OWN_WORDS = 0.75  # share of the answer's runs that may be neither in passage nor question
_WORD = re.compile(r"[a-zß-öø-ÿ]{4,}")
_TITLE = re.compile(r"《([^》]+)》")
_NAME = re.compile(r"(?<![.!?:\"'“] )(?<!^)(?<![A-Za-z])[A-Z][a-z]{2,}(?![A-Za-z])")  # also between Chinese letters
_ONE = re.compile(r"一|\b(?:one|an?|once|first|single)\b", re.IGNORECASE)  # 1 in words, which `numbers` does not count
_LISTED = re.compile(  # how many things a list has: who counts them adds nothing
    r"[两二三四五六七八九十\d]\s*(?:[种项点类]|个(?!月|小时|工作日|星期|季度|年))"
    r"|\b(?:[2-9]|two|three|four|five|six|seven|eight|nine|ten) (?:\w+ )?"
    r"(?:kinds|types|sorts|ways|steps|things|reasons|parts|cases|groups|stages|features|conditions|methods|forms|factors|rules|points|examples)\b",
    re.IGNORECASE,
)


def unsupported(answer: str, passage: str, question: str, quote: str = "", case: bool = False) -> str:
    """Why the passage does not bear the answer out, or an empty text.

    Words and titles of the question may be said again. Its numbers and names may only where it tells a case of its own (`case`):
    elsewhere a teacher that made one up in the question would bear itself out. Articles must stand in the passage.
    """
    from rapidfuzz.fuzz import partial_ratio

    both = f"{passage}\n{question}"
    source = both if case else passage
    if quote and partial_ratio(squeeze(quote), squeeze(passage)) < LIKE_QUOTE:
        return f"the quotation is not in the passage: {quote[:40]}"
    there = articles(passage)
    for article, named in articles(answer).items():
        if article not in there:
            return f"the passage does not name {named}"
    borne = numbers(source) | {float(article.partition("-")[0]) for article in there}
    borne |= {1.0} if _ONE.search(source) else set()
    listed = numbers(" ".join(found[0] for found in _LISTED.finditer(question)))
    if missing := numbers(answer) - borne - listed:
        return f"the passage has no number {min(missing):g}"
    known, asked = squeeze(source), squeeze(both)
    for title in _TITLE.findall(answer):
        if squeeze(title) not in asked:
            return f"the passage does not name 《{title}》"
    for name in _NAME.findall(answer):
        word = name.lower()  # of a name in the question an ending may differ: European, Europeans
        if word not in known and not (word in asked and word[: max(4, len(word) - 2)] in known):
            return f"the passage does not name {name}"
    own = 1 - known_share(answer, both)
    return f"{own:.0%} of the answer is not in the passage" if own > OWN_WORDS else ""


def known_share(text: str, source: str) -> float:
    """Share of a text's `runs` that stand in the source; 1 for a text that has none."""
    said = runs(text)
    return len(said & runs(source)) / len(said) if said else 1.0


def runs(text: str) -> set[str]:
    """What a text is made of, for a look-up: every two letters of Chinese on end, the first four letters of every longer Latin word."""
    squeezed = squeeze(text)
    chinese = {run for run in ngrams(squeezed, 2) if cjk_share(run) == 1}
    return chinese | {word[:4] for word in _WORD.findall(text.lower())}
