"""A full disk: one clear line, and the same command goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .toy import actions, factory, make_base, make_toy

RUN = Path("runs/toy/default")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("disk") / "base")


@pytest.fixture
def small_disk(base: Path, tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB with the toy domain on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        make_toy(disk, base)
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Leave `room` bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as file:
        free = os.statvfs(disk)
        file.write(bytes(max(0, free.f_bavail * free.f_bsize - room)))
    return ballast


@pytest.mark.parametrize(
    ("until", "room"), [("", 0), ("", 24_000), ("curate", 100_000), ("curate", 400_000), ("sft", 60_000)]
)
def test_a_full_disk_is_named_and_the_build_goes_on(small_disk: Path, until: str, room: int) -> None:
    """Full at once, among the first files, in the first checkpoint, in a later one, after SFT."""
    if until:
        factory(small_disk, "build", "toy", "--until", until)
    ballast = fill(small_disk, room)
    text = factory(small_disk, "build", "toy", "--until", "dpo", code=1)
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, text
    assert "disk is full" in errors[0]
    assert "runs/toy/default" in errors[0]
    assert "run the same command again" in text
    print(f"{until or 'nothing'} built, {room} bytes left:", errors[0], list(actions(text).items())[-1:])
    ballast.unlink()
    done = actions(factory(small_disk, "build", "toy", "--until", "dpo"))
    assert done["dpo"] in ("run", "resume")
    assert (small_disk / RUN / "dpo/manifest.json").exists()
    if until:
        assert done["ingest"] == "skip", "what was done is kept"
