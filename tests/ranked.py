"""What the ranks of test_ranks.py do: no model, only what can go well or wrong between processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil

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
    listens = listening() if own == 0 else []  # while the other waits in the sum
    told = {"sum": over_ranks(own + 1.0, "sum"), "most": over_ranks(own + 1.0, "max"), "name": context.config.name}
    return told | {"listens": listens, "network": os.environ.get("GLOO_SOCKET_IFNAME")}


def listening() -> list[str]:
    """Where the launcher and its ranks listen."""
    launcher = psutil.Process(os.getppid())
    found = [each for one in (launcher, *launcher.children()) for each in one.net_connections("tcp")]
    return sorted({each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN})


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
