"""doctor: what is missing is named with the command that needs it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest

from factory import doctor


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess[str]([], 1, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)


def faults() -> str:
    return "\n".join(line for fine, line in doctor.findings() if not fine)


def test_a_missing_package_is_named_with_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("mammoth", "sklearn") else real(name)
    )
    told = faults()
    assert "mammoth is missing, needed for: new-domain with Word. pip install" in told
    assert "scikit-learn is missing, needed for: build, eval" in told


def test_git_index_and_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1e9})())
    told = faults()
    assert "git is missing, needed for: build --source" in told and "package index cannot be reached" in told
    assert "a build needs about 3 GB" in told


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "switched off" in " ".join(line for _, line in doctor.findings())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def refuse(request: Any, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert "connection to the model hub (https://huggingface.co)" in faults() and "smollm2-135m-instruct" in faults()
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc/passwd")
    assert "is no address" in faults()


def test_every_package_of_the_project_that_a_command_needs_is_looked_for() -> None:
    from importlib.metadata import requires

    known = {re.split(r"[<>=~;! ]", line)[0] for line in requires("vertical-factory") or []}
    assert set(doctor.NEEDED) <= known
