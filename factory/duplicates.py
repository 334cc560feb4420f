"""Rows asked before: the same question in another form, or one that differs by a word and has the same answer.

Candidates come from MinHash (Broder 1997) in an LSH index (rensa); each is then compared letter by letter (rapidfuzz), so that
a question with another number, another negation or another answer is not taken for the same. A million short rows take minutes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable

from factory.numerals import numbers
from factory.text import cjk_share, ngrams, squeeze

PERMUTATIONS, BANDS = 63, 21  # three to a band: texts with half of their shingles in common meet in 94% of cases
SHORT = 12  # letters of an answer up to which it says little about the question
LIKE_ANSWER = 0.6  # similarity from which two answers say the same
MOST_CANDIDATES = 200  # compared for one row: a set phrase that thousands share does not stop the work
_NEGATION = re.compile(
    r"[不没否勿]|未(?!来)|无(?!论)|非(?!常)|(?<![分特区类个级性辨差])别(?![的人名])"
    r"|\b(?:not|no|never|without|cannot|non|un(?!til|der|it|i[oqv]|less)\w{3,})\b|n['’]t\b",
    re.IGNORECASE,
)
_EITHER = re.compile(r"(\w)[不没]\1")  # 新不新鲜, 有没有: asks, and denies nothing


class Duplicates:
    """Remembers the rows it was shown. `like` is the similarity, 0 to 1, from which two questions are the same."""

    def __init__(self, like: float) -> None:
        import rensa

        self.like = like
        self._sketch = rensa.RMinHash
        self._index = rensa.RMinHashLSH(0.5, PERMUTATIONS, BANDS)
        self._exact: dict[tuple[Hashable, str], int] = {}
        self._rows: list[tuple[str, Hashable, str, str]] = []  # id, group, question and answer squeezed
        self._marks: list[tuple[float, ...]] = []

    def find(self, id: str, question: str, answer: str, group: Hashable = "") -> tuple[str, str]:
        """(reason, detail) for a row whose question was asked before in its group; empty texts for a new one, which is remembered."""
        text = squeeze(question)
        if (group, text) in self._exact:
            return "duplicate", f"same question as {self._rows[self._exact[group, text]][0]}"
        said, marks = squeeze(answer), turning_points(question, answer)
        sketch = self._sketch(PERMUTATIONS, 1)
        sketch.update(list(ngrams(text, 2 if cjk_share(text) > 0.3 else 4)) or [text])
        for number in sorted(self._index.query(sketch))[:MOST_CANDIDATES]:
            other, its_group, its_text, its_answer = self._rows[number]
            if (
                its_group == group
                and marks == self._marks[number]
                and same_meaning((text, said), (its_text, its_answer), self.like)
            ):
                return "near-duplicate", f"of {other}"
        self._exact[group, text] = len(self._rows)
        self._index.insert(len(self._rows), sketch)
        self._rows.append((id, group, text, said))
        self._marks.append(marks)
        return "", ""


def same_meaning(one: tuple[str, str], other: tuple[str, str], like: float, label: bool = False) -> bool:
    """Whether two (question, answer), squeezed, say the same: like questions with like answers.

    Where the answers are short, which says little, the questions must be liker and one answer stand in the other; where they
    are long and the same, the questions may be less like. A `label`, one of a few answers, says as little and must be the same.
    """
    from rapidfuzz.fuzz import ratio

    short, long = sorted((one[1], other[1]), key=len)
    wanted = 100 * like
    if label or len(short) <= SHORT:
        wanted += 50 * (1 - like)
    elif short == long and len(short) >= 2 * SHORT:
        wanted -= 75 * (1 - like)
    if ratio(one[0], other[0], score_cutoff=wanted) < wanted:
        return False
    if label:
        return short == long
    if len(short) <= SHORT:
        return short == long or (len(short) > 3 and short in long) or ratio(short, long) >= 80
    return ratio(short, long) >= 100 * LIKE_ANSWER and not _told_apart(one, other)


def _told_apart(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether words that only one of the questions has stand in its own answer alone: 军事 here, 商业 there."""
    from rapidfuzz.distance import Indel

    for step in Indel.opcodes(one[0], other[0]):
        mine, its = one[0][step.src_start : step.src_end], other[0][step.dest_start : step.dest_end]
        for word, own, their in ((mine, one[1], other[1]), (its, other[1], one[1])):
            if step.tag != "equal" and len(word) >= 2 and word in own and word not in their:
                return True
    return False


def turning_points(text: str, answer: str = "") -> tuple[float, ...]:
    """What turns a question into another one though few letters change: its numbers and its answer's, and whether it is negated."""
    text = _EITHER.sub(r"\1", unicodedata.normalize("NFKC", text))
    negated = len(_NEGATION.findall(text)) % 2
    return (*sorted(numbers(text)), *sorted(numbers(answer)), -negated)
