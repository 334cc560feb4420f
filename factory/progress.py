"""One line of progress now and then, with an estimate of what is left."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Says `done/total`, what the caller adds, and the time left, at most once in `every` seconds."""

    def __init__(self, say: Callable[[str], None], what: str, total: int, every: float = 15.0) -> None:
        self.say, self.what, self.total, self.every = say, what, total, every
        self.started = self.last = time.monotonic()
        self.first = 0

    def start_at(self, done: int) -> None:
        """Resumed work: what was done before does not count for the speed."""
        self.first = done

    def at(self, done: float, note: str = "") -> None:
        """So much is done; a fraction counts for the time left, and is not shown."""
        now = time.monotonic()
        if now - self.last < self.every or done <= self.first:
            return
        self.last = now
        left = (now - self.started) / (done - self.first) * (self.total - done)
        self.say(f"    {self.what} {int(done)}/{self.total}{', ' + note if note else ''}, {duration(left)} left")


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
