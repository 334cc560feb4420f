"""Answer a file of rows with one of a run's models or a GGUF file; score a GGUF file on the run's eval set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.build import open_run, run_domain
from factory.domain import Domain
from factory.errors import FactoryError, suggest
from factory.files import read_json
from factory.generate import Answer, Question, answer
from factory.gguf_check import check_gguf
from factory.llama import open_llama, room_for
from factory.models import load_answering
from factory.progress import Progress
from factory.records import read_rows, write_records
from factory.stage import Say, manifest

MODELS = ("base", "sft", "dpo", "best")


def predict_file(domain: str, run: str, file: Path, output: Path, model: str, say: Say) -> int:
    """Write the rows of `file` with `prediction` added to `output`; return how many. Nothing is written on an error.

    `model`: one of MODELS, or what `gguf_files` takes.
    """
    files = gguf_files(model) if model not in MODELS else None
    folder = open_run(domain, run)
    plugin = run_domain(domain, run)
    rows = list(read_rows(file))
    if not rows:
        raise FactoryError(
            f"{file} has no rows.", 'A row is {"prompt": ...}, {"messages": [...]} or {"task": ..., "input": ...}.'
        )
    questions = [question_of(plugin, row, f"{file}:{number}") for number, row in rows]
    manifest(folder, "sft")
    base = read_json(folder / "sft" / "base.json")
    rules: dict[str, Any] = {
        "stop": base["stop"],
        "no_repeat_ngram": plugin.config.evaluate.no_repeat_ngram,
        "progress": Progress(say, "answer", len(questions)),
    }
    answers: Sequence[Answer]
    if files:
        with open_llama(*files, context=room_for(questions)) as llama:
            answers = llama.answer(questions, **rules)
    else:
        name = resolve_model(folder, model)
        adapter = folder / name / "adapter" if name != "base" else None
        loaded, tokenizer = load_answering(Path(base["path"]), plugin.config.sft.quantization, adapter)
        answers = answer(loaded, tokenizer, questions, batch=plugin.config.evaluate.batch, **rules)
    return write_records(
        output, [{**row, "prediction": found.text} for (_, row), found in zip(rows, answers, strict=True)]
    )


def gguf_files(model: str) -> tuple[Path, list[Path]]:
    """The GGUF to open and the adapters over it: FILE.gguf, BASE.gguf+ADAPTER.gguf, or the folder of an export."""
    path = Path(model).expanduser()
    if (path / "export.json").exists():
        note = read_json(path / "export.json")
        if str(note.get("file", "")).endswith(".gguf"):
            own = path / note["file"]
            return (Path(note["base_gguf"]), [own]) if "base_gguf" in note else (own, [])
    if not model.endswith(".gguf"):
        raise FactoryError(f"Unknown model '{model}'.", suggest(model, MODELS) + " A GGUF file works too.")
    first, *rest = model.split(".gguf+")
    names = [f"{name}.gguf" for name in (first, *rest[:-1])] + rest[-1:] if rest else [model]
    files = [Path(name).expanduser() for name in names]
    for file in files:
        check_gguf(file)
    return files[0], files[1:]


def resolve_model(folder: Path, model: str) -> str:
    """base, sft or dpo for what a user names; `best` as the evaluation chose it."""
    if model != "best":
        if model == "dpo" and not (folder / "dpo" / "adapter").exists():
            raise FactoryError(f"{folder} has no DPO adapter.", "DPO was left out or not built: use --model sft.")
        return model
    manifest(folder, "evaluate")
    return str(read_json(folder / "evaluate" / "scores.json")["best"])


def question_of(domain: Domain, row: dict[str, Any], where: str) -> Question:
    """A row as a question: `messages` as they stand, `prompt` as the user's words, or a task file's `task` and `input`."""
    task = domain.task(row["task"]) if isinstance(row.get("task"), str) else None
    messages = row.get("messages")
    if isinstance(messages, list) and messages:
        if not all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in messages):
            raise FactoryError(f"{where}: a message needs role and content.", '{"role": "user", "content": "..."}')
        asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        if not asked:
            raise FactoryError(f"{where}: the messages ask nothing.", '{"role": "user", "content": "..."}')
        return Question([{"role": m["role"], "content": m["content"]} for m in asked], task)
    if isinstance(row.get("prompt"), str) and row["prompt"].strip():
        return Question(domain.prompt(None, row["prompt"]), task)
    if task and isinstance(row.get("input"), str) and row["input"].strip():
        return Question(domain.prompt(task, row["input"]), task)
    raise FactoryError(f"{where}: no prompt, messages, or task and input.", "See: factory predict --help")
