"""What training a base costs, by counting and by a second of real work, before anything is downloaded or trained.

Sizes are counted, not guessed: the base is laid out with LoRA as tensors without numbers, one row goes forward and back, and
torch's own hooks count its arithmetic and, in the compute type that training has, what is kept for the way back. Time comes from one layer of
that base with random weights, at batches and lengths that training will see.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from factory.errors import FactoryError
from factory.hardware import Machine, keep_freed_memory
from factory.models import OF_A_FOLDER, find_base, local_folder, quiet_libraries


@dataclass(frozen=True)
class Size:
    """What one base costs with LoRA on all its linear layers; per token at one length where it says so."""

    parameters: int
    linear: int  # weights that NF4 rounds
    lora: int
    layers: int
    kept_bytes: float  # for the way back, per token, in the compute type
    kept_bytes_checkpointed: float
    flops: float  # forward and back through the layers, per token
    head_flops: float  # forward and back through the head, per labelled token; where TRL's own is taken, forward twice
    hidden: int  # width of what goes from layer to layer
    adapted: int  # layers with an adapter

    def with_adapter_on(self, layers: int) -> Size:
        """The same base with the adapter on its topmost `layers` layers alone: what it keeps, and computes, in these."""
        share = layers / self.layers
        return replace(
            self, lora=round(self.lora * share), adapted=layers, kept_bytes=self.kept_bytes * share, flops=self.flops * share,
            kept_bytes_checkpointed=self.kept_bytes_checkpointed * share,
        )  # fmt: skip


def base_config(name: str) -> Any:
    """The transformers config of a base: of its folder where it is here, else what the catalog knows of it."""
    from transformers import AutoConfig

    base = find_base(name)
    folder = local_folder(base)
    if (folder / "config.json").exists():
        return AutoConfig.from_pretrained(folder, **OF_A_FOLDER)
    if base.config:
        return AutoConfig.for_model(**base.config)
    raise FactoryError(f"Nothing is known of the size of {name}.", f"Fetch it first: factory models pull {name}")


def size_of(model: Any, lora_r: int, length: int, machine: Machine) -> Size:
    """Count a base with LoRA without allocating it; `model` is a transformers config, `machine` says in what training computes.

    One layer and two are laid out: every further layer costs what the second adds. `length`: tokens of the row that is counted.
    """
    length = max(16, length // 8 * 8)
    one, two = (
        _count(_shallow(model, layers).to_json_string(), lora_r, length, machine.dtype, machine.fuses)
        for layers in (1, 2)
    )
    whole = [first + (model.num_hidden_layers - 1) * (second - first) for first, second in zip(one, two, strict=True)]
    parameters, linear, lora, kept, checkpointed, flops, head = whole
    return Size(
        int(parameters),
        int(linear),
        int(lora),
        model.num_hidden_layers,
        kept,
        checkpointed,
        flops,
        head_flops=(6 if machine.gpu or _softcap(model) else 4) * head,
        hidden=model.hidden_size,
        adapted=model.num_hidden_layers,
    )


def _softcap(model: Any) -> float | None:
    """What a base caps its logits at, as Gemma 2 does."""
    return getattr(model, "final_logit_softcapping", None)


def _shallow(model: Any, layers: int, **changes: Any) -> Any:
    """The config with only so many layers."""
    if getattr(model, "layer_types", None):
        changes["layer_types"] = model.layer_types[:layers]
    return type(model)(**{**model.to_dict(), "num_hidden_layers": layers, **changes})


@lru_cache(maxsize=32)
def _count(text: str, lora_r: int, length: int, dtype: str, fused: bool) -> tuple[float, ...]:
    """Weights, those in linear layers, those trained; bytes kept a token, those with checkpointing; flops a token; the head."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig

    settings = json.loads(text)
    model = _with_lora(AutoConfig.for_model(settings.pop("model_type"), **settings), lora_r, "meta")
    base = model.get_base_model()
    adapted = [layer.base_layer for layer in model.modules() if hasattr(layer, "lora_A")]
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    with FlopCounterMode(display=False) as counter:
        base.get_decoder()(**_row(length, "meta")).last_hidden_state.sum().backward()
    if fused:
        from factory.fused import fuse

        fuse(model)  # after counting: the counter does not know its in-place products
    kept = _kept(base.get_decoder(), length, dtype)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    return (
        sum(weight.numel() for weight in model.parameters()) - trained,
        sum(layer.weight.numel() for layer in adapted),
        trained,
        kept,
        _kept(base.get_decoder(), length, dtype),
        counter.get_total_flops() / length,
        base.get_output_embeddings().weight.numel(),
    )


def _row(length: int, device: str) -> dict[str, Any]:
    """What a decoder takes for one row, with the mask that a padded batch has."""
    import torch

    ids = torch.zeros(1, length, dtype=torch.long, device=device)
    mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": ids, "use_cache": False}


