"""The ordered stages: the only list of them."""

from __future__ import annotations

from factory.errors import FactoryError, suggest
from factory.stage import Stage


def stages(until: str = "") -> tuple[Stage, ...]:
    """Every stage in order, or those up to and with `until`."""
    from factory.stages import app, curate, dpo, evaluate, ingest, prefer, report, sft, synthesize

    everything = (
        ingest.STAGE,
        synthesize.STAGE,
        curate.STAGE,
        sft.STAGE,
        prefer.STAGE,
        dpo.STAGE,
        evaluate.STAGE,
        report.STAGE,
        app.STAGE,
    )
    if not until:
        return everything
    names = [stage.name for stage in everything]
    if until not in names:
        raise FactoryError(f"Unknown stage '{until}'.", suggest(until, names))
    return everything[: names.index(until) + 1]
