"""DPO on how many pairs: few are left out and said so, an expert's suffice in smaller number."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.config import Config, Dpo
from factory.domain import Domain
from factory.errors import FactoryError
from factory.hardware import inspect_machine
from factory.records import Preference, write_records
from factory.stage import Context
from factory.stages import dpo


def with_pairs(folder: Path, own: int, expert: int) -> Context:
    context = Context(Domain(Config(name="d", title="D", language="en", base="b"), folder), folder, "dpo")
    said = [{"role": "assistant", "content": text} for text in ("yes", "no")]
    rows = [
        Preference(f"p{n}", "t", [], said[:1], said[1:], {"kind": "expert" if n < expert else "own"})
        for n in range(own + expert)
    ]
    write_records(folder / "prefer" / "pairs.jsonl", rows)
    return context


@pytest.mark.parametrize(("own", "expert", "least"), [(31, 0, 32), (6, 1, 8), (0, 0, 32)])
def test_too_few_pairs_are_left_out_and_said_so(tmp_path: Path, own: int, expert: int, least: int) -> None:
    told = dpo.run(with_pairs(tmp_path, own, expert))
    assert told["skipped"] == f"left out: {own + expert} pairs, fewer than {least} (prefer.min_pairs = 32)"


@pytest.mark.parametrize(("own", "expert"), [(32, 0), (7, 1)])
def test_enough_pairs_are_trained_on(tmp_path: Path, own: int, expert: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Began(Exception):
        pass

    def begin() -> None:
        raise Began

    monkeypatch.setattr(dpo, "inspect_machine", begin)
    with pytest.raises(Began):
        dpo.run(with_pairs(tmp_path, own, expert))


@pytest.mark.parametrize(("trainer", "said"), [({"lerning_rate": 1}, "lerning_rate"), ({"optim": "adamv"}, "adamv")])
def test_a_setting_that_trl_does_not_take_is_named(tmp_path: Path, trainer: dict[str, object], said: str) -> None:
    from trl import DPOConfig

    from factory.training import trainer_config

    context = with_pairs(tmp_path, 1, 0)
    with pytest.raises(FactoryError, match=rf"\[dpo\.trainer\]: .*{said}"):
        trainer_config(DPOConfig, Dpo(trainer=trainer), context, inspect_machine())
