"""How hard a row is for the base: instruction-following difficulty (Li et al. 2023, arXiv 2308.12032), and its perplexity.

Difficulty = loss of the answer after the question / loss of the answer alone (mean cross-entropy a token). Near 1 the question
hardly helps the base, so there is something to learn; above 1 it hinders, which speaks of a bad row. Here "alone" is after an
empty question in the chat template: every token of the answer has a loss on both sides, so that a label of one token has one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from factory.config import Sft
from factory.models import base_folder, find_base, load_base
from factory.progress import Progress
from factory.records import Example
from factory.store import Store, key_of

if TYPE_CHECKING:
    import torch

POSITIONS = 512  # logits at once: a large vocabulary makes half a gigabyte of them
TOKENS = 4096  # padded tokens in a batch
SAVED = 64  # rows between two writes to the disk
Part = tuple[list[int], list[int]]  # tokens before the answer, and of the answer


@dataclass(frozen=True)
class Signal:
    """What the base makes of one row: mean loss a token of its answer after the question and alone."""

    id: str
    task: str
    loss: float
    loss_alone: float
    difficulty: float
    perplexity: float


def signals(examples: Sequence[Example], base: str, settings: Sft, say: Callable[[str], None]) -> list[Signal]:
    """The signals of the examples, in order. Rows measured before, by this base, come from the disk."""
    found = find_base(base)
    about = (found.name, found.sha256, found.revision, settings.quantization, str(settings.max_length))
    keys = [key_of(*about, repr(row.prompt), repr(row.completion)) for row in examples]
    store = Store("difficulty")
    known = store.read(keys)
    new = {key: row for key, row in zip(keys, examples, strict=True) if key not in known}
    if new:
        model, tokenizer = load_base(base_folder(base, settings.quantization, say), settings.quantization)
        progress = Progress(say, "difficulty", len(new))
        todo = sorted(new, key=lambda key: len(str(new[key].prompt)))
        for start in range(0, len(todo), SAVED):
            part = todo[start : start + SAVED]
            pairs = measure(model, tokenizer, [new[key] for key in part], settings.max_length)
            fresh = {key: np.asarray(pair, dtype=np.float32) for key, pair in zip(part, pairs, strict=True)}
            store.write(fresh)
            known |= fresh
            progress.at(start + len(part))
    return [_signal(row, *known[key].tolist()) for key, row in zip(keys, examples, strict=True)]


def _signal(row: Example, loss: float, alone: float) -> Signal:
    ratio = loss / max(alone, 1e-6)
    return Signal(row.id, row.task, round(loss, 4), round(alone, 4), round(ratio, 4), round(math.exp(min(loss, 50)), 3))


def measure(model: Any, tokenizer: Any, examples: Sequence[Example], max_length: int) -> list[tuple[float, float]]:
    """(loss of the answer after its question, loss of it alone) of each example, in nats a token.

    Of a row longer than `max_length` tokens the question's beginning is cut, and the answer after half of them.
    """
    asked, alone = parts_of(tokenizer, examples, max_length)
    return list(zip(losses(model, asked), losses(model, alone), strict=True))


def parts_of(tokenizer: Any, examples: Sequence[Example], max_length: int) -> tuple[list[Part], list[Part]]:
    """Each example's answer after its question, and after none."""
    asked: list[Part] = []
    alone: list[Part] = []
    for row in examples:
        turns = [*row.prompt, *row.completion]
        whole = _encode(tokenizer, tokenizer.apply_chat_template(turns, tokenize=False))
        heads = [
            _encode(tokenizer, tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
            for prompt in (turns[:-1], [{"role": "user", "content": ""}])
        ]
        answer = whole[len(heads[0]) :][: max_length // 2] or whole[-1:]
        for head, part in zip(heads, (asked, alone), strict=True):
            part.append((head[-(max_length - len(answer)) :], answer))
    return asked, alone


def losses(model: Any, parts: Sequence[Part]) -> list[float]:
    """Mean loss a token of each part's answer after its head, in nats."""
    model.eval()
    found = [0.0] * len(parts)
    for rows in _batches(parts):
        for number, loss in zip(rows, _losses(model, [parts[number] for number in rows]), strict=True):
            found[number] = loss
    return found


def _encode(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def _batches(parts: Sequence[Part]) -> Iterator[list[int]]:
    """Rows of near lengths together, within POSITIONS and TOKENS."""
    order = sorted(range(len(parts)), key=lambda number: (len(parts[number][1]), len(parts[number][0])))
    batch: list[int] = []
    longest = answer = 0
    for number in order:
        head, said = map(len, parts[number])
        longest, answer = max(longest, head + said), max(answer, said)
        if batch and ((len(batch) + 1) * longest > TOKENS or (len(batch) + 1) * answer > POSITIONS):
            yield batch
            batch, longest, answer = [], head + said, said
        batch.append(number)
    if batch:
        yield batch


def _losses(model: Any, parts: Sequence[Part]) -> list[float]:
    """Mean cross-entropy of each answer's tokens; logits are computed for the answers' positions only."""
    import torch

    longest, answer = max(len(head) + len(said) for head, said in parts), max(len(said) for _, said in parts)
    ids = torch.zeros((len(parts), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, (head, said) in enumerate(parts):
        row = torch.tensor(head + said)
        ids[number, longest - len(row) :], mask[number, longest - len(row) :] = row, 1
    with torch.inference_mode():
        logits: torch.Tensor = model(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=(mask.cumsum(1) - 1).clamp(min=0).to(model.device),
            logits_to_keep=answer + 1,
            use_cache=False,
        ).logits
    found = []
    for number, (_, said) in enumerate(parts):
        told = logits[number, -len(said) - 1 : -1].float()
        found.append(float(torch.nn.functional.cross_entropy(told, ids[number, -len(said) :].to(told.device))))
    return found
