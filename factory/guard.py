"""Looks at every loss of a training and ends it, with the likely cause, when it is no number or has exploded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from factory.errors import FactoryError

WINDOW = 5  # readings whose mean is compared: one odd batch ends nothing
STILL = 1e-4  # losses of different rows that differ by less come from weights so large that all answers are alike
KNOWN = 0.1  # a loss this low may stand still: all is learned
TIMES, MORE = 2.0, 3.0  # an exploded loss is so many times the lowest so far, and so many nats above it
FIRST_TIMES, FIRST_MORE = 3.0, 9.0  # above the first reading, which is of one batch: of like length, so of one task


class LossGuard:
    """The losses of one training, in order; the first one is of the weights that it began with.

    `known`: those before it was broken off; `dtype`: what it computes in; `rate`: its peak learning rate, set as `key`.
    """

    def __init__(self, stage: str, dtype: str, rate: float, key: str, known: Sequence[float] = ()) -> None:
        self.stage, self.dtype, self.rate, self.key = stage, dtype, rate, key
        self.losses = list(known)
        self.lowest = min((self._mean(end) for end in range(WINDOW + 1, len(self.losses) + 1)), default=math.inf)

    def look(self, step: int, loss: float) -> None:
        """Take in the loss of a step. Raises FactoryError when it is NaN or infinite, or the last WINDOW are far above the lowest, or all alike."""
        self.finite(step, loss)
        self.losses.append(loss)
        if len(self.losses) <= WINDOW:
            return
        first, mean = self.losses[0], self._mean(len(self.losses))
        for low, limit in (
            (self.lowest, max(TIMES * self.lowest, self.lowest + MORE)),
            (first, max(FIRST_TIMES * first, first + FIRST_MORE)),
        ):
            if mean > limit:
                self._stop(f"the loss exploded, from {low:.1f} to {mean:.1f} by step {step}")
        last = self.losses[-WINDOW:]
        if max(last) - min(last) < STILL < abs(loss - self.losses[0]) and loss > KNOWN:
            self._stop(f"the loss stands at {loss:.2f} by step {step}, whatever the rows")
        self.lowest = min(self.lowest, mean)

    def finite(self, step: int, loss: float, name: str = "loss") -> None:
        """FactoryError where `loss` is no number."""
        if not math.isfinite(loss):
            self._stop(f"the {name} became {loss} at step {step}")

    def _stop(self, what: str) -> None:
        if not self.losses:
            raise FactoryError(
                f"{self.stage}: {what}, before any weight changed: the base itself computes no number in {self.dtype}.",
                "Try --set sft.quantization=none, or another base: factory models list",
            )
        if self.dtype == "float16":
            raise FactoryError(
                f"{self.stage}: {what}: float16 overflows above 65,504.", f"Leave fp16 out of [{self.stage}.trainer]."
            )
        raise FactoryError(
            f"{self.stage}: {what}: the learning rate is too high ({self.rate:g}).",
            f"Lower it: --set {self.key}={self.rate / 4:.2g}",
        )

    def _mean(self, end: int) -> float:
        """The mean of the WINDOW readings before `end`."""
        return sum(self.losses[end - WINDOW : end]) / WINDOW
