"""report_to: what is missing is named with the command that installs it; what is there gets every figure of the training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import toys

from factory.config import Config
from factory.domain import Domain
from factory.errors import FactoryError
from factory.stage import Context
from factory.trackers import require_tracker, tracker

STUB = '''
"""A package that notes what it is called with."""
import json, pathlib


class Space:
    def get(self):
        return None


class context_vars:
    current_space_id = current_project = Space()


class Settings(dict):
    def update(self, *_, **__):
        pass


config = Settings()
__version__ = "1.0.0"


def note(what, **more):
    with open(pathlib.Path(__file__).with_name("calls.jsonl"), "a") as file:
        file.write(json.dumps({"what": what, **more}) + "\\n")


def init(project, name, **_):
    note("init", project=project, name=name)


def log(values):
    note("log", values=values)


def finish():
    note("finish")
'''


def context(folder: Path, report_to: str = "none") -> Context:
    config = Config("shop", "Shop", "en", "b", report_to=report_to)
    return Context(Domain(config, folder), folder / "runs" / "shop" / "default", "sft", say=lambda _: None)


def test_nothing_is_needed_where_nothing_is_asked_for(tmp_path: Path) -> None:
    require_tracker("none")
    assert tracker(context(tmp_path), 0) is None


@pytest.mark.parametrize("name", ["trackio", "tensorboard"])
def test_what_is_missing_is_named_with_its_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FactoryError, match=f"{name} is not installed") as caught:
        tracker(context(tmp_path, name), 0)
    assert caught.value.hint == f"Run: pip install {name}"


def test_the_command_says_so_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = toys.Factory(monkeypatch, capsys)
    toys.make_toy(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for flags in (["--report-to", "trackio"], ["--set", "report_to=trackio"]):
        ended = factory("build", "toy", *flags)
        assert ended.code == 1 and "trackio is not installed" in ended.err and "pip install trackio" in ended.err
    ended = factory("build", "toy", "--report-to", "wandb")
    assert ended.code == 1 and "report_to = 'wandb' is not known" in ended.err and "trackio" in ended.err
    assert not (tmp_path / "runs").exists()


def test_trackio_gets_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real callback of transformers, a package of the same name that notes its calls."""
    from transformers import TrainerControl, TrainerState, TrainingArguments

    (tmp_path / "site" / "trackio").mkdir(parents=True)
    (tmp_path / "site" / "trackio" / "__init__.py").write_text(STUB, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    found = tracker(context(tmp_path, "trackio"), 0)
    arguments = TrainingArguments(str(tmp_path / "out"), project="factory-shop", run_name="default-sft", report_to=[])
    state, control = TrainerState(), TrainerControl()
    found.on_train_begin(arguments, state, control, model=None)
    found.on_log(arguments, state, control, logs={"loss": 1.5, "eval_loss": 2.5})
    found.on_train_end(arguments, state, control)
    calls = [json.loads(line) for line in (tmp_path / "site" / "trackio" / "calls.jsonl").read_text().splitlines()]
    assert calls[0] == {"what": "init", "project": "factory-shop", "name": "default-sft"}
    assert calls[1]["values"] == {"train/loss": 1.5, "eval/loss": 2.5, "train/global_step": 0}
    assert calls[2] == {"what": "finish"}


def test_tensorboard_writes_below_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers import TrainerControl, TrainerState, TrainingArguments

    arguments = TrainingArguments(str(tmp_path / "out"), report_to=[])
    folder = tmp_path / "runs" / "shop" / "default" / "tensorboard" / "sft"
    for done, steps in ((0, (1, 2, 3)), (2, (3, 4))):  # broken off after a checkpoint at step 2
        found = tracker(context(tmp_path, "tensorboard"), done)
        found.on_train_begin(arguments, TrainerState(), TrainerControl())
        for step in steps:
            found.on_log(arguments, TrainerState(global_step=step), TrainerControl(), logs={"loss": float(step)})
        found.on_train_end(arguments, TrainerState(), TrainerControl())
    events = EventAccumulator(str(folder)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (n, float(n)) for n in (1, 2, 3, 4)
    ]
