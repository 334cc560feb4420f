"""The loss guard: what ends a training, why it is said to have failed, and what it lets pass."""

from __future__ import annotations

import math

import pytest

from factory.errors import FactoryError
from factory.guard import WINDOW, LossGuard


def fed(losses: list[float], known: list[float] | None = None, dtype: str = "float32") -> None:
    guard = LossGuard("sft", dtype, 4e-3, "sft.learning_rate", known or [])
    for step, loss in enumerate(losses, 1):
        guard.look(step, loss)


def test_a_loss_that_stands_still_where_all_answers_are_alike_ends_it() -> None:
    with pytest.raises(
        FactoryError, match=r"stands at 5\.73 by step 8, whatever the rows: the learning rate is too high"
    ):
        fed([6.07, 6.09, 6.1, *[5.7333] * 9])
    fed([6.07, *[0.05] * 20])  # all is learned
    fed([0.6931] * 20)  # DPO that has hardly begun


@pytest.mark.parametrize(
    "losses",
    [
        [5.0, 4.0, 3.0, 9.0, 2.0, 1.0, 6.0, 0.5, 0.1, 2.0],  # odd batches
        [0.69, 0.5, 3.0, 0.1, 0.0, 2.5, 0.0, 0.3],  # DPO on few pairs
        [8.0] * 40,
        [2.5, 7.0, 6.8, 7.2, 6.6, 7.1, 6.9, 5.0, 3.0],  # the first batch: long texts, then labels
        [6.0, 5.5, 9.9, 9.9, 9.9, 9.9, 2.0, 1.0],  # one reading too few
    ],
)
def test_an_ordinary_training_passes(losses: list[float]) -> None:
    fed(losses)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_no_number_ends_it_at_once(loss: float) -> None:
    with pytest.raises(
        FactoryError, match=r"sft: the loss became -?(nan|inf) at step 3: the learning rate is too high \(0\.004\)"
    ) as caught:
        fed([5.0, 4.0, loss])
    assert caught.value.hint == "Lower it: --set sft.learning_rate=0.001"


@pytest.mark.parametrize("start", [[5.0], [5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0]])
def test_an_exploded_loss_ends_it_within_a_window(start: list[float]) -> None:
    high = 2 * min(start) + 9
    with pytest.raises(FactoryError, match="exploded, from") as caught:
        fed([*start, *[high] * WINDOW])
    assert int(caught.value.message.split("step ")[1].split(":")[0]) <= len(start) + WINDOW
    fed([*start, high, start[-1]])


def test_the_losses_before_a_break_count() -> None:
    with pytest.raises(FactoryError, match="exploded, from 5"):
        fed([20.0] * WINDOW, known=[5.0])
    fed([20.0] * WINDOW)  # that is where it began


@pytest.mark.parametrize(
    ("losses", "dtype", "cause"),
    [
        ([math.nan], "bfloat16", "the base itself computes no number in bfloat16"),
        ([5.0, math.nan], "float16", "float16 overflows"),
        ([5.0, math.nan], "bfloat16", "the learning rate is too high"),
    ],
)
def test_the_likely_cause_is_named(losses: list[float], dtype: str, cause: str) -> None:
    with pytest.raises(FactoryError, match=cause):
        fed(losses, dtype=dtype)
