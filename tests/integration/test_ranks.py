"""SFT and DPO in two processes: the losses of one, going on after a kill, and one clear line when a rank is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from .test_resume import written
from .toy import Command, actions, adapter, factory, make_base, make_toy

RUN = Path("runs/toy/default")
PLAIN = ["sft.lora_dropout=0", "sft.epochs=1.6", "sft.trainer.logging_steps=1", "dpo.trainer.logging_steps=1"]
SETTINGS = [
    word for setting in PLAIN for word in ("--set", setting)
]  # 58 rows: of the last step one process has two, the other none
TWO = ["--processes", "2"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process up to DPO."""
    cwd = tmp_path_factory.mktemp("ranks") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    factory(cwd, "build", "toy", "--until", "dpo", *SETTINGS)
    return cwd


@pytest.fixture
def work(one: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(one, tmp_path / "work"))


def log(cwd: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cwd / RUN / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_train_as_one_does(one: Path, work: Path, stage: str) -> None:
    text = factory(work, "build", "toy", "--until", stage, "--force", stage, *SETTINGS, *TWO)
    alone, together = log(one, stage), log(work, stage)
    last = len(alone) - 1
    for number, (expected, found) in enumerate(zip(alone, together, strict=True)):
        assert found["step"] == expected["step"] and found["learning_rate"] == expected["learning_rate"]
        if number < last or stage == "sft":  # blank pairs take part in the mean of DPO's last step
            assert found["loss"] == pytest.approx(expected["loss"], rel=0.005)
        if number < last:
            assert found["tokens"] == expected["tokens"], "the same rows in every step"
    before, after = adapter(one / RUN, stage), adapter(work / RUN, stage)
    assert before.keys() == after.keys()
    apart = [(after[name] - before[name]).abs() for name in before]
    told = json.loads((work / RUN / stage / "manifest.json").read_text(encoding="utf-8"))["summary"]
    if told["dtype"] == "float32":
        assert all(rows.max() < 1e-3 for rows in apart)
    else:  # a product of half the rows is rounded otherwise, and Adam makes a step of it where a gradient is near nothing
        assert all(rows.mean() < 5e-3 for rows in apart), [float(rows.mean()) for rows in apart]
    assert told["steps"] == len(alone) and told["peak_memory_gb"] > 0.4
    assert not (work / RUN / stage / "checkpoints").exists()
    if stage == "sft":
        assert "processes     2 (each takes 4 of the 8 rows of a step, and holds the base)" in text
        assert "batch         4 rows" in text
    assert actions(factory(work, "build", "toy", "--until", stage, *SETTINGS))[stage] == "skip", (
        "one or two: the same run"
    )


def ranks_of(command: Command) -> dict[int, psutil.Process]:
    """The ranks that a build started, by number."""
    found = psutil.Process(command.process.pid).children(recursive=True)
    return {int(child.environ()["RANK"]): child for child in found if "factory.stages.sft" in child.cmdline()}


@pytest.mark.parametrize("who", ["a rank", "the build"])
def test_killed_and_started_again(one: Path, work: Path, who: str) -> None:
    order = ["build", "toy", "--until", "sft", *SETTINGS, *TWO]
    shutil.rmtree(work / RUN / "sft")
    checkpoint = work / RUN / "sft" / "checkpoints" / "checkpoint-4"
    command = Command(work, *order)
    try:
        while not written(checkpoint / "trainer_state.json")():
            assert command.process.is_alive(), command.wait().text
            time.sleep(0.01)
        ranks = ranks_of(command)
        assert sorted(ranks) == [0, 1]
        os.kill(ranks[1].pid if who == "a rank" else command.process.pid or 0, signal.SIGKILL)
        done = command.wait(60)
    finally:
        command.process.kill()
    psutil.wait_procs(ranks.values(), timeout=20)
    assert not any(rank.is_running() for rank in ranks.values())
    if who == "a rank":
        assert done.code == 1 and "Traceback" not in done.text
        assert "Error: sft: process 2 of 2 was ended by SIGKILL.\n" in done.text
    else:
        assert done.code == -signal.SIGKILL
    text = factory(work, *order)
    assert actions(text)["sft"] == "resume" and "going on from checkpoint-" in text
    losses = [row["loss"] for row in log(one, "sft")]
    assert [row["loss"] for row in log(work, "sft")] == pytest.approx(losses, rel=0.005)


def test_what_cannot_be_shared_out_is_refused_before_anything_is_done(one: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(one / "domains", work / "domains")
    told = factory(work, "build", "toy", "--processes", "3", code=1)
    assert told.startswith("Error: sft.batch = 8 rows a step cannot be shared by 3 processes.\n  Every process takes")
    told = factory(work, "build", "toy", "--processes", "64", "--set", "sft.batch=64", "--set", "dpo.batch=64", code=1)
    assert told.startswith("Error: --processes 64: this machine has")
    assert not (work / "runs").exists()
