"""What SFT and DPO share: TRL's configs from a short section, an order of rows that resumes exactly, checks that it learned."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.config import Dpo, Sft
from factory.errors import FactoryError, suggest
from factory.files import read_json
from factory.guard import WINDOW, LossGuard
from factory.hardware import Machine, bf16_factor, forget_peak, give_memory_back, peak_memory_gb, trim_memory
from factory.progress import Progress
from factory.ranks import is_first, over_ranks, whole
from factory.records import Example, read_records, read_rows
from factory.stage import SCRATCH, Context
from factory.trackers import tracker


def rows_to_learn(curate: Path) -> list[Example]:
    """The rows that SFT learns: those of the domain, then the general ones that are mixed in (`curate.general`)."""
    general = curate / "general.jsonl"
    return read_records(curate / "train.jsonl", Example) + (read_records(general, Example) if general.exists() else [])


SEEN, MOST_PASSES = 1100, 4  # rows that training sees where nothing is said: chosen on cooking's training recipes


def passes(epochs: float, rows: int) -> float:
    """The epochs to train: as set, or by the number of rows, as few of them need more passes."""
    return epochs or float(min(MOST_PASSES, max(1, round(SEEN / max(1, rows)))))


def row_passes(settings: Sft, tasks: Sequence[str]) -> list[float]:
    """How often each row is seen, by its task: as `sft.task_epochs` says, else as often as every other row."""
    epochs = passes(settings.epochs, len(tasks))
    often = [float(settings.task_epochs.get(task, epochs)) for task in tasks]
    if not any(often):
        raise FactoryError("sft.task_epochs leaves no row to train on.", "Give a task of the rows a number above 0.")
    return often


def row_order(lengths: Sequence[int], batch: int, epochs: float | Sequence[float], seed: int) -> list[int]:
    """Rows in training order: batches of near-equal length, shuffled anew for every epoch.

    `epochs`: of all rows, or of each; a row that is seen less often than others is spread over the whole training, so that no
    task comes last alone and what came first is not forgotten. The order depends on nothing but the arguments and is consumed
    front to back, so that a resumed run sees the very rows that an unbroken one would.
    """
    order: list[int] = []
    left: list[int] = []  # rows that filled no batch wait for the next epoch, so that batches stay aligned
    rng = random.Random(seed)
    often = [epochs] * len(lengths) if isinstance(epochs, float | int) else epochs
    count = math.ceil(max(often, default=0))
    places = list(range(len(lengths)))
    random.Random(f"{seed}/turns").shuffle(places)
    turn = [place / len(places) for place in places]  # with 0.5 epochs every second row is seen, in any of them
    for epoch in range(count):
        every = list(range(len(lengths)))
        rng.shuffle(every)
        due = [math.floor(turn[row] + often[row] * (epoch + 1) / count) for row in every]
        had = [math.floor(turn[row] + often[row] * epoch / count) for row in every]
        rows = left + [row for row, now, before in zip(every, due, had, strict=True) if now > before]
        full = len(rows) // batch * batch
        rows, left = rows[:full], rows[full:]
        rows.sort(key=lambda row: lengths[row] // 8)
        batches = [rows[start : start + batch] for start in range(0, full, batch)]
        rng.shuffle(batches)
        order += [row for piece in batches for row in piece]
    return order + left


def keeps_trunk(settings: Sft, processes: int, order: Sequence[int]) -> bool:
    """Whether the frozen layers below the adapter compute each row once: some row comes again, with the same numbers, in this process."""
    other = settings.trainer.get("packing") or settings.trainer.get("neftune_noise_alpha")
    return bool(settings.top_layers) and processes == 1 and not other and len(set(order)) < len(order)


SLOW_BF16 = 3.0  # times fp32: far above what processors with some bf16 need, far below those that emulate it


def trainer_config(kind: type, section: Sft | Dpo, context: Context, machine: Machine, **own: Any) -> Any:
    """TRL's config: what the section says, what this machine needs, then the section's `trainer` table word for word."""
    known = {field.name for field in dataclasses.fields(kind)}
    for key in section.trainer:
        if key not in known:
            raise FactoryError(f"[{context.stage}.trainer]: {kind.__name__} has no '{key}'.", suggest(key, known))
    defaults: dict[str, Any] = {
        "output_dir": str(context.out / SCRATCH),
        "num_train_epochs": 1,  # the order of rows already holds every epoch
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": section.batch,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "max_length": section.max_length,
        "save_strategy": "steps",
        "save_steps": section.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN is to be seen, not averaged away
        "gradient_checkpointing": bool(machine.gpu),
        "bf16": machine.native_bf16,
        "use_cpu": not machine.gpu,
        "seed": context.config.seed,
        "report_to": [],
        "project": f"factory-{context.config.name}",
        "run_name": f"{context.run_dir.name}-{context.stage}",
        "disable_tqdm": True,
        "dataloader_pin_memory": bool(machine.gpu),
        "ddp_find_unused_parameters": False,
    }
    try:
        config = kind(**{**defaults, **own, **section.trainer})
    except (TypeError, ValueError) as error:
        raise FactoryError(f"[{context.stage}.trainer]: {error}", "See TRL's documentation of its config.") from error
    if config.bf16 and not machine.gpu and not machine.native_bf16:
        _require_bf16(context)
    config._n_gpu = min(1, config.n_gpu)  # a process has one GPU: else transformers would spread over all that it sees
    return config


def _require_bf16(context: Context) -> None:
    """Say what bf16 costs on a processor that has none, or none that is quick; refuse what would look like a run that hangs."""
    factor, what = bf16_factor(), f"[{context.stage}.trainer] bf16"
    told = f"a matrix product takes {factor:.3g} times as long as in fp32 on this processor (measured now)"
    if factor > SLOW_BF16:
        raise FactoryError(f"{what}: {told}.", "Take it out: without it training runs in fp32 here.")
    if is_first():
        context.say(f"    {what}: {told}; training was quicker in fp32 on processors without AMX")


LEAST_DEV, MOST_DEV = 24, 48  # dev rows whose loss is taken: fewer say too little, more cost too much
DEV_SHARE = 10  # training rows between two readings for each dev row: they cost a twentieth of the training


def dev_settings(settings: Sft, rows: int) -> dict[str, Any]:
    """What TRL's config needs to read the loss of so many dev rows now and then; empty: they are too few, or it is off."""
    if not settings.early_stop or rows < LEAST_DEV:
        return {}
    saves = math.ceil(DEV_SHARE * rows / (settings.save_steps * settings.batch))
    return {
        "eval_strategy": "steps",
        "eval_steps": saves * settings.save_steps,  # a checkpoint is there whenever one is the best
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "per_device_eval_batch_size": 1,  # the mean over rows, however many a machine or a process takes at once
    }


