"""ingest: documents become passages, examples by rule, and the frozen eval set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from factory.documents import left_out
from factory.domain import FREE, Domain
from factory.errors import FactoryError
from factory.files import digest
from factory.readers.base import Skipped, named
from factory.records import Document, EvalItem, Passage, eval_digest, write_records
from factory.stage import Context, Stage, code_parts, tree_parts
from factory.versions import marks, promoted

NAMED = 5  # files that gave no document, on the screen


def run(context: Context) -> dict[str, Any]:
    domain = context.domain
    with left_out() as skipped:
        documents = _documents(domain, context.source, skipped)
    for line in named(skipped, NAMED, f"all of them in {context.out / 'skipped.jsonl'}"):
        context.say(f"    {line}")
    passages = [passage for document in documents for passage in domain.passages(document)]
    seen = [passage for passage in passages if passage.split != "eval"]
    kept_back = [passage for passage in passages if passage.split == "eval"]
    active = {task.name for task in domain.active()}
    made = list(domain.examples(seen))
    examples = [example for example in made if example.task in active]
    if others := Counter(example.task for example in made if example.task not in active):
        told = ", ".join(f"{task} {count}" for task, count in sorted(others.items()))
        context.say(f"    left out, as their tasks are not chosen (`tasks` in domain.toml, or --task): {told}")
    items = _items(domain, kept_back, active, context)
    _refuse_repeated([example.id for example in examples], "examples", "make_example numbers them: use its `number`.")
    if not examples and not context.config.synthesize.teacher:
        raise FactoryError(
            f"'{domain.config.name}' made no training example from {len(passages)} passages.",
            "Check the source's layout against the domain's README, and the chosen tasks.",
        )
    write_records(context.out / "documents.jsonl", documents)
    write_records(context.out / "skipped.jsonl", skipped)
    write_records(context.out / "passages.jsonl", passages)
    write_records(context.out / "examples.jsonl", examples)
    write_records(context.out / "eval.jsonl", items)
    per_task = Counter(example.task for example in examples)
    return {
        "note": f"{len(documents)} documents, {len(passages)} passages, {len(examples)} examples, {len(items)} eval items",
        "documents": len(documents),
        "skipped": len(skipped),
        "passages": len(passages),
        "examples": dict(sorted(per_task.items())),
        "eval_items": dict(sorted(Counter(item.task for item in items).items())),
        "review": _review(items),
        "eval_version": context.evals,
        "eval_digest": eval_digest(items),
        "licenses": sorted({document.license for document in documents if document.license}),
    }


def _documents(domain: Domain, source: Path | None, skipped: list[Skipped]) -> list[Document]:
    if source is not None and not source.exists():
        raise FactoryError(f"Source {source} does not exist.", "Give a folder of documents: --source PATH")
    documents = list(domain.documents(source))
    if not documents:
        where = str(source) if source else f"the embedded sample in {domain.folder / 'data'}"
        why = f" ({len(skipped)} left out, the first: {skipped[0].name}: {skipped[0].reason})" if skipped else ""
        raise FactoryError(f"No documents in {where}{why}.", f"See the layout in {domain.folder / 'README.md'}.")
    _refuse_repeated([document.id for document in documents], "documents", "Ids come from file names: rename one.")
    return documents


def _items(domain: Domain, passages: list[Passage], active: set[str], context: Context) -> list[EvalItem]:
    items = [item for item in domain.eval_items(passages, context.source) if item.task in active]
    items += [item for item in promoted(domain.folder, context.evals) if item.task in active | {FREE.name}]
    if not items:
        raise FactoryError("The eval set is empty for the chosen tasks.", f"Add items to {domain.folder / 'evals'}.")
    _refuse_repeated([item.id for item in items], "eval items", f"Ids must be unique: see {domain.folder / 'evals'}.")
    for item in items:
        domain.scorer(item.scorer, f"eval item {item.id}")
    most = context.config.evaluate.max_items
    if most:
        counted: Counter[str] = Counter()
        items = [item for item in sorted(items, key=lambda item: digest(item.id)) if _count(counted, item.task) <= most]
    return sorted(items, key=lambda item: (item.task, item.id))


def _review(items: list[EvalItem]) -> dict[str, int]:
    """How many items an expert approved and how many are a draft; empty for a set that was never a draft."""
    states = Counter(item.provenance.get("state") for item in items)
    return {name: states[name] for name in ("approved", "draft")} if states["approved"] + states["draft"] else {}


def _refuse_repeated(ids: list[str], what: str, hint: str) -> None:
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise FactoryError(f"Two {what} have the id '{repeated[0]}'.", hint)


def _count(counted: Counter[str], task: str) -> int:
    counted[task] += 1
    return counted[task]


def _watches(context: Context) -> dict[str, str]:
    """The domain's code and data, and the source's files (their names too)."""
    folder = context.domain.folder
    parts = code_parts(context)
    evals = tree_parts("evals", folder / "evals")
    parts |= {name: mark for name, mark in evals.items() if not name.startswith("evals versions/")}
    parts |= marks(folder, context.evals) | {"data": digest(tree_parts("data", folder / "data"))}
    if context.source is not None and context.source.exists():
        parts["source"] = digest(tree_parts("source", context.source))
    return parts


STAGE = Stage(
    "ingest",
    run,
    settings=("name", "language", "system_prompt", "tasks", "options", "evaluate.max_items"),
    watches=_watches,
)