def _kept(decoder: Any, length: int, dtype: str) -> float:
    """Bytes that one row keeps for the way back, per token, as the processor's own kernels keep them in training's compute type.

    `decoder` lies on the meta device; its frozen weights are taken in that type and the trained ones in fp32, under autocast.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode():
        own: dict[str, Any] = {name: torch.empty(one.shape, dtype=one.dtype) for name, one in decoder.named_buffers()}
        for name, weight in decoder.named_parameters():
            kind = torch.float32 if weight.requires_grad else getattr(torch, dtype)
            own[name] = torch.empty(weight.shape, dtype=kind, requires_grad=weight.requires_grad)
        weights = {weight.untyped_storage()._cdata for weight in own.values()}
        mixed = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), mixed:
            torch.func.functional_call(decoder, own, (), _row(length, "cpu"))
    return sum(kept.values()) / length


def _with_lora(model: Any, lora_r: int, device: str) -> Any:
    quiet_libraries()

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device(device):
        base = AutoModelForCausalLM.from_config(model, dtype=torch.float32, trust_remote_code=False)
        lora = LoraConfig(r=lora_r, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(base, lora).to(device).train()


def second_of_work(
    model: Any,
    lora_r: int,
    shapes: Sequence[tuple[int, int]],
    labelled: int,
    machine: Machine,
    frozen: tuple[int, float] = (0, 0),
    seconds: float = 1.0,
) -> float:
    """Seconds that a training takes, from about a second of one layer and a slice of the head.

    shapes: (rows, padded length) of what goes forward and back at once, in turn; labelled: answer tokens in all; frozen: layers
    below the adapter, and the share of all passes in which a row goes through them. Of the shapes
    the smallest, the middle and the largest are timed, and the others lie between them. Sources of what is timed: the base's
    own layer class in transformers with random weights, its adapter's AdamW step, and the loss over 8192 columns of the head.
    """
    import numpy as np
    import torch

    from factory.fused import Head, fuse

    torch.set_num_threads(machine.threads)
    if not machine.gpu:
        keep_freed_memory()
    device = "cuda" if machine.gpu else "cpu"
    small = _shallow(model, 1, vocab_size=64, pad_token_id=0)
    layer = _with_lora(small, lora_r, device).to(getattr(torch, machine.dtype))
    if machine.fuses:
        fuse(layer)
    trunk = layer.get_base_model().get_decoder()
    ordered = sorted(set(shapes), key=lambda shape: shape[0] * shape[1])
    timed = list(dict.fromkeys(ordered[place] for place in (0, len(ordered) // 2, -1)))

    def forward_and_back(batch: int, length: int) -> None:
        rows = torch.zeros(batch, length, dtype=torch.long, device=device)
        trunk(input_ids=rows, use_cache=False).last_hidden_state.sum().backward()

    def forward_alone(batch: int, length: int) -> None:
        trunk(input_ids=torch.zeros(batch, length, dtype=torch.long, device=device), use_cache=False)

    each = seconds * 0.6 / len(timed)
    per_layer = [_timed(partial(forward_and_back, *shape), each, device) for shape in timed]
    optimizer = torch.optim.AdamW([weight for weight in layer.parameters() if weight.requires_grad])
    per_layer_step = _timed(optimizer.step, seconds * 0.1, device)
    columns, vocabulary = 8192, model.vocab_size
    head = torch.randn(columns, model.hidden_size, device=device).mul_(
        model.hidden_size**-0.5
    )  # logits of a usual size:
    head = head.to(getattr(torch, machine.dtype))  # far larger ones have chances so small that processors slow down
    rows = torch.randn(max(1, round(labelled / len(shapes))), model.hidden_size, device=device, dtype=head.dtype)
    rows.requires_grad_()
    targets = torch.zeros(len(rows), dtype=torch.long, device=device)

    def project_and_back() -> None:
        logged = ("log_probs", "entropy", "is_top1")
        Head.apply(rows, head, None, targets, 1.0, columns, _softcap(model), 1.0, logged)[0].sum().backward()

    per_slice = _timed(project_and_back, seconds * 0.3, device)
    tokens = [batch * length for batch, length in shapes]
    passes = np.interp(tokens, [batch * length for batch, length in timed], per_layer).sum()
    below, share = frozen
    trained = model.num_hidden_layers - below
    found = trained * (passes + len(shapes) * per_layer_step) + len(shapes) * per_slice * vocabulary / columns
    if below:
        middle = len(timed) // 2
        forward = torch.no_grad()(partial(forward_alone, *timed[middle]))
        found += below * share * passes * _timed(forward, seconds * 0.1, device) / per_layer[middle]
    return float(found)


def _timed(work: Callable[[], None], seconds: float, device: str) -> float:
    """The median time of a call, after two to warm up."""
    import torch

    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
