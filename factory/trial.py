"""Whether a training can learn, before it, and whether it has, after it.

Before: a few rows are learned by heart, and the loss must fall; the model and the seed's randomness are left as they were.
After: the adapter must change what the model makes of training rows.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from factory.difficulty import losses, parts_of
from factory.errors import FactoryError
from factory.files import read_json, write_json
from factory.generate import Question, answer
from factory.ranks import is_first, world_size
from factory.records import Example
from factory.stage import SCRATCH, Context
from factory.training import lora_weights, rate_key

SHARE = 0.04  # of the training's tokens that a trial takes, at most, but never less than LEAST rows, LEAST times
LEAST, MOST = 4, 10
FALL = (
    0.002  # the share by which the loss must fall: far above rounding, far below what a sound rate does in three steps
)
KNOWN = 0.1  # a loss this low is of rows that are known already: it need not fall
SHORT = 8  # tokens of an answer that tell whether two differ


def rehearse(trainer: Any, context: Context) -> dict[str, Any]:
    """Learn up to `sft.trial` rows of the trainer's by heart, with its own settings at its peak rate, and put its weights back.

    Returns the rows, the steps, the first and last loss, and the seconds; empty where no trial is wanted. A training that was
    broken off has had its trial: what it told is kept. Raises FactoryError, with the likely cause, where the loss does not fall.
    """
    path = context.out / SCRATCH / "trial.json"
    if path.exists():
        return dict(read_json(path))
    if not context.config.sft.trial:
        return {}
    started = time.monotonic()
    places, steps = _chosen(trainer.train_dataset["input_ids"], context.config.sft.trial)
    losses, norms = _learn(trainer, places, steps)
    told = {
        "rows": len(places), "steps": steps, "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if why := _fault(losses, norms, trainer.args.learning_rate):
        raise FactoryError(
            f"{context.stage}: {told['rows']} rows seen {steps} times are not learned (loss {losses[0]:.3f} -> {losses[-1]:.3f}): {why}.",
            f"Change {rate_key(context)} if that is the cause; --set sft.trial=0 leaves this trial out.",
        )
    context.say(
        f"    trial: {told['rows']} rows seen {steps} times, loss {losses[0]:.2f} -> {losses[-1]:.2f}, {told['seconds']:.0f} s"
    )
    if is_first():
        write_json(path, told)
    return told


def _chosen(rows: Sequence[list[int]], most: int) -> tuple[list[int], int]:
    """Places of up to `most` different rows of the shorter half, and how often to see them, within SHARE of all tokens."""
    first: dict[tuple[int, ...], int] = {}
    tokens = 0
    for place, row in enumerate(rows):
        first.setdefault(tuple(row), place)
        tokens += len(row)
    short = sorted(first, key=len)[: max(most, len(first) // 2)]
    budget = SHARE * tokens / len(short[-1])  # rows, as long as the longest of them
    count = min(len(short), most, max(LEAST, int(budget / LEAST)))
    places = [first[short[number * len(short) // count]] for number in range(count)]
    return places, min(MOST, max(LEAST, int(budget / count)))


def _learn(trainer: Any, places: list[int], steps: int) -> tuple[list[float], list[float]]:
    """The loss before each of `steps` steps on all of these rows, and the gradients' norms; weights and randomness as before.

    In ranks each takes as many rows, some of them twice where they do not come out even; all see the same losses.
    """
    from transformers import PrinterCallback

    before, world = lora_weights(trainer.model), world_size()
    share = math.ceil(len(places) / world)
    places = (places * world)[: share * world]
    at_once = math.gcd(trainer.args.per_device_train_batch_size, share)
    with same_randomness(), same_forward(trainer.model):
        trial = type(trainer)(
            model=trainer.model,
            args=_arguments(trainer.args, at_once, share // at_once),
            train_dataset=trainer.train_dataset.select(places * steps),
            processing_class=trainer.processing_class,
        )
        trial.remove_callback(PrinterCallback)
        trial.train()
        trial.accelerator.free_memory()
    for name, weight in trainer.model.named_parameters():
        if name in before:
            weight.data.copy_(before[name])
            weight.grad = None
    rows = [row for row in trial.state.log_history if "loss" in row]
    return [row["loss"] for row in rows], [row["grad_norm"] for row in rows]


def _arguments(known: Any, at_once: int, parts: int) -> Any:
    """The training's own arguments, at its peak rate from the first step on, with nothing saved, evaluated or reported."""
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType

    arguments = copy.copy(known)
    for key, value in {
        "per_device_train_batch_size": at_once, "gradient_accumulation_steps": parts, "num_train_epochs": 1, "max_steps": -1,
        "lr_scheduler_type": SchedulerType.CONSTANT, "train_sampling_strategy": "sequential", "packing": False,
        "save_strategy": SaveStrategy.NO, "eval_strategy": IntervalStrategy.NO, "load_best_model_at_end": False,
        "metric_for_best_model": None, "logging_strategy": IntervalStrategy.STEPS, "logging_steps": 1, "report_to": [],
    }.items():  # fmt: skip
        setattr(arguments, key, value)
    return arguments


