"""sft: supervised fine-tuning of a LoRA adapter on the curated examples, by TRL's SFTTrainer; in a round, of the last one's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.answers import weights_digest
from factory.config import Sft
from factory.files import weights_mark, write_json
from factory.hardware import inspect_machine
from factory.models import add_adapter, base_folder, fetched_revision, find_base, load_base, quiet_libraries
from factory.plan import plan_sft, require_fit, work_of
from factory.ranks import evened, is_first, rank, spread_settings, train_together
from factory.records import Example, read_records
from factory.rounds import adapter_mark, as_often, best_adapter, check_base
from factory.selection import in_turn
from factory.stage import Context, Stage
from factory.training import (
    LEAST_DEV,
    MOST_DEV,
    dev_settings,
    fit,
    keeps_trunk,
    lora_weights,
    require_rows,
    row_order,
    row_passes,
    rows_to_learn,
    save_adapter,
    trainer_config,
)
from factory.trial import moved, rehearse

SHOWN = 4  # training rows that are answered with the adapter on and off


def run(context: Context) -> dict[str, Any]:
    settings = context.config.sft
    if context.earlier:
        check_base(context)
    quiet_libraries()
    machine = inspect_machine().shared_by(context.ranks)
    examples = _examples(context)
    work = work_of(context.config.base, examples, context.config.language)
    if work.estimated:  # say what does not fit before it is fetched
        require_fit(plan_sft(context.config, machine, work, measure=False))
    folder = base_folder(context.config.base, settings.quantization, context.say)
    work = work_of(context.config.base, examples, context.config.language)
    plan = require_fit(plan_sft(context.config, machine, work))
    for line in plan.lines():
        context.say(f"    {line}")

    order = row_order(work.lengths, settings.batch, row_passes(settings, work.tasks), context.config.seed)
    told = train_together(
        train,
        context,
        folder=str(folder),
        order=order,
        batch=plan.batch,
        accumulation=plan.accumulation,
        checkpointing=plan.checkpointing,
        spread=plan.spread,
    )
    write_json(context.out / "base.json", _note(context.config.base, folder))
    ended = f" of {told['planned_steps']}: early stop" if told["steps"] < told["planned_steps"] else ""
    note = f"{told['steps']} steps{ended}, loss {told['first_loss']:.2f} -> {told['final_loss']:.2f} (mean of the last 25 steps)"
    if "best_step" in told:
        note += (
            f"; handed on: the adapter of step {told['best_step']}, with the lowest dev loss ({told['dev_loss']:.2f})"
        )
    return {
        "note": note,
        "base": context.config.base,
        "quantization": plan.quantization,
        "dtype": machine.dtype,
        "epochs": round(len(order) / len(examples), 4),
        "cut_rows": sum(length > settings.max_length for length in work.lengths),
        "plan": {"memory_gb": plan.memory_gb, "minutes": plan.minutes, "batch": plan.batch, "spread": plan.spread},
        **told,
    }


def train(
    context: Context, folder: str, order: list[int], batch: int, accumulation: int, checkpointing: bool, spread: bool
) -> dict[str, Any]:
    """The training itself, in the build's own process or in a rank: base in `folder`, the curated rows in `order`."""
    import torch
    from datasets import disable_progress_bars
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig, SFTTrainer

    from factory.fused import fuse, fuse_head
    from factory.trunk import keep_trunk

    settings, machine = context.config.sft, inspect_machine()
    disable_progress_bars()
    fuse_head()
    model, tokenizer = load_base(Path(folder), settings.quantization, machine, spread)
    if context.earlier:
        model = add_adapter(model, best_adapter(context.earlier), trainable=True)
    examples, dev = _examples(context), [] if spread else _dev(context)
    config = trainer_config(
        SFTConfig,
        settings,
        context,
        machine,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=checkpointing,
        **dev_settings(settings, len(dev)),
        **(spread_settings() if spread else {}),
    )
    torch.manual_seed(context.config.seed)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=_rows([examples[row] for row in order]),
        eval_dataset=_rows(dev) if dev else None,
        processing_class=tokenizer,
        peft_config=None if context.earlier else _lora(settings, model),
        callbacks=[EarlyStoppingCallback(settings.early_stop)] if dev and config.eval_strategy != "no" else [],
    )
    require_rows(trainer, len(order), context)
    if machine.fuses and not config.bf16 and not config.fp16:
        fuse(trainer.model)
    if keeps_trunk(settings, context.ranks.world, order):
        keep_trunk(trainer.model)
    before = lora_weights(trainer.model)
    if spread:
        context.say("    left out, as no process has all weights: trial, early stop, adapter on and off")
    trial = {} if spread else rehearse(trainer, context)
    trainer.train_dataset = evened(
        trainer.train_dataset,
        config.per_device_train_batch_size,
        lambda row: row | {"labels": [-100] * len(row["labels"])},
    )
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    if not is_first():
        return {}
    stop = find_base(context.config.base).stop
    own = in_turn([row for row in examples if row.provenance.get("kind") != "general"], SHOWN)
    proof = {} if spread else moved(trainer.model, tokenizer, own, context, stop)
    return {"trial": trial, "proof": proof, **told}


