"""app: a Gradio project that runs alone: the specialist in a browser, beside its base, with the scoreboard."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from factory.config import Config
from factory.domain import Task
from factory.errors import FactoryError
from factory.files import digest, digest_tree, read_json, read_text, templates, write_json, write_text
from factory.records import Document, EvalItem, Passage, read_records, write_records
from factory.stage import Context, Stage

SCORES = ("models", "tasks", "best", "items", "review", "rounds", "eval_version")  # what the scoreboard shows
WEIGHTS = (".safetensors", ".json", ".jinja", ".model", ".txt")
SPACES_COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SPACES_LICENSES = ("apache-2.0", "mit", "gemma", "llama3.1", "llama3.2")  # as Hugging Face writes them
LEGAL = ("license", "licence", "notice", "use_policy")


def run(context: Context) -> dict[str, Any]:
    """Write the project into the stage's folder; nothing of the factory is needed to run it."""
    scores = read_json(context.input("evaluate") / "scores.json")
    base = read_json(context.input("sft") / "base.json")
    adapter = context.input(scores["best"]) / "adapter"
    if not (adapter / "adapter_config.json").exists():
        raise FactoryError(f"No adapter in {adapter}.", f"Run: factory build {context.config.name} --until evaluate")
    link_base(Path(base["path"]), context.out / "base")
    shutil.copytree(adapter, context.out / "adapter", dirs_exist_ok=True)
    documents = context.input("ingest") / "documents.jsonl"
    licenses = {row.license.lower() for row in read_records(documents, Document)}
    copy_template(context.config, base, licenses, context.out)
    made = settings(context.config, context.domain.active(), scores["best"], base)
    write_json(context.out / "app.json", made | {"model": digest(digest_tree(adapter))})
    write_json(context.out / "scoreboard.json", {key: scores.get(key, {}) for key in SCORES})
    _write_documents(context)
    report = context.input("report") / "report.html"
    if report.exists():
        shutil.copyfile(report, context.out / "report.html")
    return {"note": f"app: {context.out}, open it with: factory demo {context.config.name}"}


def _write_documents(context: Context) -> None:
    """What an answer is checked by: the passages; and the questions of a draft eval set, for an expert to approve."""
    tasks = {task.name: task for task in context.domain.active()}
    passages = read_records(context.input("ingest") / "passages.jsonl", Passage)
    if passages:
        write_records(context.out / "passages.jsonl", [{"text": row.text, "where": where(row)} for row in passages])
    items = [
        item for item in read_records(context.input("ingest") / "eval.jsonl", EvalItem) if item.provenance.get("state")
    ]
    if items:
        write_json(context.out / "items.json", [_shown(item, tasks[item.task]) for item in items])


def _shown(item: EvalItem, task: Task) -> dict[str, str]:
    """An eval item as a reviewer reads it: what is asked, apart from the passage that it is asked about."""
    about, asked = task.parts(item.question)
    question, passage = (asked, about) if asked else (item.question, "")
    return {
        "id": item.id,
        "task": task.title,
        "question": question,
        "passage": passage,
        "reference": item.references[0],
    }


def where(passage: Passage) -> str:
    """Where a passage stands, for people: document, heading, page."""
    parts = [passage.title, *str(passage.meta.get("headings", "")).split(" / ")]
    page = f"p. {passage.meta['page']}" if passage.meta.get("page") else ""
    return " › ".join(dict.fromkeys(part for part in [*parts, page] if part))


def settings(config: Config, tasks: list[Task], best: str, base: dict[str, Any]) -> dict[str, Any]:
    """What app.json holds: everything about this domain that the page needs."""
    return {
        "title": config.app.title or config.title,
        "subtitle": config.app.subtitle or config.description,
        "disclaimer": config.app.disclaimer,
        "color": config.app.color,
        "language": config.language,
        "system_prompt": config.system_prompt,
        "starters": config.app.starters,
        "tasks": [_task(task) for task in tasks],
        "best": best,
        "base": Path(base["name"]).name,
        "stop": base["stop"],
        "no_repeat_ngram": config.evaluate.no_repeat_ngram,
    }


def _task(task: Task) -> dict[str, Any]:
    """A kind of question; its labels where exactly one of them is the answer: the page then shows how likely each is."""
    choices = [] if task.separator else list(task.choices)
    return {
        "name": task.name, "title": task.title, "template": task.template, "about": task.about, "choices": choices,
    }  # fmt: skip


def link_base(folder: Path, out: Path) -> None:
    """Hard-link the base's files (copies where the disk cannot): weights, tokenizer, chat template, licence."""
    wanted = [path for path in sorted(folder.glob("*")) if path.is_file() and _belongs(path)]
    if not any(path.suffix == ".safetensors" for path in wanted):
        raise FactoryError(f"The base model's folder {folder} is gone.", "Run the build again: it fetches the base.")
    out.mkdir(parents=True, exist_ok=True)
    for path in wanted:
        target = out / path.name
        target.unlink(missing_ok=True)
        try:
            os.link(path.resolve(), target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, target)


def _belongs(path: Path) -> bool:
    name = path.name.lower()
    return name.startswith(LEGAL) or (path.suffix in WEIGHTS and name != "factory.json" and not name.startswith("."))


def copy_template(config: Config, base: dict[str, Any], licenses: set[str], out: Path) -> None:
    """Copy the project's files as they stand; only the README gets a head that Hugging Face Spaces reads.

    It names one licence only where the base and all documents (`licenses`) share it.
    """
    source = templates("app")
    for name in digest_tree(source):
        if name != "README.md":
            write_text(out / name, read_text(source / name))
    gradio = re.search(r"^gradio==(.+)$", read_text(source / "requirements.txt"), re.MULTILINE)
    title = " ".join((config.app.title or config.title).split())
    license_id = base["license"].lower()
    facts = {
        "title": title, "sdk": "gradio", "sdk_version": gradio[1] if gradio else "", "app_file": "app.py",
        "python_version": "3.11", "pinned": False, "emoji": "💬",
        "colorFrom": config.app.color if config.app.color in SPACES_COLORS else "indigo", "colorTo": "gray",
        "license": license_id if license_id in SPACES_LICENSES and licenses <= {license_id} else "other",
        "base_model": Path(base["name"]).name, "base_license": base["license"],
    }  # fmt: skip
    front = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items())
    write_text(out / "README.md", f"---\n{front}---\n\n# {title}\n\n{read_text(source / 'README.md')}")


def _watches(context: Context) -> dict[str, str]:
    tasks = [
        (task.name, task.title, task.template, task.about, task.choices, task.separator)
        for task in context.domain.active()
    ]
    return {"app template": digest(digest_tree(templates("app"))), "tasks": digest(tasks)}


STAGE = Stage(
    "app",
    run,
    reads=("ingest", "sft", "dpo", "evaluate", "report"),
    settings=("name", "title", "language", "description", "system_prompt", "app", "evaluate.no_repeat_ngram"),
    watches=_watches,
)
