"""FSDP with 4-bit weights, as several GPUs would train, here on two processes of the CPU: the losses of whole copies, half the base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sharded
from safetensors.torch import load_file
from tiny import tiny_model

from factory.config import Config, Sft
from factory.domain import Domain, Task
from factory.hardware import Ranks
from factory.ranks import train_together
from factory.stage import Context


class Toy(Domain):
    def tasks(self) -> list[Task]:
        return []


def run(folder: Path, name: str, base: Path, adapter: Path | None, spread: bool) -> tuple[Context, dict[str, Any]]:
    config = Config("toy", "Toy", "en", "b", sft=Sft(save_steps=2))
    context = Context(Toy(config, folder), folder / name, "sft", ranks=Ranks(2))
    context.out.mkdir(parents=True, exist_ok=True)
    choices = {"folder": str(base), "adapter": str(adapter or ""), "spread": spread}
    return context, train_together(sharded.train, context, **choices)


def losses(context: Context) -> list[float]:
    return [json.loads(line)["loss"] for line in (context.out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_weights_spread_over_ranks_train_as_whole_copies_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = tiny_model(tmp_path / "base", initializer_range=0.1)
    copies, told = run(tmp_path, "copies", base, None, spread=False)
    spread, found = run(tmp_path, "spread", base, None, spread=True)
    assert told["held"] == told["whole"] and found["held"] == found["whole"] / 2, (
        "a rank holds half of the 4-bit weights"
    )
    assert found["steps"] == 4 and found["tokens"] == told["tokens"]
    assert losses(spread) == pytest.approx(losses(copies), rel=0.005)
    expected, made = (load_file(c.out / "adapter" / "adapter_model.safetensors") for c in (copies, spread))
    assert {name: weight.shape for name, weight in made.items()} == {n: w.shape for n, w in expected.items()}, (
        "saved whole"
    )
    assert all(weight.abs().max() > 0 for weight in made.values())

    before = losses(spread)
    shutil.rmtree(spread.out / "checkpoints" / "checkpoint-4")
    capfd.readouterr()
    run(tmp_path, "spread", base, None, spread=True)
    assert "going on from checkpoint-2" in capfd.readouterr().out
    assert losses(spread) == pytest.approx(before, rel=1e-4)

    pairs = [run(tmp_path, f"dpo{kind}", base, copies.out / "adapter", spread=kind)[0] for kind in (False, True)]
    assert losses(pairs[1]) == pytest.approx(losses(pairs[0]), rel=0.005)
