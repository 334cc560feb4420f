"""Training that learned, or says why not: the trial before it, the guard and the early stop during it, the proof after it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory import training
from factory.config import Config, Dpo, Prefer, Sft
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.files import read_json, sha256
from factory.plan import work_of
from factory.progress import Progress
from factory.records import Example, Preference, write_records
from factory.stage import Context
from factory.stages import dpo, sft
from factory.trial import _chosen, _fault, moved, same_forward

from .toy import WORDS

SHARP = {"learning_rate": 1e-2, "epochs": 4.0, "batch": 4, "lora_r": 8, "lora_dropout": 0.1, "save_steps": 4}
WEIGHTS = "adapter_model.safetensors"


class Plain(Domain):
    """A domain in memory."""

    def tasks(self) -> list[Task]:
        return [Task("kind", "Kind", "choice", "What is {input}?", ("fruit", "tool"), max_new_tokens=8)]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def examples(other_way_round: bool = False) -> list[Example]:
    """26 rows of one short question each; or the same with the wrong answers."""
    kinds = dict(zip(WORDS, reversed(WORDS), strict=True)) if other_way_round else {kind: kind for kind in WORDS}
    return [
        Example(
            f"{word}/{other_way_round}", "kind", message("user", f"What is {word}?"), message("assistant", kinds[kind])
        )
        for kind, words in WORDS.items()
        for word in words.split()
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("learn") / "base", initializer_range=0.1)


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Callable[..., Context]:
    """A run folder as curate leaves it, one for each name; `said` in the context's domain is what the stage told."""

    def make(name: str = "run", dev: list[Example] | None = None, stage: str = "sft", **settings: Any) -> Context:
        folder = tmp_path / name
        write_records(folder / "curate" / "train.jsonl", examples())
        write_records(folder / "curate" / "dev.jsonl", dev or [])
        chosen = Sft(**{"quantization": "none", **SHARP, **settings})
        config = Config("plain", "Plain", "en", str(base), sft=chosen, prefer=Prefer(min_pairs=4),
                        dpo=Dpo(learning_rate=5e-3, batch=4))  # fmt: skip
        domain = Plain(config, base)
        said: list[str] = []
        domain.said = said  # type: ignore[attr-defined]
        return Context(domain, folder, stage, say=said.append)

    return make


def said(context: Context) -> str:
    return "\n".join(context.domain.said)  # type: ignore[attr-defined]


def log(context: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (context.out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(context: Context) -> list[float]:
    return [row["loss"] for row in log(context) if "loss" in row]


def patch_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[Any, Any], Any]) -> None:
    """Have `act(trainer, loss)` give the loss of every training step that saves its work, so not of the trial's."""
    from trl import SFTTrainer

    plain = SFTTrainer.training_step

    def step(self: Any, *given: Any, **named: Any) -> Any:
        loss = plain(self, *given, **named)
        return loss if self.args.save_strategy == "no" else act(self, loss)

    monkeypatch.setattr(SFTTrainer, "training_step", step)


# The trial


def test_the_trial_changes_nothing_but_what_is_told(run: Callable[..., Context]) -> None:
    with_it, without = run("with"), run("without", trial=0)
    told = sft.run(with_it)
    plain = sft.run(without)
    assert losses(with_it) == losses(without), "dropout's randomness too"
    assert sha256(with_it.out / "adapter" / WEIGHTS) == sha256(without.out / "adapter" / WEIGHTS)
    assert told["tokens"] == plain["tokens"] and plain["trial"] == {}
    trial = told["trial"]
    assert 4 <= trial["rows"] <= 10 and trial["last_loss"] < trial["first_loss"]
    assert re.search(r"trial: \d+ rows seen \d+ times, loss \d\.\d\d -> \d\.\d\d, \d+ s", said(with_it))
    assert not (with_it.out / "checkpoints" / "runs").exists()


