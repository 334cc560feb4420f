"""The engine on toy stages: what runs, what is skipped, what goes on, and why."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from factory import stage as stage_module
from factory.config import Config, Sft
from factory.domain import Domain
from factory.errors import FactoryError
from factory.files import read_json, write_json, write_text
from factory.meter import Meter
from factory.stage import Context, Stage, decide, manifest, run_stages, seconds_of

HOLD = """
import sys, time
from pathlib import Path
from factory.errors import FactoryError
from factory.files import lock
with lock(Path(sys.argv[1]), FactoryError("busy")):
    print("held", flush=True)
    time.sleep(60)
"""


@dataclass
class Line:
    """Three stages: `bake` watches a file, `cut` reads bake, `sell` reads cut; `ran` says which ran."""

    root: Path
    ran: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    fail: BaseException | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def context(self) -> Context:
        config = Config(**{"name": "bakery", "title": "B", "language": "en", "base": "x", **self.settings})
        return Context(Domain(config, self.root), self.root / "runs" / "bakery" / "default", "", say=self.said.append)

    @property
    def stages(self) -> list[Stage]:
        return [
            Stage(
                "bake", self._bake, settings=("sft", "title"), version=self.versions.get("bake", 1), watches=self._flour
            ),
            Stage("cut", self._cut, reads=("bake",), settings=("dpo",)),
            Stage("sell", self._sell, reads=("cut",)),
        ]

    def _flour(self, context: Context) -> dict[str, str]:
        return {"flour": (self.root / "flour.txt").read_text()}

    def _bake(self, context: Context) -> dict[str, Any]:
        self.ran.append("bake")
        half = context.out / "half.txt"
        self.said.append("went on" if half.exists() else "from the start")
        write_text(half, "half")
        if self.fail:
            raise self.fail
        assert not (context.out / "manifest.json").exists()
        write_text(context.out / "bread" / "loaf.txt", f"{self._flour(context)['flour'].lower()} bread")
        return {"note": "one loaf", "loaves": 1}

    def _cut(self, context: Context) -> dict[str, Any]:
        self.ran.append("cut")
        assert context.summary("bake")["loaves"] == 1
        write_text(context.out / "slices.txt", (context.input("bake") / "bread" / "loaf.txt").read_text())
        return {}

    def _sell(self, context: Context) -> dict[str, Any]:
        self.ran.append("sell")
        write_text(context.out / "money.txt", "3")
        return {}

    def build(self, *force: str) -> list[str]:
        self.ran.clear()
        run_stages(self.stages, self.context, force)
        return list(self.ran)

    def plan(self, *force: str) -> list[tuple[str, str]]:
        return [(decision.action, decision.reason) for decision in decide(self.stages, self.context, force)]


@pytest.fixture
def line(tmp_path: Path) -> Line:
    (tmp_path / "flour.txt").write_text("rye")
    return Line(tmp_path)


ALL = ["bake", "cut", "sell"]


def test_runs_in_order_then_skips_and_says_so(line: Line) -> None:
    assert line.plan() == [("run", "not built yet")] * 3
    assert not line.context.run_dir.exists()
    assert line.build() == ALL
    assert "[1/3] bake: run (not built yet)" in line.said and "    one loaf" in line.said
    line.said.clear()
    assert line.build() == []
    assert line.said[0] == "[1/3] bake: skipped, nothing it reads has changed"
    assert line.plan() == [("skip", "nothing it reads has changed")] * 3


def test_manifest_says_what_it_was_made_from(line: Line) -> None:
    line.build()
    found = manifest(line.context.run_dir, "bake")
    assert found["stage"] == "bake" and found["inputs"]["flour"] == "rye" and found["inputs"]["sft.epochs"] == 0.0
    assert set(found["outputs"]) == {"bread/loaf.txt", "half.txt"} and found["outputs"]["bread/loaf.txt"]["bytes"] == 9
    assert found["summary"] == {"note": "one loaf", "loaves": 1} and "torch" in found["packages"]
    assert not (line.context.run_dir / "bake" / "started.json").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sft": Sft(epochs=9.0)}, "changed: sft.epochs"),
        ({"title": "C"}, "changed: title"),
        ({"seed": 1}, "changed: seed"),
        (
            {"sft": Sft(epochs=9.0, batch=1, lora_r=1, lora_alpha=1)},
            "changed: sft.epochs, sft.batch, sft.lora_r and 1 more",
        ),
        ({"sft": Sft(trainer={"optim": "sgd"})}, "changed: sft.trainer"),
    ],
)
def test_changed_setting_names_itself(line: Line, settings: dict[str, Any], reason: str) -> None:
    line.build()
    line.settings = settings
    assert line.plan()[0] == ("run", reason)


def test_setting_that_nobody_reads_changes_nothing(line: Line) -> None:
    line.build()
    line.settings = {"description": "other"}
    assert line.build() == []


def test_changed_input_reruns_what_follows_and_the_same_output_stops_it(line: Line) -> None:
    line.build()
    write_text(line.root / "flour.txt", "wheat")
    assert line.plan()[0] == ("run", "changed: flour")
    assert line.build() == ALL
    write_text(line.root / "flour.txt", "WHEAT")
    assert line.build() == ["bake"]  # the same bread: what reads it is still right


def test_new_version_of_a_stage_reruns_it(line: Line) -> None:
    line.build()
    line.versions["bake"] = 2
    assert line.plan()[0] == ("run", "changed: version")


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_changed_output_reruns(line: Line, change: str) -> None:
    line.build()
    loaf = line.context.run_dir / "bake" / "bread" / "loaf.txt"
    loaf.unlink() if change == "delete" else loaf.write_text("ryE bread")
    assert line.plan()[0] == ("run", "bread/loaf.txt is missing or was changed")
    assert line.build() == ["bake"] and loaf.read_text() == "rye bread"


def test_force(line: Line) -> None:
    line.build()
    assert line.plan("cut") == [
        ("skip", "nothing it reads has changed"),
        ("run", "forced"),
        ("maybe", "only if 'cut' comes out different"),
    ]
    assert line.build("bake", "sell") == ["bake", "sell"]


def test_broken_off_stage_goes_on_in_its_folder(line: Line) -> None:
    line.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        line.build()
    assert not (line.context.run_dir / "bake" / "manifest.json").exists()
    line.fail = None
    assert line.plan()[0] == ("resume", "was broken off")
    line.said.clear()
    assert line.build() == ALL
    assert "went on" in line.said


def test_all_parts_of_a_broken_off_stage_are_counted(line: Line) -> None:
    line.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        line.build()
    note = line.context.run_dir / "bake" / "started.json"
    assert read_json(note)["used"]["seconds"] < 60
    write_json(note, read_json(note) | {"used": {"seconds": 5400.0, "joules": 1e6}})
    line.fail = None
    line.build()
    found = manifest(line.context.run_dir, "bake")
    assert 5400 <= found["seconds"] < 5460 and seconds_of(found) == found["seconds"]
    assert found.get("joules", 1e6) >= 1e6, "none where this machine has no counters"
    line.build("bake")
    assert manifest(line.context.run_dir, "bake")["seconds"] < 60, "what was thrown away is not counted"


def test_a_manifest_of_the_last_part_alone_has_the_seconds_of_every_step(tmp_path: Path) -> None:
    assert seconds_of({"seconds": 60.0, "summary": {"seconds": 5400.0}}) == 5400
    assert seconds_of({"seconds": 60.0, "summary": {}}) == 60


def test_a_long_stage_is_noted_while_it_runs(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process says nothing at its end."""
    monkeypatch.setattr(stage_module, "Meter", partial(Meter, every=0.01))
    seen: list[float] = []

    def bake(context: Context) -> dict[str, Any]:
        note, limit = context.out / "started.json", time.monotonic() + 5
        while (used := read_json(note)["used"]["seconds"]) < 0.2 and time.monotonic() < limit:
            time.sleep(0.01)
        seen.append(used)
        return {}

    run_stages([Stage("bake", bake)], line.context)
    assert seen[0] >= 0.2


