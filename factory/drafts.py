"""An example as a teacher wrote it: what can be seen to be wrong with it, and what the teacher says when it is asked again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, create_model

from factory import kinds
from factory.grounding import known_share, runs, unsupported
from factory.numerals import numbers, without_articles
from factory.quality import REPEATED, repetition
from factory.records import Message, Passage
from factory.rules import SILENT
from factory.structure import sentences
from factory.teacher import Ask
from factory.text import language_share, ngrams, normalize_text, squeeze

# Shares of a text's runs (see grounding), set on what a small teacher wrote about 16 passages of the statutes
MOST_KNOWN = {"zh": 0.5, "en": 0.7}  # that a passage may have of a question that it does not answer
EACH_KNOWN = 0.5  # that passage and question must have of each sentence of an answer
QUOTE_KNOWN = 0.4  # that quotation and question must have of an answer, the quotation of a statement
MOST_TOLD = 0.7  # that a question may have of the answer that explains it: more goes round in a circle
ALIKE = 0.5  # of the shorter of two answers that the other must have; what the question says does not count
ECHO = {"zh": 7, "en": 24}  # so many letters on end out of the instruction were copied from it
TITLE = 400  # letters of a passage's headings, as a teacher sees them
FEWEST = 6  # letters of a quotation, of a sentence that is looked up
CODE = re.compile(r"```|<<<|>>>|\{\s*\"")

Fault = tuple[str, str]  # reason and detail, empty texts where there is none
NONE: Fault = ("", "")


@dataclass(frozen=True)
class Draft:
    """An example as a teacher wrote it: earlier turns of a talk, the question, its answer, and the words it rests on.

    `names` are the categories of a `classify` and the statement of a `judge`; `right` is the category, or whether the statement is.
    """

    kind: str
    passage: Passage
    question: str
    answer: str
    quote: str = ""
    before: tuple[str, ...] = ()  # question and answer in turn
    names: tuple[str, ...] = ()
    right: str | bool = ""

    def provenance(self, teacher: str) -> dict[str, str]:
        """Which passage and teacher it is from, and the words it rests on."""
        return {
            "kind": "teacher", "teacher": teacher, "form": self.kind, "document": self.passage.document, "passage": self.passage.id,
            "source": self.passage.source, "quote": self.quote,
        }  # fmt: skip

    @property
    def asked(self) -> str:
        """All that its questions say."""
        return " ".join((self.question, *self.before[::2]))

    @property
    def said(self) -> str:
        """All that its answers say."""
        return " ".join((self.answer, *self.before[1::2]))

    @property
    def known(self) -> str:
        """What its passage says, headings too."""
        return f"{self.passage.title}\n{self.passage.meta.get('headings', '')}\n{self.passage.text}"


def messages_about(passage: Passage, task: str, language: str) -> list[Message]:
    """What a teacher is asked to do with a passage."""
    shown = kinds.PASSAGE[language].format(title=_title(passage), text=passage.text.replace(">>>", "> > >"))
    return [{"role": "system", "content": kinds.SYSTEM[language]}, {"role": "user", "content": f"{shown}\n\n{task}"}]


def draft_of(kind: str, passage: Passage, answer: Any, language: str) -> Draft | None:
    """The example that a teacher's answer is, None where it has no form."""
    if answer is None:
        return None
    if isinstance(answer, kinds.Judged):
        ask, right, wrong = kinds.JUDGE[language]
        said = (right if answer.correct else wrong).format(reason=_reason(answer, passage, language))
        statement = _plain(answer.statement, language)
        return Draft(
            kind, passage, ask.format(statement=statement), said, answer.quote, (), (statement,), answer.correct
        )
    if isinstance(answer, kinds.Sorted):
        ask, said, comma = kinds.SORT[language]
        among = sorted(answer.categories)  # a teacher likes to name the right one first
        said = said.format(category=answer.category, reason=_reason(answer, passage, language))
        question = ask.format(categories=comma.join(among), case=answer.case)
        return Draft(kind, passage, question, said, answer.quote, (), tuple(among), answer.category)
    question = _plain(answer.question, language)
    if isinstance(answer, kinds.Unanswered):
        return Draft(kind, passage, question, SILENT[language])
    said = _plain(answer.answer, language)
    if isinstance(answer, kinds.Talk):
        more = (_plain(answer.follow_up, language), _plain(answer.follow_up_answer, language))
        return Draft(kind, passage, *more, answer.quote, (question, said))
    return Draft(kind, passage, question, said, answer.quote)


