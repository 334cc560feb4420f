"""The frozen layers below the first trained one: each row goes through them once, and what comes out is kept.

With an adapter on the topmost layers alone (`sft.top_layers`) these layers give the same numbers in every epoch. Imports torch:
import it where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch


class Kept:
    """What the last frozen layer made of each row, by the row's tokens; `known` is the batch that is going through, where all of it is."""

    def __init__(self) -> None:
        self.rows: dict[bytes, torch.Tensor] = {}
        self.keys: list[bytes] = []  # of the batch that is going through; none: it is not to be kept
        self.lengths: list[int] = []
        self.known: torch.Tensor | None = None

    def begin(self, decoder: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before a batch: look its rows up. Rows padded in front, or without their tokens, are not kept."""
        ids, mask = named.get("input_ids"), named.get("attention_mask")
        self.keys, self.known = [], None
        if not decoder.training or ids is None or mask is None or mask.dim() != 2 or not bool(mask[:, 0].all()):
            return
        self.lengths = mask.sum(-1).tolist()
        self.keys = [row[:length].cpu().numpy().tobytes() for row, length in zip(ids, self.lengths, strict=True)]
        if all(key in self.rows for key in self.keys):
            first = self.rows[self.keys[0]]
            whole = first.new_zeros(len(ids), ids.shape[1], first.shape[-1])
            for place, key in enumerate(self.keys):
                whole[place, : self.lengths[place]] = self.rows[key]
            self.known = whole.to(ids.device)

    def end(self, out: torch.Tensor) -> None:
        """After the last frozen layer: keep each row without its padding."""
        for place, key in enumerate(self.keys):
            self.rows.setdefault(key, out[place, : self.lengths[place]].cpu().clone())


class Frozen(torch.nn.Module):  # type: ignore[misc]
    """The forward of a layer whose output no trained weight lies below."""

    kept: Kept
    last: bool

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.kept.known is not None:
            return self.kept.known if self.last else hidden_states
        if not self.kept.keys:
            return super().forward(hidden_states, *args, **kwargs)
        with torch.no_grad():
            out = super().forward(hidden_states, *args, **kwargs)
        if self.last:
            self.kept.end(out)
        return out


def keep_trunk(model: Any) -> int:
    """Keep what the layers below the first trained one of a peft model make of each row, in training; how many these are."""
    decoder = model.get_base_model().get_decoder()
    layers: Sequence[Any] = decoder.layers
    trained = [any(weight.requires_grad for weight in layer.parameters()) for layer in layers]
    below = trained.index(True) if True in trained else 0
    if below:
        kept = Kept()
        for number, layer in enumerate(layers[:below]):
            kind: Any = type(layer)
            layer.__class__ = _frozen(kind)
            layer.kept, layer.last = kept, number == below - 1
        decoder.register_forward_pre_hook(kept.begin, with_kwargs=True)
    return below


@cache
def _frozen(kind: type) -> type:
    return type(f"Frozen{kind.__name__}", (Frozen, kind), {})
