"""A teacher writes examples about passages; what a passage does not bear out is left out, and every refusal has its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rapidfuzz.fuzz import partial_ratio_alignment

from factory import kinds
from factory.drafts import Draft, Fault, asks_again, disagreement, draft_of, fault_of, messages_about
from factory.duplicates import Duplicates
from factory.errors import FactoryError
from factory.progress import Progress
from factory.records import Passage, write_records
from factory.stage import Say
from factory.structure import sentences
from factory.teacher import Ask, Spent, Teacher
from factory.text import squeeze

KINDS = tuple(kinds.FORMS)


@dataclass(frozen=True)
class Wanted:
    """What a teacher is to write: `per_passage` examples asked for about each passage, until `most` are accepted (0: all).

    Raises FactoryError where there is no passage.
    """

    passages: Sequence[Passage]
    language: str
    per_passage: int = 3
    most: int = 0
    kinds: Sequence[str] = KINDS
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.passages:
            raise FactoryError(
                "There is no passage for the teacher to write about.",
                "Add documents, or lower the share kept back for the eval set.",
            )

    def in_turn(self) -> Sequence[Passage]:
        """The passages as they are asked about: spread over the documents where not all of them may be needed."""
        if not self.most:
            return self.passages
        return sorted(self.passages, key=lambda passage: hashlib.sha256(passage.id.encode()).digest())


@dataclass(frozen=True)
class Refused:
    """A draft that is not used, and why."""

    reason: str
    detail: str
    kind: str
    passage: str
    question: str
    answer: str


@dataclass
class Written:
    """What came of the passages."""

    accepted: list[Draft] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    coverage: dict[str, float] = field(
        default_factory=dict
    )  # passage -> share of its sentences that an example rests on
    stopped: Spent | None = None  # why it ended before all was written

    def summary(self) -> dict[str, Any]:
        used = Counter(draft.passage.id for draft in self.accepted)
        return {
            "accepted": len(self.accepted),
            "refused": dict(Counter(draft.reason for draft in self.refused).most_common()),
            "kinds": dict(sorted(Counter(draft.kind for draft in self.accepted).items())),
            "passages": len(self.coverage),
            "passages_used": len(used),
            "sentences_used": round(sum(self.coverage.values()) / max(1, len(self.coverage)), 3),
        }


def estimate(wanted: Wanted, teacher: Teacher, first: Sequence[Ask] = ()) -> str:
    """What the calls of `first` and those of `write` would take: every example's, and those about it, which show the passage again."""
    language, asks = wanted.language, list(first)
    drafts = ((passage, *asked) for passage in wanted.in_turn() for asked in _asks(passage, wanted))
    for passage, kind, ask in islice(drafts, 2 * wanted.most or None):
        asks.append(ask)
        draft = draft_of(kind, passage, teacher.kept(ask), language)
        if draft is None:  # not written yet: about as long as most are
            draft = Draft(kind if kind == "decline" else "fact", passage, " " * 160, "")
        elif fault_of(draft, language)[0]:
            continue
        asks += asks_again(draft, language)
    return f"{teacher.estimate(asks)}, those that check each example among them"


