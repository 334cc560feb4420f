"""A teacher writes examples about passages; what a passage does not bear out is left out, and every refusal has its reason."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rapidfuzz.fuzz import partial_ratio_alignment

from factory import kinds
from factory.duplicates import Duplicates
from factory.errors import FactoryError
from factory.grounding import known_share, unsupported
from factory.progress import Progress
from factory.records import Message, Passage, write_records
from factory.rules import SILENT
from factory.stage import Say
from factory.structure import sentences
from factory.teacher import Ask, Spent, Teacher
from factory.text import language_share, normalize_text, squeeze

KINDS = tuple(kinds.FORMS)
MOST_KNOWN = 0.7  # share of a question's words that a passage which does not answer it may have


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
class Draft:
    """An example as a teacher wrote it: earlier turns of a talk, the question, its answer, and the words it rests on."""

    kind: str
    passage: Passage
    question: str
    answer: str
    quote: str = ""
    before: tuple[str, ...] = ()  # question and answer in turn

    def provenance(self, teacher: str) -> dict[str, str]:
        """Which passage and teacher it is from, and the words it rests on."""
        return {
            "kind": "teacher", "teacher": teacher, "form": self.kind, "document": self.passage.document, "passage": self.passage.id,
            "source": self.passage.source, "quote": self.quote,
        }  # fmt: skip


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
    """What the calls of `first` and those of `write` would take: every example's, and the judgement of it, which shows the passage again."""
    asks = list(first)
    drafts = ((passage, *asked) for passage in wanted.in_turn() for asked in _asks(passage, wanted))
    for passage, kind, ask in islice(drafts, 2 * wanted.most or None):
        asks.append(ask)
        draft = _draft(kind, passage, teacher.kept(ask), wanted.language)
        if draft is None:  # not written yet: about as long as most are
            asks.append(_judgement(Draft(kind, passage, " " * 160, ""), wanted.language))
        elif not _fault(draft, wanted.language)[0]:
            asks.append(_judgement(draft, wanted.language))
    return f"{teacher.estimate(asks)}, a judgement of each example among them"


def write(wanted: Wanted, teacher: Teacher, say: Say, refused: Path | None = None) -> Written:
    """Examples about the passages.

    The teacher writes one, it is looked up in the passage, and the teacher judges whether the passage bears it out. All
    questions about a passage follow each other, so that the teacher has read its beginning before. Where the budget ends,
    what was accepted by then is given back, with the reason in `stopped`. The others are written to `refused`, each with its
    reason, before a FactoryError is raised because nothing at all is accepted.
    """
    language, most, passages = wanted.language, wanted.most, wanted.in_turn()
    written = Written(coverage=dict.fromkeys((passage.id for passage in passages), 0.0))
    seen = Duplicates(0.8)
    total = len(passages) * wanted.per_passage
    progress = Progress(say, "examples accepted", min(most or total, total))
    stops: list[Spent] = []

    def attempt(passage: Passage) -> list[tuple[str, Draft | None, tuple[str, str], Any]]:
        """(kind, draft, why it is refused at once, the judgement of it) of every example about a passage."""
        made = []
        for kind, ask in _asks(passage, wanted):
            try:
                draft = _draft(kind, passage, teacher.ask(ask), language)
                fault = _fault(draft, language) if draft else ("not in the form asked for", "")
                judged = teacher.ask(_judgement(draft, language)) if draft and not fault[0] else None
            except Spent as error:
                stops.append(error)
                continue  # what the cache answers still counts
            made.append((kind, draft, fault, judged))
        return made

    with ThreadPoolExecutor(teacher.limits.concurrency) as pool:
        tasks = [pool.submit(attempt, passage) for passage in passages]
        try:
            for number, (passage, task) in enumerate(zip(passages, tasks, strict=True), 1):
                for kind, draft, fault, judged in task.result():
                    fault = fault if fault[0] or draft is None else _judged(draft, judged, seen)
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
        yield kind, Ask(_messages(passage, task, language), kinds.FORMS[kind], seed=wanted.seed + again)


