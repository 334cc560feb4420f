"""sft: supervised fine-tuning of a LoRA adapter on the curated examples, by TRL's SFTTrainer; in a round, of the last one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.files import write_json
from factory.hardware import inspect_machine
from factory.models import add_adapter, base_folder, find_base, load_base, quiet_libraries
from factory.plan import plan_sft, require_fit, work_of
from factory.ranks import evened, rank, train_together
from factory.records import Example, read_records
from factory.rounds import adapter_mark, as_often, best_adapter, check_base
from factory.stage import Context, Stage
from factory.training import (
    fit,
    lora_weights,
    passes,
    project_labelled_positions_only,
    row_order,
    save_adapter,
    trainer_config,
)


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

    epochs = passes(settings.epochs, len(examples))
    told = train_together(
        train,
        context,
        folder=str(folder),
        order=row_order(work.lengths, settings.batch, epochs, context.config.seed),
        batch=plan.batch,
        accumulation=plan.accumulation,
        checkpointing=plan.checkpointing,
    )
    base = find_base(context.config.base)
    write_json(
        context.out / "base.json",
        {"name": context.config.base, "path": str(folder), "license": base.license, "stop": base.stop},
    )
    note = (
        f"{told['steps']} steps, loss {told['first_loss']:.2f} -> {told['final_loss']:.2f} (mean of the last readings)"
    )
    return {
        "note": note,
        "base": context.config.base,
        "quantization": plan.quantization,
        "dtype": machine.dtype,
        "epochs": epochs,
        "cut_rows": sum(length > settings.max_length for length in work.lengths),
        "plan": {"memory_gb": plan.memory_gb, "minutes": plan.minutes, "batch": plan.batch},
        **told,
    }


def train(
    context: Context, folder: str, order: list[int], batch: int, accumulation: int, checkpointing: bool
) -> dict[str, Any]:
    """The training itself, in the build's own process or in a rank: base in `folder`, the curated rows in `order`."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    settings, machine = context.config.sft, inspect_machine()
    disable_progress_bars()
    project_labelled_positions_only()
    model, tokenizer = load_base(Path(folder), settings.quantization, machine)
    if context.earlier:
        model = add_adapter(model, best_adapter(context.earlier), trainable=True)
    examples = _examples(context)
    rows = Dataset.from_list(
        [{"prompt": examples[row].prompt, "completion": examples[row].completion} for row in order]
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
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=checkpointing,
    )
    torch.manual_seed(context.config.seed)
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    trainer.train_dataset = evened(
        trainer.train_dataset,
        config.per_device_train_batch_size,
        lambda row: row | {"labels": [-100] * len(row["labels"])},
    )
    before = lora_weights(trainer.model)
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    return told


def _examples(context: Context) -> list[Example]:
    examples = read_records(context.input("curate") / "train.jsonl", Example)
    return as_often(context, examples) if context.earlier else examples


def _watches(context: Context) -> dict[str, str]:
    base = find_base(context.config.base)
    known = {"base weights": base.sha256 or base.id or base.name, "base template": base.chat_template}
    often = {"rounds.epochs": str(context.config.rounds.epochs)} if context.earlier else {}
    return known | adapter_mark(context) | often


STAGE = Stage("sft", run, reads=("curate",), settings=("base", "sft"), watches=_watches)

if __name__ == "__main__":
    rank(train)
