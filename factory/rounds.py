"""Rounds: a build that goes on from the best adapter of the round before, on what experts said of it.

Round 1 is `runs/DOMAIN/RUN`, round N is `runs/DOMAIN/RUN-rN`: a run like any other, beside the one that it goes on from.
What round N learns from lies in its folder `feedback`, written by `factory feedback`.
"""

from __future__ import annotations

from pathlib import Path

from factory.errors import FactoryError
from factory.files import digest, digest_tree, read_json
from factory.records import EvalItem, Example, Preference, R, read_records
from factory.stage import Context, manifest
from factory.text import squeeze

FEEDBACK = "feedback"


def run_name(run: str, round: int) -> str:
    """The name of a round's run: 'default', 'default-r2', ..."""
    return run if round < 2 else f"{run}-r{round}"


def earlier_runs(context: Context) -> dict[str, Path]:
    """The runs of the rounds before this one, the first one first: {"round1": folder, ...}."""
    found: list[Path] = []
    before = context.earlier
    while before:
        found.append(before)
        notes = read_json(before / "run.json")
        before = before.parent / notes["after"] if notes.get("after") else None
    return {f"round{number}": folder for number, folder in enumerate(reversed(found), 1)}


def best_adapter(run_dir: Path) -> Path:
    """The adapter that a finished run handed on."""
    manifest(run_dir, "evaluate")
    return run_dir / str(read_json(run_dir / "evaluate" / "scores.json")["best"]) / "adapter"


def adapter_mark(context: Context) -> dict[str, str]:
    """The adapter that this round goes on from, as a part of a fingerprint."""
    return (
        {"adapter of the round before": digest(digest_tree(best_adapter(context.earlier)))} if context.earlier else {}
    )


def rows_mark(context: Context) -> dict[str, str]:
    """What the rounds before this one trained on, as a part of a fingerprint."""
    files = ("curate/train.jsonl", "prefer/pairs.jsonl")
    rows = [digest_tree(run / file) for run in earlier_runs(context).values() for file in files]
    return {"rows of the rounds before": digest(rows)} if rows else {}


def feedback_mark(context: Context) -> dict[str, str]:
    """The feedback of this round, as a part of a fingerprint."""
    if not context.earlier:
        return {}
    files = digest_tree(context.run_dir / FEEDBACK)
    return {"feedback": digest({name: mark for name, mark in files.items() if name.endswith(".jsonl")})}


def expert(context: Context, kind: type[R]) -> list[R]:
    """The examples or the pairs of this round's feedback; none in a first round."""
    name = "pairs" if kind is Preference else "examples"
    return read_records(context.run_dir / FEEDBACK / f"{name}.jsonl", kind) if context.earlier else []


def rows_of_round(context: Context) -> tuple[list[Example], list[Example], list[Example]]:
    """The experts' examples, earlier training rows to be seen again, and the rows kept back as in the round before.

    Of the earlier rows `rounds.replay` for each example come along, each task's in turn, others in each round; never one
    whose question an expert answered now.
    """
    from factory.selection import in_turn  # numpy comes with it

    assert context.earlier
    said = expert(context, Example)
    asked = {asks(example) for example in said}
    runs = earlier_runs(context).values()
    pool = {row.id: row for run in runs for row in read_records(run / "curate" / "train.jsonl", Example)}
    free = [row for row in pool.values() if asks(row) not in asked]
    replayed = in_turn(free, round(context.config.rounds.replay * len(said)), salt=context.run_dir.name)
    return said, replayed, read_records(context.earlier / "curate" / "dev.jsonl", Example)


def as_often(context: Context, examples: list[Example]) -> list[Example]:
    """The rows as sft sees them in a round: an expert's `rounds.epochs` times, the earlier ones once.

    These were learned before: seen often again they would be learned by heart, and the eval set falls (benchmarks/rounds.py).
    """
    said = {row.id for row in expert(context, Example)}
    return [row for row in examples for _ in range(context.config.rounds.epochs if row.id in said else 1)]


def asks(row: Example | Preference | EvalItem) -> str:
    """What is asked, and nothing of how it is written: the turns without the system prompt, marks and spaces."""
    return "\n".join(squeeze(turn["content"]) for turn in row.prompt if turn["role"] != "system")


def check_base(context: Context) -> None:
    """FactoryError where this round has another base than the one before."""
    assert context.earlier
    before = read_json(context.earlier / "sft" / "base.json")["name"]
    if before != context.config.base:
        raise FactoryError(
            f"{context.earlier.name} was trained on {before}, this round would be on {context.config.base}.",
            f"A round goes on from the adapter before it: leave base = {before}, or begin anew with --run NAME.",
        )
    on = read_json(context.earlier / "sft" / "adapter" / "adapter_config.json").get("layers_to_transform")
    if (len(on) if on else 0) != context.config.sft.top_layers:
        was = len(on) if on else 0
        raise FactoryError(
            f"{context.earlier.name} has its adapter on {f'the topmost {was} layers' if was else 'all layers'}, and sft.top_layers is {context.config.sft.top_layers}.",
            f"A round goes on from the adapter before it: --set sft.top_layers={was}, or begin anew with --run NAME.",
        )