def fault_of(draft: Draft, language: str) -> Fault:
    """What can be seen to be wrong without asking anybody."""
    decline = draft.kind == "decline"
    both = f"{draft.question}\n{draft.answer}"
    if language_share(both, language) < 0.5:
        return "language", f"not {language}"
    spoken = draft.asked if decline else f"{draft.asked} {draft.said}"
    if re.search(kinds.POINTS_AT_IT[language], spoken, re.IGNORECASE) or _copies_headings(draft.passage, spoken):
        return "speaks of the passage", ""
    if not re.search(kinds.ASKS[language], draft.question, re.IGNORECASE):
        return "no question", ""
    if copied := _copied(draft, language):
        return "copies the instruction", copied
    if decline:
        share = known_share(draft.question, draft.passage.text)
        return ("the passage may answer it", f"has {share:.0%} of its words") if share > MOST_KNOWN[language] else NONE
    told = known_share(draft.answer, draft.question)
    if squeeze(draft.answer) in squeeze(draft.question) or (draft.kind == "explain" and told > MOST_TOLD):
        return "the answer is in the question", f"{told:.0%} of it"
    if why := _unfinished(draft):
        return "not whole", why
    why = _names_fault(draft) or _unsupported(draft, language)
    return ("not supported", why) if why else NONE


def asks_again(draft: Draft, language: str) -> Iterator[Ask]:
    """What the teacher is asked about a draft: the question itself, without its answer, and then whether it bears the answer out."""
    task, form = kinds.UNAIDED[language], kinds.Unaided  # type: tuple[str, type[BaseModel]]
    if draft.kind == "judge":
        task, form = kinds.WEIGHED[language], kinds.Weighed
    elif draft.kind == "classify":
        task, form = kinds.CHOSEN[language], create_model("Chosen", category=(Literal[draft.names], ...))  # type: ignore[arg-type]
    question = draft.names[0] if draft.kind == "judge" else "\n".join((*draft.before, draft.question))
    yield _ask(draft, task.format(question=question), form, language)
    if draft.kind != "decline":
        verdict = kinds.VERDICT[language].format(
            question="\n".join((*draft.before, draft.question)), answer=draft.answer
        )
        yield _ask(draft, verdict, kinds.Verdict, language)


def disagreement(draft: Draft, said: Any, language: str) -> Fault:
    """What an answer to one of `asks_again` has against the draft."""
    if said is None:
        return "no judgement", ""
    if isinstance(said, kinds.Verdict):
        if not said.supported:
            return "judged as not supported", ""
        return NONE if said.answers_the_question else ("judged as no answer to the question", "")
    if isinstance(said, kinds.Unaided):
        stated = said.stated and bool(said.answer)
        if draft.kind == "decline":
            return ("the passage does answer it", said.answer) if stated else NONE
        if not stated:
            return "answered otherwise when asked again", "the passage does not say"
        return NONE if _alike(draft, said.answer) else ("answered otherwise when asked again", said.answer)
    again = said.correct if isinstance(said, kinds.Weighed) else said.category
    return NONE if again == draft.right else ("answered otherwise when asked again", str(again))


def _ask(draft: Draft, task: str, form: type[BaseModel], language: str) -> Ask:
    return Ask(messages_about(draft.passage, task, language), form, max_tokens=128, temperature=0.0)


def _title(passage: Passage) -> str:
    """The headings on one line, cut short and without the marks that fence the passage: they stand outside them."""
    line = " ".join(_shown(passage).splitlines())
    return line.replace("<<<", "< < <").replace(">>>", "> > >")[:TITLE]


def _shown(passage: Passage) -> str:
    """The headings that stand with a passage."""
    return " / ".join(filter(None, (passage.title, str(passage.meta.get("headings", ""))))) or passage.document


def _copies_headings(passage: Passage, text: str) -> bool:
    return any(f"{above} / {below}" in text for above, below in pairwise(_shown(passage).split(" / ")))


