"""The plan of a training before it starts: what fits this machine or another, how much work it is, how long it takes, and why.

Sizes are counted, not guessed: the base is laid out with LoRA on torch's meta device (shapes without numbers), one row goes
forward and back, and torch's own hooks count its arithmetic and what is kept for the way back. Time comes from a second of
real work: one layer of that base with random weights, at the batch and length that training will see.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from factory.config import Config, Sft
from factory.errors import FactoryError
from factory.hardware import Machine, keep_freed_memory
from factory.models import find_base, home, quiet_libraries
from factory.records import Example, Message
from factory.training import row_order

GB = 1e9
LIBRARIES_GB = 0.95  # Python with torch, transformers, datasets, peft and trl imported, as this project measured it
GPU_CONTEXT_GB = 0.6  # the CUDA context and its kernels
USABLE = 0.9  # of the memory; the rest is the system's
NF4_BYTES = 0.516  # per weight: 4 bits and the doubly quantized scales (arXiv 2305.14314)
ADAM_BYTES = 16  # per trained weight: itself, its gradient and Adam's two moments, in fp32
HEAD_CHUNK = 4096 * 8192 * 4  # TRL projects at most so many logits at once


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
    head_flops: float  # forward, again and back through the head, per labelled token


@dataclass(frozen=True)
class Work:
    """The rows to train on, in tokens; `labelled`: those of the answers."""

    lengths: Sequence[int]
    labelled: Sequence[int]
    estimated: bool = False  # from characters: the base's tokenizer is not here


def work_of(base: str, examples: Sequence[Example], language: str) -> Work:
    """The tokens of rows as the base's chat template writes them; estimated from characters where it is not here."""
    folder = _folder(base)
    if not (folder / "tokenizer_config.json").exists():
        per_character = 0.75 if language == "zh" else 0.28
        counts = [[sum(len(m["content"]) for m in part) for part in (e.prompt, e.completion)] for e in examples]
        answers = [round(answer * per_character) + 3 for _, answer in counts]
        whole = [round(asked * per_character) + 12 + own for (asked, _), own in zip(counts, answers, strict=True)]
        return Work(whole, answers, estimated=True)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def count(messages: list[Message], asking: bool) -> int:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asking)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    lengths = [count(example.prompt + example.completion, False) for example in examples]
    prompts = [count(example.prompt, True) for example in examples]
    return Work(lengths, [max(1, a - b) for a, b in zip(lengths, prompts, strict=True)])


@dataclass(frozen=True)
class Plan:
    """How a training runs, what it needs, and the reason for each choice by name."""

    base: str
    machine: str
    dtype: str
    quantization: str
    batch: int
    accumulation: int
    checkpointing: bool
    threads: int
    max_length: int
    memory_gb: float
    limit_gb: float
    rows: int
    tokens: int
    steps: int
    flops: float
    minutes: float | None
    cost: float | None
    fits: bool
    reasons: dict[str, str] = field(default_factory=dict)
    instead: list[str] = field(default_factory=list)  # what would fit

    def lines(self) -> list[str]:
        """The plan as a person reads it: a line for each choice, with its reason."""
        memory = f"{self.memory_gb:.1f} of {self.limit_gb:.1f} GB"
        said = {
            "machine": self.machine,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "batch": f"{self.batch} rows" + (f" x {self.accumulation}" if self.accumulation > 1 else ""),
            "length": f"up to {self.max_length} tokens",
            "checkpointing": "on" if self.checkpointing else "off",
            "threads": str(self.threads) if self.threads else "",
            "memory": memory if self.fits else f"{memory}: does not fit",
            "work": f"{self.rows:,} rows, {self.tokens:,} tokens, {self.steps:,} steps",
            "time": _minutes(self.minutes) if self.minutes is not None else "not known",
            "cost": f"{self.cost:.2f}" if self.cost is not None else "",
        }
        found = [f"{key:13} {value} ({self.reasons[key]})" if self.reasons.get(key) else f"{key:13} {value}"
                 for key, value in said.items() if value]  # fmt: skip
        return found + [f"{'would fit':13} {text}" for text in self.instead]


