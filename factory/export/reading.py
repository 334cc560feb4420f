"""What the trained model makes of an answer that another wrote: its log-probability, and where it would have gone on otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.generate import Answer, Constraint, Question, stop_ids
from factory.hardware import keep_freed_memory
from factory.models import WEIGHTS, add_adapter, load_tokenizer, quiet_libraries
from factory.packed import pack_linears
from factory.progress import Progress


@dataclass(frozen=True)
class Reading:
    """One answer as the reader sees it: each token's log-probability, and the token that it would have written there.

    `parts_at`: the first place where that is another one (None: the reader would have given the very same answer).
    """

    logprobs: tuple[float, ...]
    choices: tuple[int, ...]
    parts_at: int | None


def load_plain(folder: Path, adapter: Path | None) -> tuple[Any, Any]:
    """Model and tokenizer in fp32 on the CPU, the adapter merged: the trained model with no rounding of a machine's type."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    keep_freed_memory()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **WEIGHTS)
    if adapter is not None:
        model = add_adapter(model, adapter).merge_and_unload()
    return pack_linears(model.eval()), load_tokenizer(folder)


def read_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    *,
    stop: Sequence[str] = (),
    no_repeat_ngram: int = 0,
    progress: Progress | None = None,
) -> list[Reading]:
    """How `model` reads each answer after its own prompt, under the rules of decoding that `generate.answer` holds to.

    One pass an answer: greedy decoding would have given the same tokens exactly where every choice is the answer's token.
    """
    import torch

    ends = stop_ids(tokenizer, stop)
    found = []
    for question, answer in zip(questions, answers, strict=True):
        text = tokenizer.apply_chat_template(question.prompt, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = _tokens(answer, tokenizer, ends)
        ids = torch.tensor([prompt + tokens])
        with torch.inference_mode():
            logits = model(input_ids=ids, logits_to_keep=len(tokens) + 1).logits[0, :-1].float()
        told = logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)]
        choices = _choices(logits, ids[0], len(prompt), question, tokenizer, ends, no_repeat_ngram)
        found.append(Reading(tuple(told.tolist()), choices, _parts_at(answer, tokens, choices, ends)))
        if progress:
            progress.at(len(found))
    return found


def _tokens(answer: Answer, tokenizer: Any, ends: list[int]) -> list[int]:
    """The answer's tokens, or, where they are none of this vocabulary, its text's."""
    if answer.tokens and max(answer.tokens) < len(tokenizer):
        return list(answer.tokens)
    ids: list[int] = tokenizer(answer.text, add_special_tokens=False)["input_ids"]
    return ids if answer.truncated and ids else [*ids, ends[0]]


def _choices(
    logits: Any, ids: Any, start: int, question: Question, tokenizer: Any, ends: list[int], no_repeat: int
) -> tuple[int, ...]:
    from transformers import NoRepeatNGramLogitsProcessor

    if question.task and question.task.choices:
        rule = Constraint(tokenizer, question.task, start, ends)
        allowed = [rule(0, ids[: start + place]) for place in range(len(logits))]
        return tuple(max(some, key=lambda token: float(row[token])) for row, some in zip(logits, allowed, strict=True))
    if no_repeat:
        ban = NoRepeatNGramLogitsProcessor(no_repeat)
        logits = [ban(ids[None, : start + place], row[None])[0] for place, row in enumerate(logits)]
    return tuple(int(row.argmax()) for row in logits)


def _parts_at(answer: Answer, tokens: list[int], choices: tuple[int, ...], ends: list[int]) -> int | None:
    """The first place where the choice is another; any end is as good as another."""
    for place, (token, choice) in enumerate(zip(tokens, choices, strict=True)):
        ended = not answer.truncated and place == len(tokens) - 1
        if choice != token and not (ended and choice in ends):
            return place
    return None


def mean_difference(told: Sequence[Sequence[float]], readings: Sequence[Reading]) -> float | None:
    """Mean absolute difference per token between the log-probabilities that a writer told (nan: not) and the reader's; None: none told."""
    gaps = [
        abs(own - other)
        for logprobs, reading in zip(told, readings, strict=True)
        for own, other in zip(logprobs, reading.logprobs, strict=False)
        if not math.isnan(own)
    ]
    return round(sum(gaps) / len(gaps), 5) if gaps else None
