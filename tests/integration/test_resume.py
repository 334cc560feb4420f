"""kill -9 in every stage: the same command goes on, and the weights are those of an unbroken run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.files import sha256

from .toy import STAGES, Command, actions, factory, make_base, make_toy

RUN = Path("runs/toy/default")
LAST_WRITTEN = "checkpoints/checkpoint-8/trainer_state.json"  # transformers writes it after weights and optimizer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken build."""
    cwd = tmp_path_factory.mktemp("resume") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    factory(cwd, "build", "toy")
    return cwd


@pytest.fixture
def fresh(whole: Path, tmp_path: Path) -> Path:
    """The same domain with nothing built."""
    return Path(shutil.copytree(whole, tmp_path / "work", ignore=shutil.ignore_patterns("runs")))


def same_weights(cwd: Path, whole: Path, stage: str) -> bool:
    file = RUN / stage / "adapter" / "adapter_model.safetensors"
    return sha256(cwd / file) == sha256(whole / file)


def written(path: Path) -> Callable[[], bool]:
    """Whether a JSON file is there to its last brace: existing alone can mean opened a moment ago."""
    return lambda: path.exists() and path.read_text(encoding="utf-8").rstrip().endswith("}")


def test_killed_once_in_every_stage(whole: Path, fresh: Path) -> None:
    """One run that dies in the middle of each stage, just before a file takes its place, and is started again every time."""
    for number, (stage, file) in enumerate(
        [
            ("ingest", "ingest/examples.jsonl"),
            ("synthesize", "synthesize/examples.jsonl"),
            ("curate", "curate/dev.jsonl"),
            ("sft", f"sft/{LAST_WRITTEN}"),
            ("prefer", "prefer/pairs.jsonl"),
            ("dpo", f"dpo/{LAST_WRITTEN.replace('-8', '-4')}"),
            ("evaluate", "evaluate/predictions/dpo.jsonl"),
            ("report", "report/report.json"),
            ("app", "app/manifest.json"),
        ]
    ):
        text = factory(fresh, "build", "toy", kill_at=f"{RUN}/{file}")
        done = actions(text)
        assert done[stage] in ("run", "resume")
        assert list(done) == STAGES[: number + 1], text
        assert not (fresh / RUN / stage / "manifest.json").exists()
        if number:
            assert done[STAGES[number - 1]] == "resume", text
    text = factory(fresh, "build", "toy")
    assert actions(text) == dict.fromkeys(STAGES, "skip") | {"app": "resume"}
    for stage in STAGES:
        left = [path.name for path in (fresh / RUN / stage).rglob("*") if path.name.endswith(".tmp")]
        assert left == [], f"{stage} keeps a half-written file"
    assert same_weights(fresh, whole, "sft")
    assert same_weights(fresh, whole, "dpo")
    for file in ("evaluate/scores.json", "prefer/pairs.jsonl", "curate/train.jsonl"):
        assert (fresh / RUN / file).read_bytes() == (whole / RUN / file).read_bytes()


@pytest.mark.parametrize(("stage", "first"), [("sft", 4), ("dpo", 2)])
def test_killed_from_outside_after_a_checkpoint(whole: Path, fresh: Path, stage: str, first: int) -> None:
    """SIGKILL from another process at no chosen place; what is left decides where training goes on."""
    if stage == "dpo":
        factory(fresh, "build", "toy", "--until", "prefer")
    checkpoints = fresh / RUN / stage / "checkpoints"
    command = Command(fresh, "build", "toy", "--until", stage)
    command.kill_when(written(checkpoints / f"checkpoint-{first}" / "trainer_state.json"))
    assert not (fresh / RUN / stage / "adapter").exists()
    text = factory(fresh, "build", "toy", "--until", stage)
    assert actions(text)[stage] == "resume"
    assert "going on from checkpoint-" in text
    assert "trial:" not in text, "it had its trial"
    assert same_weights(fresh, whole, stage)
    log = [json.loads(line) for line in (fresh / RUN / stage / "log.jsonl").read_text().splitlines()]
    for count in ("step", "tokens", "seconds"):  # they go on from the checkpoint's, not from nothing
        assert [row[count] for row in log] == sorted(row[count] for row in log)


def test_a_half_written_checkpoint_is_passed_over(whole: Path, fresh: Path) -> None:
    factory(fresh, "build", "toy", kill_at=f"{RUN}/sft/{LAST_WRITTEN}")
    checkpoints = fresh / RUN / "sft" / "checkpoints"
    assert not (checkpoints / "checkpoint-8" / "trainer_state.json").exists()
    shutil.copytree(
        checkpoints / "checkpoint-4", checkpoints / "checkpoint-12"
    )  # whole by its names, but its state is cut
    (checkpoints / "checkpoint-12" / "trainer_state.json").write_text('{"global_step": 1', encoding="utf-8")
    (checkpoints / "checkpoint-16").mkdir()
    text = factory(fresh, "build", "toy", "--until", "sft")
    assert actions(text)["sft"] == "resume"
    assert "going on from checkpoint-4" in text
    assert same_weights(fresh, whole, "sft")


def test_other_settings_do_not_go_on_from_old_checkpoints(whole: Path, fresh: Path) -> None:
    factory(fresh, "build", "toy", kill_at=f"{RUN}/sft/{LAST_WRITTEN}")
    text = factory(fresh, "build", "toy", "--until", "sft", "--set", "sft.epochs=3")
    assert actions(text)["sft"] == "run"
    assert "going on" not in text


def test_a_second_build_of_the_same_run_is_refused(whole: Path, fresh: Path) -> None:
    first = Command(fresh, "build", "toy", "--until", "sft")
    while not (fresh / RUN / "ingest").exists():
        assert first.process.is_alive()
    told = factory(fresh, "build", "toy", code=1)
    assert "Another build of runs/toy/default is running." in told
    assert "--run" in told
    assert first.wait().code == 0
