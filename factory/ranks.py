"""Training steps in several processes: torch's elastic launcher starts them, Accelerate joins them, one error ends them all.

The build's own process does everything else and waits; rank 0 alone says, logs and saves. A step keeps its rows: every rank takes
its share of them, so the losses and the weights are those of one process but for the order of additions.

    python -m factory.ranks JOB        # on a further machine: its processes join the training of that job
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory.config import Config, config_of
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.files import read_json, write_json
from factory.hardware import Ranks, inspect_machine
from factory.stage import SCRATCH, Context, full_disk_named

Train = Callable[..., dict[str, Any]]  # of a stage: train(context, **choices) -> what rank 0 tells
PATIENCE = 10  # seconds that ranks have to end by themselves once one has failed
JOIN = 600  # seconds that machines wait for each other


def check_shares(config: Config, ranks: Ranks) -> None:
    """FactoryError where a step's rows cannot be shared out evenly, or machines have no place to meet."""
    for section, batch in (("sft", config.sft.batch), ("dpo", config.dpo.batch)):
        if batch % ranks.world:
            near = max(1, round(batch / ranks.world)) * ranks.world
            raise FactoryError(
                f"{section}.batch = {batch} rows a step cannot be shared by {ranks.world} processes.",
                f"Every process takes as many: --set {section}.batch={near}, or another number of processes.",
            )
    if ranks.nodes > 1 and not ranks.meet:
        raise FactoryError(
            "--nodes above 1 needs the place where the machines meet.", "Example: --nodes 2 --meet 192.168.1.10:29500"
        )


def train_together(train: Train, context: Context, **choices: Any) -> dict[str, Any]:
    """`train(context, **choices)` here, or at once in each of `context.ranks` processes; what it, or rank 0, tells.

    `train` is a function of a module that ends with `if __name__ == "__main__": rank(train)`; `choices` are plain JSON.
    FactoryError where a rank fails: with its own words, or the signal that ended it.
    """
    if context.ranks.world == 1:
        return train(context, **choices)
    folder = context.out / SCRATCH / "ranks"
    job, told = folder / "job.json", folder / "told.json"
    told.unlink(missing_ok=True)
    write_json(
        job,
        {
            "module": train.__module__,
            "run_dir": str(context.run_dir),
            "stage": context.stage,
            "earlier": str(context.earlier) if context.earlier else "",
            "config": dataclasses.asdict(dataclasses.replace(context.config, options={})),
            "tasks": [dataclasses.asdict(task) for task in context.domain.tasks()],
            "ranks": dataclasses.asdict(context.ranks),
            "choices": choices,
        },
    )
    if context.ranks.nodes > 1:
        others = "the other machine" if context.ranks.nodes == 2 else f"each of the {context.ranks.nodes - 1} others"
        context.say(f"    now on {others}, in the same folder: python -m factory.ranks {job}")
    _launch(job, is_host=True)
    found: dict[str, Any] = read_json(told)
    return found


class _Known(Domain):
    """The domain of a rank: its settings and tasks, and none of its code."""

    def __init__(self, config: Config, tasks: list[dict[str, Any]]) -> None:
        self.known = [
            Task(**{**row, "choices": tuple(row["choices"]), "aliases": tuple(row["aliases"])}) for row in tasks
        ]
        super().__init__(config, Path())

    def tasks(self) -> Sequence[Task]:
        return self.known


def rank(train: Train) -> None:
    """The life of a rank: `train` as the job says, its failure told to the launcher."""
    job = Path(sys.argv[1])
    order = read_json(job)
    _end_with(os.getppid())
    own = int(os.environ["LOCAL_RANK"])
    machine = inspect_machine().shared_by(Ranks(int(os.environ["LOCAL_WORLD_SIZE"])))
    os.environ["OMP_NUM_THREADS"] = str(machine.threads)
    import torch

    if machine.gpu:
        torch.cuda.set_device(own)
    context = Context(
        _Known(config_of(order["config"]), order["tasks"]),
        Path(order["run_dir"]),
        order["stage"],
        say=_say if is_first() else lambda _: None,
        earlier=Path(order["earlier"]) if order["earlier"] else None,
        ranks=Ranks(**order["ranks"]),
    )
    try:
        with full_disk_named(f"'{context.stage}'", context.out):
            told = train(context, **order["choices"])
    except Exception as error:
        _tell_launcher(error)
        raise
    if is_first():
        write_json(job.parent / "told.json", told)
    torch.distributed.destroy_process_group()


def world_size() -> int:
    """How many ranks train together with this process; 1 outside of ranks."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Rank 0, or no rank at all: the one that says and writes."""
    return os.environ.get("RANK", "0") == "0"


def spread_settings() -> dict[str, Any]:
    """The trainer's settings that spread weights, gradients and Adam's moments over the ranks' GPUs: FSDP2, fully sharded.

    FSDP2 keeps the parameters as they are (what FSDP1 had use_orig_params for); each decoder layer is gathered for its own pass.
    """
    config = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",  # a checkpoint is whole: it goes on with another number of GPUs
    }
    return {"fsdp": True, "fsdp_config": config}


