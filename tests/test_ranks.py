"""Several processes: shares that come out even, one clear error for all of them, none that stays behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ranked

from factory import ranks
from factory.config import Config, Dpo, Sft
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.hardware import Machine, Ranks, inspect_machine
from factory.ranks import check_shares, evened, train_together
from factory.stage import Context

TWO = Ranks(2)


class Dated(Domain):
    options = {"since": None}  # noqa: RUF012 (a value that is no JSON)

    def tasks(self) -> list[Task]:
        return [Task("kind", "Kind", "choice", choices=("fruit", "tool"))]


def context(folder: Path, say: Any = print, together: Ranks = TWO) -> Context:
    config = Config(
        "toy", "Toy", "en", "b", sft=Sft(epochs=2.5, trainer={"max_steps": 3}), options={"since": date(2026, 1, 1)}
    )
    made = Context(Dated(config, folder), folder / "runs" / "toy" / "r1", "sft", say=say, ranks=together)
    made.out.mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")


def children() -> list[str]:
    """The ranks of this process that still live."""
    return [
        child.name() for child in psutil.Process().children(recursive=True) if "ranked" in " ".join(child.cmdline())
    ]


def test_ranks_work_together_and_the_first_one_tells(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handler, variables = signal.getsignal(signal.SIGINT), dict(os.environ)
    told = train_together(ranked.train, context(tmp_path), what="sum")
    assert told.pop("listens") == ["127.0.0.1"], "no port is open to other machines"
    assert told.pop("network").startswith("lo")
    assert told == {"sum": 3.0, "most": 2.0, "name": "toy"}
    assert capfd.readouterr().out.splitlines() == ["rank 0 has 1 threads"], (
        "three threads among two; rank 1 says nothing"
    )
    assert signal.getsignal(signal.SIGINT) is handler and dict(os.environ) == variables


def test_one_process_is_no_rank(tmp_path: Path) -> None:
    def train(given: Context, what: str) -> dict[str, Any]:
        return {"what": what, "stage": given.stage, "pid": os.getpid()}

    told = train_together(train, context(tmp_path, together=Ranks()), what="here")
    assert told == {"what": "here", "stage": "sft", "pid": os.getpid()}


@pytest.mark.parametrize(
    ("what", "message", "hint"),
    [
        ("raise", "Too hot.", "Lower it."),
        ("bug", "sft: process 2 of 2 failed: ValueError: no such thing.", "goes on from the last checkpoint"),
        ("kill", "sft: process 2 of 2 was ended by SIGKILL.", "Was the memory full?"),
        ("full", "The disk is full: 'sft' stopped in", "Free some space"),
    ],
)
def test_a_rank_that_fails_ends_all_with_its_reason(tmp_path: Path, what: str, message: str, hint: str) -> None:
    started = time.monotonic()
    with pytest.raises(FactoryError) as failed:
        train_together(ranked.train, context(tmp_path), what=what)
    assert failed.value.message.startswith(message) and hint in failed.value.hint
    assert time.monotonic() - started < 120 and children() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_to_the_build_ends_every_rank(tmp_path: Path, number: signal.Signals, code: int) -> None:
    given = context(tmp_path)
    build = multiprocessing.get_context("spawn").Process(target=waiting, args=(tmp_path,))
    build.start()
    try:
        pids = [int(wait_for(given.out / f"rank{own}")) for own in (0, 1)]
        os.kill(build.pid or 0, number)
        build.join(60)
        assert build.exitcode == code
        for pid in pids:
            until(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    finally:
        build.kill()


def waiting(folder: Path) -> None:
    """A build whose ranks wait for ever; a KeyboardInterrupt ends it as the command line would."""
    try:
        train_together(ranked.train, context(folder), what="wait")
    except KeyboardInterrupt:
        sys.exit(130)


def test_machines_meet(tmp_path: Path) -> None:
    """Two on this one: the second joins with the command that the first says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    said: list[str] = []
    joined: list[subprocess.Popen[bytes]] = []

    def say(text: str) -> None:
        said.append(text)
        command = text.partition("in the same folder: python ")[2].split()
        joined.append(
            subprocess.Popen([sys.executable, *command], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        )

    told = train_together(ranked.train, context(tmp_path, say, Ranks(1, 2, meet)), what="sum")
    assert told["sum"] == 3.0 and len(said) == 1 and said[0].strip().startswith("now on the other machine")
    assert joined[0].wait(60) == 0


def test_machines_that_do_not_come_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "JOIN", 2)
    with pytest.raises(FactoryError, match=r"the 2 machines did not meet at 127\.0\.0\.1:0"):
        train_together(ranked.train, context(tmp_path, together=Ranks(1, 2, "127.0.0.1:0")), what="sum")