def require_rows(trainer: Any, given: int, context: Context) -> None:
    """Say how many of the given rows TRL left out, as their question alone fills `max_length`; FactoryError where none is left."""
    left, key = len(trainer.train_dataset), f"{context.stage}.max_length = {trainer.args.max_length}"
    if left == 0:
        raise FactoryError(
            f"{context.stage}: no row has a token of its answer within {key}.",
            f"Raise {context.stage}.max_length; factory check {context.config.name} tells how long the rows are.",
        )
    if left < given and not getattr(trainer.args, "packing", False):
        context.say(f"    left out: {given - left} of {given} rows, whose question alone fills {key}")


def fit(trainer: Any, context: Context) -> dict[str, Any]:
    """Train, going on from the last whole checkpoint, and end with the best one; return steps, tokens, seconds and losses.

    In ranks the first one alone watches, takes the best weights and tells.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_logs_before_saves())
    trainer.add_callback(_trims_memory())
    if is_first():
        trainer.add_callback(_Watch(trainer, context)())
    last = last_checkpoint(context.out / SCRATCH)
    if last:
        context.say(f"    going on from {last.name}")
    elif (context.out / "log.jsonl").exists():
        context.say("    from its first step: it was broken off before its first checkpoint")
    if is_first() and (found := tracker(context, int(last.name.rpartition("-")[2]) if last else 0)):
        trainer.add_callback(found)
    give_memory_back()
    forget_peak()
    if not last or not _had_stopped(trainer, last):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    peak = over_ranks(peak_memory_gb(), "max" if trainer.args.n_gpu else "sum")
    if not is_first():
        return {}
    rows = [row for _, row in read_rows(context.out / "log.jsonl") if "loss" in row]
    if trainer.state.global_step == 0 or not rows:
        raise FactoryError(f"{context.stage}: no training step was made.", "Too few rows? See the curate stage.")
    tail = [row["loss"] for row in rows if row["step"] > rows[-1]["step"] - 25]
    return {
        "steps": trainer.state.global_step,
        "planned_steps": trainer.state.max_steps,
        "tokens": rows[-1]["tokens"],
        "seconds": rows[-1]["seconds"],
        "first_loss": rows[0]["loss"],
        "final_loss": round(sum(tail) / len(tail), 4),
        "peak_memory_gb": round(peak, 2),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        **_take_best(trainer, context),
    }


def _had_stopped(trainer: Any, last: Path) -> bool:
    """Whether the training had ended early at its last checkpoint; if not, its early stop goes on counting from there."""
    from transformers import EarlyStoppingCallback, TrainerState

    state = TrainerState.load_from_json(str(last / "trainer_state.json"))
    known = state.stateful_callbacks.get("EarlyStoppingCallback")
    for callback in trainer.callback_handler.callbacks:
        if known and isinstance(callback, EarlyStoppingCallback):
            callback.early_stopping_patience_counter = known["attributes"]["early_stopping_patience_counter"]
            if callback.early_stopping_patience_counter >= callback.early_stopping_patience:
                trainer.state = state
                return True
    return False


def _take_best(trainer: Any, context: Context) -> dict[str, Any]:
    """Put the weights of the lowest dev loss back where a later step was worse; tell that step and its loss."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    state = trainer.state
    if not state.best_global_step:
        return {}
    if state.best_global_step < state.global_step:
        best = context.out / SCRATCH / f"checkpoint-{state.best_global_step}" / "adapter_model.safetensors"
        if not best.exists():
            context.say(
                f"    step {state.best_global_step} had the lowest dev loss and no checkpoint: the last is taken"
            )
            return {}
        set_peft_model_state_dict(trainer.model, load_file(best))
    return {"best_step": state.best_global_step, "dev_loss": round(state.best_metric, 4)}