def _note(name: str, folder: Path) -> dict[str, Any]:
    """What later stages and exports must know of the base in `folder`."""
    base = find_base(name)
    known = {"name": name, "path": str(folder), "license": base.license, "stop": base.stop}
    if base.source == "path":  # no catalog tells its digest, and another may lie at that place one day
        known["weights"] = weights_mark(folder)
    if base.source == "hub":  # `main` is another commit one day
        known["revision"] = fetched_revision(base)
    return known


def _rows(examples: Sequence[Example]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in examples])


def _lora(settings: Sft, model: Any) -> Any:
    """On all linear layers, or on those of the topmost `top_layers` layers."""
    import torch
    from peft import LoraConfig

    layers = model.config.get_text_config().num_hidden_layers
    where: dict[str, Any] = {"target_modules": "all-linear"}
    if 0 < settings.top_layers < layers:
        linear = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if ".layers." in name and isinstance(module, torch.nn.Linear)
        }
        where = {
            "target_modules": sorted(linear),
            "layers_to_transform": list(range(layers - settings.top_layers, layers)),
        }
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        task_type="CAUSAL_LM",
        **where,
    )


def _examples(context: Context) -> list[Example]:
    examples = rows_to_learn(context.input("curate"))
    return as_often(context, examples) if context.earlier else examples


def _dev(context: Context) -> list[Example]:
    """The kept-back rows whose loss is read while training goes on, near lengths together; none where it is off.

    In a round none: its rows are new, and the lowest loss of the earlier ones would be that of its first step.
    """
    if context.earlier or not context.config.sft.early_stop:
        return []
    rows = in_turn(read_records(context.input("curate") / "dev.jsonl", Example), MOST_DEV)
    lengths = work_of(context.config.base, rows, context.config.language).lengths
    whole = [place for place, length in enumerate(lengths) if length <= context.config.sft.max_length]
    if len(whole) < LEAST_DEV:
        context.say(f"    early stop is off: {len(whole)} dev rows, fewer than {LEAST_DEV}")
        return []
    return [rows[place] for place in sorted(whole, key=lambda place: lengths[place])]


def _watches(context: Context) -> dict[str, str]:
    base = find_base(context.config.base)
    own = weights_digest(Path(base.name), None) if base.source == "path" else ""
    known = {"base weights": own or base.sha256 or base.id or base.name, "base template": base.chat_template}
    often = {"rounds.epochs": str(context.config.rounds.epochs)} if context.earlier else {}
    return known | adapter_mark(context) | often


STAGE = Stage("sft", run, reads=("curate",), settings=("base", "sft"), watches=_watches)

if __name__ == "__main__":
    rank(train)
