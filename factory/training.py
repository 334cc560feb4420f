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
from factory.hardware import Machine, peak_memory_gb
from factory.progress import Progress
from factory.ranks import is_first, over_ranks
from factory.records import read_rows
from factory.stage import SCRATCH, Context


def project_labelled_positions_only() -> None:
    """Let TRL's fused head skip unlabelled positions on every device, as it does on Triton devices.

    The loss is the same sum over the same positions. With Gemma's vocabulary the head is most of the arithmetic. TRL keeps
    the choice in a private function (trl 1.16); where that is gone, training goes on with TRL's own behaviour.
    """
    from trl.trainer import utils

    if hasattr(utils, "_use_triton"):
        utils._use_triton = lambda device: True


SEEN, MOST_PASSES = 1100, 4  # rows that training sees where nothing is said: chosen on cooking's training recipes


def passes(epochs: float, rows: int) -> float:
    """The epochs to train: as set, or by the number of rows, as few of them need more passes."""
    return epochs or float(min(MOST_PASSES, max(1, round(SEEN / max(1, rows)))))


def row_order(lengths: Sequence[int], batch: int, epochs: float, seed: int) -> list[int]:
    """Rows in training order: batches of near-equal length, shuffled anew for every epoch.

    The order depends on nothing but the arguments and is consumed front to back, so that a resumed run sees the very rows
    that an unbroken one would.
    """
    order: list[int] = []
    left: list[int] = []  # rows that filled no batch wait for the next epoch, so that batches stay aligned
    rng = random.Random(seed)
    wanted = max(1, round(len(lengths) * epochs))
    while len(order) + len(left) < wanted:
        fresh = list(range(len(lengths)))
        rng.shuffle(fresh)
        rows = left + fresh
        full = len(rows) // batch * batch
        rows, left = rows[:full], rows[full:]
        rows.sort(key=lambda row: lengths[row] // 8)
        batches = [rows[start : start + batch] for start in range(0, full, batch)]
        rng.shuffle(batches)
        order += [row for piece in batches for row in piece]
    order += left
    return order[:wanted]


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
        "logging_steps": 5,
        "logging_first_step": True,
        "gradient_checkpointing": bool(machine.gpu),
        "bf16": machine.native_bf16,
        "use_cpu": not machine.gpu,
        "seed": context.config.seed,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": bool(machine.gpu),
        "ddp_find_unused_parameters": False,
    }
    config = kind(**{**defaults, **own, **section.trainer})
    config._n_gpu = min(1, config.n_gpu)  # a process has one GPU: else transformers would spread over all that it sees
    return config


def fit(trainer: Any, context: Context) -> dict[str, Any]:
    """Train, going on from the last whole checkpoint; return steps, tokens, seconds and losses (in ranks the first one does)."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    if is_first():
        trainer.add_callback(_Watch(context)())
    last = _last_checkpoint(context.out / SCRATCH)
    if last:
        context.say(f"    going on from {last.name}")
    elif (context.out / "log.jsonl").exists():
        context.say("    from its first step: it was broken off before its first checkpoint")
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    peak = over_ranks(peak_memory_gb(), "max" if trainer.args.n_gpu else "sum")
    if not is_first():
        return {}
    rows = [row for _, row in read_rows(context.out / "log.jsonl")]
    if trainer.state.global_step == 0 or not rows:
        raise FactoryError(f"{context.stage}: no training step was made.", "Too few rows? See the curate stage.")
    return {
        "steps": trainer.state.global_step,
        "tokens": rows[-1]["tokens"],
        "seconds": rows[-1]["seconds"],
        "first_loss": rows[0]["loss"],
        "final_loss": round(sum(row["loss"] for row in rows[-5:]) / len(rows[-5:]), 4),
        "peak_memory_gb": round(peak, 2),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }


def save_adapter(trainer: Any, tokenizer: Any, context: Context, before: dict[str, Any]) -> None:
    """Save the adapter in PEFT's layout beside the chat template it was trained with; in ranks the first one does."""
    if not is_first():
        return
    after = lora_weights(trainer.model)
    still = [name for name, weight in after.items() if name in before and bool((weight == before[name]).all())]
    if not after or len(still) == len(after):
        raise FactoryError(f"{context.stage}: training changed no weight.", "Raise learning_rate or epochs.")
    if any(not bool(weight.isfinite().all()) for weight in after.values()):
        raise FactoryError(f"{context.stage}: the adapter holds NaN.", f"Lower {context.stage}.learning_rate.")
    adapter = context.out / "adapter"
    trainer.model.save_pretrained(adapter, selected_adapters=["default"])
    tokenizer.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)


def lora_weights(model: Any) -> dict[str, Any]:
    """Copies of the weights that training may change, by name."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def _last_checkpoint(folder: Path) -> Path | None:
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


_CHECKPOINT_FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth")


class _Watch:
    """Builds the trainer callback that keeps log.jsonl, says the progress, and stops when the loss is no number."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __call__(self) -> Any:
        from transformers import TrainerCallback

        context, path = self.context, self.context.out / "log.jsonl"

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                kept = [row for _, row in read_rows(path) if row["step"] <= state.global_step] if path.exists() else []
                path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
                self.started = time.monotonic()
                self.before = kept[-1] if kept else {"tokens": 0, "seconds": 0.0}  # TRL counts anew after a resume
                self.progress = Progress(context.say, f"{context.stage} step", state.max_steps)
                self.progress.start_at(state.global_step)
                self.note = ""

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                self.progress.at(state.global_step, self.note)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                if not logs or "loss" not in logs:
                    return
                loss = float(logs["loss"])
                if not math.isfinite(loss):
                    raise FactoryError(
                        f"{context.stage}: the loss became {loss} at step {state.global_step}.",
                        f"Lower {context.stage}.learning_rate; the checkpoints before it are kept.",
                    )
                seconds = time.monotonic() - self.started
                tokens = int(float(logs.get("num_tokens", 0)))
                row = {
                    "step": state.global_step, "steps": state.max_steps, "loss": round(loss, 4),
                    "learning_rate": float(logs.get("learning_rate", 0)), "tokens": self.before["tokens"] + tokens,
                    "seconds": round(self.before["seconds"] + seconds, 1),
                }  # fmt: skip
                row |= {key: float(logs[key]) for key in ("rewards/accuracies", "rewards/margins") if key in logs}
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                self.note = f"loss {loss:.3f}, {tokens / max(seconds, 1e-9):.0f} tokens/s"

        return Callback()
