"""One model in memory: with its adapter on it is the specialist, with the adapter off the base model."""

from __future__ import annotations

import logging as standard
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import llama
from labels import weigh

MAX_NEW_TOKENS = 256  # as in evaluation
MAX_CONTEXT = 8192  # tokens of question and answer together, even where the model would take more

Message = dict[str, str]


class TooLong(Exception):
    """The question does not fit into the model's context."""


class Engine:
    """Loads in a thread of its own; answers one question at a time."""

    def __init__(self, folder: Path, stop: list[str], no_repeat_ngram: int = 0) -> None:
        self.folder = folder
        self.stop = stop
        self.no_repeat_ngram = no_repeat_ngram
        self.ready = threading.Event()
        self.error = ""
        self._lock = threading.Lock()
        self._model: Any = None
        self._tokenizer: Any = None
        self._llama: llama.Llama | None = None

    def start(self) -> None:
        threading.Thread(target=self._load, daemon=True).start()

    def stream(
        self, messages: list[Message], specialist: bool, stop: threading.Event, temperature: float = 0.0
    ) -> Iterator[tuple[str, bool]]:
        """Yield (the answer so far, did the token limit end it) until it ends or `stop` is set; raises TooLong.

        At temperature 0 greedy, as the models were scored; above it another answer is drawn each time.
        """
        if self._llama:
            asked = self._shortened(messages)
            with self._lock:
                yield from self._llama.stream(asked, specialist, stop, MAX_NEW_TOKENS, temperature)
            return
        from transformers import TextIteratorStreamer

        inputs = self._encode(messages)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        outcome: dict[str, Any] = {"temperature": temperature}
        work = (inputs, specialist, stop, streamer, outcome)
        threading.Thread(target=self._generate, args=work, daemon=True).start()
        text = ""
        try:
            for piece in streamer:
                text += piece
                yield self._before_stop(text), False
        except GeneratorExit:
            stop.set()
            raise
        if "failure" in outcome:
            raise outcome["failure"]
        yield self._before_stop(text).strip(), outcome.get("tokens", 0) >= MAX_NEW_TOKENS

    def weigh(self, messages: list[Message], choices: list[str]) -> list[float]:
        """The specialist's share of probability for each of a task's labels; raises TooLong."""
        if self._llama:
            asked = self._shortened(messages)
            with self._lock:
                return self._llama.weigh(asked, choices)
        inputs = self._encode(messages)
        with self._lock:
            return weigh(self._model, self._tokenizer, inputs["input_ids"], choices, self._ends())

    def _load(self) -> None:
        try:
            if llama.found(self.folder):
                self._llama = llama.Llama(self.folder, self.stop, self.no_repeat_ngram, MAX_CONTEXT)
                self.ready.set()
                return
            warnings.filterwarnings("ignore", category=FutureWarning)  # of these libraries among themselves
            standard.getLogger("bitsandbytes").setLevel(standard.ERROR)

            import torch
            from peft import PeftModel
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            gpu = torch.cuda.is_available()
            dtype = torch.bfloat16 if gpu else torch.float32
            base = self.folder / "base"
            data: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}  # never code
            self._tokenizer = AutoTokenizer.from_pretrained(base, **data)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, use_safetensors=True, **data)
            model = PeftModel.from_pretrained(model, str(self.folder / "adapter"))
            self._model = model.to("cuda" if gpu else "cpu").eval()
            self.ready.set()
        except Exception as error:  # the page says that it failed, this screen says why
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"while loading the model: {self.error}", file=sys.stderr, flush=True)

    def _encode(self, messages: list[Message]) -> dict[str, Any]:
        """Token ids of the chat, as tensors of the model's device."""
        inputs = self._tokenizer.apply_chat_template(
            self._shortened(messages), add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        inputs.pop("token_type_ids", None)
        return dict(inputs.to(self._model.device))

    def _shortened(self, messages: list[Message]) -> list[Message]:
        """The chat, its oldest turns dropped until it leaves room for an answer; raises TooLong."""
        window = self._llama.window if self._llama else getattr(self._model.config, "max_position_embeddings", None)
        limit = min(window or MAX_CONTEXT, MAX_CONTEXT)
        room = limit - min(MAX_NEW_TOKENS, limit // 2)
        system = [message for message in messages if message["role"] == "system"]
        turns = [message for message in messages if message["role"] != "system"]
        while self._length(system + turns) > room:
            if len(turns) <= 1:
                raise TooLong
            turns = turns[2:]
        return system + turns

    def _length(self, messages: list[Message]) -> int:
        """Tokens of the chat as the model's template writes it."""
        if self._llama:
            return self._llama.length(messages)
        told = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return len(told["input_ids"])

    def _generate(
        self, inputs: dict[str, Any], specialist: bool, stop: threading.Event, streamer: Any, outcome: dict[str, Any]
    ) -> None:
        import torch

        try:
            adapter = nullcontext() if specialist else self._model.disable_adapter()
            with self._lock, adapter, torch.inference_mode():
                if not stop.is_set():
                    decoding = self._decoding(stop, outcome["temperature"])
                    ids = self._model.generate(**inputs, streamer=streamer, **decoding)
                    outcome["tokens"] = 0 if stop.is_set() else ids.shape[1] - inputs["input_ids"].shape[1]
        except Exception as error:  # raised again where the answer is read
            outcome["failure"] = error
        finally:
            streamer.end()

    def _decoding(self, stop: threading.Event, temperature: float) -> dict[str, Any]:
        from transformers import StoppingCriteriaList

        ends = self._ends()
        return {
            "stopping_criteria": StoppingCriteriaList([_Stopper(stop)]),
            "max_new_tokens": MAX_NEW_TOKENS,
            **({"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}),
            "no_repeat_ngram_size": self.no_repeat_ngram,
            "eos_token_id": ends,
            "pad_token_id": ends[0],
        }

    def _ends(self) -> list[int]:
        """Ids of every token that ends an answer."""
        vocabulary = self._tokenizer.get_vocab()
        return sorted({self._tokenizer.eos_token_id, *(vocabulary[word] for word in self.stop if word in vocabulary)})

    def _before_stop(self, text: str) -> str:
        """The text up to a stop word that the tokenizer does not count as special."""
        for word in self.stop:
            text = text.partition(word)[0]
        return text.lstrip("\n")


class _Stopper:
    """A stopping criterion that a person can set."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        return torch.full((input_ids.shape[0],), self.stop.is_set(), dtype=torch.bool, device=input_ids.device)
