"""Leaks: training text that gives an eval question away."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from factory.duplicates import same_meaning, turning_points
from factory.text import cjk_share, ngrams, squeeze

# in Latin letters; a Chinese letter counts for two
PIECE = 24  # a text that says something by itself: found anywhere inside another one
SHORTEST = 12  # found inside another one where it stands between marks
LONG = 120  # a text of which a part in common is a leak
COVERED = 0.9  # share of a text that whole sentences of the other one cover
_PIECES = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w\s.%$€£￥+-]|\n|_")


@dataclass(frozen=True)
class Expected:
    """The answer to an eval question. A `label`, one of a few answers, says little about the question, however long it is.

    Answers of two tasks differ whatever is asked: only one of the same `task` (empty: of any) tells two questions apart.
    """

    text: str
    task: str = ""
    label: bool = False
    others: tuple[str, ...] = ()  # what is right as well


class LeakIndex:
    """Finds training questions that give away an eval question.

    A leak is the same text once spacing and punctuation are gone; a text inside the other one, or whole sentences of one
    that make up most of the other; of long texts, n-grams in common that cover `share` of either (n-grams that several eval
    texts have are the task's own wording and do not count); and a question that differs by a word and has the same
    answer, where the eval `answers` are given. `size` is that of an n-gram in Latin letters; a Chinese letter counts for two.
    """

    def __init__(
        self,
        questions: Mapping[str, str],
        size: int,
        share: float,
        answers: Mapping[str, Expected] | None = None,
        like: float = 0.8,
    ) -> None:
        self.share, self.like = share, like
        self.exact: dict[str, str] = {}
        self.questions: dict[str, str] = {}
        for name, question in questions.items():
            text = squeeze(question)
            if text and self.exact.setdefault(text, name) == name:
                self.questions[text] = question
        self.points = {text: turning_points(question) for text, question in self.questions.items()}
        self.said: dict[str, list[_Said]] = defaultdict(list)  # all answers to one text: several items may have it
        for name, expected in (answers or {}).items():
            if text := squeeze(questions[name]):
                right = filter(None, (expected.text, *expected.others))
                self.said[text] += [_Said(name, questions[name], replace(expected, text=one)) for one in right]
        self.pieces: dict[str, set[str]] = defaultdict(set)
        for text, question in self.questions.items():
            for piece in _pieces(question):
                self.pieces[piece].add(text)
        self.grams = [
            _Grams(
                {text: name for text, name in self.exact.items() if _wide(text) is wide and _letters(text) >= LONG},
                length,
            )
            for wide, length in ((True, max(2, size // 2)), (False, size))
        ]

    def find(self, question: str, answer: str = "", task: str = "") -> str:
        """Why the question is a leak, or an empty text. `answer` and `task` are the row's."""
        text = squeeze(question)
        if text in self.exact:
            return f"same question as eval item {self.exact[text]}"
        letters = _letters(text)
        for item, name in self.exact.items():
            if item in text and (
                _letters(item) >= PIECE or (_letters(item) >= SHORTEST and _stands_alone(item, question))
            ):
                return f"contains the question of eval item {name}"
            if text in item and letters >= PIECE:
                return f"is a part of the question of eval item {name}"
        if found := self._sentences(text, question):
            return found
        for grams in self.grams if letters >= LONG else ():
            if (most := grams.find(text, self.share)) and not self._another_case(most[1], question, answer, task):
                return f"shares {most[0]:.0%} of its text with eval item {self.exact[most[1]]}"
        return self._reworded(text, question, answer) if answer else ""

    def _sentences(self, text: str, question: str) -> str:
        covered: dict[str, int] = defaultdict(int)
        for piece in set(_pieces(question)):
            if len(owners := self.pieces.get(piece, ())) == 1:
                covered[next(iter(owners))] += len(piece)
        for item, count in covered.items():
            share = count / min(len(text), len(item))
            if share >= COVERED and count * (2 if _wide(item) else 1) >= PIECE:
                return f"has {share:.0%} of its sentences from eval item {self.exact[item]}"
        return ""

    def _another_case(self, item: str, question: str, answer: str, task: str) -> bool:
        """Other numbers and another answer to the same task: a question of the same make."""
        others = [said.answer for said in self.said.get(item, ()) if said.task in ("", task)]
        apart = bool(others and answer) and squeeze(answer) not in others
        return apart and turning_points(question) != self.points[item]

    def _reworded(self, text: str, question: str, answer: str) -> str:
        said = squeeze(answer)
        for item, known in self.said.items():
            for its in known:
                same = same_meaning((text, said), (item, its.answer), self.like, its.label)
                if same and turning_points(question, answer) == its.points:
                    return f"asks what eval item {its.name} asks, with the same answer"
        return ""


class _Said:
    """One answer to an eval item as answers are compared."""

    def __init__(self, name: str, question: str, expected: Expected) -> None:
        self.name, self.task, self.label = name, expected.task, expected.label
        self.answer = squeeze(expected.text)
        self.points = turning_points(question, expected.text)


class _Grams:
    """The n-grams that one eval text alone has."""

    def __init__(self, texts: Iterable[str], size: int) -> None:
        self.size = size
        owner: dict[str, str] = {}
        self.common: set[str] = set()
        for text in texts:
            for gram in ngrams(text, size):
                if owner.setdefault(gram, text) != text:
                    self.common.add(gram)
        self.owner = {gram: text for gram, text in owner.items() if gram not in self.common}
        self.size_of = Counter(self.owner.values())

    def find(self, text: str, share: float) -> tuple[float, str] | None:
        """(share of the text in common, eval text) where it reaches `share`."""
        own = ngrams(text, self.size) - self.common
        hits = Counter(self.owner[gram] for gram in own if gram in self.owner)
        found = max(((count / min(len(own), self.size_of[name]), name) for name, count in hits.items()), default=None)
        return found if found and found[0] >= share else None


def _wide(text: str) -> bool:
    return cjk_share(text) > 0.3


def _letters(text: str) -> int:
    """Length in Latin letters."""
    return len(text) * 2 if _wide(text) else len(text)


def _pieces(question: str) -> list[str]:
    """Sentences and clauses, squeezed."""
    return [piece for part in _PIECES.split(unicodedata.normalize("NFKC", question)) if (piece := squeeze(part))]


def _stands_alone(short: str, question: str) -> bool:
    """Whether a squeezed text begins and ends at a mark inside the question."""
    edges = {0}
    at = 0
    for piece in _pieces(question):
        at += len(piece)
        edges.add(at)
    start = squeeze(question).find(short)
    return start in edges and start + len(short) in edges