def test_broken_off_stage_starts_again_when_its_settings_changed(line: Line) -> None:
    line.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        line.build()
    line.fail, line.settings = None, {"title": "C"}
    assert line.plan()[0][0] == "run"
    line.said.clear()
    line.build()
    assert "from the start" in line.said


def test_manifest_is_written_last(line: Line) -> None:
    line.fail = RuntimeError("the oven is out")
    with pytest.raises(RuntimeError, match="the oven is out"):
        line.build()
    assert not (line.context.run_dir / "bake" / "manifest.json").exists()
    line.fail = None
    line.build()
    stamps = {path: path.stat().st_mtime_ns for path in (line.context.run_dir / "bake").rglob("*") if path.is_file()}
    assert max(stamps, key=lambda path: stamps[path]).name == "manifest.json"


def test_second_build_is_refused_while_another_process_builds(line: Line) -> None:
    held = line.context.run_dir / ".lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(held)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(FactoryError, match=r"Another build of .*default is running") as caught:
            line.build()
        assert "--run" in caught.value.hint and line.ran == []
    finally:
        other.kill()
        other.wait()
    assert line.build() == ALL


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_and_the_build_goes_on_later(line: Line, number: int) -> None:
    try:
        raise RuntimeError("cannot save") from OSError(number, "full")
    except RuntimeError as error:
        for line.fail in (OSError(number, "full"), error):
            with pytest.raises(FactoryError, match="The disk is full: 'bake' stopped in") as caught:
                line.build()
            assert "goes on" in caught.value.hint
    line.fail = None
    assert line.plan()[0][0] == "resume"
    assert line.build() == ALL


def test_other_system_errors_are_not_called_a_full_disk(line: Line) -> None:
    line.fail = OSError(errno.EACCES, "denied")
    with pytest.raises(PermissionError):
        line.build()


def test_missing_input_names_the_command(line: Line) -> None:
    with pytest.raises(FactoryError, match="No finished 'bake' in") as caught:
        run_stages(line.stages[1:], line.context)
    assert caught.value.hint == "Run: factory build bakery --until bake"
    assert not (line.context.run_dir / "cut").exists()


def test_broken_manifest_is_named(line: Line) -> None:
    line.build()
    path = line.context.run_dir / "cut" / "manifest.json"
    path.write_text("{")
    with pytest.raises(FactoryError, match=r"cut/manifest\.json is not JSON"):
        line.plan()
    assert read_json(line.context.run_dir / "bake" / "manifest.json")["stage"] == "bake"
