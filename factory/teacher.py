"""A teacher: a larger model that writes and judges, at any OpenAI-compatible address or from a local GGUF file.

Every answer is kept by what was asked (model, messages, form, seed), so that work that was broken off goes on where it stopped and
finished work can be played again with no network; one that is empty is asked for once more at once. The key comes from the
environment and is written nowhere.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError, create_model

from factory.addresses import KEY, check_address, is_address
from factory.config import Synthesize
from factory.errors import FactoryError
from factory.files import digest, read_json, sha256, write_json
from factory.generate import Answer, Question
from factory.kinds import Short
from factory.llama import serve
from factory.models import home
from factory.progress import Progress
from factory.records import Message
from factory.text import cjk_share

SPENT = "teacher.json"  # in a run's folder: the tokens that the teachers of its stages used, all builds together
A = TypeVar("A", bound=BaseModel)
Again = Literal["", "bare", "all"]
# What openai raises for what is no JSON or another one: a page of HTML it hands on as a text
_NO_JSON = (AttributeError, json.JSONDecodeError, UnicodeDecodeError)


class Spent(FactoryError):
    """The teacher's budget is used up: what was answered before still counts."""


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

    `start` serves the model at the first call that the cache cannot answer, and gives its address and key. `spent` is a file
    that counts tokens over several teachers, who share the limits; without it they hold for this one alone. `again` is what the
    cache does not answer: "bare", kept answers that have not the form; "all", any.
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
    spent: Path | None = None
    again: Again = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[Path, threading.Lock] = {}
        known = read_json(self.spent) if self.spent and self.spent.exists() else {}
        self._before = known.get("tokens_in", 0), known.get("tokens_out", 0)
        self._client: Any = None
        self._place = "" if self.start else self.address  # a served file is known by its name, not by its port

    @property
    def money(self) -> float:
        return self._price(self.tokens_in, self.tokens_out)

    def estimate(self, asks: Sequence[Ask]) -> str:
        """What these calls would take, before the first one goes out."""
        new = [ask for ask in asks if not self._path(ask).exists()]
        read = sum(_read(ask) for ask in new)
        written = sum(min(ask.max_tokens, 160) for ask in new)
        cost = self._price(read, written)
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
        """One answer, from the cache if it was given before. Raises Spent where it was not and the budget is used up."""
        path = self._path(ask)
        with self._lock:
            turn = self._turns.setdefault(path, threading.Lock())
        with turn:  # who asks the same meanwhile finds the answer in the cache
            text = self._known(ask, path)
            if text is not None:
                with self._lock:
                    self.told += 1
            else:
                self._within_limits()
                text = self._call(ask) or self._call(ask)  # some servers answer nothing when they are busy
                write_json(path, {"model": self.model, "messages": ask.messages, "text": text})
        return _in_form(ask, text)

    def _known(self, ask: Ask, path: Path) -> str | None:
        """What was answered before, where it still counts."""
        if self.again == "all" or not path.exists():
            return None
        text = str(read_json(path)["text"])
        return None if self.again == "bare" and _in_form(ask, text) is None else text

    def kept(self, ask: Ask) -> BaseModel | None:
        """The answer that was given before, None where there is none in the form; nothing goes out."""
        path = self._path(ask)
        return _in_form(ask, read_json(path)["text"]) if path.exists() else None

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

    def _price(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.limits.price_in + tokens_out * self.limits.price_out) / 1e6

    def _used(self) -> tuple[int, int]:
        """Tokens in and out, with those of the teachers before that share the budget."""
        return self._before[0] + self.tokens_in, self._before[1] + self.tokens_out

    def _within_limits(self) -> None:
        with self._lock:
            tokens, money = sum(self._used()), self._price(*self._used())
        if self.limits.tokens and tokens >= self.limits.tokens:
            spent, raised = f"{tokens} tokens", "synthesize.max_tokens or --most-tokens"
        elif self.limits.money and money >= self.limits.money:
            spent, raised = f"{money:.2f}", "synthesize.max_money or --most-money"
        else:
            return
        raise Spent(
            f"The teacher's budget is spent: {spent}.",
            f"Raise it ({raised}); what was answered is kept and not asked again.",
        )

    def _call(self, ask: Ask) -> str:
        import openai

        with self._lock:
            if self._client is None:
                if self.start:
                    self.address, self.key = self.start()
                key = self.key or _key(self.address)
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
            choices = found.choices
        except openai.APIStatusError as error:
            raise FactoryError(f"The teacher at {self.address} answers {error.status_code}: {_first(error.message)}", _HINTS.get(
                error.status_code, "What was answered is kept: run the same command again."
            )) from error  # fmt: skip
        except (openai.APIError, *_NO_JSON) as error:
            raise FactoryError(
                f"No teacher answers at {self.address}: {_why(error)}",
                "Is it running, is the address right? What was answered is kept: run the same command again.",
            ) from error
        if not choices or not getattr(choices[0], "message", None):  # some servers tell an error so
            raise FactoryError(
                f"The teacher at {self.address} answers nothing: {_first(str(getattr(found, 'error', None) or ''))}",
                "What was answered is kept: run the same command again.",
            )
        text, cut = choices[0].message.content or "", choices[0].finish_reason == "length"
        used = found.usage  # a server may leave it out
        with self._lock:
            self.called += 1
            self.tokens_in += (used and used.prompt_tokens) or round(_read(ask))
            self.tokens_out += (used and used.completion_tokens) or (ask.max_tokens if cut else round(_tokens(text)))
            if self.spent:
                tokens_in, tokens_out = self._used()
                write_json(self.spent, {"tokens_in": tokens_in, "tokens_out": tokens_out})
        return text


