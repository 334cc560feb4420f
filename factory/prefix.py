"""DPO on a CPU: what the chosen and the rejected answer of a pair begin with, above all their question, goes through the layers once.

The two rows of a pair become one: the first row, then the second from where they part, under a mask by which neither sees the
other's own part. Imports torch: import it where it is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


class SharedPrefix(torch.nn.Module):  # type: ignore[misc]
    """The forward of a decoder that is given TRL's pairs: rows of the first half answer what those of the second half answer."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        parts = _parts(input_ids, attention_mask)
        placed = kwargs.pop("position_ids", None)
        if parts is None or placed is not None or kwargs.get("use_cache") or kwargs.get("past_key_values") is not None:
            kwargs["position_ids"] = placed
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        lengths, shared = parts
        pairs, width = len(shared), input_ids.shape[1]
        longest = max(lengths[row] + lengths[pairs + row] - shared[row] for row in range(pairs))
        ids = input_ids.new_zeros(pairs, longest)
        positions = torch.zeros_like(ids)
        seen = torch.eye(longest, dtype=torch.bool).repeat(
            pairs, 1, 1
        )  # padding sees itself: no row of a mask is empty
        back = torch.zeros(2 * pairs, width, dtype=torch.long)  # where each position of a row went
        for row, begun in enumerate(shared):
            first, second = lengths[row], lengths[pairs + row]
            own = second - begun  # positions that the second row has to itself
            ids[row, :first] = input_ids[row, :first]
            ids[row, first : first + own] = input_ids[pairs + row, begun:second]
            positions[row, :first] = torch.arange(first)
            positions[row, first : first + own] = torch.arange(begun, second)
            seen[row, :first, :first] = torch.ones(first, first).tril().bool()
            seen[row, first : first + own, :begun] = True
            seen[row, first : first + own, first : first + own] = torch.ones(own, own).tril().bool()
            back[row, :first] = torch.arange(first)
            back[pairs + row, :begun] = torch.arange(begun)
            back[pairs + row, begun:second] = torch.arange(first, first + own)
        near = positions[:, :, None] - positions[:, None, :] < (getattr(self.config, "sliding_window", None) or longest)
        full, window = (_added(mask, self.dtype) for mask in (seen, seen & near))
        if getattr(self.config, "layer_types", None):
            mask: Any = {"full_attention": full, "sliding_attention": window}
        else:
            mask = window
        out = super().forward(input_ids=ids, attention_mask=mask, position_ids=positions, **kwargs)
        rows = torch.arange(pairs).repeat(2)[:, None]
        out.last_hidden_state = out.last_hidden_state[rows, back]
        return out


def share_prefix(model: Any) -> None:
    """Let a peft model's decoder compute once what the two rows of a pair begin with. For fp32 on a CPU."""
    decoder = model.get_base_model().get_decoder()
    if not isinstance(decoder, SharedPrefix):
        kind: Any = type(decoder)
        decoder.__class__ = _shared(kind)


def _parts(ids: Any, mask: Any) -> tuple[list[int], list[int]] | None:
    """Lengths of the rows, and of what each pair begins with; None where rows are no pairs padded behind, or share little."""
    if ids is None or mask is None or mask.dim() != 2 or len(ids) % 2 or not bool(mask[:, 0].all()):
        return None
    pairs = len(ids) // 2
    lengths = mask.sum(-1).tolist()
    if not bool((mask[:, :-1] >= mask[:, 1:]).all()):
        return None
    same = (ids[:pairs] == ids[pairs:]) & mask[:pairs].bool() & mask[pairs:].bool()
    shared = same.long().cumprod(-1).sum(-1).tolist()
    longest = max(lengths[row] + lengths[pairs + row] - begun for row, begun in enumerate(shared))
    return (lengths, shared) if min(shared) and longest < 0.9 * 2 * ids.shape[1] else None


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask as attention adds it: 0 where a position is seen; for every head."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


@cache
def _shared(kind: type) -> type:
    return type(f"Shared{kind.__name__}", (SharedPrefix, kind), {})