def write(wanted: Wanted, teacher: Teacher, say: Say, refused: Path | None = None) -> Written:
    """Examples about the passages.

    The teacher writes one, it is looked up in the passage, and the teacher answers its question without seeing the answer, and
    judges whether the passage bears it out. All questions about a passage follow each other, so that the teacher has read its beginning before. Where the budget ends,
    what was accepted by then is given back, with the reason in `stopped`. The others are written to `refused`, each with its
    reason, before a FactoryError is raised because nothing at all is accepted.
    """
    language, most, passages = wanted.language, wanted.most, wanted.in_turn()
    written = Written(coverage=dict.fromkeys((passage.id for passage in passages), 0.0))
    seen = Duplicates(0.8)
    total = len(passages) * wanted.per_passage
    progress = Progress(say, "examples accepted", min(most or total, total))
    stops: list[Spent] = []

    def attempt(passage: Passage) -> list[tuple[str, Draft | None, Fault]]:
        """(kind, draft, what is wrong with it) of every example about a passage."""
        made = []
        for kind, ask in _asks(passage, wanted):
            try:
                draft = draft_of(kind, passage, teacher.ask(ask), language)
                fault = _tried(draft, teacher, language) if draft else ("not in the form asked for", "")
            except Spent as error:
                stops.append(error)
                continue  # what the cache answers still counts
            made.append((kind, draft, fault))
        return made

    with ThreadPoolExecutor(teacher.limits.concurrency) as pool:
        tasks = [pool.submit(attempt, passage) for passage in passages]
        try:
            for number, (passage, task) in enumerate(zip(passages, tasks, strict=True), 1):
                for kind, draft, fault in task.result():
                    fault = fault if fault[0] or draft is None else _asked_before(draft, seen)
                    if fault[0] or draft is None:
                        said = (draft.question, draft.answer) if draft else ("", "")
                        written.refused.append(Refused(*fault, kind, passage.id, *said))
                    else:
                        written.accepted.append(draft)
                done = len(written.accepted) if most else number * wanted.per_passage
                progress.at(
                    done, f"{len(written.accepted)} accepted, {len(written.refused)} refused, {teacher.called} calls"
                )
                if most and len(written.accepted) >= most:
                    break
            else:
                written.stopped = stops[0] if stops else None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if most:
        del written.accepted[most:]
    if refused:
        write_records(refused, written.refused)
    if not written.accepted:
        raise written.stopped or _all_refused(written, refused)
    _cover(written)
    return written


def _all_refused(written: Written, kept: Path | None) -> FactoryError:
    counts = Counter(refused.reason for refused in written.refused)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return FactoryError(
        f"The teacher's {len(written.refused)} examples were all refused: {reasons}.",
        "Take a larger teacher, or other passages." + (f" Each with its reason: {kept}" if kept else ""),
    )


def _asks(passage: Passage, wanted: Wanted) -> Iterator[tuple[str, Ask]]:
    """(kind, question to the teacher); each passage begins with another kind and takes them in turn."""
    start = int(hashlib.sha256(passage.id.encode()).hexdigest()[:8], 16)
    language, chosen = wanted.language, wanted.kinds
    for turn in range(wanted.per_passage):
        kind = chosen[(start + turn) % len(chosen)]
        task = kinds.TASKS[language][kind].format(truth=kinds.TRUTH[language][(start // 7 + turn) % 2])
        again = turn // len(chosen)  # the same kind once more: another sample
        yield kind, Ask(messages_about(passage, task, language), kinds.FORMS[kind], seed=wanted.seed + again)


def _tried(draft: Draft, teacher: Teacher, language: str) -> Fault:
    """What is wrong with a draft, by its looks or by what the teacher says when it is asked again."""
    fault = fault_of(draft, language)
    for ask in asks_again(draft, language) if not fault[0] else ():
        fault = disagreement(draft, teacher.ask(ask), language)
        if fault[0]:
            return fault
    return fault


def _asked_before(draft: Draft, seen: Duplicates) -> Fault:
    said = "" if draft.kind == "decline" else draft.answer  # the same for all: it says nothing about the question
    return seen.find(draft.passage.id, draft.question, said)


def _cover(written: Written) -> None:
    """Share of each passage's sentences that the quotations of its examples lie in."""
    quotes: dict[str, list[Draft]] = {}
    for draft in written.accepted:
        quotes.setdefault(draft.passage.id, []).append(draft)
    for name, drafts in quotes.items():
        parts = [text for part in sentences(drafts[0].passage.text) if (text := squeeze(part))]
        used = {
            number
            for draft in drafts
            if draft.quote
            for number, part in enumerate(parts)
            if _meets(squeeze(draft.quote), part)
        }
        written.coverage[name] = round(len(used) / max(1, len(parts)), 3)


def _meets(quote: str, sentence: str) -> bool:
    short, long = sorted((quote, sentence), key=len)
    found = partial_ratio_alignment(short, long)
    return bool(found and found.score >= 85 and len(short) >= 4)
