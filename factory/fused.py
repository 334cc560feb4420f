"""Training on a CPU in fewer passes over memory: LoRA layers, norms, gated units and the head, each one operation with its own gradient.

A processor waits for its memory in every element-wise step that PyTorch takes by itself, and holds what each one leaves. The
operations here give the same numbers but for the order of additions (tests/test_fused.py compares them with transformers',
peft's and TRL's own). Imports torch: import it where it is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.autograd import Function

LOGITS = 2**25  # that the head holds at once: 128 MiB in fp32
NORMS = {  # transformers' norms, and what each adds to its weight
    "LlamaRMSNorm": 0.0, "MistralRMSNorm": 0.0, "Qwen2RMSNorm": 0.0, "Qwen3RMSNorm": 0.0, "Phi3RMSNorm": 0.0,
    "SmolLM3RMSNorm": 0.0, "MiniCPM3RMSNorm": 0.0, "GemmaRMSNorm": 1.0, "Gemma2RMSNorm": 1.0, "Gemma3RMSNorm": 1.0,
}  # fmt: skip
GATED = (
    "LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP", "MiniCPM3MLP", "GemmaMLP", "Gemma2MLP", "Gemma3MLP",
)  # fmt: skip


def fuse(model: Any) -> Any:
    """Give a model's LoRA layers, norms and gated units their fused forward, in place; other modules stay as they are.

    For fp32 weights on a CPU, of which the adapter's alone are trained: no other weight gets a gradient.
    """
    for module in model.modules():
        kind: Any = type(module)
        if kind is Linear:
            module.__class__ = FusedLora
        elif kind.__name__ in NORMS:
            module.__class__ = _with(FusedNorm, kind)
        elif kind.__name__ in GATED:
            module.__class__ = _with(FusedGated, kind)
    return model


def fuse_head() -> None:
    """Let TRL's trainers project only labelled positions, on every device, and on a CPU each of them once.

    TRL 1.16 projects every position there, and again on the way back; with Gemma's vocabulary the head is most of the
    arithmetic. The loss is the same sum over the same positions. TRL keeps both choices private: where they are gone,
    training goes on with TRL's own behaviour.
    """
    from trl.trainer import utils

    if hasattr(utils, "_use_triton"):
        utils._use_triton = lambda device: True
    if hasattr(utils, "_ChunkedLogProbFunction"):
        utils._ChunkedLogProbFunction = Head


@cache
def _with(forward: type, kind: type) -> type:
    return type(f"Fused{kind.__name__}", (forward, kind), {})


class FusedLora(Linear):  # type: ignore[misc]
    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        if (
            name not in self.lora_A  # several, or another layer's
            or self.disable_adapters
            or self.merged
            or kwargs
            or name in self.lora_variant  # DoRA and others
            or self.lora_B[name].bias is not None
            or not isinstance(self.lora_dropout[name], torch.nn.Identity)
            or type(self.base_layer) is not torch.nn.Linear
        ):
            return super().forward(x, *args, **kwargs)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return _Lora.apply(x, self.base_layer.weight, self.base_layer.bias, a, b, self.scaling[name])


class FusedNorm(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = NORMS[type(self).__name__.removeprefix("Fused")]
        return _Norm.apply(
            x, self.weight + added if added else self.weight, self.eps if added else self.variance_epsilon
        )


class FusedGated(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x), self.act_fn))


class _Lora(Function):  # type: ignore[misc]
    """x @ weight.T + bias + scale * (x @ a.T) @ b.T, for x of any number of leading dimensions."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ a.T
        out = torch.nn.functional.linear(rows, weight, bias).addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight, a, b, low = ctx.saved_tensors
        rows, grad = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        grad_low = (grad @ b).mul_(ctx.scale)
        grad_x = (grad @ weight).addmm_(grad_low, a).view_as(x) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_low.T @ rows, (low.T @ grad).mul_(ctx.scale).T, None


