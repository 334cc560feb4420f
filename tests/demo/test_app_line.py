"""The line before the model: order, places, estimates, leaving it."""

from __future__ import annotations

import threading
import time

import pytest


class Job:
    def __init__(self) -> None:
        self.begun, self.stop, self.done = threading.Event(), threading.Event(), threading.Event()


def test_first_come_first_served_and_everybody_knows_their_place() -> None:
    from line import Full, Line  # type: ignore[import-not-found]

    go, served = threading.Event(), []

    def work(job: Job) -> None:
        go.wait(5)
        served.append(job)

    line = Line(work, most=3)
    jobs = [Job() for _ in range(4)]
    line.join(jobs[0])
    assert jobs[0].begun.wait(5)
    for job in jobs[1:]:
        line.join(job)
    with pytest.raises(Full):
        line.join(Job())
    assert [line.place(job) for job in jobs] == [0, 1, 2, 3]
    assert line.seconds(3) is None  # nothing was measured yet
    line.leave(jobs[2])
    assert jobs[2].done.is_set() and line.place(jobs[3]) == 2
    go.set()
    assert jobs[3].done.wait(5) and served == [jobs[0], jobs[1], jobs[3]]


def test_the_estimate_is_the_mean_of_the_last_answers() -> None:
    from line import Line

    line = Line(lambda job: time.sleep(0.2), most=9)
    jobs = [Job() for _ in range(3)]
    for job in jobs:
        line.join(job)
    assert jobs[-1].done.wait(5)
    line._times.extend([2.0] * 20)
    assert line.seconds(3) == pytest.approx(6.0) and line.seconds(0) is None


def test_a_fault_in_the_work_does_not_end_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    from line import Line

    line = Line(lambda job: 1 / 0, most=9)
    jobs = [Job(), Job()]
    for job in jobs:
        line.join(job)
    assert all(job.done.wait(5) for job in jobs)
    assert "ZeroDivisionError" in capsys.readouterr().err
