"""What every registered domain keeps, whoever wrote it: local, shipped or installed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

from factory.config import load_config
from factory.domain import Domain, Found, domain_places, find_domain
from factory.leaks import LeakIndex
from factory.models import find_base
from factory.pipeline import stages
from factory.records import Document, EvalItem, Example, Passage, read_records
from factory.stage import Context, run_stages
from factory.text import squeeze

FOUND = {name: find_domain(name, ROOT / "domains") for name in domain_places(ROOT / "domains")}


@dataclass(frozen=True)
class Made:
    """A domain and what ingest and curate made of its own sample."""

    name: str
    domain: Domain
    documents: list[Document]
    passages: list[Passage]
    examples: list[Example]
    items: list[EvalItem]
    train: list[Example]


@pytest.fixture(scope="module", params=sorted(FOUND))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(FOUND[request.param], tmp_path_factory.mktemp(request.param) / "default")


def make(found: Found, run: Path) -> Made:
    """Ingest and curate a domain's own sample into the folder `run`."""
    domain = found.kind(load_config(found.folder / "domain.toml"), found.folder)
    run_stages(stages("curate"), Context(domain, run, "", say=lambda text: None))
    rows = [read_records(run / "curate" / f"{name}.jsonl", Example) for name in ("train", "dev")]
    return Made(
        found.name,
        domain,
        read_records(run / "ingest" / "documents.jsonl", Document),
        read_records(run / "ingest" / "passages.jsonl", Passage),
        read_records(run / "ingest" / "examples.jsonl", Example),
        read_records(run / "ingest" / "eval.jsonl", EvalItem),
        [*rows[0], *rows[1]],
    )


def repeated(ids: list[str]) -> list[str]:
    return [name for name, count in Counter(ids).items() if count > 1]


def test_its_folder_has_its_name_and_its_base_is_in_the_catalog(made: Made) -> None:
    assert made.domain.config.name == made.name
    assert find_base(made.domain.config.base).license
    assert made.domain.config.title and made.domain.config.description


def test_ids_are_unique(made: Made) -> None:
    for records in (made.documents, made.passages, made.examples, made.items):
        assert repeated([record.id for record in records]) == []


def test_documents_have_text_language_and_licence(made: Made) -> None:
    for document in made.documents:
        assert document.text.strip() and document.source and document.split in ("train", "eval"), document.id
        assert document.language == made.domain.config.language and document.license, document.id


def test_the_eval_set_is_the_same_every_time(made: Made) -> None:
    again = {item.id: item for item in made.domain.frozen_items()}
    assert {item.id: item for item in made.items} == again


def test_every_scorer_gives_its_own_reference_full_marks_and_silence_none(made: Made) -> None:
    for item in made.items:
        score = made.domain.scorer(item.scorer)
        for reference in item.references:
            assert score(reference, item.references, item.question) == pytest.approx(1.0), item.id
        assert 0 <= score("", item.references, item.question) < 0.5, item.id


def test_a_training_answer_is_right_by_the_scorer_of_its_task(made: Made) -> None:
    for example in made.train:
        score = made.domain.scorer(made.domain.task(example.task).scorer)
        assert score(example.answer, [example.answer], example.question) == pytest.approx(1.0), example.id


def test_every_active_task_has_examples_and_items(made: Made) -> None:
    active = {task.name for task in made.domain.active()}
    assert {example.task for example in made.train} == active == {item.task for item in made.items}


def test_task_names_and_aliases_name_one_task_each(made: Made) -> None:
    tasks = made.domain.tasks()
    assert repeated([name for task in tasks for name in (task.name, *task.aliases)]) == []
    for task in tasks:
        assert task.template.count("{input}") == 1 and task.title
        made.domain.scorer(task.scorer)


def test_closed_tasks_answer_with_their_choices(made: Made) -> None:
    for row, answers in [*((e, [e.answer]) for e in made.train), *((i, i.references) for i in made.items)]:
        task = made.domain.task(row.task)
        parts = [part for text in answers for part in (text.split(task.separator) if task.separator else [text])]
        assert not task.choices or set(parts) <= set(task.choices), row.id


def test_no_eval_text_in_training_data(made: Made) -> None:
    settings, task = made.domain.config.curate, made.domain.task
    bare = {item.id: task(item.task).bare(item.question) for item in made.items}
    texts = {item.id: task(item.task).parts(item.question)[0] for item in made.items}
    leaks = LeakIndex(texts, settings.leak_ngram, settings.leak_share)
    asked = {(item.task, squeeze(text)) for item, text in zip(made.items, bare.values(), strict=True)}
    held = {document.id for document in made.documents if document.split == "eval"}
    for example in made.train:
        question = task(example.task).bare(example.question)
        assert not leaks.find(task(example.task).parts(example.question)[0]), example.id
        assert (example.task, squeeze(question)) not in asked, example.id
        assert example.provenance["passage"].partition("#")[0] not in held, example.id


def test_curate_keeps_most_rows(made: Made) -> None:
    assert len(made.train) >= 0.8 * len(made.examples)


def test_examples_say_where_they_come_from(made: Made) -> None:
    passages = {passage.id for passage in made.passages}
    for example in made.examples:
        assert example.provenance["passage"] in passages and example.provenance["kind"], example.id


def test_prompts_are_alike_and_fit(made: Made) -> None:
    """Training and eval prompts have one form; at 2 letters a token (1 in Chinese) every row fits sft.max_length."""
    config = made.domain.config
    roles = ["system", "user"] if config.system_prompt else ["user"]
    wide = 1 if config.language == "zh" else 2
    for row, answer in [*((e, e.answer) for e in made.train), *((i, "") for i in made.items)]:
        assert [message["role"] for message in row.prompt] == roles, row.id
        start, end = made.domain.task(row.task).template.split("{input}")
        assert row.question.startswith(start.strip()) and row.question.endswith(end.strip()), row.id
        letters = sum(len(message["content"]) for message in row.prompt) + len(answer)
        assert letters / wide + made.domain.task(row.task).max_new_tokens * (not answer) <= config.sft.max_length, (
            row.id
        )


def test_it_ships_with_its_sources(made: Made) -> None:
    if not made.domain.folder.is_relative_to(ROOT):
        pytest.skip("of another project")
    for document in made.documents:
        assert Path(document.source).is_relative_to(made.domain.folder)