def whole(weight: Any) -> Any:
    """A weight that FSDP spread, gathered; every rank must ask. Others as they are."""
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def over_ranks(value: float, how: str) -> float:
    """The "sum" or the "max" of a value over all ranks; every rank must ask at the same place."""
    if world_size() == 1:
        return value
    import torch

    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(
        found, torch.distributed.ReduceOp.SUM if how == "sum" else torch.distributed.ReduceOp.MAX
    )
    return float(found)


def evened(rows: Any, batch: int, blank: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A Dataset with rows added until every rank has as many batches; `blank` makes a row that teaches nothing.

    Accelerate would repeat the first rows instead: some would be learned twice.
    """
    missing = -len(rows) % (batch * world_size())
    if world_size() == 1 or not missing:
        return rows
    from datasets import Dataset, concatenate_datasets

    more = Dataset.from_list([blank(rows[-1])] * missing, features=rows.features)
    return concatenate_datasets([rows, more])


def _launch(job: Path, is_host: bool) -> None:
    """Start this machine's ranks and wait for them; KeyboardInterrupt and SystemExit as the signal was."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from factory.one_machine import BACKEND

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    order = read_json(job)
    ranks, stage = Ranks(**order["ranks"]), order["stage"]
    logs = job.parent / "logs"
    logs.mkdir(exist_ok=True)
    quiet = {number: Std.ERR if number == 0 and is_host else Std.ALL for number in range(ranks.processes)}
    config = LaunchConfig(
        min_nodes=ranks.nodes,
        max_nodes=ranks.nodes,
        nproc_per_node=ranks.processes,
        run_id="-".join([*Path(order["run_dir"]).parts[-2:], stage]),
        rdzv_backend="c10d" if ranks.nodes > 1 else BACKEND,
        rdzv_endpoint=ranks.meet,
        rdzv_configs={"join_timeout": JOIN, "is_host": is_host},
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=quiet),
        shutdown_timeout=PATIENCE,
    )
    with _as_before():
        os.environ["PYTHONPATH"] = os.pathsep.join(
            path or "." for path in sys.path
        )  # ranks import what the build imports
        loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
        if ranks.nodes == 1 and loopback:  # gloo would listen where the machine's own name points
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
        try:
            elastic_launch(config, sys.executable)("-m", order["module"], str(job))
        except SignalException as end:
            if end.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + end.sigval) from None
        except ChildFailedError as error:
            raise _reason(stage, ranks, error.failures, logs) from None
        except RendezvousError as error:
            raise FactoryError(
                f"{stage}: the {ranks.nodes} machines did not meet at {ranks.meet} ({error}).",
                "Start all within ten minutes; the first one's port must be open to the others (docs/multi.md).",
            ) from None


def _reason(stage: str, ranks: Ranks, failures: dict[int, Any], logs: Path) -> FactoryError:
    """The failure that came first: an error that a rank told, else a signal, else what the others made of it."""

    def late(number: int) -> tuple[bool, bool, int]:
        failure, said = failures[number], _said(failures[number])
        return "hint" not in said, failure.exitcode >= 0 and bool(said.get("lost")), failure.timestamp

    number = min(failures, key=late)
    failure = failures[number]
    said = _said(failure)
    if "hint" in said:
        return FactoryError(said["message"], said["hint"])
    who = f"{stage}: process {number + 1} of {ranks.world}"
    where = f"Its last words are in {logs}; the same command goes on from the last checkpoint."
    if failure.exitcode < 0:
        full = "Was the memory full? Fewer --processes need less. " if failure.exitcode == -signal.SIGKILL else ""
        return FactoryError(f"{who} was ended by {signal.Signals(-failure.exitcode).name}.", full + where)
    return FactoryError(f"{who} failed: {said.get('message') or f'exit status {failure.exitcode}'}.", where)


def _said(failure: Any) -> dict[str, Any]:
    found = failure.error_file_data.get("message") if isinstance(failure.error_file_data, dict) else None
    return found if isinstance(found, dict) else {}


def _tell_launcher(error: Exception) -> None:
    """Write why this rank fails to the file that the launcher reads; `lost`: only because another one is gone."""
    said: dict[str, Any] = {
        "message": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    }
    if isinstance(error, FactoryError):
        said = {"message": error.message, "hint": error.hint}
    said["lost"] = any(word in str(error) for word in ("closed by peer", "reset by peer", "Gloo", "gloo", "NCCL"))
    said["extraInfo"] = {"timestamp": int(time.time())}
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": said}), encoding="utf-8")


def _end_with(parent: int) -> None:
    """A rank whose launcher was killed ends, too, or it would write into the folder of the build that comes next."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _as_before() -> Iterator[None]:
    """The launcher takes signals over and needs variables; afterwards both are as they were."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    variables = dict(os.environ)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(variables)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Join the training of a job as a further machine."""
    try:
        _launch(Path(sys.argv[1]), is_host=False)
    except FactoryError as error:
        sys.exit(f"Error: {error.message}\n  {error.hint}")


if __name__ == "__main__":
    main()
