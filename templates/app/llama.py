"""llama.cpp in torch's place, where base.gguf and adapter.gguf lie in this folder and xllamacpp is installed.

One base is loaded once; the adapter is switched on for the specialist and off for the base. Prompts are written by the template inside the
file, and answers are greedy, as the models were scored.
"""

from __future__ import annotations

import importlib.util
import json
import math
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FILES = ("base.gguf", "adapter.gguf")
Message = dict[str, str]


def found(folder: Path) -> bool:
    """Whether this folder and this Python have what it takes."""
    return all((folder / name).is_file() for name in FILES) and bool(importlib.util.find_spec("xllamacpp"))


class Llama:
    """A server inside this process, on 127.0.0.1 and a free port, with a key that nobody else knows."""

    def __init__(self, folder: Path, stop: list[str], no_repeat_ngram: int, context: int) -> None:
        """`context`: most tokens of question and answer; `window` is what the model was made for, where that is less."""
        import httpx
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(folder / FILES[0])
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(folder / FILES[1]), 1.0)]
        params.n_parallel, params.n_ctx, params.cache_ram_mib = 1, context, 0
        params.hostnames, params.verbosity, params.warmup = ["127.0.0.1"], 0, False
        key = secrets.token_urlsafe()
        params.api_keys = [key]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            params.port = free.getsockname()[1]
        self._server = xllamacpp.Server(params)
        self._client = httpx.Client(
            base_url=self._server.listening_address, headers={"Authorization": f"Bearer {key}"}, timeout=None
        )
        self.window = min(context, self._read(self._client.get("/v1/models"))["data"][0]["meta"]["n_ctx_train"])
        self._rules: dict[str, Any] = {"temperature": 0.0, "samplers": ["dry", "temperature"], "stop": stop}
        self._rules["reasoning_format"] = "none"
        if no_repeat_ngram:  # so high and flat a penalty on a repeated sequence is a ban
            self._rules |= {"dry_multiplier": 1e9, "dry_base": 1.0, "dry_allowed_length": no_repeat_ngram - 1}
            self._rules |= {"dry_penalty_last_n": context, "dry_sequence_breakers": ["\x01"]}

    def stream(
        self, messages: list[Message], specialist: bool, stop: threading.Event, most: int, temperature: float = 0.0
    ) -> Iterator[tuple[str, bool]]:
        """Yield (the answer so far, did the token limit end it) until it ends or `stop` is set."""
        asked = {"messages": messages, "max_tokens": most, "stream": True, **self._rules, "temperature": temperature}
        asked["lora"] = [{"id": 0, "scale": float(specialist)}]
        text = ""
        with self._client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            if answer.status_code != 200:
                answer.read()
                self._read(answer)
            for line in lines_of(answer.iter_bytes()):
                if stop.is_set():
                    break
                if not line.startswith("data: {"):
                    continue
                choice = json.loads(line.removeprefix("data: "))["choices"][0]
                text += choice["delta"].get("content") or ""
                if choice["finish_reason"]:
                    yield text.strip(), choice["finish_reason"] == "length"
                    return
                yield text.lstrip("\n"), False
        yield text.strip(), False

    def weigh(self, messages: list[Message], choices: list[str]) -> list[float]:
        """The specialist's share of probability for each label, as labels.weigh gives it: each is written out by a grammar.

        The prompt is read once, the server keeps it; a label's tokens and the end after it come with their log-probabilities.
        """
        asked = {"messages": messages, "temperature": 0.0, "samplers": ["temperature"], "reasoning_format": "none"}
        asked |= {"logprobs": True, "top_logprobs": 1, "max_tokens": 256, "lora": [{"id": 0, "scale": 1.0}]}
        weights = []
        for choice in choices:
            tokens = self._post("/tokenize", {"content": choice, "add_special": False})["tokens"]
            grammar = "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
            told = self._post("/v1/chat/completions", asked | {"grammar": grammar})["choices"][0]["logprobs"]["content"]
            weights.append(sum(one["logprob"] for one in told))
        most = max(weights)
        shares = [math.exp(weight - most) for weight in weights]
        return [share / sum(shares) for share in shares]

    def length(self, messages: list[Message]) -> int:
        """Tokens of the chat as the template in the file writes it."""
        prompt = self._post("/apply-template", {"messages": messages})["prompt"]
        return len(self._post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._read(self._client.post(path, json=body))

    @staticmethod
    def _read(answer: Any) -> Any:
        if answer.status_code != 200:
            raise RuntimeError(
                f"llama.cpp answers {answer.status_code}: {answer.json().get('error', {}).get('message')}"
            )
        return answer.json()


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, by line feeds alone: httpx ends one at U+2028, too, inside a text of JSON."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole)
