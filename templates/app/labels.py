"""How likely a model finds each of a task's labels: the probability of its words, and of ending there, as shares of 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BATCH = 16  # labels in one pass


def weigh(model: Any, tokenizer: Any, prompt: Any, choices: Sequence[str], ends: Sequence[int]) -> list[float]:
    """Shares of `choices`, in their order, that sum to 1; `prompt` holds token ids (1 x length), any of `ends` closes an answer.

    A label's weight is exp(sum of log p(token)) over its tokens, times the probability of ending there, so that longer labels are
    not favoured by what they leave open. The prompt is read once; labels run in batches behind its cached keys and values.
    """
    import torch

    rows = [tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in choices]
    with torch.inference_mode():
        first = model(input_ids=prompt, use_cache=True)
        told = first.logits[0, -1].float().log_softmax(-1)
        weights: list[float] = []
        for start in range(0, len(rows), BATCH):
            weights += _batch(model, first.past_key_values, prompt.shape[1], told, rows[start : start + BATCH], ends)
    return torch.tensor(weights, dtype=torch.float64).softmax(-1).tolist()  # type: ignore[no-any-return]


def _batch(model: Any, past: Any, length: int, told: Any, rows: list[list[int]], ends: Sequence[int]) -> list[float]:
    """Log-probability of each row of token ids after the prompt, and of an end after it."""
    import copy

    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows], device=told.device)
    there = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], device=told.device)
    cache = copy.deepcopy(past)
    cache.batch_repeat_interleave(len(rows))
    before = torch.ones(len(rows), length, dtype=torch.long, device=told.device)
    output = model(input_ids=ids, attention_mask=torch.cat([before, there.long()], dim=1), past_key_values=cache)
    after = output.logits.float().log_softmax(-1)
    inside = (after[:, :-1].gather(2, ids[:, 1:, None])[..., 0] * there[:, 1:]).sum(-1)
    last = after[range(len(rows)), [len(row) - 1 for row in rows]]
    scores = told[ids[:, 0]] + inside + last[:, list(ends)].logsumexp(-1)
    return scores.tolist()  # type: ignore[no-any-return]
