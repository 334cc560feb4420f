"""The sieve: which rows training may see, each dropped row with its reason. Works on one row at a time, so that a million pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from factory.config import Curate
from factory.duplicates import Duplicates
from factory.leaks import LeakIndex
from factory.pii import mask
from factory.quality import REPEATED, broken, is_language, repetition
from factory.text import language_share, normalize_text


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
    """Decides rows in their order. `items` are the eval texts by id and `answers` their references, `languages` those that
    rows may be in; empty: any."""

    settings: Curate
    items: Mapping[str, str]
    answers: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    masked: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        settings = self.settings
        items, answers = ({id: self.clean(text) for id, text in texts.items()} for texts in (self.items, self.answers))
        self.masked.clear()
        self.leaks = LeakIndex(items, settings.leak_ngram, settings.leak_share, answers, settings.near_duplicate)
        self.seen = Duplicates(self.settings.near_duplicate)

    def clean(self, text: str) -> str:
        """Normalized, with personal data masked and counted."""
        text = normalize_text(text)
        if self.settings.mask_pii:
            text, kinds = mask(text, "zh" if language_share(text, "zh") > 0.1 else "en")
            self.masked.update(kinds)
        return text

    def reason(self, row: Row) -> tuple[str, str]:
        """(reason, detail) of a row to drop; two empty texts for one to keep."""
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
        if what := self.leaks.find(about, row.answer):
            return "leak", what
        return self.seen.find(row.id, about, row.answer, (row.task, row.asked))


def languages_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The languages (zh, en) that at least a twentieth of the texts are in; none where there are no texts."""
    from factory.quality import language_of

    found = Counter(map(language_of, texts))
    return tuple(name for name in ("en", "zh") if found[name] * 20 >= max(1, found.total()))


def tell(rows: int, kept: int, dropped: Counter[str]) -> str:
    """One line on what happened."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common()) or "nothing dropped"
    return f"{rows:,} rows: {kept:,} kept; {reasons}"
