"""The fused operations of training on a CPU: what peft, transformers and TRL compute, for every architecture of the catalog."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.test_models import ARCHITECTURES
from peft import LoraConfig, get_peft_model
from tiny import tiny_model
from torch import nn
from transformers import AutoModelForCausalLM
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer import utils

from factory import fused
from factory.fused import FusedGated, FusedLora, FusedNorm, Head, fuse, fuse_head

ALL = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def adapted(folder: Path, **lora: Any) -> Any:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", **lora)).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.05)
        elif "norm" in name:
            nn.init.normal_(weight, std=0.3)
    return model


def answers(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits of two rows, one of them padded, and the gradient of each LoRA matrix."""
    torch.manual_seed(1)
    ids = torch.randint(3, 12, (2, 9))
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    logits = model(input_ids=ids, attention_mask=mask).logits
    (logits * torch.randn_like(logits)).sum().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return logits.detach(), grads


def learn(model: Any, rows: list[list[int]]) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Logits of rows as one batch, padded behind, without the padding; the gradients of the adapter."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    model.zero_grad(set_to_none=True)
    logits = model(input_ids=ids, attention_mask=mask).logits
    own = [row[: len(given)] for row, given in zip(logits, rows, strict=True)]
    torch.manual_seed(3)
    sum((row * torch.randn_like(row)).sum() for row in own).backward()
    grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return [row.detach() for row in own], grads


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fused_model_computes_what_the_plain_one_does(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", architecture, initializer_range=0.1, **ARCHITECTURES[architecture])
    model = adapted(folder)
    logits, grads = answers(model)
    linear = sum(isinstance(module, fused.Linear) for module in model.modules())
    fuse(model)
    kinds = Counter(
        kind for module in model.modules() for kind in (FusedLora, FusedNorm, FusedGated) if isinstance(module, kind)
    )
    assert kinds[FusedLora] == linear > 0 and kinds[FusedNorm] >= 5, kinds
    assert kinds[FusedGated] == (0 if architecture == "phi3" else 2), kinds
    own_logits, own_grads = answers(model)
    assert torch.allclose(own_logits, logits, atol=1e-5) and not torch.equal(own_logits, torch.zeros_like(logits))
    assert set(own_grads) == set(grads) and all("lora_" in name for name in grads)
    for name, grad in grads.items():
        largest = grad.abs().max()
        assert largest > 0 and (own_grads[name] - grad).abs().max() < 1e-4 * largest, name
    assert fuse(model) is model and answers(model)[0].equal(own_logits), "fused once more it is the same"


def test_without_its_adapter_and_with_dropout_a_layer_does_what_peft_does(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", initializer_range=0.1)
    model = fuse(adapted(folder))
    with_adapter = answers(model)[0]
    with model.disable_adapter():
        assert not torch.allclose(model(input_ids=torch.ones(1, 3, dtype=torch.long)).logits, with_adapter[:1, :3])
        plain = model(input_ids=torch.ones(1, 3, dtype=torch.long)).logits
    base = AutoModelForCausalLM.from_pretrained(folder)
    for (_, weight), own in zip(base.named_parameters(), own_weights(model), strict=True):
        weight.data.copy_(own)
    assert torch.allclose(plain, base(input_ids=torch.ones(1, 3, dtype=torch.long)).logits, atol=1e-5)
    torch.manual_seed(2)
    dropped = adapted(folder, lora_dropout=0.5)
    expected = answers(dropped)[0]
    assert torch.equal(answers(fuse(dropped))[0], expected) or torch.allclose(answers(dropped)[0], expected, atol=1e-5)


def own_weights(model: Any) -> list[torch.Tensor]:
    return [weight for name, weight in model.named_parameters() if "lora_" not in name]


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize(("bias", "temperature", "scale"), [(False, 1.0, 1.0), (True, 0.7, 1.3)])
def test_the_head_gives_what_trl_gives(
    at_once: int, bias: bool, temperature: float, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weight, targets = torch.randn(50, 8), torch.randint(0, 50, (7,))
    added = torch.randn(50) if bias else None
    share = torch.randn(7)
    monkeypatch.setattr(fused, "LOGITS", 50 * at_once)
    found = []
    for kind in (Head, ChunkedLogProbFunction):
        hidden = torch.randn(7, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        told = kind.apply(hidden, weight, added, targets, temperature, 16, None, scale, ALL)
        (told[0] * share).sum().backward()
        found.append((told, hidden.grad))
    (ours, grad), (theirs, their_grad) = found
    assert all(torch.allclose(one.float(), other.float(), atol=1e-5) for one, other in zip(ours, theirs, strict=True))
    assert ours[4].dtype == theirs[4].dtype == torch.bool
    assert torch.allclose(grad, their_grad, atol=1e-5) and grad.abs().max() > 0


def test_the_head_leaves_to_trl_what_it_does_not_do_and_keeps_no_gradient_without_need() -> None:
    weight, targets = torch.randn(50, 8, requires_grad=True), torch.randint(0, 50, (7,))
    hidden = torch.randn(7, 8, requires_grad=True)
    told = Head.apply(hidden, weight, None, targets, 1.0, 16, None, 1.0, ("log_probs",))
    told[0].sum().backward()
    assert weight.grad is not None and told[1:] == (None,) * 4
    with torch.no_grad():
        assert Head.apply(hidden, weight.detach(), None, targets, 1.0, 16, 30.0, 1.0, ALL)[0].shape == (7,)
        assert not Head.apply(hidden, weight.detach(), None, targets, 1.0, 16, None, 1.0, ALL)[0].requires_grad
    nothing = hidden[:0]
    told = Head.apply(nothing, weight.detach(), None, targets[:0], 1.0, 16, None, 1.0, ALL)
    told[0].sum().backward()
    assert told[0].shape == (0,) and hidden.grad is not None
    assert [one.dtype for one in told] == [torch.float32] * 4 + [torch.bool]


def test_trl_takes_the_head_under_the_names_that_are_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_use_triton", "_ChunkedLogProbFunction"):
        monkeypatch.setattr(utils, name, getattr(utils, name))
    fuse_head()
    assert utils._use_triton("cpu") is True and utils._ChunkedLogProbFunction is Head