def _messages(passage: Passage, task: str, language: str) -> list[Message]:
    title = " / ".join(filter(None, (passage.title, str(passage.meta.get("headings", "")))))
    shown = kinds.PASSAGE[language].format(title=title or passage.document, text=passage.text.replace(">>>", "> > >"))
    return [{"role": "system", "content": kinds.SYSTEM[language]}, {"role": "user", "content": f"{shown}\n\n{task}"}]


def _draft(kind: str, passage: Passage, answer: Any, language: str) -> Draft | None:
    if answer is None:
        return None
    if isinstance(answer, kinds.Judged):
        ask, right, wrong = kinds.JUDGE[language]
        said = (right if answer.correct else wrong).format(reason=answer.reason)
        return Draft(kind, passage, ask.format(statement=answer.statement), said, answer.quote)
    if isinstance(answer, kinds.Sorted):
        ask, said, comma = kinds.SORT[language]
        among = comma.join(sorted(answer.categories))  # a teacher likes to name the right one first
        said = said.format(category=answer.category, reason=answer.reason)
        return Draft(kind, passage, ask.format(categories=among, case=answer.case), said, answer.quote)
    if isinstance(answer, kinds.Talk):
        return Draft(
            kind, passage, answer.follow_up, answer.follow_up_answer, answer.quote, (answer.question, answer.answer)
        )
    if isinstance(answer, kinds.Unanswered):
        return Draft(kind, passage, answer.question, SILENT[language])
    return Draft(kind, passage, normalize_text(answer.question), normalize_text(answer.answer), answer.quote)


def _fault(draft: Draft, language: str) -> tuple[str, str]:
    """(reason, detail) of what can be seen to be wrong without asking anybody; empty texts where nothing is."""
    both = f"{draft.question}\n{draft.answer}"
    if language_share(both, language) < 0.5:
        return "language", f"not {language}"
    asked, said = (" ".join((last, *draft.before[at::2])) for at, last in ((0, draft.question), (1, draft.answer)))
    decline = draft.kind == "decline"
    if re.search(kinds.POINTS_AT_IT[language], asked if decline else f"{asked} {said}", re.IGNORECASE):
        return "speaks of the passage", ""
    if not re.search(kinds.ASKS[language], draft.question, re.IGNORECASE):
        return "no question", ""
    if decline:
        share = known_share(draft.question, draft.passage.text)
        return ("the passage may answer it", f"has {share:.0%} of its words") if share > MOST_KNOWN else ("", "")
    if squeeze(draft.answer) in squeeze(draft.question):
        return "the answer is in the question", ""
    known = f"{draft.passage.title}\n{draft.passage.meta.get('headings', '')}\n{draft.passage.text}"
    why = unsupported(said, known, "" if draft.kind == "judge" else asked, draft.quote, draft.kind == "scenario")
    return ("not supported", why) if why else ("", "")


def _judgement(draft: Draft, language: str) -> Ask:
    if draft.kind == "decline":
        text, form = kinds.ANSWERABLE[language].format(question=draft.question), kinds.Answerable
    else:
        before = "\n".join(draft.before)
        question = f"{before}\n{draft.question}" if before else draft.question
        text, form = kinds.VERDICT[language].format(question=question, answer=draft.answer), kinds.Verdict  # type: ignore[assignment]
    return Ask(_messages(draft.passage, text, language), form, max_tokens=64, temperature=0.0)


def _judged(draft: Draft, verdict: Any, seen: Duplicates) -> tuple[str, str]:
    """(reason, detail) of what the teacher or an earlier example says against it."""
    if verdict is None:
        return "no judgement", ""
    if isinstance(verdict, kinds.Answerable):
        if verdict.answerable:
            return "the passage does answer it", ""
    elif not verdict.supported:
        return "judged as not supported", ""
    elif not verdict.answers_the_question:
        return "judged as no answer to the question", ""
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