def _plain(text: str, language: str) -> str:
    """Without the "according to the passage" that it may begin with."""
    text = normalize_text(text)
    bare = re.sub(kinds.ACCORDING[language], "", text, flags=re.IGNORECASE)
    return text if bare == text else bare[:1].upper() + bare[1:]


def _reason(answer: Any, passage: Passage, language: str) -> str:
    """The reason given; the quotation where the reason speaks of the passage, or says what is not in it."""
    reason = _plain(answer.reason, language)
    speaks = re.search(kinds.POINTS_AT_IT[language], reason, re.IGNORECASE)
    return normalize_text(answer.quote) if speaks or known_share(reason, passage.text) < EACH_KNOWN else reason


def _copied(draft: Draft, language: str) -> str:
    """What a draft has out of the instruction or its example, and not out of the passage."""
    own = f"{draft.names[0] if draft.kind == 'judge' else draft.asked}\n"
    own += "" if draft.kind == "decline" else draft.said
    told = kinds.SYSTEM[language] + kinds.TASKS[language][draft.kind]
    mine, theirs, known, frame = (
        ngrams(squeeze(text), ECHO[language]) for text in (own, told, draft.known, _frame(draft.kind, language))
    )
    return min((mine & theirs) - known - frame, default="")


def _frame(kind: str, language: str) -> str:
    """What every question of a kind says."""
    return {"judge": kinds.JUDGE, "classify": kinds.SORT}.get(kind, {"en": ("",), "zh": ("",)})[language][0]


def _unfinished(draft: Draft) -> str:
    """Why an answer or its quotation is no whole text."""
    if CODE.search(f"{draft.asked} {draft.said}"):
        return "letters of the form itself"
    if max(map(len, (draft.answer, *draft.before[1::2]))) >= kinds.LONGEST:
        return f"{kinds.LONGEST} letters and more"
    if (share := max(repetition(draft.answer), repetition(draft.said))) > REPEATED / 2:
        return f"{share:.0%} of the answer stands in it before"
    return "" if len(squeeze(without_articles(draft.quote))) >= FEWEST else "the quotation says nothing"


def _names_fault(draft: Draft) -> str:
    """What is wrong with the categories or with the statement."""
    text = squeeze(draft.passage.text)
    if draft.kind == "classify":
        for name in draft.names:
            if squeeze(name) not in text or not squeeze(without_articles(name)):
                return f"the passage does not name '{name}'"
        case = squeeze(re.split("[?？]", draft.question, maxsplit=1)[1])
        return f"the case names '{draft.right}'" if squeeze(str(draft.right)) in case else ""
    if draft.kind == "judge" and not draft.right and squeeze(draft.names[0]) in text:
        return "the passage says the very statement"
    return ""


def _unsupported(draft: Draft, language: str) -> str:
    """Why the passage does not bear the answer out, or its quotation does not."""
    said, asked = draft.said, draft.asked
    if draft.kind == "judge":  # a statement that is called right is said, too; a wrong one bears nothing out
        said, asked = said.partition("。" if language == "zh" else ". ")[2], ""
        said = f"{draft.names[0]} {said}" if draft.right else said
    if why := unsupported(said, draft.known, asked, draft.quote, draft.kind == "scenario"):
        return why
    source = f"{draft.known}\n{asked}"
    for part in sentences(said):
        if len(squeeze(part)) >= FEWEST and (share := known_share(part, source)) < EACH_KNOWN:
            return f"{share:.0%} of '{part.strip()[:40]}' is in the passage"
    resting, on = (
        (draft.names[0], draft.quote) if draft.kind == "judge" else (draft.answer, f"{draft.quote}\n{draft.asked}")
    )
    share = known_share(resting, on)
    return f"{share:.0%} of it is in its quotation" if share < QUOTE_KNOWN else ""


def _alike(draft: Draft, again: str) -> bool:
    """Whether two answers say the same: no other numbers, and most of what the shorter one adds to the question."""
    one, other = numbers(draft.answer), numbers(again)
    if one and other and not (one <= other or other <= one):
        return False
    mine, yours = (runs(text) - runs(draft.question) for text in (draft.answer, again))
    short = min(mine, yours, key=len)
    return not short or len(mine & yours) / len(short) >= ALIKE
