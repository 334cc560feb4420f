"""Packed layers answer as the plain ones do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from factory.models import load_base
from factory.packed import pack_linears


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "tie_word_embeddings": True}])
def test_same_numbers_with_and_without_bias(tmp_path: Path, changes: dict[str, bool]) -> None:
    model, tokenizer = load_base(tiny_model(tmp_path, **changes), "none")
    for parameter in model.parameters():  # biases start at zero
        torch.nn.init.normal_(parameter, std=0.2)
    packed = pack_linears(copy.deepcopy(model))
    plain_left = [name for name, layer in packed.named_modules() if type(layer) is torch.nn.Linear]
    assert plain_left == [] and any(type(layer) is torch.nn.Linear for layer in model.modules())
    ids = tokenizer(["Bake the bread for 20 minutes."] * 3, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        torch.testing.assert_close(packed(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
        found = [m.generate(ids, max_new_tokens=12, do_sample=False) for m in (model, packed)]
    assert torch.equal(*found)


def test_a_torch_without_the_operations_keeps_the_plain_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = load_base(tiny_model(tmp_path), "none")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert any(type(layer) is torch.nn.Linear for layer in pack_linears(model).modules())
