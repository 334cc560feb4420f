"""llama.cpp as an engine: a GGUF file served inside this process (package xllamacpp), asked as any program would ask it.

Questions go through the server's chat endpoint, so the template, the special tokens and the ends that the file carries are what
is used: what people will run is what is measured. Adapters lie on one loaded base and are switched on for single questions.
"""

from __future__ import annotations

import json
import math
import secrets
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from factory.errors import FactoryError, need_extra
from factory.generate import END, Answer, Question, Trie, label_tries
from factory.gguf_check import check_gguf
from factory.hardware import inspect_machine
from factory.progress import Progress
from factory.records import Message

SLOTS = 8  # questions answered at once


@dataclass(frozen=True)
class Told(Answer):
    """An answer with its tokens' log-probabilities, where they were asked for (nan: not told), and llama.cpp's own times."""

    logprobs: tuple[float, ...] = ()
    timings: dict[str, float] | None = None  # prompt_n, prompt_ms, predicted_n, predicted_ms, cache_n


class Llama:
    """A served model. `template`, `bos` and `eos` are the file's own; `context`: tokens of one question and its answer."""

    def __init__(self, address: str, key: str) -> None:
        self._host = urlsplit(address).netloc
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        known = self._get("/props")
        self.template: str = known["chat_template"]
        self.bos: str = known["bos_token"]
        self.eos: str = known["eos_token"]
        self.slots: int = known["total_slots"]
        self.context: int = known["default_generation_settings"]["n_ctx"]
        self._adapters = len(self._get("/lora-adapters"))
        self._grammars: dict[tuple[tuple[str, ...], str], str] = {}

    def answer(
        self,
        questions: Sequence[Question],
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        no_repeat_ngram: int = 0,
        seed: int = 0,
        adapter: int | None = 0,
        logprobs: bool = False,
        progress: Progress | None = None,
    ) -> list[Told]:
        """Answer every question, in order, as `generate.answer` does; greedy at temperature 0.

        `adapter`: the number of the loaded adapter to answer with (None: the base alone; the first one, if there is any).
        `logprobs` asks for the answers' tokens and their log-probabilities (of the model, before any rule of decoding).
        """
        bodies = [
            self._body(question, temperature, no_repeat_ngram, adapter)
            | {"stop": list(stop), "seed": seed + number, "logprobs": logprobs}
            | ({"top_logprobs": 1} if logprobs else {})
            for number, question in enumerate(questions)
        ]
        found: list[Told] = [Told("")] * len(questions)
        with ThreadPoolExecutor(self.slots) as pool:
            tasks = {pool.submit(self._ask, body): number for number, body in enumerate(bodies)}
            try:
                for done, task in enumerate(as_completed(tasks), 1):
                    found[tasks[task]] = task.result()
                    if progress:
                        progress.at(done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def render(self, messages: list[Message]) -> str:
        """The prompt as the file's template writes it."""
        return str(self._post("/apply-template", {"messages": messages})["prompt"])

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; `special`: as a prompt, with what the file puts before every one."""
        tokens: list[int] = self._post("/tokenize", {"content": text, "add_special": special, "parse_special": True})[
            "tokens"
        ]
        return tokens

    def timed(self, body: dict[str, Any]) -> dict[str, float]:
        """llama.cpp's own times of one chat completion: prompt_n, prompt_ms, predicted_n, predicted_ms."""
        timings: dict[str, float] = self._post("/v1/chat/completions", {"temperature": 0.0, **body})["timings"]
        return timings

    def _body(self, question: Question, temperature: float, no_repeat: int, adapter: int | None) -> dict[str, Any]:
        """The request: nothing cuts the distribution but the task's labels or the ban on repetition."""
        body: dict[str, Any] = {
            "messages": question.prompt,
            "max_tokens": question.max_new_tokens,
            "temperature": temperature,
            "samplers": ["dry", "temperature"],
            "reasoning_format": "none",
            "return_tokens": True,
            "verbose": True,
        }
        if self._adapters:
            body["lora"] = [{"id": number, "scale": float(number == adapter)} for number in range(self._adapters)]
        if question.task and question.task.choices:
            key = question.task.choices, question.task.separator
            if key not in self._grammars:
                self._grammars[key] = grammar(*label_tries(question.task, self.tokenize))
            body["grammar"] = self._grammars[key]
        elif no_repeat > 0:
            body |= {
                # llama.cpp's penalty on repeated sequences, so high and so flat that it bans what would repeat n tokens
                "dry_multiplier": 1e9,
                "dry_base": 1.0,
                "dry_allowed_length": no_repeat - 1,
                "dry_penalty_last_n": self.context,
                "dry_sequence_breakers": ["\x01"],  # must name one: a letter that no text has
            }
        return body

    def _ask(self, body: dict[str, Any]) -> Told:
        found = self._post("/v1/chat/completions", body)
        choice = found["choices"][0]
        tokens: list[int] = found["__verbose"]["tokens"]
        return Told(
            (choice["message"]["content"] or "").strip(),
            choice["finish_reason"] == "length",
            tuple(tokens),
            _aligned(tokens, (choice.get("logprobs") or {}).get("content") or []),
            found.get("timings"),
        )

    def _get(self, path: str) -> Any:
        return self._asked("GET", path)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._asked("POST", path, json.dumps(body))

    def _asked(self, method: str, path: str, body: str | None = None) -> Any:
        """What the server answers; by the standard library, as httpx takes 0.15 s to load and open.

        Each question has a connection of its own: a kept one the server may close under it.
        """
        connection = HTTPConnection(self._host)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            return _read(response.status, json.load(response))
        finally:
            connection.close()


def _read(status: int, answer: Any) -> Any:
    if status == 200:
        return answer
    error = answer.get("error", {})
    if error.get("type") == "exceed_context_size_error":
        raise FactoryError(
            f"A question has {error['n_prompt_tokens']} tokens; the model was opened for {error['n_ctx']}.",
            "Shorten it.",
        )
    raise FactoryError(f"llama.cpp answers {status}: {error.get('message', '')}", "Is the file sound?")


def _aligned(tokens: Sequence[int], told: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """The tokens' log-probabilities; nan where the server tells none, as for a part of a letter."""
    rest = iter(told)
    following = next(rest, None)
    found = []
    for token in tokens if told else ():
        if following and following["id"] == token:
            found.append(float(following["logprob"]))
            following = next(rest, None)
        else:
            found.append(math.nan)
    return tuple(found)


def grammar(first: Trie, more: Trie) -> str:
    """A GBNF grammar over token ids that allows what the tries of a task's labels allow."""
    rules: list[str] = []
    again = "r0" if more else ""
    if more:
        _rule(more, again, rules)
    root = _rule(first, again, rules)
    return "\n".join([f"root ::= {root}", *rules])


def _rule(trie: Trie, again: str, rules: list[str]) -> str:
    """Write the rule of a trie's node and of those below it; its name. Where a label ends, the rule `again` may follow."""
    place = len(rules)
    rules.append("")
    ways = [f"<[{token}]> {_rule(node, again, rules)}" for token, node in trie.items() if token != END]
    if END in trie:
        ways += [again] * bool(again) + ['""']
    rules[place] = f"r{place} ::= {' | '.join(ways)}"
    return f"r{place}"


def room_for(questions: Sequence[Question]) -> int:
    """Tokens of context that surely hold any of these questions with its answer: two bytes a token is dense text, a digit one."""

    def most(text: str) -> int:
        return (len(text.encode()) + sum(map(str.isdigit, text))) // 2

    need = max(
        sum(most(message["content"]) for message in question.prompt) + 256 + question.max_new_tokens
        for question in questions
    )
    return -(-need // 256) * 256


@contextmanager
def open_llama(
    path: Path, adapters: Sequence[Path] = (), *, context: int = 4096, slots: int = SLOTS, threads: int = 0
) -> Iterator[Llama]:
    """A GGUF file, and GGUF adapters over it, ready to answer; `context`: tokens of one question and its answer.

    `threads` 0: OMP_NUM_THREADS, else one for each core. Raises FactoryError for a file that is missing, damaged or not of this engine.
    """
    with serve(path, adapters, context=context, slots=slots, threads=threads) as (address, key):
        yield Llama(address, key)


def require_llama() -> Any:
    """The package that runs llama.cpp; FactoryError where it is not installed."""
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise need_extra("xllamacpp", "gguf") from error
    return xllamacpp


@contextmanager
def serve(
    path: Path, adapters: Sequence[Path] = (), *, context: int = 4096, slots: int = SLOTS, threads: int = 0
) -> Iterator[tuple[str, str]]:
    """Address and key of llama.cpp's server inside this process, on 127.0.0.1 and a free port."""
    xllamacpp = require_llama()
    for file in (path, *adapters):
        check_gguf(file)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 1.0) for file in adapters]
    params.lora_init_without_apply = len(adapters) > 1
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.hostnames = ["127.0.0.1"]
    params.verbosity = 0
    params.warmup = False
    params.endpoint_props = True
    params.cache_ram_mib = 0  # else finished questions fill the memory
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or inspect_machine(with_gpu=False).threads
    key = secrets.token_urlsafe()
    params.api_keys = [key]
    params.port = _free_port()
    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        names = " with ".join(file.name for file in (path, *adapters))
        raise FactoryError(
            f"llama.cpp does not load {names}: {error}", "An adapter fits only the base that it was trained on."
        ) from error
    try:
        yield server.listening_address, key
    finally:
        del server


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
