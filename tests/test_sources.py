"""Git sources: a local repository stands for a remote one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.sources import fetch_git


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str]:
    folder = tmp_path / "remote"
    folder.mkdir()
    (folder / "a.md").write_text("one", encoding="utf-8")
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*run, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*run, "add", "."], cwd=folder, check=True)
    subprocess.run([*run, "commit", "-qm", "one"], cwd=folder, check=True)
    commit = subprocess.run([*run, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return f"file://{folder}", commit.stdout.strip()


def test_a_commit_is_cloned_once_and_stays(repository: tuple[str, str], tmp_path: Path) -> None:
    address, commit = repository
    folder = fetch_git(f"{address}@{commit}")
    assert (folder / "a.md").read_text(encoding="utf-8") == "one"
    (tmp_path / "remote").rename(tmp_path / "gone")
    assert fetch_git(f"{address}@{commit}") == folder


def test_a_moving_branch_is_refused(repository: tuple[str, str]) -> None:
    with pytest.raises(FactoryError, match="names no commit"):
        fetch_git(f"{repository[0]}@main")


def test_unknown_commit_and_address_are_one_line(repository: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="has no commit 0000000"):
        fetch_git(f"{repository[0]}@0000000")
    with pytest.raises(FactoryError, match="git fetch failed"):
        fetch_git(f"file://{tmp_path}/nowhere@{repository[1]}")
