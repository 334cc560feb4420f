"""Answering on a CPU: linear layers whose weights oneDNN keeps in the order in which it multiplies."""

from __future__ import annotations

from typing import Any


def pack_linears(model: Any) -> Any:
    """Replace every fp32 `nn.Linear` on the CPU, in place, by one with packed weights; the model can only answer then.

    Writing an answer multiplies a few rows by every weight, once a token; a plain product re-orders the weights each time,
    which costs more than the arithmetic. The numbers are the same but for the order of additions. torch keeps the two
    operations private (its compiler uses them): where they are gone, the model stays as it is.
    """
    import torch

    operations = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not all(
        hasattr(operations, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    ):
        return model

    class PackedLinear(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, layer: torch.nn.Linear) -> None:
            super().__init__()
            self.in_features, self.out_features = layer.in_features, layer.out_features
            self.packed = operations._reorder_linear_weight(layer.weight.detach(), 32)
            self.bias = layer.bias.detach() if layer.bias is not None else None

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return operations._linear_pointwise(rows, self.packed, self.bias, "none", [], "")

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if (
                type(child) is torch.nn.Linear
                and child.weight.dtype == torch.float32
                and child.weight.device.type == "cpu"
            ):
                setattr(parent, name, PackedLinear(child))
    return model
