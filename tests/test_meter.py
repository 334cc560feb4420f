"""What work takes: energy counters of several processors that begin anew, and when no figure is better than a wrong one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from factory import meter as module
from factory.files import write_text
from factory.meter import Meter

MOST = 262_143_328_850  # of a real processor, in microjoules


def tell(root: Path, **joules: float) -> None:
    """Set the counters: `cpu0`, `cpu1`, and `core0` for a part of the first."""
    names = {"cpu0": "intel-rapl:0", "cpu1": "intel-rapl:1", "core0": "intel-rapl:0:0"}
    for name, value in joules.items():
        write_text(root / names[name] / "max_energy_range_uj", f"{MOST}\n")
        write_text(root / names[name] / "energy_uj", f"{int(value * 1e6) % MOST}\n")


def test_energy_is_that_of_all_processors(tmp_path: Path) -> None:
    tell(tmp_path, cpu0=3, cpu1=1.5, core0=0.9)
    with Meter(root=tmp_path) as meter:
        tell(tmp_path, cpu0=5, cpu1=2, core0=1.9)
    assert meter.used["joules"] == 2.5, "a part of a package is counted with it"
    assert meter.used["seconds"] < 1


def test_counters_that_begin_anew_again_and_again_are_followed(tmp_path: Path) -> None:
    tell(tmp_path, cpu0=262_000)
    looks: list[float] = []
    with Meter(keep=lambda used: looks.append(used["joules"]), root=tmp_path, every=0.01) as meter:
        for total in (362_000, 462_000, 562_000):
            tell(tmp_path, cpu0=total)
            seen, limit = len(looks), time.monotonic() + 5
            while len(looks) < seen + 2 and time.monotonic() < limit:
                time.sleep(0.01)
    assert meter.used["joules"] == pytest.approx(300_000, abs=1), "one difference alone would be 37,857"
    assert looks[-1] == meter.used["joules"], "and kept at the end"


def test_what_was_used_before_counts(tmp_path: Path) -> None:
    tell(tmp_path, cpu0=1)
    with Meter({"seconds": 100.0, "joules": 50.0}, root=tmp_path) as meter:
        tell(tmp_path, cpu0=2)
    assert meter.used["joules"] == 51 and 100 <= meter.used["seconds"] < 101
    with Meter({"seconds": 100.0}, root=tmp_path) as meter:
        tell(tmp_path, cpu0=3)
    assert "joules" not in meter.used, "a part of it is not known"


def test_no_figure_where_the_counters_do_not_tell_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Meter(root=tmp_path) as meter:
        pass
    assert set(meter.used) == {"seconds"}
    tell(tmp_path, cpu0=1, cpu1=1)
    with Meter(root=tmp_path) as meter:
        pass
    assert "joules" not in meter.used, "it stands still"
    with Meter(root=tmp_path) as meter:
        tell(tmp_path, cpu0=2)
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("?")
    assert "joules" not in meter.used
    tell(tmp_path, cpu1=1)
    monkeypatch.setattr(module, "gpu_in_use", lambda: True)
    with Meter(root=tmp_path) as meter:
        tell(tmp_path, cpu0=3)
    assert "joules" not in meter.used, "nobody counts what the GPU takes"
