"""What work takes: its seconds, and the joules that the processors' own counters (RAPL) tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.hardware import gpu_in_use

RAPL = Path("/sys/class/powercap")
EVERY = 30.0  # seconds between looks: the smallest counters (65 kJ) begin anew after three and a half minutes of 300 W
Used = dict[str, float]  # seconds, and joules where they are known
NOTHING: Used = {"seconds": 0.0, "joules": 0.0}


class Meter:
    """Counts while its `with` block runs; `used` is what it has counted, on top of what was used `before`.

    The counters begin anew within minutes, so it looks at them every so often, and `keep` is told each time and at the end. There are no
    joules where the machine does not tell, where none were known of what was before, and where this process works on a GPU,
    of which the counters know nothing.
    """

    def __init__(
        self, before: Used = NOTHING, keep: Callable[[Used], None] = lambda used: None, root: Path = RAPL, every: float = EVERY
    ) -> None:  # fmt: skip
        self._used = dict(before)
        self._keep, self._root, self._every = keep, root, every
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def used(self) -> Used:
        return {key: round(value, 1) for key, value in self._used.items()}

    def __enter__(self) -> Meter:
        self._at, self._counters = time.monotonic(), read_counters(self._root)
        self._watcher.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._watcher.join()
        self._look()
        if gpu_in_use() or not self._used.get("joules"):  # some virtual machines have counters that stand still
            self._used.pop("joules", None)
        self._keep(self.used)

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self._look()
            self._keep(self.used)

    def _look(self) -> None:
        at, counters = time.monotonic(), read_counters(self._root)
        self._used["seconds"] += at - self._at
        if counters and counters.keys() == self._counters.keys() and "joules" in self._used:
            moved = ((now - self._counters[name][0]) % most for name, (now, most) in counters.items())
            self._used["joules"] += sum(moved) / 1e6
        else:
            self._used.pop("joules", None)
        self._at, self._counters = at, counters


def read_counters(root: Path) -> dict[str, tuple[int, int]]:
    """Microjoules of each processor package, and the number at which they begin anew; empty where the machine does not tell."""
    packages = [path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1]
    try:
        return {path.name: (_number(path / "energy_uj"), _number(path / "max_energy_range_uj")) for path in packages}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int:
    return int(path.read_text())