def test_it_keeps_half_batches_and_leaves_what_is_accumulated(run: Callable[..., Context]) -> None:
    halves = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    contexts = [run(str(trial), trial=trial, trainer=halves) for trial in (0, 10)]
    for context in contexts:
        sft.run(context)
    assert losses(contexts[0]) == losses(contexts[1])


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"trainer": {"learning_rate": 0.0}}, "the learning rate is 0"),
        ({"learning_rate": 1e-9}, r"the learning rate is too low \(1e-09\)"),
        ({"trainer": {"learning_rate": 1e3}}, r"the learning rate is too high \(1000\)"),
    ],
)
def test_rows_that_are_not_learned_end_it_before_it_begins(
    run: Callable[..., Context], settings: dict[str, Any], cause: str
) -> None:
    context = run(**settings)
    with pytest.raises(FactoryError, match=f"sft: 4 rows seen 4 times are not learned .*{cause}") as caught:
        sft.run(context)
    key = "sft.trainer.learning_rate" if "trainer" in settings else "sft.learning_rate"
    assert key in caught.value.hint and "sft.trial=0" in caught.value.hint
    assert not (context.out / "log.jsonl").exists() and not (context.out / "adapter").exists()


def test_rows_cut_before_their_answers_are_counted_and_none_left_is_an_error(
    run: Callable[..., Context], base: Path
) -> None:
    with pytest.raises(FactoryError, match=r"no row has a token of its answer within sft\.max_length = 4") as caught:
        sft.run(run("none", max_length=4))
    assert "factory check plain" in caught.value.hint
    work = work_of(str(base), examples(), "en")
    asked = [length - own for length, own in zip(work.lengths, work.labelled, strict=True)]
    limit = sorted(asked)[13]
    context = run("some", max_length=limit, epochs=1.0)
    assert sft.run(context)["steps"] < 7
    assert (
        f"left out: {sum(n >= limit for n in asked)} of 26 rows, whose question alone fills sft.max_length = {limit}"
        in said(context)
    )


@pytest.mark.parametrize(
    ("seen", "norms", "rate", "cause"),
    [
        ([5.0, 4.0], [1, 1], 1e-3, ""),
        ([5.0, 9.0, 4.9], [1, 1, 1], 1e-3, ""),  # it fell once
        ([0.05, 0.05], [1, 1], 1e-3, ""),  # known already
        ([5.0], [1], 1e-3, ""),
        ([0.0, 0.0], [0, 0], 1e-3, "no token of the answers has a label"),
        ([math.nan, math.nan], [1, 1], 1e-3, "no number in this dtype"),
        ([5.0, 5.0], [0.0, 0.0], 1e-3, "no gradient reaches the adapter"),
        ([5.0, math.nan], [1, 1], 1e-3, "too high"),
        ([5.0, 5.1], [1, 1], 1e-3, "too high"),
        ([5.0, 4.995], [1, 1], 1e-3, "too low"),
        ([6.07, 5.7333, 5.7333], [1, 0, 0], 1e-3, "too high"),  # it fell to where all answers are alike
        ([6.07, 0.01, 0.01], [1, 1, 1], 1e-3, ""),
    ],
)
def test_why_rows_were_not_learned(seen: list[float], norms: list[float], rate: float, cause: str) -> None:
    assert cause in _fault(seen, norms, rate) and bool(cause) == bool(_fault(seen, norms, rate))


def test_a_trial_costs_little_of_a_long_training_and_always_says_something() -> None:
    rows = [[n % 300] * (20 + n % 300) for n in range(1200)]
    places, steps = _chosen(rows, 10)
    seen = len(places) * max(len(rows[place]) for place in places) * steps
    assert len(places) == 10 and len({tuple(rows[place]) for place in places}) == 10
    assert seen <= 0.04 * sum(map(len, rows))
    places, steps = _chosen(rows[:8], 10)
    assert (len(places), steps) == (4, 4)
    assert _chosen([[1, 2]] * 50, 10)[0] == [0], "the same row is one row"


# The guard


