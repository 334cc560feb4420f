"""A teacher: a larger model that writes and judges, at any OpenAI-compatible address or from a local GGUF file.

Every answer is kept by what was asked (model, messages, form, seed), so that work that was broken off goes on where it stopped and
finished work can be played again with no network. The key comes from the environment and is written nowhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from factory.config import Synthesize
from factory.errors import FactoryError
from factory.files import digest, read_json, sha256, write_json
from factory.generate import Question
from factory.kinds import Short
from factory.llama import serve
from factory.models import home
from factory.progress import Progress
from factory.records import Message
from factory.text import cjk_share

KEY = "FACTORY_TEACHER_KEY"
A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Limits:
    """What a teacher may use: tokens in and out together and money (0: no limit), at these prices per million tokens."""

    tokens: int = 0
    money: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0
    concurrency: int = 4


def limits_of(settings: Synthesize) -> Limits:
    """The limits that a domain's [synthesize] gives."""
    return Limits(settings.max_tokens, settings.max_money, settings.price_in, settings.price_out, settings.concurrency)


@dataclass(frozen=True)
class Ask:
    """One question to the teacher and the form of its answer."""

    messages: list[Message]
    form: type[BaseModel]
    max_tokens: int = 512
    temperature: float = 0.7
    seed: int = 0


