"""One model, many people: questions wait in the order in which they came, and each knows its place."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

REMEMBERED = 20  # answers whose times make the estimate


class Job(Protocol):
    """What waits in the line: `begun` when its turn has come, `stop` when nobody waits for it, `done` at its end."""

    begun: threading.Event
    stop: threading.Event
    done: threading.Event


class Full(Exception):
    """The line is as long as it may get."""


class Line:
    """First come, first served, by one thread of its own. `work` must set nothing but the job's own answers."""

    def __init__(self, work: Callable[[Job], None], most: int) -> None:
        self.work, self.most = work, most
        self._jobs: deque[Job] = deque()
        self._came = threading.Condition()
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self._began = 0.0  # when the job at the model began; 0: there is none
        threading.Thread(target=self._serve, daemon=True).start()

    def join(self, job: Job) -> None:
        """Take the last place; raises Full."""
        with self._came:
            if len(self._jobs) >= self.most:
                raise Full
            self._jobs.append(job)
            self._came.notify()

    def leave(self, job: Job) -> None:
        """Stop a job; one that still waits is over at once, one at the model when the model next looks."""
        job.stop.set()
        with self._came:
            if job in self._jobs:
                self._jobs.remove(job)
                job.done.set()

    def place(self, job: Job) -> int:
        """How many are served before this one, the one at the model too; 0 when its turn has come."""
        with self._came:
            return self._jobs.index(job) + (self._began > 0) if job in self._jobs else 0

    def seconds(self, place: int) -> float | None:
        """About how long a place has to wait, from the last answers' times; None while there are none."""
        with self._came:
            if not self._times or not place:
                return None
            mean = sum(self._times) / len(self._times)
            spent = time.monotonic() - self._began if self._began else 0.0
            return max(mean * place - min(spent, mean), 1.0)

    def _serve(self) -> None:
        while True:
            with self._came:
                self._came.wait_for(lambda: bool(self._jobs))
                job = self._jobs.popleft()
                self._began = time.monotonic()
                job.begun.set()
            try:
                self.work(job)
            except Exception as error:  # the line goes on
                print(f"in the line: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                with self._came:
                    if not job.stop.is_set():
                        self._times.append(time.monotonic() - self._began)
                    self._began = 0.0
                job.done.set()
