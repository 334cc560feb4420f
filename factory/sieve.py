"""The sieve: which rows training may see, each dropped row with its reason. Works on one row at a time, so that a million pass.

Comparing by meaning (curate.same_meaning) works on a batch at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from factory.config import Curate
from factory.domain import Domain
from factory.duplicates import Duplicates
from factory.leaks import Expected, LeakIndex
from factory.meaning import Asked, Meanings
from factory.pii import mask
from factory.quality import REPEATED, broken, is_language, repetition
from factory.records import EvalItem
from factory.text import language_share, normalize_text

BATCH = 256  # rows compared by meaning at once
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """What the sieve looks at: `text` is what the question is about (or the question itself), `asked` what it asks of it."""

    id: str
    question: str
    answer: str
    task: str = ""
    text: str = ""
    asked: str = ""


@dataclass
class Sieve:
    """Decides rows in their order. `items` are the eval texts by id and `answers` what is expected there, `languages` those that
    rows may be in; empty: any."""

    settings: Curate
    items: Mapping[str, str]
    answers: Mapping[str, Expected] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    say: Callable[[str], None] = print
    masked: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        settings = self.settings
        items = {id: self.clean(text) for id, text in self.items.items()}
        answers = {
            id: replace(answer, text=self.clean(answer.text), others=tuple(map(self.clean, answer.others)))
            for id, answer in self.answers.items()
        }
        self.masked.clear()
        self.leaks = LeakIndex(items, settings.leak_ngram, settings.leak_share, answers, settings.near_duplicate)
        self.seen = Duplicates(settings.near_duplicate)
        self.meanings = Meanings(settings.same_meaning, items, answers, self.say) if settings.same_meaning else None

    def clean(self, text: str) -> str:
        """Normalized, with personal data masked and counted."""
        text = normalize_text(text)
        if self.settings.mask_pii:
            text, kinds = mask(text, "zh" if language_share(text, "zh") > 0.1 else "en")
            self.masked.update(kinds)
        return text

    def sift(self, rows: Iterable[tuple[Row, T]]) -> Iterator[tuple[T, str, str]]:
        """What came with each row, in order, with its reason and detail: two empty texts for one to keep."""
        left = iter(rows)
        while part := list(islice(left, BATCH if self.meanings else 1)):
            found = [self.reason(row) for row, _ in part]
            if self.meanings:
                new = [number for number, (reason, _) in enumerate(found) if not reason]
                for number, said in zip(new, self.meanings.find([_asked(part[n][0]) for n in new]), strict=True):
                    found[number] = said
                    self.dropped.update([said[0]] if said[0] else [])
            yield from ((what, *said) for (_, what), said in zip(part, found, strict=True))

    def reason(self, row: Row) -> tuple[str, str]:
        """(reason, detail) of a row to drop; two empty texts for one to keep. It does not compare by meaning."""
        found = self._reason(row)
        if found[0]:
            self.dropped[found[0]] += 1
        return found

    def _reason(self, row: Row) -> tuple[str, str]:
        settings, both = self.settings, f"{row.question}\n{row.answer}"
        if len(row.answer) < max(1, settings.min_chars):
            return "too short", f"answer of {len(row.answer)} characters"
        if not row.question.strip():
            return "too short", "no question"
        if len(both) - 1 > settings.max_chars:
            return "too long", f"{len(both) - 1} characters"
        if what := broken(both):
            return "broken text", what
        if not is_language(both, self.languages, settings.language_share):
            return "language", f"not {' or '.join(self.languages)}"
        if (share := max(repetition(row.question), repetition(row.answer))) > REPEATED:
            return "repetition", f"{share:.0%} of its text stands in it before"
        about = row.text or row.question
        if what := self.leaks.find(about, row.answer, row.task):
            return "leak", what
        return self.seen.find(row.id, about, row.answer, (row.task, row.asked))


def sieve_of(domain: Domain, items: Iterable[EvalItem], say: Callable[[str], None] = print, **settings: Any) -> Sieve:
    """The sieve of a domain's [curate], with `settings` changed, against its eval items and their references.

    An answer to a question about a passage is left out: of the passage, which alone is compared, it says nothing.
    """
    texts, answers = {}, {}
    for item in items:
        task = domain.task(item.task)
        texts[item.id], asked = task.parts(item.question)
        if item.references and not asked:
            first, *others = item.references
            answers[item.id] = Expected(first, task.name, bool(task.choices), tuple(others))
    return Sieve(replace(domain.config.curate, **settings), texts, answers, (domain.config.language,), say)


def _asked(row: Row) -> Asked:
    """Questions about one text are compared with each other, other questions with those of their task."""
    group = (row.task, row.text) if row.asked else (row.task, "")
    return Asked(row.id, group, row.asked or row.text or row.question, row.answer, row.text or row.question)


def languages_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The languages (zh, en) that at least a twentieth of the texts are in; none where there are no texts."""
    from factory.quality import language_of

    found = Counter(map(language_of, texts))
    return tuple(name for name in ("en", "zh") if found[name] * 20 >= max(1, found.total()))


def tell(rows: int, kept: int, dropped: Counter[str]) -> str:
    """One line on what happened."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common()) or "nothing dropped"
    return f"{rows:,} rows: {kept:,} kept; {reasons}"
