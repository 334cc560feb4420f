"""Every architecture of the catalog on a tiny random model: SFT, DPO, merge, save, reload. NF4 rounding. The labelled-positions lever."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.config import Config, Dpo, Prefer, Sft
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.models import base_folder, catalog, load_base, load_nf4
from factory.records import Example, Preference, write_records
from factory.stage import Context
from factory.stages import dpo, sft

from .toy import SEALED, WORDS, adapter

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"query_pre_attn_scalar": 8, "sliding_window": 64},
    "gemma3_text": {"query_pre_attn_scalar": 8, "sliding_window": 64},
    "phi3": {"original_max_position_embeddings": 2048},
    "smollm3": {},
    "minicpm3": {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
                 "num_key_value_heads": 4, "head_dim": 16},
}  # fmt: skip
FAMILIES = {  # which architecture a name of the catalog has
    "smollm2": "llama", "llama": "llama", "minicpm-2b": "llama", "mistral": "mistral", "qwen2.5": "qwen2", "qwen3": "qwen3",
    "gemma-2": "gemma2", "gemma-3": "gemma3_text", "phi-3": "phi3", "phi-4-mini": "phi3", "smollm3": "smollm3",
    "minicpm3": "minicpm3",
}  # fmt: skip
FOREIGN: set[str] = set()  # architectures that need code from their own repository: none in the catalog


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SEALED.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "factory"))
    monkeypatch.chdir(tmp_path)


class Plain(Domain):
    """A domain in memory."""

    def tasks(self) -> list[Task]:
        return [Task("kind", "Kind", "choice", "What is {input}?", ("fruit", "tool"))]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def examples(count: int = 12) -> list[Example]:
    found = [
        Example(f"{kind}/{word}", "kind", message("user", f"What is {word}?"), message("assistant", kind))
        for kind, words in WORDS.items()
        for word in words.split()
    ]
    return random.Random(0).sample(found, count)


def context(base: Path, run_dir: Path, stage: str, quantization: str = "none") -> Context:
    """A run folder as curate and prefer leave it."""
    rows = examples()
    pairs = [
        Preference(
            row.id,
            row.task,
            row.prompt,
            row.completion,
            message("assistant", "tool" if row.answer == "fruit" else "fruit"),
        )
        for row in rows
    ]
    write_records(run_dir / "curate" / "train.jsonl", rows)
    write_records(run_dir / "curate" / "dev.jsonl", [])
    write_records(run_dir / "prefer" / "pairs.jsonl", pairs)
    config = Config(
        "plain", "Plain", "en", str(base),
        sft=Sft(quantization=quantization, learning_rate=1e-2, epochs=1, batch=4, lora_r=4, max_length=64),
        prefer=Prefer(min_pairs=4),
        dpo=Dpo(learning_rate=5e-3, batch=4, max_length=64),
    )  # fmt: skip
    return Context(Plain(config, base), run_dir, stage, say=lambda text: None)


def logits(model: Any, tokenizer: Any) -> Any:
    import torch

    text = tokenizer.apply_chat_template(message("user", "What is apple?"), tokenize=False, add_generation_prompt=True)
    with torch.inference_mode():
        return model.eval()(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sft_dpo_merge_and_reload(architecture: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from tiny import tiny_model
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base", architecture, initializer_range=0.1, **ARCHITECTURES[architecture])
    run = tmp_path / "run"
    told = sft.run(context(base, run, "sft"))
    assert told["steps"] == 3
    told = dpo.run(context(base, run, "dpo"))
    assert told["steps"] == 3 and told["first_loss"] == pytest.approx(math.log(2), abs=1e-3), (
        "it starts at its reference"
    )
    trained, tuned = adapter(run, "sft"), adapter(run, "dpo")
    assert [name for name in trained if (trained[name] == tuned[name]).all()] == [], "DPO moves every matrix"
    assert any(bool(weight.any()) for name, weight in trained.items() if "lora_B" in name)

    model, tokenizer = load_base(base, "none")
    plain = logits(model, tokenizer)
    model = PeftModel.from_pretrained(model, str(run / "dpo" / "adapter"))
    with_adapter = logits(model, tokenizer)
    assert (with_adapter - plain).abs().max() > 1e-2
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (logits(reloaded, tokenizer) - with_adapter).abs().max() < 1e-4


@pytest.mark.parametrize("factor", [115.0, 1.4])
def test_bf16_on_a_processor_without_it_is_one_line_with_the_measured_factor(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny import tiny_model

    from factory import training

    assert 0 < training.bf16_factor() < 1e4
    monkeypatch.setattr(training, "bf16_factor", lambda: factor)
    said: list[str] = []
    asked = replace(context(tiny_model(tmp_path / "base"), tmp_path / "run", "sft"), say=said.append)
    asked.domain.config = replace(asked.config, sft=replace(asked.config.sft, trial=0, trainer={"bf16": True}))
    if factor > 3:
        with pytest.raises(FactoryError, match=r"^\[sft.trainer\] bf16: a matrix product takes 115 times") as caught:
            sft.run(asked)
        assert "Take it out" in caught.value.hint
        assert not (tmp_path / "run" / "sft" / "adapter").exists()
    else:
        assert sft.run(asked)["steps"] == 3
        assert sum("takes 1.4 times as long as in fp32 on this processor (measured now)" in line for line in said) == 1


def test_the_reference_of_dpo_is_computed_once_for_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny import tiny_model
    from trl import DPOTrainer

    from factory import fused, prefix

    base = tiny_model(tmp_path / "base", initializer_range=0.1)
    sft.run(context(base, tmp_path / "run", "sft"))
    asked: list[int] = []
    own = DPOTrainer.compute_ref_log_probs

    def counted(self: Any, model: Any, inputs: Any) -> Any:
        asked.append(len(inputs["input_ids"]) // 2)
        return own(self, model, inputs)

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", counted)
    used: list[str] = []
    for module, name in ((fused, "fuse"), (prefix, "share_prefix")):
        lever = getattr(module, name)
        monkeypatch.setattr(module, name, lambda model, lever=lever, name=name: (used.append(name), lever(model))[1])
    sft.run(context(base, tmp_path / "again", "sft"))
    assert used == ["fuse", "fuse"], "the plan's second, then the training"
    twice = context(base, tmp_path / "run", "dpo")
    twice.domain.config = replace(twice.config, dpo=replace(twice.config.dpo, epochs=2.0))
    told = dpo.run(twice)
    assert told["steps"] == 6 and sum(asked) == 12 and used[2:] == ["fuse", "share_prefix"]
    assert told["first_loss"] == pytest.approx(math.log(2), abs=1e-3) and told["final_loss"] < told["first_loss"]


def test_every_catalog_entry_has_a_proven_architecture() -> None:
    unknown = {name for name in catalog() if not any(name.startswith(family) for family in FAMILIES)}
    assert unknown <= FOREIGN
    assert set(FAMILIES.values()) <= set(ARCHITECTURES)


def test_nf4_rounding_of_a_local_base(tmp_path: Path) -> None:
    from bitsandbytes.functional import has_avx512bf16
    from tiny import tiny_model

    base = tiny_model(
        tmp_path / "base", hidden_size=64, num_key_value_heads=4, head_dim=16, initializer_range=0.1
    )  # bitsandbytes on AVX512-BF16 takes whole blocks of 32 rows
    said: list[str] = []
    rounded = base_folder(str(base), "nf4", said.append)
    assert len(said) == 1
    assert rounded.is_relative_to(tmp_path / "factory")
    assert base_folder(str(base), "nf4", said.append) == rounded
    assert len(said) == 1, "rounded once"
    model, tokenizer = load_base(rounded, "nf4")
    original, _ = load_base(base, "none")
    weight, exact = model.model.layers[0].mlp.up_proj.weight, original.model.layers[0].mlp.up_proj.weight
    assert 0 < (weight - exact).abs().max() < 0.1
    assert all(len(block.unique()) <= 16 for block in weight.reshape(-1, 64)), "sixteen values a block"
    assert bool((model.model.embed_tokens.weight == original.model.embed_tokens.weight).all())
    assert not hasattr(model.config, "quantization_config")
    packed = load_nf4(base, "float32")
    near = 0.05 if has_avx512bf16() else 1e-4  # there bitsandbytes multiplies in bf16, whatever is asked for
    assert (logits(packed, tokenizer) - logits(model, tokenizer)).abs().max() < near, "QLoRA's own numbers"
    told = sft.run(context(base, tmp_path / "run", "sft", "nf4"))
    assert told["steps"] == 3
    assert (tmp_path / "run/sft/base.json").read_text(encoding="utf-8").count(str(rounded)) == 1


def test_nf4_is_rounded_anew_when_the_base_changes(tmp_path: Path) -> None:
    from tiny import tiny_model

    said: list[str] = []
    base_folder(str(tiny_model(tmp_path / "base")), "nf4", said.append)
    base_folder(str(tiny_model(tmp_path / "base", initializer_range=0.1)), "nf4", said.append)
    assert len(said) == 2
    other = base_folder(str(tiny_model(tmp_path / "other" / "base")), "nf4", said.append)
    assert len(said) == 3, "another folder of the same name is another base"
    assert base_folder(str(tmp_path / "base"), "nf4", said.append) != other


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_labelled_positions_only_gives_the_same_loss(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL's own path and the shorter one, same batch: loss and gradients. Gemma 2 caps its logits."""
    from tiny import tiny_model
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer import utils

    from factory.fused import Head, fuse_head

    seen: list[bool] = []
    own = utils._use_triton
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", ChunkedLogProbFunction)
    base = tiny_model(tmp_path / "base", architecture, initializer_range=0.1, **ARCHITECTURES[architecture])
    monkeypatch.setattr(utils, "_use_triton", lambda device: (seen.append(False), own(device))[1])
    loss, gradients = one_batch(base, tmp_path)
    assert seen, "TRL still asks this function: else the lever moves nothing"
    monkeypatch.setattr(utils, "_use_triton", own)
    fuse_head()
    assert utils._use_triton("cpu") is True and utils._ChunkedLogProbFunction is Head
    short_loss, short_gradients = one_batch(base, tmp_path)
    assert abs(loss - short_loss) < 1e-5
    assert max(float((a - b).abs().max()) for a, b in zip(gradients, short_gradients, strict=True)) < 1e-5