def _in_form(ask: Ask, text: str) -> BaseModel | None:
    try:
        return ask.form.model_validate_json(text)
    except ValidationError:
        return None


def _read(ask: Ask) -> float:
    return sum(_tokens(message["content"]) for message in ask.messages)


def _tokens(text: str) -> float:
    """How many tokens a text may be: seven for ten Chinese letters, or for 25 others."""
    share = cjk_share(text)
    return len(text) * (0.7 * share + 0.28 * (1 - share))


def asks_about(questions: Sequence[Question]) -> list[Ask]:
    """A domain's questions as calls, each held to the labels of a task that has any."""
    return [Ask(question.prompt, _form(question), 400, 0.0) for question in questions]


def answers_of(teacher: Teacher, questions: Sequence[Question], progress: Progress) -> list[Answer]:
    """What it answers to a domain's questions; bare where it answers in no form.

    Raises FactoryError where most answers have no form: that is its server's fault, and no measure of what it knows.
    """
    answers = teacher.all(asks_about(questions), progress)
    bare = sum(answer is None for answer in answers)
    if 2 * bare > len(answers):
        raise FactoryError(
            f"{bare} of {len(answers)} answers of {teacher.model} are not the JSON that was asked for.",
            "Does its server hold answers to a JSON schema (response_format)? Is it a model that thinks aloud first?",
        )
    return [Answer(str(getattr(answer, "answer", "")), bare=answer is None) for answer in answers]


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


def _key(address: str) -> str:
    """The key for an address: OPENAI_API_KEY is for OpenAI's own alone, wherever else it would be given away."""
    own = os.environ.get("OPENAI_API_KEY") if urlsplit(address).hostname == "api.openai.com" else None
    return os.environ.get(KEY) or own or "none"


def _why(error: Exception) -> str:
    return "what it sends is no model's JSON" if isinstance(error, _NO_JSON) else _first(str(error))


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason given"


@contextmanager
def open_teacher(
    where: str, model: str = "", limits: Limits | None = None, spent: Path | None = None, again: Again = ""
) -> Iterator[Teacher]:
    """A teacher at an address, or from a GGUF file that is served inside this process once the cache cannot answer a call.

    Without `model` the address is asked for the first that it has; its name is remembered for a replay with no network.
    """
    check_address(where)
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

            yield Teacher(
                "", model or f"{path.name}-{sha256(path)[:12]}", limits, start=start, spent=spent, again=again
            )
        return
    if not is_address(where):
        raise FactoryError(
            f"'{where}' is no teacher.", "Give an address that ends in /v1 (http://127.0.0.1:8080/v1) or a .gguf file."
        )
    yield Teacher(where.rstrip("/"), model or _first_model(where.rstrip("/")), limits, spent=spent, again=again)


def _first_model(address: str) -> str:
    import openai

    path = home() / "teacher" / "addresses.json"
    known: dict[str, str] = read_json(path) if path.exists() else {}
    try:
        models = openai.OpenAI(base_url=address, api_key=_key(address), max_retries=5, timeout=20).models.list().data
        name = str(models[0].id) if models else ""
    except (openai.APIError, *_NO_JSON) as error:
        if address in known:
            return known[address]
        raise FactoryError(
            f"No teacher answers at {address}: {_why(error)}",
            f"Is it running? Name its model with --model; its key goes into {KEY}.",
        ) from error
    if not name:
        raise FactoryError(f"The teacher at {address} has no model.", "Name one: --model NAME")
    write_json(path, {**known, address: name})
    return name