def save_adapter(trainer: Any, tokenizer: Any, context: Context, before: dict[str, Any]) -> None:
    """Save the adapter in PEFT's layout beside the chat template it was trained with; in ranks the first one does."""
    after = lora_weights(trainer.model)
    if not is_first():
        return
    still = [name for name, weight in after.items() if name in before and bool((weight == before[name]).all())]
    if not after or len(still) == len(after):
        raise FactoryError(f"{context.stage}: training changed no weight.", "Raise learning_rate or epochs.")
    if any(not bool(weight.isfinite().all()) for weight in after.values()):
        raise FactoryError(f"{context.stage}: the adapter holds NaN.", f"Lower {context.stage}.learning_rate.")
    adapter = context.out / "adapter"
    trainer.model.save_pretrained(adapter, selected_adapters=["default"], state_dict=after)
    tokenizer.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)


def lora_weights(model: Any) -> dict[str, Any]:
    """Copies of the weights that training may change, by name."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return {name: whole(weight.detach()).cpu().clone() for name, weight in trained}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; broken ones are removed (in ranks by the first one)."""
    whole: list[Path] = []
    for path in folder.glob("checkpoint-*"):
        try:
            state = read_json(path / "trainer_state.json")
            ready = state["global_step"] > 0 and all(any(path.glob(name)) for name in _CHECKPOINT_FILES)
        except (FactoryError, KeyError, TypeError):
            ready = False
        if ready:
            whole.append(path)
        elif is_first():
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


_CHECKPOINT_FILES = (
    "adapter_model.safetensors",
    "optimizer.*",
    "scheduler.pt",
    "rng_state*.pth",
)  # FSDP: optimizer.bin


def rate_key(context: Context) -> str:
    """The key of the stage's learning rate."""
    section = getattr(context.config, context.stage)
    if "learning_rate" in section.trainer:
        return f"{context.stage}.trainer.learning_rate"
    of_a_round = context.earlier and context.stage == "sft" and context.config.rounds.learning_rate
    return "rounds.learning_rate" if of_a_round else f"{context.stage}.learning_rate"