def plan_sft(
    config: Config, machine: Machine, work: Work, *, measure: bool = True, price_per_hour: float | None = None
) -> Plan:
    """The plan of `config.sft` on a machine. `measure`: it is this machine, time a second of its work.

    Raises FactoryError for a base whose size nobody knows; a plan that does not fit is returned with `fits` false.
    """
    settings = config.sft
    model = base_config(config.base)
    lengths = [min(length, settings.max_length) for length in work.lengths]
    order = row_order(lengths, settings.batch, settings.epochs, config.seed)
    batches = [order[start : start + settings.batch] for start in range(0, len(order), settings.batch)]
    longest = max(max(lengths[row] for row in rows) for rows in batches)
    size = size_of(model, settings.lora_r, max(16, longest // 8 * 8))
    padded = sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)
    tokens = sum(lengths[row] for row in order)
    labelled = sum(min(work.labelled[row], lengths[row]) for row in order)
    limit = (machine.gpu_memory_gb if machine.gpu else machine.memory_gb) * 2**30 / GB * USABLE

    def memory(rows: int, checkpointing: bool, quantization: str = settings.quantization) -> float:
        widest = max(
            (sum(1 for _ in piece) * max(lengths[row] for row in piece))
            for batch in batches
            for piece in [batch[start : start + rows] for start in range(0, len(batch), rows)]
        )
        return memory_gb(size, machine, quantization, widest, checkpointing)

    choices = [(rows, checked) for checked in (False, True) for rows in _halves(settings.batch)]
    rows, checked = next((pair for pair in choices if memory(*pair) <= limit), choices[-1])
    need = memory(rows, checked)
    fits = need <= limit
    flops = padded * size.flops * (4 / 3 if checked else 1) + labelled * size.head_flops
    reasons = _reasons(settings, machine, work, rows, checked, longest, padded / max(tokens, 1) - 1, memory)
    minutes = None
    if not measure:
        reasons["time"] = f"measured only on the machine itself; {flops / 1e15:,.2f} PFLOP of arithmetic"
    elif fits:
        mean = max(8, round(padded / len(order)))
        seconds = second_of_work(model, settings.lora_r, min(rows, len(order)), mean, labelled / len(order), machine)
        minutes = seconds * len(order) * (4 / 3 if checked else 1) / 60
        reasons["time"] = f"{tokens / minutes / 60:,.0f} tokens/s, from a measured second of this base's layers"
    else:
        reasons["time"] = "it does not fit"
    cost = None
    if price_per_hour is not None and minutes is not None:
        cost = minutes / 60 * price_per_hour
        reasons["cost"] = f"at {price_per_hour:g} an hour"
    unpacked = not machine.gpu and settings.quantization == "nf4"
    return Plan(
        base=config.base,
        machine=machine.lines()[0],
        dtype=machine.dtype,
        quantization="nf4, unpacked once" if unpacked else settings.quantization,
        batch=rows,
        accumulation=-(-settings.batch // rows),
        checkpointing=checked,
        threads=0 if machine.gpu else machine.cores,
        max_length=settings.max_length,
        memory_gb=round(need, 2),
        limit_gb=round(limit, 2),
        rows=len(order),
        tokens=tokens,
        steps=len(batches),
        flops=flops,
        minutes=minutes,
        cost=cost,
        fits=fits,
        reasons=reasons,
        instead=[] if fits else _instead(config, machine, size, longest, limit),
    )


def require_fit(plan: Plan) -> Plan:
    """The plan, or a FactoryError that says what would fit."""
    if plan.fits:
        return plan
    raise FactoryError(
        f"Training {plan.base} needs about {plan.memory_gb:.1f} GB; {plan.limit_gb:.1f} GB may be used here.",
        "Would fit: " + "; or ".join(plan.instead) + ".",
    )


def memory_gb(size: Size, machine: Machine, quantization: str, tokens: int, checkpointing: bool) -> float:
    """The peak of training one batch of so many padded tokens, in GB of 10^9 bytes; on several GPUs, of each."""
    width = 2 if machine.dtype == "bfloat16" else 4
    kept = size.kept_bytes_checkpointed if checkpointing else size.kept_bytes
    back = size.kept_bytes / size.layers * 2  # gradients of the layer that is on its way back
    moving = tokens * (kept + back) * width / 4 + min(HEAD_CHUNK, tokens * 8192 * 4) * 2
    if machine.gpu and quantization == "nf4":
        still = size.linear * NF4_BYTES + (size.parameters - size.linear) * width
    else:
        still = size.parameters * width
    still += size.lora * ADAM_BYTES
    base = GPU_CONTEXT_GB if machine.gpu else LIBRARIES_GB
    return base + (still / max(machine.gpus, 1) + moving) / GB


def size_of(model: Any, lora_r: int, length: int) -> Size:
    """Count a base with LoRA on the meta device; `model` is a transformers config. Nothing is allocated.

    One layer and two are laid out: every further layer costs what the second adds.
    """
    one, two = (_count(_shallow(model, layers).to_json_string(), lora_r, length) for layers in (1, 2))
    whole = [first + (model.num_hidden_layers - 1) * (second - first) for first, second in zip(one, two, strict=True)]
    parameters, linear, lora, kept, checkpointed, flops, head = whole
    return Size(
        int(parameters), int(linear), int(lora), model.num_hidden_layers, kept, checkpointed, flops, head_flops=6 * head
    )


def _shallow(model: Any, layers: int, **changes: Any) -> Any:
    """The config with only so many layers."""
    if getattr(model, "layer_types", None):
        changes["layer_types"] = model.layer_types[:layers]
    return type(model)(**{**model.to_dict(), "num_hidden_layers": layers, **changes})


@lru_cache(maxsize=32)
def _count(text: str, lora_r: int, length: int) -> tuple[float, ...]:
    """Weights, those in linear layers, those trained; bytes kept a token, those with checkpointing; flops a token; the head."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig

    settings = json.loads(text)
    model = _with_lora(AutoConfig.for_model(settings.pop("model_type"), **settings), lora_r, "meta")
    base = model.get_base_model()
    adapted = [layer.base_layer for layer in model.modules() if hasattr(layer, "lora_A")]
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    ids = torch.zeros(1, length, dtype=torch.long, device="meta")
    mask = torch.ones(1, 1, length, length, dtype=torch.bool, device="meta")
    found: list[float] = []
    for checkpointing in (False, True):
        kept.clear()
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                out = base.get_decoder()(
                    input_ids=ids, attention_mask=mask, position_ids=ids, use_cache=False
                ).last_hidden_state
            found.append(sum(kept.values()) / length)
            if not checkpointing:
                out.sum().backward()
                flops = counter.get_total_flops() / length
        del out
    return (
        sum(weight.numel() for weight in model.parameters()) - trained,
        sum(layer.weight.numel() for layer in adapted),
        trained,
        *found,
        flops,
        base.get_output_embeddings().weight.numel(),
    )


def _with_lora(model: Any, lora_r: int, device: str) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    with torch.device(device):
        base = AutoModelForCausalLM.from_config(model, dtype=torch.float32)
        lora = LoraConfig(r=lora_r, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(base, lora).to(device).train()


def second_of_work(
    model: Any, lora_r: int, batch: int, length: int, labelled: float, machine: Machine, seconds: float = 1.0
) -> float:
    """Seconds that a row takes to train, from about a second of one layer and a slice of the head, times their number.

    batch x length: the shape of a step; labelled: answer tokens per row. Sources of what is timed: the base's own layer class
    in transformers with random weights, and a cross entropy over 8192 columns of the head.
    """
    import torch

    torch.set_num_threads(machine.cores)
    if not machine.gpu:
        keep_freed_memory()
    device = "cuda" if machine.gpu else "cpu"
    small = _shallow(model, 1, vocab_size=64, pad_token_id=0)
    layer = _with_lora(small, lora_r, device).to(getattr(torch, machine.dtype))
    trunk = layer.get_base_model().get_decoder()
    ids = torch.zeros(batch, length, dtype=torch.long, device=device)

    def forward_and_back() -> None:
        trunk(input_ids=ids, use_cache=False).last_hidden_state.sum().backward()

    per_layer = _timed(forward_and_back, seconds * 0.7, device)
    columns, vocabulary = 8192, model.vocab_size
    head = torch.randn(columns, model.hidden_size, device=device, dtype=getattr(torch, machine.dtype))
    rows = torch.randn(max(1, round(batch * labelled)), model.hidden_size, device=device, dtype=head.dtype)
    rows.requires_grad_()
    targets = torch.zeros(len(rows), dtype=torch.long, device=device)

    def project_and_back() -> None:
        with torch.no_grad():
            (rows @ head.T).logsumexp(-1)
        torch.nn.functional.cross_entropy(rows @ head.T, targets).backward()

    per_slice = _timed(project_and_back, seconds * 0.3, device)
    seconds_a_step: float = per_layer * model.num_hidden_layers + per_slice * vocabulary / columns
    return seconds_a_step / batch


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


def base_config(name: str) -> Any:
    """The transformers config of a base: of its folder where it is here, else what the catalog knows of it."""
    from transformers import AutoConfig

    base, folder = find_base(name), _folder(name)
    if (folder / "config.json").exists():
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    if base.config:
        return AutoConfig.for_model(**base.config)
    raise FactoryError(f"Nothing is known of the size of {name}.", f"Fetch it first: factory models pull {name}")


def _folder(name: str) -> Path:
    base = find_base(name)
    return Path(base.name) if base.source == "path" else home() / "models" / base.name


def _halves(batch: int) -> list[int]:
    found = [batch]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found


def _reasons(
    settings: Sft,
    machine: Machine,
    work: Work,
    rows: int,
    checkpointing: bool,
    longest: int,
    padding: float,
    memory: Callable[..., float],
) -> dict[str, str]:
    if machine.gpu:
        quantization = "4-bit weights, unpacked as they are used: an eighth of fp32's memory"
    else:
        quantization = "QLoRA's rounded weights kept in fp32: no unpacking on every pass"
    why = (
        "all at once fits"
        if rows == settings.batch
        else f"{settings.batch} rows at once would need {memory(settings.batch, False):.1f} GB"
    )
    guess = "estimated from characters: the tokenizer is not here yet; " if work.estimated else ""
    epochs = "epoch" if settings.epochs == 1 else "epochs"
    return {
        "dtype": machine.why_dtype,
        "quantization": quantization if settings.quantization == "nf4" else "as sft.quantization says",
        "batch": f"{why}; rows of like length together: {padding:.0%} padding",
        "length": f"sft.max_length; the longest row has {longest}",
        "checkpointing": f"without it {memory(rows, False):.1f} GB" if checkpointing else "the activations fit; it would cost a third more time",
        "threads": "" if machine.gpu else "one for each core this process may use",
        "memory": "weights, adapter with Adam, activations of the longest batch, libraries; limit: 90% of what is there",
        "work": f"{guess}{settings.epochs:g} {epochs}, {settings.batch} rows a step",
    }  # fmt: skip


def _instead(config: Config, machine: Machine, size: Size, longest: int, limit: float) -> list[str]:
    """What would fit: 4-bit weights, a smaller base of the same language, or a machine with more memory."""
    from factory.models import catalog

    need = memory_gb(size, machine, config.sft.quantization, longest, True)
    found: list[str] = []
    if machine.gpu and config.sft.quantization == "none" and memory_gb(size, machine, "nf4", longest, True) <= limit:
        found.append("--set sft.quantization=nf4")
    smaller = sorted(catalog().values(), key=lambda base: -base.parameters)
    for base in (base for base in smaller if base.parameters < size.parameters and base.config):
        if not any(language.startswith(config.language) for language in base.languages):
            continue
        other = size_of(base_config(base.name), config.sft.lora_r, longest // 8 * 8)
        if memory_gb(other, machine, config.sft.quantization, longest, True) <= limit:
            found.append(f"--base {base.name} ({base.parameters / 1e6:,.0f} M parameters)")
            break
    kind = "GPU memory" if machine.gpu else "memory"
    return [*found, f"a machine with {need / USABLE:.0f} GB of {kind} or more"]


def _minutes(minutes: float) -> str:
    return f"{minutes * 60:.0f} s" if minutes < 1.5 else f"{minutes:.0f} min"