class _Norm(Function):  # type: ignore[misc]
    """x / sqrt(mean of x squared + eps) * weight, over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float) -> Any:
        size = x.shape[-1]
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(size).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        grad = grad * weight
        along = (grad * x).sum(-1, keepdim=True).mul_(scale**3).div_(-x.shape[-1])
        return grad.mul_(scale).addcmul_(x, along), None, None


class _Gated(Function):  # type: ignore[misc]
    """act(gate) * up; the activation is computed again on the way back instead of kept."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any, act: Any) -> Any:
        ctx.save_for_backward(gate, up)
        ctx.act = act
        return act(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        gate, up = ctx.saved_tensors
        gate = gate.detach().requires_grad_()
        with torch.enable_grad():
            opened = ctx.act(gate)
        (grad_gate,) = torch.autograd.grad(opened, gate, grad * up)
        return grad_gate, opened.detach() * grad, None


class Head:
    """In the place of TRL's `ChunkedLogProbFunction`: ours where it fits, TRL's elsewhere."""

    @staticmethod
    def apply(
        hidden: Any, weight: Any, bias: Any, targets: Any, temperature: float, chunk: int, softcap: Any, scale: float, outputs: Any
    ) -> Any:  # fmt: skip
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction

        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        if hidden.device.type != "cpu" or trained or softcap is not None:
            return ChunkedLogProbFunction.apply(
                hidden, weight, bias, targets, temperature, chunk, softcap, scale, outputs
            )
        return _Head.apply(hidden, weight, bias, targets, scale / temperature, outputs)


class _Head(Function):  # type: ignore[misc]
    """Log-probabilities of targets [N] under hidden [N, H] @ weight.T [H, V], and what TRL logs of them, each [N] in fp32.

    Each position's gradient is finished while its logits are there: they are neither kept nor projected again.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any, scale: float, outputs: Any) -> Any:
        ctx.set_materialize_grads(False)
        mixed = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if mixed else hidden.dtype
        weight, grads = weight.to(dtype), torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        told: dict[str, list[Any]] = {"log_probs": [], **{name: [] for name in outputs}}
        at_once = max(1, LOGITS // weight.shape[0])
        for start in range(0, len(hidden), at_once):
            own = targets[start : start + at_once, None]
            logits = torch.nn.functional.linear(hidden[start : start + at_once].to(dtype), weight, bias).float()
            if scale != 1:
                logits.mul_(scale)
            if "mean_logits" in outputs:
                told["mean_logits"].append(logits.mean(-1))
            if "is_top1" in outputs:
                told["is_top1"].append(logits.argmax(-1) == own[:, 0])
            log_p = logits.log_softmax(-1)
            told["log_probs"].append(log_p.gather(-1, own)[:, 0])
            p = torch.exp(log_p, out=logits)
            if "entropy" in outputs:
                told["entropy"].append(-log_p.mul_(p).sum(-1))
            if "log_sum_sq_probs" in outputs:
                told["log_sum_sq_probs"].append(torch.mul(p, p, out=log_p).sum(-1).log())
            if grads is not None:
                p.scatter_add_(-1, own, p.new_full(own.shape, -1.0))
                grads[start : start + at_once] = (p.to(dtype) @ weight).mul_(-scale)
        ctx.save_for_backward(grads)
        kinds = {name: torch.bool if name == "is_top1" else torch.float32 for name in told}  # also without a position
        found = {name: torch.cat([hidden.new_zeros(0, dtype=kinds[name]), *parts]) for name, parts in told.items()}
        ctx.mark_non_differentiable(*(tensor for name, tensor in found.items() if name != "log_probs"))
        return tuple(found.get(name) for name in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"))

    @staticmethod
    def backward(ctx: Any, grad: Any, *_: Any) -> Any:
        (grads,) = ctx.saved_tensors
        return grad[:, None].to(grads.dtype) * grads, None, None, None, None, None