def test_the_first_failure_is_told_not_what_the_others_made_of_it(tmp_path: Path) -> None:
    def failure(code: int, at: int, **said: Any) -> SimpleNamespace:
        return SimpleNamespace(exitcode=code, timestamp=at, error_file_data={"message": said} if said else {})

    lost = failure(1, 10, message="RuntimeError: Connection closed by peer", lost=True)
    killed, bug, told = (
        failure(-9, 11),
        failure(1, 12, message="ValueError: x", lost=False),
        failure(1, 13, message="No.", hint="Yes."),
    )
    assert (
        "process 2 of 3 was ended by SIGKILL" in ranks._reason("sft", Ranks(3), {0: lost, 1: killed}, tmp_path).message
    )
    assert "failed: ValueError: x." in ranks._reason("sft", TWO, {0: lost, 1: bug}, tmp_path).message
    assert ranks._reason("sft", Ranks(3), {0: lost, 1: killed, 2: told}, tmp_path).message == "No."
    assert "exit status 3" in ranks._reason("dpo", TWO, {1: failure(3, 1)}, tmp_path).message


def test_rows_are_shared_out_evenly_or_refused() -> None:
    config = Config("d", "D", "en", "b", sft=Sft(batch=8), dpo=Dpo(batch=4))
    for processes in (1, 2, 4):
        check_shares(config, Ranks(processes))
    with pytest.raises(FactoryError, match=r"sft\.batch = 8 rows a step cannot be shared by 3 processes") as refused:
        check_shares(config, Ranks(3))
    assert "--set sft.batch=9" in refused.value.hint
    with pytest.raises(FactoryError, match=r"dpo\.batch = 4 .* by 8 processes") as refused:
        check_shares(config, Ranks(4, 2, "h:1"))
    assert "--set dpo.batch=8" in refused.value.hint
    with pytest.raises(FactoryError, match="where the machines meet"):
        check_shares(config, Ranks(1, 2))


def test_no_more_processes_than_cores_or_gpus() -> None:
    laptop, two = Machine("a processor", 4, 16, False), Machine("p", 64, 128, True, "H", 24, 2)
    assert laptop.shared_by(Ranks(4)).threads == 1 or os.environ.get("OMP_NUM_THREADS")
    for machine, most in ((laptop, "4 cores"), (two, "2 GPUs")):
        with pytest.raises(FactoryError, match=f"--processes 5: this machine has {most}"):
            machine.shared_by(Ranks(5))
    assert Machine("unknown", 0, 8, False).shared_by(Ranks(3)).ranks.processes == 3


def test_threads_are_divided_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [inspect_machine().shared_by(Ranks(1)).threads, Machine("p", 16, 8, False).shared_by(Ranks(3)).threads] == [
        8,
        2,
    ]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert Machine("p", 16, 8, False).shared_by(Ranks(4)).threads == 4


@pytest.mark.parametrize(("rows", "batch", "world", "added"), [(9, 2, 2, 3), (8, 2, 2, 0), (9, 2, 1, 0), (1, 1, 4, 3)])
def test_blank_rows_make_the_last_step_even(
    monkeypatch: pytest.MonkeyPatch, rows: int, batch: int, world: int, added: int
) -> None:
    from datasets import Dataset

    monkeypatch.setenv("WORLD_SIZE", str(world))
    given = Dataset.from_list([{"ids": [n], "labels": [n, n]} for n in range(rows)])
    made = evened(given, batch, lambda row: row | {"labels": [-100] * len(row["labels"])})
    assert made[:rows] == given[:] and len(made) == rows + added
    assert made["labels"][rows:] == [[-100, -100]] * added


def wait_for(path: Path) -> str:
    until(lambda: path.exists() and path.read_text(encoding="utf-8") != "")
    return path.read_text(encoding="utf-8")


def until(ready: Any, seconds: float = 120) -> None:
    began = time.monotonic()
    while not ready():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
