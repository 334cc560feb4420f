"""An adapter on the topmost layers: the frozen ones below compute each row once, and training sees the same numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.test_models import ARCHITECTURES, context
from integration.toy import adapter
from peft import LoraConfig, get_peft_model
from test_fused import learn
from tiny import tiny_model
from torch import nn
from transformers import AutoModelForCausalLM

from factory import trunk
from factory.config import Sft
from factory.fused import fuse
from factory.stages import dpo, sft
from factory.stages.sft import _lora
from factory.trunk import keep_trunk

ROWS = [[3, 4, 5, 6, 7], [8, 9, 3], [5, 5, 5, 5, 5, 9], [7, 4]]


def adapted(folder: Path, settings: Sft) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model = get_peft_model(model, _lora(settings, model)).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.05)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_come_again_are_not_computed_below_and_give_the_same(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", architecture, initializer_range=0.1, **ARCHITECTURES[architecture])
    plain, kept = (fuse(adapted(folder, Sft(lora_r=4, top_layers=1))) for _ in range(2))
    assert keep_trunk(kept) == 1
    computed: list[int] = []
    below = kept.get_base_model().get_decoder().layers[0]
    below.self_attn.register_forward_hook(lambda *_: computed.append(1))
    for places, known in [([0, 1], False), ([2, 3], False), ([1, 2], True), ([3, 0], True), ([0], True)]:
        computed.clear()
        (expected, expected_grads), (found, grads) = (
            learn(model, [ROWS[place] for place in places]) for model in (plain, kept)
        )
        assert bool(computed) is not known
        for one, other in zip(expected, found, strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert grads.keys() == expected_grads.keys() and all(".layers.1." in name for name in grads)
        for name, grad in grads.items():
            assert (grad - expected_grads[name]).abs().max() <= 1e-4 * grad.abs().max() > 0, name


def test_only_training_keeps_rows(tmp_path: Path) -> None:
    model = adapted(tiny_model(tmp_path / "base", initializer_range=0.1), Sft(lora_r=4, top_layers=1))
    keep_trunk(model)
    kept = model.get_base_model().get_decoder().layers[0].kept
    model.eval()
    ids = torch.tensor([ROWS[0]])
    before = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert not kept.rows
    model.train()(input_ids=ids.repeat(2, 1), attention_mask=torch.tensor([[0, 1, 1, 1, 1], [1] * 5]))
    assert not kept.rows, "padded in front: positions differ"
    learn(model, ROWS[:1])
    assert len(kept.rows) == 1
    answered = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False
    )
    assert answered.shape == (1, 8)
    assert torch.equal(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, before)


def test_an_adapter_on_every_layer_keeps_nothing(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base")
    assert keep_trunk(adapted(folder, Sft(lora_r=4))) == 0
    assert keep_trunk(adapted(folder, Sft(lora_r=4, top_layers=9))) == 0, "more layers than there are: all"
    everywhere = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=4, target_modules="all-linear")
    )
    names = {name for name, weight in everywhere.named_parameters() if weight.requires_grad}
    top = {
        name for name, weight in adapted(folder, Sft(lora_r=4, top_layers=1)).named_parameters() if weight.requires_grad
    }
    assert top == {name for name in names if ".layers.1." in name}


def test_sft_on_the_top_layer_teaches_as_without_keeping_and_dpo_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model(tmp_path / "base", initializer_range=0.1)
    used: list[int] = []
    ended = trunk.Kept.end
    monkeypatch.setattr(trunk.Kept, "end", lambda self, out: (used.append(len(self.keys)), ended(self, out))[1])

    def train(name: str) -> Any:
        own = context(base, tmp_path / name, "sft")
        settings = replace(own.config.sft, top_layers=1, epochs=3.0, trial=0)
        own.domain.config = replace(own.config, sft=settings)
        told = sft.run(own)
        assert told["steps"] == 9
        return adapter(tmp_path / name, "sft")

    found = train("kept")
    assert sum(used) == 12, "twelve rows, each once"
    monkeypatch.setattr(trunk, "keep_trunk", lambda model: 0)
    expected = train("plain")
    assert sum(used) == 12 and found.keys() == expected.keys() and all(".layers.1." in name for name in found)
    assert all((found[name] - expected[name]).abs().max() < 1e-3 for name in found)
    assert dpo.run(context(base, tmp_path / "kept", "dpo"))["steps"] == 3
    assert adapter(tmp_path / "kept", "dpo").keys() == found.keys()