@dataclass
class Teacher:
    """`address` ends in /v1. `told` are calls answered from the cache, `called` those that went out.

    `start` serves the model at the first call that the cache cannot answer, and gives its address and key.
    """

    address: str
    model: str
    limits: Limits = field(default_factory=Limits)
    cache: Path = field(default_factory=lambda: home() / "teacher")
    called: int = 0
    told: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    key: str = field(default="", repr=False)  # empty: from the environment
    start: Callable[[], tuple[str, str]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._place = "" if self.start else self.address  # a served file is known by its name, not by its port

    @property
    def money(self) -> float:
        return (self.tokens_in * self.limits.price_in + self.tokens_out * self.limits.price_out) / 1e6

    def estimate(self, asks: Sequence[Ask]) -> str:
        """What these calls would take, before the first one goes out."""
        new = [ask for ask in asks if not self._path(ask).exists()]
        letters = [(text, cjk_share(text)) for ask in new for text in (message["content"] for message in ask.messages)]
        read = sum(len(text) * (0.7 * share + 0.28 * (1 - share)) for text, share in letters)
        written = sum(min(ask.max_tokens, 160) for ask in new)
        cost = (read * self.limits.price_in + written * self.limits.price_out) / 1e6
        price = f", about {cost:.2f} at the given prices" if cost else ""
        return f"{len(asks)} calls, {len(asks) - len(new)} of them answered before; about {read / 1e3:.0f}k tokens in, {written / 1e3:.0f}k out{price}"

    def all(self, asks: Sequence[Ask], progress: Progress) -> list[BaseModel | None]:
        """The answers in the order of the questions, None where one had not the form that was asked for."""
        answers: list[BaseModel | None] = [None] * len(asks)
        with ThreadPoolExecutor(self.limits.concurrency) as pool:
            tasks = {pool.submit(self.ask, ask): number for number, ask in enumerate(asks)}
            try:
                for done, task in enumerate(as_completed(tasks), 1):
                    answers[tasks[task]] = task.result()
                    progress.at(done, f"{self.called} calls, {self.tokens_in + self.tokens_out} tokens")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return answers

    def ask(self, ask: Ask) -> BaseModel | None:
        """One answer, from the cache if it was given before."""
        path = self._path(ask)
        if path.exists():
            with self._lock:
                self.told += 1
            text = read_json(path)["text"]
        else:
            self._within_limits()
            text = self._call(ask, path)
        try:
            return ask.form.model_validate_json(text)
        except ValidationError:
            return None

    def _path(self, ask: Ask) -> Path:
        mark = digest(
            [
                self._place,
                self.model,
                ask.messages,
                ask.form.model_json_schema(),
                ask.max_tokens,
                ask.temperature,
                ask.seed,
            ]
        )
        return self.cache / mark[:2] / f"{mark}.json"

    def _within_limits(self) -> None:
        with self._lock:
            tokens = self.tokens_in + self.tokens_out
            if self.limits.tokens and tokens >= self.limits.tokens:
                spent = f"{tokens} tokens"
            elif self.limits.money and self.money >= self.limits.money:
                spent = f"{self.money:.2f}"
            else:
                return
        raise FactoryError(
            f"The teacher's budget is spent: {spent}.", "Raise it; what was answered is kept and not asked again."
        )

    def _call(self, ask: Ask, path: Path) -> str:
        import openai

        with self._lock:
            if self._client is None:
                if self.start:
                    self.address, self.key = self.start()
                key = self.key or _key()
                self._client = openai.OpenAI(base_url=self.address, api_key=key, max_retries=5, timeout=900)
        schema = {"name": ask.form.__name__, "schema": ask.form.model_json_schema(), "strict": False}
        try:
            found = self._client.chat.completions.create(
                model=self.model,
                messages=ask.messages,
                max_tokens=ask.max_tokens,
                temperature=ask.temperature,
                seed=ask.seed,
                response_format={"type": "json_schema", "json_schema": schema},
            )
        except openai.APIStatusError as error:
            raise FactoryError(f"The teacher at {self.address} answers {error.status_code}: {_first(error.message)}", _HINTS.get(
                error.status_code, "What was answered is kept: run the same command again."
            )) from error  # fmt: skip
        except openai.APIError as error:
            raise FactoryError(
                f"No teacher answers at {self.address}: {_first(str(error))}",
                "Is it running, is the address right? What was answered is kept: run the same command again.",
            ) from error
        text = found.choices[0].message.content or ""
        with self._lock:
            self.called += 1
            if found.usage:
                self.tokens_in += found.usage.prompt_tokens
                self.tokens_out += found.usage.completion_tokens
        write_json(path, {"model": self.model, "messages": ask.messages, "text": text})
        return text


def answers_of(teacher: Teacher, questions: Sequence[Question], progress: Progress) -> list[str]:
    """What it answers to a domain's questions, held to the labels of a task that has any; empty where it answers in no form.

    Raises FactoryError where most answers have no form: that is its server's fault, and no measure of what it knows.
    """
    asks = [Ask(question.prompt, _form(question), 400, 0.0) for question in questions]
    answers = teacher.all(asks, progress)
    bare = sum(answer is None for answer in answers)
    if 2 * bare > len(answers):
        raise FactoryError(
            f"{bare} of {len(answers)} answers of {teacher.model} are not the JSON that was asked for.",
            "Does its server hold answers to a JSON schema (response_format)? Is it a model that thinks aloud first?",
        )
    return [str(getattr(answer, "answer", "")) for answer in answers]


def _form(question: Question) -> type[BaseModel]:
    task = question.task
    if not task or not task.choices or task.separator:
        return Short
    return create_model("Choice", answer=(Literal[task.choices], ...))  # type: ignore[arg-type]


_HINTS = {
    401: f"Give its key: export {KEY}=...",
    403: f"Its key may not do this: export {KEY}=...",
    404: "Check the address (it ends in /v1) and the model's name.",
}


def _key() -> str:
    return os.environ.get(KEY) or os.environ.get("OPENAI_API_KEY") or "none"


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason given"


@contextmanager
def open_teacher(where: str, model: str = "", limits: Limits | None = None) -> Iterator[Teacher]:
    """A teacher at an address, or from a GGUF file that is served inside this process once the cache cannot answer a call.

    Without `model` the address is asked for the first that it has; its name is remembered for a replay with no network.
    """
    limits = limits or Limits()
    if where.endswith(".gguf"):
        path = Path(where).expanduser()
        if not path.is_file():
            raise FactoryError(
                f"The teacher's file {where} does not exist.", "Give a GGUF file or an address that ends in /v1."
            )
        with ExitStack() as served:

            def start() -> tuple[str, str]:
                address, key = served.enter_context(serve(path, slots=limits.concurrency))
                return f"{address}/v1", key

            yield Teacher("", model or f"{path.name}-{sha256(path)[:12]}", limits, start=start)
        return
    if not where.startswith(("http://", "https://")):
        raise FactoryError(
            f"'{where}' is no teacher.", "Give an address that ends in /v1 (http://127.0.0.1:8080/v1) or a .gguf file."
        )
    yield Teacher(where.rstrip("/"), model or _first_model(where.rstrip("/")), limits)


def _first_model(address: str) -> str:
    import openai

    path = home() / "teacher" / "addresses.json"
    known: dict[str, str] = read_json(path) if path.exists() else {}
    try:
        models = openai.OpenAI(base_url=address, api_key=_key(), max_retries=5, timeout=20).models.list().data
    except openai.APIError as error:
        if address in known:
            return known[address]
        raise FactoryError(
            f"No teacher answers at {address}: {_first(str(error))}",
            f"Is it running? Name its model with --model; its key goes into {KEY}.",
        ) from error
    if not models:
        raise FactoryError(f"The teacher at {address} has no model.", "Name one: --model NAME")
    name = str(models[0].id)
    write_json(path, {**known, address: name})
    return name
