"""Sources that are fetched: a git repository at a commit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from factory.errors import FactoryError
from factory.files import digest, lock
from factory.models import home


def fetch_git(address: str) -> Path:
    """Clone `URL@COMMIT` once into the cache and check the commit out; FactoryError when git cannot."""
    url, at, commit = address.rpartition("@")
    if not at or not re.fullmatch(r"[0-9a-fA-F]{7,40}", commit):
        raise FactoryError(f"{address} names no commit.", "Pin it: --source https://host/repo.git@COMMIT")
    folder = home() / "sources" / f"{Path(url).stem}-{digest(url)[:8]}-{commit[:12]}"
    with lock(folder.with_suffix(".lock"), FactoryError(f"{url} is being fetched.", "Wait for the other build.")):
        if not (folder / ".git" / "factory-done").exists():
            if not (folder / ".git").exists():
                folder.mkdir(parents=True, exist_ok=True)
                _git(folder, "init", "--quiet")
                _git(folder, "remote", "add", "origin", url)
            _git(folder, "fetch", "--quiet", "origin")
            if not _git(folder, "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}", may_fail=True):
                raise FactoryError(f"{url} has no commit {commit}.", "Check it with: git log")
            _git(folder, "checkout", "--quiet", "--detach", commit)
            (folder / ".git" / "factory-done").touch()
    return folder


def _git(folder: Path, *arguments: str, may_fail: bool = False) -> bool:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise FactoryError("git is not installed.", "Install git, or give a folder.") from None
    if done.returncode and not may_fail:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FactoryError(f"git {arguments[0]} failed: {reason}", "Check the address, the commit and the network.")
    return done.returncode == 0