@contextmanager
def same_forward(model: Any) -> Iterator[None]:
    """Leave the model as the trainer knew it: another trainer wraps `forward` (autocast, TRL's head) and marks the model as
    prepared, after which the training itself would run without autocast, and a resumed one, which has no trial, with it.
    """
    wraps = ("forward", "_original_forward", "_is_accelerate_prepared")
    before = [(module, {key: vars(module)[key] for key in wraps if key in vars(module)}) for module in model.modules()]
    yield
    for module, known in before:
        for key in wraps:
            vars(module).pop(key, None)
        vars(module).update(known)


@contextmanager
def same_randomness() -> Iterator[None]:
    """Whatever draws random numbers inside, those drawn after it are the ones that would have been drawn without it."""
    import torch

    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _fault(losses: list[float], norms: list[float], rate: float) -> str:
    """Why the rows were not learned, most likely; empty: they were, or nothing can be said."""
    first, rest = losses[0], losses[1:]
    if not math.isfinite(first):
        return "the base itself computes no number in this dtype (another base, or sft.quantization = 'none')"
    if not rest or first < KNOWN:
        return "no token of the answers has a label (chat template, or max_length)" if first == 0 else ""
    stuck = (
        len(rest) > 1 and rest[-1] == rest[-2] != first and rest[-1] > KNOWN
    )  # weights so large that all answers are alike
    if stuck:
        return f"the learning rate is too high ({rate:g})"
    if all(map(math.isfinite, rest)) and min(rest) < first * (1 - FALL):
        return ""
    if rate == 0:
        return "the learning rate is 0"
    if not any(norms):
        return "no gradient reaches the adapter (dtype, gradient checkpointing, or frozen weights)"
    if not all(map(math.isfinite, rest)) or rest[-1] > first:
        return f"the learning rate is too high ({rate:g})"
    return f"the learning rate is too low ({rate:g}), or labels and chat template do not fit"


def moved(
    model: Any, tokenizer: Any, examples: Sequence[Example], context: Context, stop: Sequence[str]
) -> dict[str, Any]:
    """What the adapter changes on these rows: their answers' mean loss with it and without, how many short answers differ.

    Raises FactoryError where it changes neither.
    """
    questions = [
        Question(row.prompt, replace(task, max_new_tokens=min(SHORT, task.max_new_tokens)))
        for row in examples
        for task in [context.domain.task(row.task)]
    ]

    asked, _ = parts_of(tokenizer, examples, context.config.sft.max_length)

    def seen() -> tuple[float, list[str]]:
        texts = [found.text for found in answer(model, tokenizer, questions, stop=stop)]
        return sum(losses(model, asked)) / len(asked), texts

    loss, texts = seen()
    with model.disable_adapter():
        loss_without, texts_without = seen()
    differ = sum(a != b for a, b in zip(texts, texts_without, strict=True))
    if not differ and abs(loss - loss_without) < FALL * loss_without:
        raise FactoryError(
            f"{context.stage}: the adapter changes nothing: {len(texts)} training questions get the same answers without it.",
            f"Raise {rate_key(context)} or the epochs.",
        )
    context.say(
        f"    adapter on and off: loss {loss:.2f} and {loss_without:.2f}, {differ} of {len(texts)} answers differ"
    )
    return {
        "loss": round(loss, 4),
        "loss_without": round(loss_without, 4),
        "answers": len(texts),
        "answers_that_differ": differ,
    }
