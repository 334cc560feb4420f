"""What this machine is and can do, and the precision that follows from it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from factory.errors import FactoryError


@dataclass(frozen=True)
class Ranks:
    """So many processes train together on each of so many machines; these meet at HOST:PORT of the first."""

    processes: int = 1
    nodes: int = 1
    meet: str = ""

    @property
    def world(self) -> int:
        return self.processes * self.nodes


@dataclass(frozen=True)
class Machine:
    """Processor, memory and accelerator as training sees them, and the processes that share them."""

    processor: str
    cores: int
    memory_gb: float
    native_bf16: bool
    gpu: str = ""
    gpu_memory_gb: float = 0.0  # of each
    gpus: int = 1  # of those that a machine with GPUs has
    ranks: Ranks = Ranks()  # on GPUs each process has one of its own

    @property
    def dtype(self) -> str:
        """The compute type: bf16 only where it is the quicker one, on GPUs and processors with AMX.

        On a processor that emulates bf16 a matrix product was measured 115 times slower than in fp32. With AVX512-BF16 alone a step
        of LoRA (8 rows of 96 tokens) took 1.6 times as long as in fp32 with gemma-3-270m and 1.75 times with smollm2-135m.
        """
        return "bfloat16" if self.native_bf16 else "float32"

    @property
    def answering(self) -> Machine:
        """The machine as answers are written on it: on a CPU in fp32, even where it trains in bf16.

        So the figures are those of the trained weights, and the app and the exports, which compute in fp32, answer alike. For 96
        eval items beside native bf16 (AMD EPYC with AVX512-BF16) it took 0.87 of the time with SmolLM2 and 1.2 with Gemma.
        """
        return self if self.gpu else replace(self, native_bf16=False)

    @property
    def fuses(self) -> bool:
        """Whether training takes the operations of factory.fused: in fp32 on a CPU; kernels of GPUs and bf16 have their own."""
        return not self.gpu and self.dtype == "float32"

    @property
    def why_dtype(self) -> str:
        return "native bf16" if self.native_bf16 else "no GPU or AMX: fp32 is faster here than bf16"

    @property
    def threads(self) -> int:
        """How many a process computes with: its share of OMP_NUM_THREADS where that is set, else of the cores."""
        return max(1, int(os.environ.get("OMP_NUM_THREADS") or self.cores) // self.ranks.processes)

    def shared_by(self, ranks: Ranks) -> Machine:
        """The machine with so many processes on it; FactoryError where it has fewer cores or GPUs than these."""
        there, kind = (self.gpus, "GPU") if self.gpu else (self.cores, "core")
        if ranks.processes > max(1, there or ranks.processes):
            raise FactoryError(
                f"--processes {ranks.processes}: this machine has {there} {kind}{'s' if there > 1 else ''}.",
                f"At most one process for each: --processes {there}",
            )
        return replace(self, ranks=ranks)

    def lines(self) -> list[str]:
        many = f"{self.gpus} x " if self.gpus > 1 else ""
        where = f"{many}GPU {self.gpu}, {self.gpu_memory_gb:.0f} GB" if self.gpu else "no GPU"
        cores = f"{self.cores} cores, " if self.cores else ""
        memory = f"{self.memory_gb:.0f} GB memory, " if self.memory_gb else ""
        return [f"{self.processor}, {cores}{memory}{where}", f"compute type {self.dtype} ({self.why_dtype})"]


def other_machine(text: str) -> Machine:
    """A machine described as 8gb-laptop, 64gb-cpu, 24gb-gpu or 2x24gb-gpu; its GPUs multiply in bf16."""
    found = re.fullmatch(r"(?:(\d+)x)?(\d+)gb-(gpu|laptop|cpu)", text.lower().replace(" ", "-"))
    if not found or int(found[2]) == 0 or found[1] == "0" or (found[1] and found[3] != "gpu"):
        raise FactoryError(
            f"--machine {text} says no machine.", "Write 8gb-laptop, 64gb-cpu, 24gb-gpu, 80gb-gpu or 2x24gb-gpu."
        )
    count, memory = int(found[1] or 1), int(found[2])
    if found[3] == "gpu":
        return Machine("another machine", 0, 0, True, f"of {memory} GB", memory, count, Ranks(count))
    return Machine(f"another machine ({found[3]})", 0, memory, False)


def inspect_machine(with_gpu: bool = True) -> Machine:
    """Read this machine; `with_gpu=False` leaves torch unimported."""
    name, flags = _processor()
    gpu, gpu_memory, bf16, gpus = _gpu() if with_gpu else ("", 0.0, False, 1)
    native = bf16 if gpu else "amx_bf16" in flags
    return Machine(name, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
                   psutil.virtual_memory().total / 2**30, native, gpu, gpu_memory, gpus)  # fmt: skip


def gpu_in_use() -> bool:
    """Whether this process has torch, and torch a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available())


def peak_memory_gb() -> float:
    """The most that this process has held so far, in GB of 10^9 bytes: on the GPU where there is one, else resident."""
    if gpu_in_use():
        return float(sys.modules["torch"].cuda.max_memory_reserved()) / 1e9
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e9
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # the system's other count, ru_maxrss, begins with the peak of the process that started this one
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024 / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def forget_peak() -> None:
    """Let `peak_memory_gb` count from here on, where the system can (Linux)."""
    if gpu_in_use():
        sys.modules["torch"].cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def bf16_factor() -> float:
    """How many times as long as in fp32 a matrix product takes in bf16 on this processor, measured now."""
    import torch

    a, b = torch.randn(256, 1024), torch.randn(1024, 1024)
    spent = []
    for kind in (torch.float32, torch.bfloat16):
        one, other = a.to(kind), b.to(kind)
        times: list[float] = []
        while len(times) < 10 and sum(times) < 2:
            started = time.perf_counter()
            one @ other
            times.append(time.perf_counter() - started)
        spent.append(min(times))
    return spent[1] / spent[0]


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks instead of handing them back to the system after every operation.

    Training frees and takes the same tens of megabytes hundreds of times a step; each return costs page faults. Measured on
    gemma-3-270m, LoRA, 8 x 160 tokens: 1.3 times the tokens per second. No effect on other C libraries.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 256 * 2**20)
    except (OSError, AttributeError):
        return


def give_memory_back() -> None:
    """Hand what a finished stage held back to the system, which `keep_freed_memory` had kept for its own next step."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Hand freed memory, wherever in the heap it lies, back to the system; glibc alone, a second at most for gigabytes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def _processor() -> tuple[str, set[str]]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine(), set()
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name") or platform.machine(), flags


def _gpu() -> tuple[str, float, bool, int]:
    import torch

    if not torch.cuda.is_available():
        return "", 0.0, False, 1
    properties, bf16 = torch.cuda.get_device_properties(0), torch.cuda.is_bf16_supported(including_emulation=False)
    return properties.name, properties.total_memory / 2**30, bf16, torch.cuda.device_count()
