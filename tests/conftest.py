"""Seals every test: its own folder and home, no hub, one thread, no socket to anything but this machine.

Tests marked `slow` build with the real embedded base model: they keep home, the package index and the network.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEAL = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false", "GRADIO_ANALYTICS_ENABLED": "False", "COLUMNS": "200",
}  # fmt: skip
os.environ.update(SEAL)  # before numpy and torch are imported: they read it once
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def sealed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if request.node.get_closest_marker("slow"):
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.delenv("TRANSFORMERS_OFFLINE")
        return
    home = tmp_path / ".home"
    home.mkdir()
    for name, value in {**SEAL, "PIP_NO_INDEX": "1", "HOME": str(home), "FACTORY_HOME": str(home / "factory")}.items():
        monkeypatch.setenv(name, value)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test's own process no processor has native bf16: exact comparisons mean the same on all of them."""
    from factory import hardware

    real = hardware._processor
    monkeypatch.setattr(hardware, "_processor", lambda: (real()[0], real()[1] - {"amx_bf16"}))


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def guard(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if self.family != socket.AF_UNIX and not _is_loopback(str(address[0])):
            raise PermissionError(f"a sealed test tried to reach {address}")
        return original(self, *arguments)

    return guard


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
