"""check: is a domain fit to build, and what is wrong with its data? Each finding says what to do."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.build import QUICK, Order, prepare
from factory.domain import Domain, load_domain
from factory.errors import FactoryError
from factory.files import read_json
from factory.models import find_base
from factory.pii import find
from factory.plan import Work, work_of
from factory.proposal import LEAST_TRAIN
from factory.records import Document, EvalItem, Example, Passage, read_records
from factory.stage import Context, run_stages

FEW_ITEMS = 10  # eval items of a task that say little
UNEVEN = 10  # times as many rows as another task


@dataclass(frozen=True)
class Finding:
    """`level`: ok, note, warning (a build goes on) or error (it does not, or its scores would mean nothing)."""

    level: str
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.todo}".strip()


@dataclass(frozen=True)
class Made:
    """What ingest and curate make of a domain."""

    documents: list[Document]
    passages: list[Passage]
    examples: list[Example]
    items: list[EvalItem]
    train: list[Example]
    dropped: Counter[str]
    masked: int  # pieces of personal data


def check_domain(name: str, source: str = "") -> list[Finding]:
    """Every finding about a domain, the worst first. Writes nothing that lasts."""
    order = {"error": 0, "warning": 1, "note": 2, "ok": 3}
    return sorted(_findings(name, source), key=lambda finding: order[finding.level])


def _findings(name: str, source: str) -> Iterator[Finding]:
    try:
        domain = load_domain(name)
        yield from _settings(domain)
        made = _make(name, source)
    except FactoryError as error:
        yield Finding("error", error.message, error.hint)
        return
    yield from _documents(domain, made)
    yield from _tasks(domain, made)
    yield from _evals(domain, made)
    yield from _rows(made)
    yield from _lengths(domain, work_of(domain.config.base, made.train, domain.config.language))


def _make(name: str, source: str) -> Made:
    """Run ingest and curate in a folder that vanishes; no teacher is asked."""
    chain, context, _ = prepare(Order(name, source=source, settings=QUICK, until="curate"))
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(context.domain, Path(scratch), "", context.source, say=lambda text: None)
        run_stages(chain, context)
        ingest, curate = (context.input(stage) for stage in ("ingest", "curate"))
        summary = read_json(curate / "manifest.json")["summary"]
        return Made(
            read_records(ingest / "documents.jsonl", Document),
            read_records(ingest / "passages.jsonl", Passage),
            read_records(ingest / "examples.jsonl", Example),
            read_records(ingest / "eval.jsonl", EvalItem),
            read_records(curate / "train.jsonl", Example),
            Counter(summary["dropped"]),
            sum(summary["masked"].values()),
        )


def _settings(domain: Domain) -> Iterator[Finding]:
    config, where = domain.config, domain.folder / "domain.toml"
    base = find_base(config.base)
    if base.languages and not {config.language, "and many more"} & set(base.languages):
        known = ", ".join(base.languages)
        yield Finding(
            "warning", f"The base {base.name} knows {known}, not {config.language}.", f"Choose another base in {where}."
        )
    if not config.license:
        yield Finding(
            "warning", "The documents have no licence.", f"Say in {where} what others may do with them: license = ..."
        )
    if not config.app.starters:
        yield Finding("note", "The demo has no questions to begin with.", f"Add some to [app] starters in {where}.")
    for task in domain.tasks():
        if task.template.count("{input}") != 1:
            yield Finding(
                "error", f"Task '{task.name}': its template must hold {{input}} once.", "Mend it in domain.py."
            )
        try:
            domain.scorer(task.scorer, f"task '{task.name}'")
        except FactoryError as error:
            yield Finding("error", error.message, error.hint)


def _documents(domain: Domain, made: Made) -> Iterator[Finding]:
    letters = sum(len(document.text) for document in made.documents)
    licences = ", ".join(sorted({document.license or "no licence" for document in made.documents}))
    yield Finding(
        "ok", f"{len(made.documents)} documents, {letters:,} letters, {len(made.passages)} passages ({licences})."
    )
    other = [document.id for document in made.documents if document.language not in ("", domain.config.language)]
    if other:
        yield Finding(
            "warning",
            f"{len(other)} documents are not in {domain.config.language}, first {other[0]}.",
            "Take them out.",
        )
    texts = Counter(document.text for document in made.documents)
    if double := sum(count - 1 for count in texts.values()):
        yield Finding("note", f"Documents that repeat another one's text: {double}.", "Remove the copies.")


def _tasks(domain: Domain, made: Made) -> Iterator[Finding]:
    counts = Counter(example.task for example in made.train)
    active = {task.name: task for task in domain.active()}
    per_task = ", ".join(f"{name} {counts[name]}" for name in active)
    made_by = f"{len(made.examples)} were made, {sum(made.dropped.values())} dropped, the others kept back to choose an adapter"
    yield Finding("ok", f"{len(made.train)} training rows: {per_task} ({made_by}).")
    for name in active:
        if not counts[name] and domain.config.synthesize.teacher and active[name].about:
            yield Finding("note", f"Task '{name}' has no row by rule.", "The teacher writes them in the build.")
        elif not counts[name]:
            yield Finding(
                "error",
                f"Task '{name}' has no training row.",
                "Take it out of `tasks` in domain.toml, or add documents that carry it.",
            )
        elif counts[name] < LEAST_TRAIN:
            yield Finding(
                "warning", f"Task '{name}' has {counts[name]} training rows.", "Little to learn from: add documents."
            )
    if counts and max(counts.values()) > UNEVEN * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield Finding(
            "note", f"'{most}' has more than {UNEVEN} times the rows of '{least}'.", "The larger one is learned first."
        )
    for example in made.train:
        task = domain.task(example.task)
        if task.choices and not set(example.answer.split(task.separator or "\0")) <= set(task.choices):
            yield Finding(
                "error",
                f"{example.id}: '{example.answer}' is none of the choices of '{task.name}'.",
                "Mend the row or `choices`.",
            )
            break


def _evals(domain: Domain, made: Made) -> Iterator[Finding]:
    counts = Counter(item.task for item in made.items)
    yield Finding(
        "ok", f"{len(made.items)} eval items: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}."
    )
    for task in domain.active():
        if not counts[task.name]:
            yield Finding(
                "error",
                f"Task '{task.name}' has no eval item.",
                f"Add some to {domain.folder / 'evals'}, or drop the task.",
            )
        elif counts[task.name] < FEW_ITEMS:
            yield Finding(
                "note",
                f"Task '{task.name}' has {counts[task.name]} eval items: its interval will be wide.",
                "Add some.",
            )
    for item in made.items:
        score = domain.scorer(item.scorer)
        if (
            score(item.references[0], item.references, item.question) < 1
            or score("", item.references, item.question) >= 0.5
        ):
            yield Finding(
                "error", f"Eval item {item.id}: scorer '{item.scorer}' gives its own reference less than full marks, or silence half.",
                "Mend the reference or the scorer.",
            )  # fmt: skip
            break
    drafts = sum(item.provenance.get("state") == "draft" for item in made.items)
    if drafts:
        yield Finding(
            "note", f"{drafts} of {len(made.items)} eval items are a draft.",
            f"An expert approves them on the page 'Review' of factory demo {domain.config.name}.",
        )  # fmt: skip


def _rows(made: Made) -> Iterator[Finding]:
    every = max(1, len(made.examples))
    for reason, count in made.dropped.most_common():
        level = "warning" if count > 0.2 * every else "note"
        todo = {
"leak": "They share text with eval items.", "language": "They are in another language.",
            "duplicate": "The same question twice.", "near-duplicate": "Nearly the same question: see curate.near_duplicate.",
            "broken text": "A file was read in a wrong encoding: save it as UTF-8.", "repetition": "They go round in circles.",
        }.get(reason, "See [curate] in domain.toml.")  # fmt: skip
        yield Finding(level, f"{count} of {every} rows are dropped as {reason}.", todo)
    if made.masked:
        often = Counter(
            text[one.start : one.end] for row in made.examples for text in [row.answer] for one in find(text)
        )
        named = ", ".join(f"'{text}'" for text, _ in often.most_common(3))
        yield Finding(
            "note", f"{made.masked} pieces of personal data in the rows are masked" + (f", in answers {named}." if named else "."),
            "Where an answer has to name them (your own address, a public hotline): mask_pii = false in [curate].",
        )  # fmt: skip


def _lengths(domain: Domain, work: Work) -> Iterator[Finding]:
    most, limit = max(work.lengths), domain.config.sft.max_length
    about = "about " if work.estimated else ""
    typical = statistics.median(work.lengths)
    yield Finding(
        "ok", f"Rows have {about}{typical:.0f} tokens (median), the longest {about}{most}; the limit is {limit}."
    )
    cut = sum(length > limit for length in work.lengths)
    if cut:
        yield Finding(
            "warning",
            f"{cut} rows are longer than sft.max_length = {limit} and would be cut.",
            "Raise it, or shorten passages.",
        )
    context = find_base(domain.config.base).context
    if context and limit > context:
        yield Finding(
            "error",
            f"sft.max_length = {limit} is more than the base's context of {context}.",
            "Lower it in domain.toml.",
        )
