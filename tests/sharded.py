"""Ranks that train with FSDP on a CPU: Accelerate is told that its two gloo processes are GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.hardware import inspect_machine
from factory.models import add_adapter, load_nf4, load_tokenizer, quiet_libraries
from factory.ranks import rank, spread_settings
from factory.stage import Context
from factory.training import fit, lora_weights, save_adapter, trainer_config

WORDS = "apple pear plum grape melon cherry banana peach lemon olive mango kiwi fig saw rake axe".split()


def train(context: Context, folder: str, adapter: str, spread: bool) -> dict[str, Any]:
    """SFT of an NF4 base; with an `adapter`, DPO from it on."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from factory.fused import fuse_head

    quiet_libraries()
    disable_progress_bars()
    fuse_head()
    if spread:
        pretend_gpus()
    model, tokenizer = load_nf4(Path(folder), "float32", spread), load_tokenizer(Path(folder))
    own = {"gradient_checkpointing": True, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1}
    own |= {"save_steps": 2, "bf16": False} | (spread_settings() | {"use_cpu": False} if spread else {})
    section, machine = (context.config.dpo if adapter else context.config.sft), inspect_machine()
    config = trainer_config(DPOConfig if adapter else SFTConfig, section, context, machine, **own)
    rows = Dataset.from_list([{"prompt": turn("user", f"Say {w} twice")} | answers(w, bool(adapter)) for w in WORDS])
    torch.manual_seed(0)
    if adapter:
        model = add_adapter(model, Path(adapter), trainable=True)
        trainer = DPOTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    else:
        lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    before = lora_weights(trainer.model)
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    frozen = next(w for name, w in trainer.model.named_parameters() if "up_proj.base_layer" in name)
    return told | {"held": getattr(frozen, "_local_tensor", frozen).numel(), "whole": frozen.numel()}


def pretend_gpus() -> None:
    import os

    from accelerate import state
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    state.PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def answers(word: str, pair: bool) -> dict[str, Any]:
    right = turn("assistant", f"{word} {word}")
    return {"chosen": right, "rejected": turn("assistant", word)} if pair else {"completion": right}


if __name__ == "__main__":
    rank(train)
