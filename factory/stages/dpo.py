"""dpo: direct preference optimization from the SFT adapter on, by TRL's DPOTrainer; the SFT adapter is the reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from factory.files import read_json
from factory.hardware import inspect_machine
from factory.models import add_adapter, load_base, quiet_libraries
from factory.ranks import evened, rank, spread_settings, train_together
from factory.records import Preference, read_records
from factory.stage import Context, Stage
from factory.training import (
    fit,
    lora_weights,
    require_rows,
    row_order,
    save_adapter,
    trainer_config,
)

LEAST_OF_EXPERTS = 8  # pairs that are trained on where an expert's is among them: two steps


def run(context: Context) -> dict[str, Any]:
    pairs = read_records(context.input("prefer") / "pairs.jsonl", Preference)
    least = context.config.prefer.min_pairs
    if any(pair.provenance.get("kind") == "expert" for pair in pairs):
        least = min(least, LEAST_OF_EXPERTS)
    if len(pairs) < least:
        reason = (
            f"left out: {len(pairs)} pairs, fewer than {least} (prefer.min_pairs = {context.config.prefer.min_pairs})"
        )
        return {"note": reason, "skipped": reason}
    spread = context.ranks.world > 1 and context.summary("sft")["plan"].get("spread", False)
    told = train_together(train, context, spread=spread)
    note = f"{told['steps']} steps on {len(pairs)} pairs, loss {told['first_loss']:.2f} -> {told['final_loss']:.2f}"
    return {"note": note, "pairs": len(pairs), "dtype": inspect_machine().dtype, **told}


def train(context: Context, spread: bool) -> dict[str, Any]:
    """The training itself, in the build's own process or in a rank.

    In one process the reference's log-probabilities of each pair are computed before it, once, however often the pair is seen;
    TRL 1.16 cannot hand them to other processes while the rows are in memory.
    """
    machine = inspect_machine()
    quiet_libraries()

    import torch
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig, DPOTrainer

    from factory.fused import fuse, fuse_head
    from factory.prefix import share_prefix

    settings = context.config.dpo
    disable_progress_bars()
    fuse_head()
    base = read_json(context.input("sft") / "base.json")
    model, tokenizer = load_base(Path(base["path"]), context.config.sft.quantization, machine, spread)
    model = add_adapter(model, context.input("sft") / "adapter", trainable=True)
    pairs = read_records(context.input("prefer") / "pairs.jsonl", Preference)
    fields = ("prompt", "chosen", "rejected")
    rows = Dataset.from_list([{field: getattr(pair, field) for field in fields} for pair in pairs])
    share = settings.batch // context.ranks.world
    at_once = share if machine.gpu else 1  # on a CPU a pair at a time: less memory than SFT was planned with
    once = context.ranks.world == 1
    config = trainer_config(
        DPOConfig,
        settings,
        context,
        machine,
        beta=settings.beta,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=share // at_once,
        precompute_ref_log_probs=once,
        **(spread_settings() if spread else {}),
    )
    if machine.fuses and not config.bf16 and not config.fp16:
        fuse(model)
        share_prefix(model)
    torch.manual_seed(context.config.seed)
    os.environ.setdefault("TQDM_DISABLE", "1")  # TRL's own bar for the reference
    if once:
        context.say(f"    reference: the SFT adapter's log-probabilities of {len(pairs)} pairs")
    trainer = DPOTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    require_rows(trainer, len(pairs), context)
    known = trainer.train_dataset
    lengths = [len(asked) + len(chosen) for asked, chosen in zip(known["prompt_ids"], known["chosen_ids"], strict=True)]
    trainer.train_dataset = known.select(row_order(lengths, settings.batch, settings.epochs, context.config.seed))
    trainer.train_dataset = evened(
        trainer.train_dataset,
        config.per_device_train_batch_size,
        lambda row: {
            key: row[key.replace("rejected", "chosen")] for key in row
        },  # no preference: its gradient is nothing
    )
    before = lora_weights(trainer.model)
    told = fit(trainer, context)
    save_adapter(trainer, tokenizer, context, before)
    return told


STAGE = Stage("dpo", run, reads=("sft", "prefer"), settings=("dpo", "prefer.min_pairs"))

if __name__ == "__main__":
    rank(train)