def test_no_number_stops_it_at_once_and_the_last_good_checkpoint_stays(
    run: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = run(save_steps=2)
    patch_step(monkeypatch, lambda trainer, loss: loss * math.nan if trainer.state.global_step == 6 else loss)
    with pytest.raises(FactoryError, match="the loss became nan at step 7: the learning rate is too high") as caught:
        sft.run(context)
    kept = context.out / "checkpoints" / "checkpoint-4"  # step 6 made the weights that gave no number
    assert str(kept) in caught.value.hint and "sft.learning_rate=0.0025" in caught.value.hint
    assert [path.name for path in kept.parent.glob("checkpoint-*")] == ["checkpoint-4"]
    assert len(losses(context)) == 6 and not (context.out / "adapter").exists()


def test_an_exploding_rate_stops_and_is_named(run: Callable[..., Context]) -> None:
    context = run(trial=0, trainer={"learning_rate": 1e3}, epochs=20.0)
    with pytest.raises(FactoryError, match=r"the loss .*: the learning rate is too high \(1000\)") as caught:
        sft.run(context)
    assert "sft.trainer.learning_rate=2.5e+02; " in caught.value.hint
    assert len(losses(context)) < 30, "of 130 steps"
    assert not (context.out / "adapter").exists()


def test_an_exploded_loss_stops_it_and_spoilt_checkpoints_go(
    run: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = run(save_steps=6)
    patch_step(monkeypatch, lambda trainer, loss: loss + 20 if trainer.state.global_step >= 12 else loss)
    with pytest.raises(FactoryError, match=r"the loss exploded, from \d\.\d to \d+\.\d by step 1[3-7]") as caught:
        sft.run(context)
    assert str(context.out / "checkpoints" / "checkpoint-6") in caught.value.hint
    assert not (context.out / "checkpoints" / "checkpoint-12").exists()


# The early stop


STOP = {"early_stop": 2, "epochs": 12.0, "lora_dropout": 0.0, "trainer": {"eval_steps": 4}}


def test_early_stop_ends_it_and_keeps_the_best_checkpoint(run: Callable[..., Context]) -> None:
    context = run(dev=examples(other_way_round=True), **STOP)
    told = sft.run(context)
    dev = [(row["step"], row["dev_loss"]) for row in log(context) if "dev_loss" in row]
    best = min(dev, key=lambda pair: pair[1])
    assert told["best_step"] == best[0] < told["steps"] < log(context)[-1]["steps"], "it ended early"
    assert told["dev_loss"] == best[1] and dev[-3:][0] == best and len(dev) >= 3, "two readings without gain"
    checkpoints = context.out / "checkpoints"
    assert sha256(context.out / "adapter" / WEIGHTS) == sha256(checkpoints / f"checkpoint-{best[0]}" / WEIGHTS)
    assert sha256(context.out / "adapter" / WEIGHTS) != sha256(checkpoints / f"checkpoint-{told['steps']}" / WEIGHTS)
    assert (
        f"the adapter of step {best[0]}," in told["note"] and f"{told['steps']} steps of 78: early stop" in told["note"]
    )


def test_it_is_off_where_the_dev_rows_are_too_few_or_it_is_not_wanted(run: Callable[..., Context]) -> None:
    few = run("few", dev=examples()[:23], early_stop=3)
    sft.run(few)
    assert "early stop is off: 23 dev rows, fewer than 24" in said(few)
    unwanted = run("unwanted", dev=examples())
    sft.run(unwanted)
    assert not [row for context in (few, unwanted) for row in log(context) if "dev_loss" in row]
    assert training.dev_settings(Sft(), 60) == training.dev_settings(Sft(early_stop=3), 23) == {}


@pytest.mark.parametrize(("rows", "batch", "steps"), [(24, 8, 50), (48, 8, 75), (48, 4, 125), (24, 64, 25)])
def test_reading_the_dev_loss_costs_a_twentieth(rows: int, batch: int, steps: int) -> None:
    found = training.dev_settings(Sft(batch=batch, early_stop=3), rows)
    assert found["eval_steps"] == steps and steps % Sft().save_steps == 0
    assert rows / 2 <= 0.051 * steps * batch, "a row read costs half of one trained on"


def test_broken_off_anywhere_it_ends_as_the_unbroken_run_and_tries_no_second_time(
    run: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**STOP, "lora_dropout": 0.1}
    whole = run("whole", dev=examples(other_way_round=True), **settings)
    told = sft.run(whole)
    at_once = sft.run(whole)  # killed after its last checkpoint and before its manifest
    assert (at_once["steps"], at_once["best_step"]) == (told["steps"], told["best_step"])
    assert losses(whole) == losses(whole) and len(losses(whole)) == told["steps"]

    class Cut(Exception):
        pass

    def cut_at(step: int) -> Callable[[Any, Any], Any]:
        def act(trainer: Any, loss: Any) -> Any:
            if trainer.state.global_step == step:
                raise Cut
            return loss

        return act

    for step in (told["best_step"] + 5, told["steps"] - 1):  # one reading without gain, and the last step
        context = run(f"cut-{step}", dev=examples(other_way_round=True), **settings)
        with monkeypatch.context() as patch:
            patch_step(patch, cut_at(step))
            with pytest.raises(Cut):
                sft.run(context)
        again = sft.run(context)
        assert said(context).count("trial: ") == 1 and "going on from checkpoint-" in said(context)
        assert (again["steps"], again["best_step"]) == (told["steps"], told["best_step"])
        assert again["trial"]["first_loss"] == told["trial"]["first_loss"]
        assert sha256(context.out / "adapter" / WEIGHTS) == sha256(whole.out / "adapter" / WEIGHTS)
        assert losses(context) == losses(whole)


# The proof


def test_an_adapter_that_changes_nothing_is_an_error(run: Callable[..., Context], base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from factory.models import load_base

    context = run()
    model, tokenizer = load_base(base, "none")
    fresh = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with pytest.raises(FactoryError, match="the adapter changes nothing: 8 training questions"):
        moved(fresh, tokenizer, examples()[:8], context, [])


def test_the_proof_is_told(run: Callable[..., Context]) -> None:
    context = run()
    proof = sft.run(context)["proof"]
    assert proof["loss"] < proof["loss_without"] and proof["answers"] == 4
    assert f"{proof['answers_that_differ']} of 4 answers differ" in said(context)


# What is seen meanwhile


def test_every_step_of_both_trainings_can_be_seen(run: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no pause between lines there is one for each step: step, loss, speed, time left."""
    plain = Progress.__init__
    monkeypatch.setattr(Progress, "__init__", lambda self, say, what, total: plain(self, say, what, total, every=0))
    context = run()
    first = sft.run(context)["steps"]
    wrong = {"fruit": "tool", "tool": "fruit"}
    pairs = [
        Preference(row.id, "kind", row.prompt, row.completion, message("assistant", wrong[row.answer]))
        for row in examples()
    ]
    write_records(context.run_dir / "prefer" / "pairs.jsonl", pairs)
    second = dpo.run(replace(context, stage="dpo"))
    assert second["steps"] == 7 and second["tokens"] > 0
    for stage, steps in (("sft", first), ("dpo", 7)):
        line = rf"    {stage} step (\d+)/{steps}, loss \d+\.\d+, \d+ tokens/s, \d+ (?:s|min) left"
        told = [int(found[1]) for found in map(re.compile(line).fullmatch, context.domain.said) if found]  # type: ignore[attr-defined]
        assert sorted(set(told)) == list(range(1, steps + 1)), stage
    parts = [text for text in context.domain.said if text.startswith("    dpo step")]  # type: ignore[attr-defined]
    assert len(parts) == 26, "a line after each pair of a step, as one can take long"
    assert [row["step"] for row in log(replace(context, stage="dpo"))] == list(range(1, 8))


def test_what_a_reading_of_the_dev_rows_gave_is_on_the_line(
    run: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Progress.__init__
    monkeypatch.setattr(Progress, "__init__", lambda self, say, what, total: plain(self, say, what, total, every=0))
    context = run(dev=examples(), early_stop=3, trainer={"eval_steps": 4})
    told = sft.run(context)
    assert re.search(r"sft step 9/\d+, loss \d\.\d+ \(dev \d\.\d+\), \d+ tokens/s", said(context))
    assert read_json(context.out / "checkpoints" / "trial.json") == told["trial"]


def test_general_rows_are_learned_beside_the_domain_s_own(run: Callable[..., Context]) -> None:
    plain, mixed = run("plain", trial=0), run("mixed", trial=0)
    rows = [
        Example(f"g{n}", "general", [{"role": "user", "content": f"Add {n} and 2."}], [{"role": "assistant", "content": str(n + 2)}], {"kind": "general"})
        for n in range(8)
    ]  # fmt: skip
    write_records(mixed.input("curate") / "general.jsonl", rows)
    told = [sft.run(context) for context in (plain, mixed)]
    assert told[1]["tokens"] > told[0]["tokens"] and told[1]["steps"] > told[0]["steps"]


def test_another_trainer_s_wraps_do_not_stay_on_the_model() -> None:
    """A bf16 training after a trial must be prepared as one without: else a resumed one, which has no trial, ends otherwise."""
    from torch import nn

    inner = nn.Linear(2, 2)
    model = nn.Sequential(inner)
    inner.forward = own = lambda rows: rows  # type: ignore[method-assign]
    with same_forward(model):
        inner.forward = model.forward = model._original_forward = lambda rows: rows + 1  # type: ignore[method-assign,assignment]
        model._is_accelerate_prepared = True  # type: ignore[assignment]
    assert inner.forward is own and not {"forward", "_original_forward", "_is_accelerate_prepared"} & set(vars(model))
