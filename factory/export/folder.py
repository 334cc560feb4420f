"""The hand-over folder: all that somebody needs who has nothing but llama.cpp, Ollama, LM Studio or a phone app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.export.ollama import modelfile, turns_of
from factory.files import read_json, read_text, sha256, templates, write_json, write_text
from factory.generate import Question
from factory.llama import open_llama, room_for
from factory.records import Prediction, read_records
from factory.weights.gguf_files import write_gguf
from factory.weights.job import Job

QUESTIONS = 10


def write_folder(job: Job, out: Path) -> dict[str, Any]:
    """Model, template, Modelfile where it can be written, notices, a page in both languages, ten questions, checksums."""
    _candidates(job)  # say what is missing before the work
    made = write_gguf(job, out)
    asked = questions(job, out / made["file"])
    write_text(out / "chat_template.jinja", job.template)
    write_json(out / "questions.json", asked)
    try:
        write_text(out / "Modelfile", modelfile(job, turns_of(job), made["file"]))
    except FactoryError as error:
        job.say(f"    no Modelfile: {error.message}")
    write_text(out / "index.html", page(job, out, made["file"], asked))
    listed = sorted(path for path in out.iterdir() if path.is_file())
    write_text(out / "SHA256SUMS", "".join(f"{sha256(path)}  {path.name}\n" for path in listed))
    return made


def questions(job: Job, model: Path) -> list[dict[str, str]]:
    """Ten questions of the eval set with what the file answers to them, asked as its user will: greedy, by no rule.

    Those come first where this is the trained model's own answer, which on a task with labels was held to them.
    """
    rows = _candidates(job)
    asked = [Question(job.domain.prompt(None, row.question)) for row in rows]
    with open_llama(model, context=room_for(asked)) as llama:
        told = llama.answer(asked)
    found = sorted(
        zip(rows, told, strict=True), key=lambda pair: (pair[1].text != pair[0].prediction, pair[1].truncated)
    )
    titles = {task.name: task.title for task in job.domain.active()}
    return [
        {"task": titles.get(row.task, row.task), "question": row.question, "answer": answer.text}
        for row, answer in found[:QUESTIONS]
    ]


def _candidates(job: Job) -> list[Prediction]:
    """Three times as many questions, every task in turn, those first that the trained model answers well and briefly."""
    path = job.run_dir / "evaluate" / "predictions" / f"{job.model}.jsonl"
    if not path.exists():
        raise FactoryError(
            f"No answers of {job.model} in {path.parent}.", f"Run: factory eval {job.domain.config.name}"
        )
    by_task: dict[str, list[Prediction]] = {}
    for row in sorted(read_records(path, Prediction), key=lambda row: (-row.score, len(row.prediction), row.id)):
        if row.prediction and not row.truncated:
            by_task.setdefault(row.task, []).append(row)
    if not by_task:
        raise FactoryError(
            f"{job.model} gave no whole answer to any eval item, so there is no question to hand on.",
            "Train it longer, or use --to gguf.",
        )
    most = 3 * QUESTIONS
    return [rows[place] for place in range(most) for rows in by_task.values() if place < len(rows)][:most]


def page(job: Job, out: Path, model: str, asked: list[dict[str, str]]) -> str:
    """The page, with everything in it."""
    from jinja2 import Environment

    config = job.domain.config
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    scores = read_json(job.run_dir / "evaluate" / "scores.json")
    rows = scores["models"].get(job.model, {})
    return environment.from_string(read_text(templates("export") / "index.html.jinja")).render(
        title=job.title,
        subtitle=config.app.subtitle or config.description,
        disclaimer=config.app.disclaimer,
        chinese_first=config.language == "zh",
        file=model,
        size=f"{(out / model).stat().st_size / 1e6:,.0f} MB",
        quant=job.quant,
        base=Path(job.base["name"]).name,
        license=job.base["license"],
        system=config.system_prompt,
        stop=job.tokenizer.convert_ids_to_tokens(job.ends),
        ollama=(out / "Modelfile").exists(),
        name=job.domain.config.name,
        asked=asked,
        scores=[
            (scores["tasks"].get(task, {}).get("title", task), row["score"], row["n"])
            for task, row in rows.items()
            if task != "mean"
        ],
    )