def one_batch(base: Path, out: Path) -> tuple[float, list[Any]]:
    """Loss of the same four rows, and the gradients of every LoRA matrix."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load_base(base, "none")
    rows = Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in examples(4)])
    config = SFTConfig(
        output_dir=str(out / "one"),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=4,
        disable_tqdm=True,
    )
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["labels"] == -100).any() and (batch["labels"] != -100).any()
    loss = trainer.compute_loss(trainer.model.train(), batch)
    loss.backward()
    return float(loss.detach()), [
        weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None
    ]


def test_a_cpu_answers_in_fp32_even_where_it_trains_in_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    import torch
    from tiny import tiny_model

    from factory import models
    from factory.generate import Question, answer

    base = tiny_model(tmp_path / "base", initializer_range=0.1)
    questions = [Question(message("user", "What is plum?")), Question(message("user", "What is a very long saw?"))]
    plain = answer(*models.load_answering(base, "none", None), questions)
    machine = dataclasses.replace(models.inspect_machine(), native_bf16=True)
    monkeypatch.setattr(models, "inspect_machine", lambda: machine)
    trained, _ = models.load_base(base, "none")
    model, tokenizer = models.load_answering(base, "none", None)
    assert {weight.dtype for weight in trained.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert answer(model, tokenizer, questions) == plain
