"""Trackio and TensorBoard, where one is asked for: the curves of a training while it runs, kept on this machine."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

from factory.errors import FactoryError
from factory.stage import Context


def require_tracker(name: str) -> None:
    """FactoryError with the command that installs it where `name` is not there; "none" needs nothing."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise FactoryError(f"report_to = '{name}': {name} is not installed.", f"Run: pip install {name}")


def tracker(context: Context, done: int) -> Any:
    """The callback of transformers that `report_to` names, from step `done` on, or None; says how its page is opened."""
    name = context.config.report_to
    require_tracker(name)
    if name == "trackio":
        from transformers.integrations import TrackioCallback

        context.say(f"    curves: trackio show --project factory-{context.config.name}")
        return TrackioCallback()
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        folder = context.run_dir / "tensorboard" / context.stage
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
        context.say(f"    curves: tensorboard --logdir {folder.parent}")
        return TensorBoardCallback(SummaryWriter(str(folder), purge_step=done + 1))
    return None
