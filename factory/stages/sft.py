"""sft: supervised fine-tuning of a LoRA adapter on the curated examples, by TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from factory.files import write_json
from factory.hardware import inspect_machine
from factory.models import base_folder, find_base, load_base, quiet_libraries
from factory.records import Example, read_records
from factory.stage import Context, Stage
from factory.training import fit, lora_weights, project_labelled_positions_only, row_order, save_adapter, trainer_config


def run(context: Context) -> dict[str, Any]:
    settings = context.config.sft
    quiet_libraries()
    machine = inspect_machine()
    for line in machine.lines():
        context.say(f"    {line}")
    folder = base_folder(context.config.base, settings.quantization, context.say)

    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    project_labelled_positions_only()
    examples = read_records(context.input("curate") / "train.jsonl", Example)
    model, tokenizer = load_base(folder, settings.quantization, machine)
    lengths = [_tokens(tokenizer, example) for example in examples]
    order = row_order(lengths, settings.batch, settings.epochs, context.config.seed)
    rows = Dataset.from_list(
        [{"prompt": examples[row].prompt, "completion": examples[row].completion} for row in order]
    )
    lora = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    config = trainer_config(SFTConfig, settings, context, machine)
    torch.manual_seed(context.config.seed)
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    before = lora_weights(trainer.model)
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    base = find_base(context.config.base)
    write_json(
        context.out / "base.json",
        {"name": context.config.base, "path": str(folder), "license": base.license, "stop": base.stop},
    )
    quantization = settings.quantization if machine.gpu or settings.quantization == "none" else "nf4, unpacked once"
    note = f"{told['steps']} steps, loss {told['first_loss']:.2f} -> {told['final_loss']:.2f}"
    return {
        "note": note,
        "base": context.config.base,
        "quantization": quantization,
        "dtype": machine.dtype,
        "cut_rows": sum(length > settings.max_length for length in lengths),
        **told,
    }


def _tokens(tokenizer: Any, example: Example) -> int:
    text = tokenizer.apply_chat_template(example.prompt + example.completion, tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _watches(context: Context) -> dict[str, str]:
    base = find_base(context.config.base)
    return {"base weights": base.sha256 or base.id or base.name, "base template": base.chat_template}


STAGE = Stage("sft", run, reads=("curate",), settings=("base", "sft"), watches=_watches)
