"""What the ranks of test_ranks.py do: no model, only what can go well or wrong between processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from factory.errors import FactoryError
from factory.ranks import over_ranks, rank
from factory.stage import Context


def train(context: Context, what: str) -> dict[str, Any]:
    import torch

    torch.distributed.init_process_group("gloo")
    own = int(os.environ["RANK"])
    context.say(f"rank {own} has {os.environ['OMP_NUM_THREADS']} threads")
    if own == 1:
        fail(what)
    while what == "wait":
        (context.out / f"rank{own}").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(0.1)
    return {"sum": over_ranks(own + 1.0, "sum"), "most": over_ranks(own + 1.0, "max"), "name": context.config.name}


def fail(what: str) -> None:
    if what == "raise":
        raise FactoryError("Too hot.", "Lower it.")
    if what == "bug":
        raise ValueError("no such thing\nas this")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "full":
        raise OSError(28, "No space left on device")


if __name__ == "__main__":
    rank(train)
