"""The plan of a training before it starts: what fits this machine or another, how much work it is, how long it takes, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from factory.config import Config, Sft
from factory.errors import FactoryError
from factory.hardware import Machine
from factory.models import catalog, find_base, load_tokenizer, local_folder
from factory.progress import duration
from factory.records import Example, Message
from factory.sizing import Size, base_config, second_of_work, size_of
from factory.training import keeps_trunk, row_order, row_passes

GB = 1e9
LIBRARIES_GB = 0.95  # Python with torch, transformers, datasets, peft and trl imported, as this project measured it
GPU_CONTEXT_GB = 0.6  # the CUDA context and its kernels
USABLE = 0.9  # of the memory; the rest is the system's
NF4_BYTES = 0.516  # per weight: 4 bits and the doubly quantized scales (arXiv 2305.14314)
FSDP_LAYERS = 2  # gathered whole at once: the one that computes and the next
ADAM_BYTES = 16  # per trained weight: itself, its gradient and Adam's two moments, in fp32
HEAD = 2 * 4096 * 8192 * 4  # the logits that the head holds at once, and what it makes of them
HOLES, FUSED_HOLES = (
    1.6,
    1.25,
)  # what glibc holds for each byte in use, as measured; with factory.fused fewer blocks come and go


@dataclass(frozen=True)
class Work:
    """The rows to train on, in tokens; `labelled`: those of the answers."""

    lengths: Sequence[int]
    labelled: Sequence[int]
    tasks: Sequence[str]
    estimated: bool = False  # from characters: the base's tokenizer is not here


def work_of(base: str, examples: Sequence[Example], language: str) -> Work:
    """The tokens of rows as the base's chat template writes them; estimated from characters where it is not here."""
    folder, tasks = local_folder(find_base(base)), [example.task for example in examples]
    if not (folder / "config.json").exists():
        per_character = 0.75 if language == "zh" else 0.28
        counts = [[sum(len(m["content"]) for m in part) for part in (e.prompt, e.completion)] for e in examples]
        answers = [round(answer * per_character) + 3 for _, answer in counts]
        whole = [round(asked * per_character) + 12 + own for (asked, _), own in zip(counts, answers, strict=True)]
        return Work(whole, answers, tasks, estimated=True)
    tokenizer = load_tokenizer(folder)

    def count(messages: list[Message], asking: bool) -> int:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asking)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    lengths = [count(example.prompt + example.completion, False) for example in examples]
    prompts = [count(example.prompt, True) for example in examples]
    return Work(lengths, [max(1, a - b) for a, b in zip(lengths, prompts, strict=True)], tasks)


