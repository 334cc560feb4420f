"""An exported artifact opened as those open it who get it: with the template, the tokens and the ends that it carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from factory.export.reading import load_plain, read_answers
from factory.generate import Answer, Question, answer
from factory.llama import SLOTS, Told, open_llama
from factory.models import load_tokenizer
from factory.progress import Progress
from factory.records import Message
from factory.weights.job import Job

PLAIN_KINDS = ("adapter", "merged")  # read by transformers; every other kind by llama.cpp


class Artifact(Protocol):
    """What parity asks of an opened artifact."""

    def answer(
        self,
        questions: Sequence[Question],
        *,
        no_repeat_ngram: int = 0,
        logprobs: bool = False,
        progress: Progress | None = None,
    ) -> list[Told]: ...

    def render(self, messages: list[Message]) -> str: ...

    def tokenize(self, text: str, special: bool = False) -> list[int]: ...


class Plain:
    """A model that transformers loads, with its own tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, ends: Sequence[str], batch: int) -> None:
        self.model, self.tokenizer, self.ends, self.batch = model, tokenizer, ends, batch

    def answer(
        self,
        questions: Sequence[Question],
        *,
        no_repeat_ngram: int = 0,
        logprobs: bool = False,
        progress: Progress | None = None,
    ) -> list[Told]:
        asked: dict[str, Any] = {"stop": self.ends, "no_repeat_ngram": no_repeat_ngram}
        found: list[Answer] = answer(
            self.model, self.tokenizer, questions, batch=self.batch, progress=progress, **asked
        )
        if not logprobs:
            return [Told(one.text, one.truncated, one.tokens) for one in found]
        own = read_answers(self.model, self.tokenizer, questions, found, **asked)
        return [Told(one.text, one.truncated, one.tokens, read.logprobs) for one, read in zip(found, own, strict=True)]

    def render(self, messages: list[Message]) -> str:
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


@contextmanager
def open_artifact(job: Job, folder: Path, made: dict[str, Any], context: int) -> Iterator[Artifact]:
    """The artifact that lies in `folder`; `made` is what its maker told of it; `context`: tokens of a question and answer."""
    if job.order.kind in PLAIN_KINDS:
        yield _plain(job, folder)
        return
    base, adapters = files_of(folder, made)
    with open_llama(base, adapters, context=context, slots=SLOTS) as llama:
        yield llama


def files_of(folder: Path, made: dict[str, Any]) -> tuple[Path, list[Path]]:
    """The GGUF to open, and the adapters over it."""
    model = folder / made["file"]
    return (Path(made["base_gguf"]), [model]) if "base_gguf" in made else (model, [])


def _plain(job: Job, folder: Path) -> Plain:
    if job.order.kind == "merged":
        model, tokenizer = load_plain(folder, None)
        ends = tokenizer.convert_ids_to_tokens(_listed(model.generation_config.eos_token_id))
    else:
        model, tokenizer = load_plain(job.base_dir, folder)
        ends = job.base["stop"]
        if (folder / "tokenizer_config.json").exists():
            tokenizer = load_tokenizer(folder)
    return Plain(model, tokenizer, ends, job.domain.config.evaluate.batch)


def _listed(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]