def _logs_before_saves() -> Any:
    """The callback that leaves no checkpoint whose loss was not looked at; a log takes every rank."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_log |= control.should_save

    return Callback()


TRIM = 64  # steps after which freed memory goes back: batches of other lengths leave holes, and the process could grow on and on


def _trims_memory() -> Any:
    """The callback that hands freed memory back now and then; `keep_freed_memory` keeps it for the steps between."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % TRIM == 0:
                trim_memory()

    return Callback()


class _Watch:
    """Builds the trainer callback that keeps log.jsonl, says the progress, and has every loss looked at."""

    def __init__(self, trainer: Any, context: Context) -> None:
        self.context, self.arguments = context, trainer.args
        dtype = str(trainer.model.dtype).removeprefix("torch.")
        self.dtype = "float16" if trainer.args.fp16 else "bfloat16" if trainer.args.bf16 else dtype

    def guard(self, known: list[float]) -> LossGuard:
        return LossGuard(self.context.stage, self.dtype, self.arguments.learning_rate, rate_key(self.context), known)

    def __call__(self) -> Any:
        from transformers import TrainerCallback

        context, path, new_guard = self.context, self.context.out / "log.jsonl", self.guard

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                kept = [row for _, row in read_rows(path) if row["step"] <= state.global_step] if path.exists() else []
                path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
                self.started = time.monotonic()
                self.before = kept[-1] if kept else {"tokens": 0, "seconds": 0.0}  # TRL counts anew after a resume
                self.guard = new_guard([row["loss"] for row in kept if "loss" in row])
                self.progress = Progress(context.say, f"{context.stage} step", state.max_steps)
                self.progress.start_at(state.global_step)
                self.note = self.dev = ""
                self.tokens = self.parts = 0

            def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.parts += 1
                self.progress.at(state.global_step + self.parts / args.gradient_accumulation_steps, self.note)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.parts = 0
                if not control.should_log:
                    self.progress.at(state.global_step, self.note)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                seconds = time.monotonic() - self.started
                if "eval_loss" in logs:
                    self._looked_at(state.global_step, args.logging_steps, logs["eval_loss"], dev=True)
                    self.dev = f" (dev {logs['eval_loss']:.3f})"
                    self._keep(state, seconds, {"dev_loss": round(logs["eval_loss"], 4)})
                elif "loss" in logs:
                    loss = float(logs["loss"])
                    self._looked_at(state.global_step, args.logging_steps, loss)
                    self.tokens = int(logs.get("num_tokens", 0))
                    row = {"loss": round(loss, 4), "learning_rate": float(logs.get("learning_rate", 0))}
                    row |= {key: float(logs[key]) for key in ("rewards/accuracies", "rewards/margins") if key in logs}
                    self._keep(state, seconds, row)
                    self.note = f"loss {loss:.3f}{self.dev}, {self.tokens / max(seconds, 1e-9):.0f} tokens/s"
                    self.progress.at(state.global_step, self.note)

            def _looked_at(self, step: int, every: float, loss: float, dev: bool = False) -> None:
                try:
                    self.guard.finite(step, loss, "dev loss") if dev else self.guard.look(step, loss)
                except FactoryError as error:
                    bad = WINDOW if math.isfinite(loss) else 1
                    raise FactoryError(error.message, f"{error.hint}; {_good(context, step - bad * every)}") from None

            def _keep(self, state: Any, seconds: float, row: dict[str, float]) -> None:
                now = {
                    "tokens": self.before["tokens"] + self.tokens,
                    "seconds": round(self.before["seconds"] + seconds, 1),
                }
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": state.global_step, "steps": state.max_steps} | row | now) + "\n")

        return Callback()


def _good(context: Context, before: float) -> str:
    """Drop the checkpoints from step `before` on, whose weights are spoilt, and say where the last good one is."""
    for path in (context.out / SCRATCH).glob("checkpoint-*"):
        if int(path.name.rpartition("-")[2]) >= before:
            shutil.rmtree(path)
    good = last_checkpoint(context.out / SCRATCH)
    return f"the last good checkpoint is {good}" if good else "no checkpoint was made before that"
