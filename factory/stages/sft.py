"""sft: supervised fine-tuning of a LoRA adapter on the curated examples, by TRL's SFTTrainer; in a round, of the last one's."""

from __future__ import annotations

from typing import Any

from factory.files import write_json
from factory.hardware import inspect_machine
from factory.models import add_adapter, base_folder, find_base, load_base, quiet_libraries
from factory.plan import plan_sft, require_fit, work_of
from factory.records import Example, read_records
from factory.rounds import adapter_mark, as_often, best_adapter, check_base
from factory.selection import in_turn
from factory.stage import Context, Stage
from factory.training import (
    LEAST_DEV,
    MOST_DEV,
    dev_settings,
    fit,
    lora_weights,
    project_labelled_positions_only,
    require_rows,
    row_order,
    row_passes,
    save_adapter,
    trainer_config,
)
from factory.trial import moved, rehearse


def run(context: Context) -> dict[str, Any]:
    settings = context.config.sft
    if context.earlier:
        check_base(context)
    quiet_libraries()
    machine = inspect_machine()
    examples = read_records(context.input("curate") / "train.jsonl", Example)
    if context.earlier:
        examples = as_often(context, examples)
    work = work_of(context.config.base, examples, context.config.language)
    if work.estimated:  # say what does not fit before it is fetched
        require_fit(plan_sft(context.config, machine, work, measure=False))
    folder = base_folder(context.config.base, settings.quantization, context.say)
    work = work_of(context.config.base, examples, context.config.language)
    plan = require_fit(plan_sft(context.config, machine, work))
    for line in plan.lines():
        context.say(f"    {line}")

    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    project_labelled_positions_only()
    model, tokenizer = load_base(folder, settings.quantization, machine)
    if context.earlier:
        model = add_adapter(model, best_adapter(context.earlier), trainable=True)
    order = row_order(work.lengths, settings.batch, row_passes(settings, work.tasks), context.config.seed)
    dev = _dev(context)
    rows, dev_rows = (
        Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in part])
        for part in ([examples[row] for row in order], dev)
    )
    lora = (
        None
        if context.earlier
        else LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    )
    config = trainer_config(
        SFTConfig,
        settings,
        context,
        machine,
        per_device_train_batch_size=plan.batch,
        gradient_accumulation_steps=plan.accumulation,
        gradient_checkpointing=plan.checkpointing,
        **dev_settings(settings, len(dev), plan.batch),
    )
    torch.manual_seed(context.config.seed)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=rows,
        eval_dataset=dev_rows if dev else None,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[EarlyStoppingCallback(settings.early_stop)] if dev and config.eval_strategy != "no" else [],
    )
    require_rows(trainer, len(order), context)
    before = lora_weights(trainer.model)
    trial = rehearse(trainer, context)
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    base = find_base(context.config.base)
    proof = moved(trainer.model, tokenizer, in_turn(examples, 8), context, base.stop)
    write_json(
        context.out / "base.json",
        {"name": context.config.base, "path": str(folder), "license": base.license, "stop": base.stop},
    )
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
        "plan": {"memory_gb": plan.memory_gb, "minutes": plan.minutes, "batch": plan.batch},
        "trial": trial,
        "proof": proof,
        **told,
    }


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
    known = {"base weights": base.sha256 or base.id or base.name, "base template": base.chat_template}
    often = {"rounds.epochs": str(context.config.rounds.epochs)} if context.earlier else {}
    return known | adapter_mark(context) | often


STAGE = Stage("sft", run, reads=("curate",), settings=("base", "sft"), watches=_watches)
