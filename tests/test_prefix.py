"""DPO's pairs: what two rows begin with goes through the layers once, and every number stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from integration.test_models import ARCHITECTURES
from test_fused import adapted, learn
from tiny import tiny_model

from factory import prefix
from factory.fused import fuse
from factory.prefix import share_prefix

PAIRS = [
    ([3, 4, 5, 6, 7, 8, 9], [3, 4, 5, 6, 7, 10]),
    ([5, 5, 6, 9], [5, 5, 6, 9, 9, 9, 3]),
    ([7, 8, 3, 4, 5, 5], [7, 8, 3, 4, 5]),
]
ROWS = [first for first, _ in PAIRS] + [second for _, second in PAIRS]  # as TRL lays them out


@pytest.mark.parametrize("window", [4, 64])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pairs_give_the_same_with_their_beginning_computed_once(
    architecture: str, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = dict(ARCHITECTURES[architecture])
    if "sliding_window" in changes or architecture in ("mistral", "phi3"):
        changes["sliding_window"] = window
    elif window == 4:
        pytest.skip("it has no sliding window")
    model = fuse(adapted(tiny_model(tmp_path / "base", architecture, initializer_range=0.1, **changes)))
    expected, expected_grads = learn(model, ROWS)
    share_prefix(model)
    tokens: list[int] = []
    decoder = model.get_base_model().get_decoder()
    decoder.embed_tokens.register_forward_hook(lambda module, given, out: tokens.append(given[0].numel()))
    found, grads = learn(model, ROWS)
    assert tokens == [3 * 8], "three pairs of at most eight positions, not six rows of seven"
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        assert (grad - grads[name]).abs().max() < 1e-4 * grad.abs().max(), name


def test_rows_that_are_no_pairs_go_their_own_way(tmp_path: Path) -> None:
    model = adapted(tiny_model(tmp_path / "base", initializer_range=0.1))
    ids = torch.tensor([[3, 4, 5], [6, 7, 8], [9, 3, 4]])
    apart = torch.tensor([[3, 4, 5], [6, 7, 8]])
    expected = [model(input_ids=one, attention_mask=torch.ones_like(one)).logits for one in (ids, apart)]
    answer = model.generate(input_ids=ids[:1], attention_mask=torch.ones(1, 3), max_new_tokens=3, do_sample=False)
    share_prefix(model)
    share_prefix(model)
    found = [model(input_ids=one, attention_mask=torch.ones_like(one)).logits for one in (ids, apart)]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    again = model.generate(input_ids=ids[:1], attention_mask=torch.ones(1, 3), max_new_tokens=3, do_sample=False)
    assert torch.equal(answer, again)
    front = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert prefix._parts(apart, front) is None and prefix._parts(apart, None) is None