@dataclass(frozen=True)
class Plan:
    """How a training runs, what it needs, and the reason for each choice by name."""

    base: str
    machine: str
    dtype: str
    quantization: str
    processes: int
    spread: bool  # the weights over the processes' GPUs (FSDP); else each has all of them
    batch: int  # rows that a process takes at once
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
    layers: str = ""  # which ones the adapter is on, where not on all
    reasons: dict[str, str] = field(default_factory=dict)
    instead: list[str] = field(default_factory=list)  # what would fit

    def lines(self) -> list[str]:
        """The plan as a person reads it: a line for each choice, with its reason."""
        memory = f"{self.memory_gb:.1f} of {self.limit_gb:.1f} GB"
        said = {
            "machine": self.machine,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "processes": str(self.processes) if "processes" in self.reasons else "",
            "batch": f"{self.batch} rows" + (f" x {self.accumulation}" if self.accumulation > 1 else ""),
            "length": f"up to {self.max_length} tokens",
            "adapter": self.layers,
            "checkpointing": "on" if self.checkpointing else "off",
            "threads": str(self.threads) if self.threads else "",
            "memory": memory if self.fits else f"{memory}: does not fit",
            "work": f"{self.rows:,} rows, {self.tokens:,} tokens, {self.steps:,} steps",
            "time": duration(self.minutes * 60) if self.minutes is not None else "not known",
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
    order = row_order(lengths, settings.batch, row_passes(settings, work.tasks), config.seed)
    batches = [order[start : start + settings.batch] for start in range(0, len(order), settings.batch)]
    longest = max(max(lengths[row] for row in rows) for rows in batches)
    whole = size_of(model, settings.lora_r, longest, machine)
    top = min(settings.top_layers or whole.layers, whole.layers)
    size = whole.with_adapter_on(top)
    padded = sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)
    tokens = sum(lengths[row] for row in order)
    kept = top < whole.layers and keeps_trunk(settings, machine.ranks.world, order)
    below = sum(lengths[row] for row in (set(order) if kept else order))  # tokens that go through the layers below
    labelled = sum(min(work.labelled[row], lengths[row]) for row in order)
    limit = (machine.gpu_memory_gb if machine.gpu else machine.memory_gb) * 2**30 / GB * USABLE

    def shapes(rows: int) -> list[tuple[int, int]]:
        """(rows, padded length) of every pass forward and back with at most so many rows at once."""
        pieces = [batch[start : start + rows] for batch in batches for start in range(0, len(batch), rows)]
        return [(len(piece), max(lengths[row] for row in piece)) for piece in pieces]

    def memory(rows: int, checkpointing: bool, spread: bool = False) -> float:
        widest = max(count * longest for count, longest in shapes(rows))
        trunk = below * size.hidden * 4 / GB if kept and not machine.gpu else 0.0
        return memory_gb(size, machine, settings.quantization, widest, checkpointing, spread) + trunk

    share = max(1, settings.batch // machine.ranks.world)
    parts = [rows for rows in range(share, 0, -1) if share % rows == 0]  # a step keeps its rows
    shards = (False, True) if machine.gpu and machine.ranks.world > 1 else (False,)
    choices = [(rows, checked, spread) for spread in shards for checked in (False, True) for rows in parts]
    rows, checked, spread = next((choice for choice in choices if memory(*choice) <= limit), choices[-1])
    need = memory(rows, checked, spread)
    fits = need <= limit
    flops = padded * size.flops * (4 / 3 if checked else 1) + labelled * size.head_flops
    flops += below * (whole.flops - size.flops) / 2  # forward alone
    padding, epochs = padded / max(tokens, 1) - 1, len(order) / len(lengths)
    reasons = _reasons(settings, machine, work, rows, checked, spread, longest, epochs, padding, kept, memory)
    minutes = None
    if not measure:
        reasons["time"] = f"measured only on the machine itself; {flops / 1e15:,.2f} PFLOP of arithmetic"
    elif fits:
        frozen = (whole.layers - top, below / tokens)
        seconds = second_of_work(model, settings.lora_r, shapes(rows), labelled, machine, frozen)
        minutes = seconds / machine.ranks.world * (4 / 3 if checked else 1) / 60
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
        processes=machine.ranks.world,
        spread=spread,
        batch=rows,
        accumulation=share // rows,
        checkpointing=checked,
        threads=0 if machine.gpu or not machine.cores else machine.threads,
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
        layers=f"on the topmost {top} of {whole.layers} layers" if top < whole.layers else "",
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


def memory_gb(
    size: Size, machine: Machine, quantization: str, tokens: int, checkpointing: bool, spread: bool = False
) -> float:
    """The peak of training one batch of so many padded tokens, in GB of 10^9 bytes.

    On GPUs of each, with `spread` its part of the weights alone; on a CPU of all processes of the machine together.
    """
    width = 2 if machine.dtype == "bfloat16" else 4
    kept = size.kept_bytes_checkpointed if checkpointing else size.kept_bytes
    back = size.kept_bytes / size.adapted * 2  # gradients of the layer that is on its way back
    holes = 1 if machine.gpu else FUSED_HOLES if machine.fuses else HOLES
    moving = tokens * (kept + back) * holes + HEAD
    if machine.gpu and quantization == "nf4":
        still = size.linear * NF4_BYTES + (size.parameters - size.linear) * width
    else:
        still = size.parameters * width
    still += size.lora * ADAM_BYTES
    if spread:
        still = still / machine.ranks.world + still / size.layers * FSDP_LAYERS
    if machine.gpu:
        return GPU_CONTEXT_GB + (still + moving) / GB
    processes = machine.ranks.processes
    waiting = LIBRARIES_GB if processes > 1 else 0  # the build's own process
    return waiting + processes * (LIBRARIES_GB + (still + moving) / GB)


def _reasons(
    settings: Sft,
    machine: Machine,
    work: Work,
    rows: int,
    checkpointing: bool,
    spread: bool,
    longest: int,
    epochs: float,
    padding: float,
    kept: bool,
    memory: Callable[..., float],
) -> dict[str, str]:
    ranks, share = machine.ranks, max(1, settings.batch // machine.ranks.world)
    if machine.gpu:
        quantization = "4-bit weights, unpacked as they are used: an eighth of fp32's memory"
    else:
        quantization = "QLoRA's rounded weights kept in fp32: no unpacking on every pass"
    why = "all at once fits" if rows == share else f"{share} rows at once would need {memory(share, False):.1f} GB"
    guess = "estimated from characters: the tokenizer is not here yet; " if work.estimated else ""
    each = (
        "of each GPU: "
        if machine.gpu and ranks.world > 1
        else f"of all {ranks.processes} processes: "
        if ranks.world > 1
        else ""
    )
    passed = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}{'' if settings.epochs else ' (by the number of rows)'}"
    together = {"processes": _why_processes(settings, machine, spread, memory(share, True))} if ranks.world > 1 else {}
    return together | {
        "dtype": machine.why_dtype,
        "quantization": quantization if settings.quantization == "nf4" else "as sft.quantization says",
        "batch": f"{why}; rows of like length together: {padding:.0%} padding",
        "length": f"sft.max_length; the longest row has {longest}",
        "adapter": "sft.top_layers: quicker, less able" + ("; each row goes through those below once" if kept else ""),
        "checkpointing": f"without it {memory(rows, False):.1f} GB" if checkpointing else "the activations fit; it would cost a third more time",
        "threads": "" if machine.gpu else "one for each core this process may use, or OMP_NUM_THREADS" + (", divided among the processes" if ranks.processes > 1 else ""),
        "memory": f"{each}weights, adapter with Adam, activations of the longest batch, libraries; limit: 90% of what is there",
        "work": f"{guess}{passed}, {settings.batch} rows a step",
    }  # fmt: skip


def _why_processes(settings: Sft, machine: Machine, spread: bool, whole: float) -> str:
    ranks = machine.ranks
    nodes = f"{ranks.processes} on each of {ranks.nodes} machines; " if ranks.nodes > 1 else ""
    rows = f"each takes {max(1, settings.batch // ranks.world)} of the {settings.batch} rows of a step"
    if not machine.gpu:
        return f"{nodes}{rows}, and holds the base"
    if not spread:
        return f"{nodes}one for each GPU: {rows}, and holds the whole base: DDP"
    stored = f", 4-bit weights stored as {machine.dtype}" if settings.quantization == "nf4" else ""
    return f"{nodes}one for each GPU: {rows}, and holds a part of the base: FSDP full shard{stored}; whole it needs {whole:.1f} GB"


def _instead(config: Config, machine: Machine, size: Size, longest: int, limit: float) -> list[str]:
    """What would fit: 4-bit weights, a smaller base of the same language, or a machine with more memory."""
    spread = machine.ranks.world > 1 and bool(machine.gpu)
    need = memory_gb(size, machine, config.sft.quantization, longest, True, spread)
    four_bits = memory_gb(size, machine, "nf4", longest, True, spread)
    found: list[str] = []
    if machine.gpu and config.sft.quantization == "none" and four_bits <= limit:
        found.append("--set sft.quantization=nf4")
    smaller = sorted(catalog().values(), key=lambda base: -base.parameters)
    for base in (base for base in smaller if base.parameters < size.parameters and base.config):
        if not any(language.startswith(config.language) for language in base.languages):
            continue
        other = size_of(base_config(base.name), config.sft.lora_r, longest, machine)
        if memory_gb(other, machine, config.sft.quantization, longest, True, spread) <= limit:
            found.append(f"--base {base.name} ({base.parameters / 1e6:,.0f} M parameters)")
            break
    kind = "GPU memory" if machine.gpu else "memory"
    return [*found, f"a machine with {need / USABLE:.0f} GB of {kind} or more"]
