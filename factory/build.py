"""A build: a domain, its run folder and the pipeline brought together. A run remembers its source and tasks."""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.domain import Domain, load_domain
from factory.errors import FactoryError, suggest
from factory.files import read_json, write_json
from factory.hardware import Ranks, inspect_machine, other_machine
from factory.models import find_base
from factory.pipeline import stages
from factory.ranks import check_shares
from factory.rounds import FEEDBACK, run_name
from factory.stage import Context, Decision, Say, Stage, decide, run_stages
from factory.trackers import require_tracker
from factory.versions import newest

if TYPE_CHECKING:
    from factory.plan import Plan

RUNS = Path("runs")

QUICK = [
    'synthesize.teacher=""',
    'curate.keep_by="random"',
    "curate.same_meaning=0",
]  # for a look: no model is loaded or asked


@dataclass(frozen=True)
class Order:
    """What a command asks for. `tasks` and `settings`: None means as in the run's last build."""

    domain: str
    run: str = "default"
    source: str = ""  # empty: as in the last build; "sample": the embedded one
    tasks: list[str] | None = None
    settings: list[str] | None = None
    until: str = ""
    force: list[str] | None = None
    round: int = 1  # above 1: the round that goes on from the run
    report_to: str = ""  # trackio or tensorboard, for this build alone
    ranks: Ranks = field(default_factory=Ranks)  # the processes that share the training steps
    evals: int = 0  # version of the eval set; 0: as in the last build, else the newest


def build_run(order: Order, say: Say) -> Path:
    """Bring a run up to date; return its folder."""
    chain, context, notes = prepare(order)
    require_tracker(context.config.report_to)
    if order.ranks != Ranks():
        inspect_machine().shared_by(order.ranks)  # refuses more than there are, before anything is done
    say(
        f"{context.run_dir.resolve()}: {context.config.base}, source: {context.source or context.domain.folder / 'data'}"
    )
    run_stages(
        chain,
        replace(context, say=say),
        _forced(chain, order.force),
        lambda: write_json(context.run_dir / "run.json", notes),
    )
    return context.run_dir


def orders_of_seeds(order: Order, count: int) -> list[Order]:
    """The order, and one for each further seed (factory.seeds), which builds up to the scores."""
    from factory.seeds import run_names

    if count == 1:
        return [order]
    if order.round > 1 or order.until or order.ranks.nodes > 1:
        raise FactoryError(
            "--seeds trains a whole first round several times, on one machine.",
            "Leave out --round, --until and --nodes.",
        )
    _, context, notes = prepare(order)
    known = {"tasks": notes["tasks"], "source": notes["source"] or "sample", "evals": notes["evals"]}
    others = list(run_names(order.run, context.config.seed, count).items())[1:]
    return [order] + [
        replace(order, run=run, settings=[*(notes["settings"] or []), f"seed={seed}"], until="evaluate", **known)
        for seed, run in others
    ]


def build_seeds(order: Order, count: int, say: Say) -> Path:
    """Build a run, then train and score it from so many seeds, and keep the spread in it; return its folder."""
    from factory import seeds

    first, *others = orders_of_seeds(order, count)
    run_dir = build_run(first, say)
    for other in others:
        say(f"\n{other.run}, another seed:")
        build_run(other, say)
    _, context, _ = prepare(order)
    seeds.keep(run_dir, seeds.run_names(order.run, context.config.seed, count))
    refresh_report(order.domain, order.run, say)
    return run_dir


def refresh_report(domain: str, run: str, say: Say) -> None:
    """Make the report of a run anew where what it shows has changed; nothing before all that it reads is there."""
    chain, context, _ = prepare(Order(domain, run, until="report"))
    report = chain[-1:]
    ready = all((context.input(name) / "manifest.json").exists() for name in report[0].reads)
    if ready and any(decision.action != "skip" for decision in decide(report, context)):
        run_stages(report, replace(context, say=say))


def plan_run(order: Order) -> list[Decision]:
    """What `build_run` would do, with reasons; writes nothing."""
    chain, context, _ = prepare(order)
    return list(decide(chain, context, _forced(chain, order.force)))


def plan_training(
    order: Order, machine: str = "", base: str = "", price_per_hour: float | None = None, say: Say = print
) -> Plan:
    """The plan of a run's SFT on this machine, or on one described as `machine`; writes nothing that lasts.

    Rows come from the run where they are up to date, else those by rule: no teacher is asked for a plan.
    """
    from factory.plan import plan_sft, work_of
    from factory.training import rows_to_learn

    chain, context, notes = prepare(replace(order, until="curate"))
    if any(decision.action != "skip" for decision in decide(chain, context, [])):
        chain, context, _ = prepare(replace(order, until="curate", settings=[*notes["settings"], *QUICK]))
    config = replace(context.config, base=base or context.config.base)
    where = other_machine(machine) if machine else inspect_machine()
    if order.ranks != Ranks():
        where = where.shared_by(order.ranks)
    check_shares(config, where.ranks)
    with tempfile.TemporaryDirectory() as scratch:
        if any(decision.action != "skip" for decision in decide(chain, context, [])):
            context = replace(context, run_dir=Path(scratch), say=say)
            run_stages(chain, context, [], lambda: None)
        examples = rows_to_learn(context.run_dir / "curate")
    work = work_of(config.base, examples, config.language)
    return plan_sft(config, where, work, measure=not machine, price_per_hour=price_per_hour)


def open_run(domain: str, run: str) -> Path:
    """The folder of a run that exists; where there is none, an unknown domain is what is said first."""
    folder = RUNS / domain / run
    if not folder.is_dir():
        load_domain(domain)
        there = [path.name for path in (RUNS / domain).glob("*") if path.is_dir()]
        hint = suggest(run, there) if there else f"Run: factory build {domain}"
        raise FactoryError(f"No run '{run}' of '{domain}' in {RUNS.resolve()}.", hint)
    return folder


def is_scored(order: Order) -> bool:
    """Whether the run has its scores and the order asks for no other ones: then other models need no training of it anew."""
    asked = order.source or order.tasks is not None or order.settings is not None
    return not asked and (RUNS / order.domain / order.run / "evaluate" / "manifest.json").exists()


def run_domain(domain: str, run: str) -> Domain:
    """The domain with the settings that the run was built with."""
    return load_domain(domain, run_settings(domain, run))


def run_settings(domain: str, run: str) -> list[str]:
    """The settings that the run was built with, as `section.key=value`."""
    notes = _remembered(open_run(domain, run))
    return _overrides(notes.get("tasks"), notes.get("settings"))


def prepare(order: Order) -> tuple[tuple[Stage, ...], Context, dict[str, Any]]:
    """The stages, the context and what the run remembers, for an order; writes nothing."""
    if not re.fullmatch(r"[\w.-]+", order.run) or order.run.startswith("."):
        raise FactoryError(f"'{order.run}' is no name for a run.", "Use letters, digits, '-', '_' and '.'.")
    folder = RUNS / order.domain / run_name(order.run, order.round)
    old = _remembered(folder)
    after = _after(order, old)
    notes = old or (_remembered(folder.parent / after) if after else {})
    source = "" if order.source == "sample" else _resolve(order.source) or notes.get("source", "")
    address = _address(order.source) if order.source else notes.get("address", "")
    tasks = order.tasks if order.tasks is not None else notes.get("tasks")
    settings = order.settings if order.settings is not None else notes.get("settings")
    if after and order.settings is not None:  # a round keeps the settings of the one before it
        settings = [*_remembered(folder.parent / after).get("settings", []), *order.settings]
    tracked = [f'report_to="{order.report_to}"'] if order.report_to else []
    domain = load_domain(order.domain, _overrides(tasks, [*(settings or []), *tracked]))
    find_base(domain.config.base)
    check_shares(domain.config, order.ranks)
    evals = order.evals or (old.get("evals", 1) if old else newest(domain.folder))
    if after:
        domain.config = domain.config.of_a_round()
    earlier = folder.parent / after if after else None
    where = Path(source) if source else None
    context = Context(domain, folder, "", where, evals=evals, earlier=earlier, ranks=order.ranks)
    kept = {
        "source": source,
        "address": address,
        "tasks": tasks,
        "settings": settings or [],
        "evals": evals,
        "after": after,
    }
    return stages(order.until), context, kept


def _after(order: Order, notes: dict[str, Any]) -> str:
    """The run that this one goes on from; empty for a first round. FactoryError where it is not built, or learns nothing."""
    if order.round < 2:
        return str(notes.get("after", ""))
    folder, before = RUNS / order.domain, run_name(order.run, order.round - 1)
    flag = "" if order.run == "default" else f" --run {order.run}"
    if _remembered(folder / order.run).get("after"):
        raise a_round_itself(order.run)
    if not (folder / before / "evaluate" / "manifest.json").exists():
        again = f" --round {order.round - 1}" if order.round > 2 else ""
        raise FactoryError(
            f"Round {order.round - 1} of '{order.domain}' is not built ({folder / before}).",
            f"Run: factory build {order.domain}{flag}{again}",
        )
    summary = folder / run_name(order.run, order.round) / FEEDBACK / "summary.json"
    if not summary.exists() or not read_json(summary)["examples"]:
        raise FactoryError(
            f"Round {order.round} of '{order.domain}' has no example to learn from.",
            f"Approve better answers in the demo, then run: factory feedback {order.domain}{flag}",
        )
    return before


def a_round_itself(run: str) -> FactoryError:
    """The error for a round where the run is asked for that the rounds began with."""
    first = re.sub(r"-r\d+$", "", run)
    return FactoryError(f"'{run}' is a round itself.", f"Name the run that it began with: --run {first}")


def _resolve(source: str) -> str:
    """A source as an absolute path; a git address is cloned at its commit first, a dataset written into the cache."""
    if not source:
        return ""
    if re.match(r"^(https?|ssh|git|file)://|^git@", source):
        from factory.sources import fetch_git

        return str(fetch_git(source))
    if source.startswith("hf://"):
        from factory.sources import fetch_dataset

        return str(fetch_dataset(source, partial(print, file=sys.stderr)))
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise FactoryError(f"Source {source} does not exist.", "Give a folder of documents: --source PATH")
    if path.is_dir() and not any(file.is_file() for file in path.rglob("*")):
        raise FactoryError(f"Source {source} is empty.", "Put documents into it, or give another folder.")
    return str(path)


def _address(source: str) -> str:
    """Where others find the source, for the model card; empty for a place on this machine."""
    from factory.sources import public

    return public(source)


def _overrides(tasks: list[str] | None, settings: list[str] | None) -> list[str]:
    chosen = [] if tasks is None else [f"tasks={list(tasks)!r}".replace("'", '"')]
    return [*chosen, *(settings or [])]


def _remembered(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    notes: dict[str, Any] = read_json(path) if path.exists() else {}
    return notes


def _forced(chain: tuple[Stage, ...], force: list[str] | None) -> list[str]:
    names = [stage.name for stage in chain]
    for name in force or []:
        if name != "all" and name not in names:
            raise FactoryError(f"Unknown stage '{name}'.", suggest(name, [*names, "all"]))
    return names if "all" in (force or []) else list(force or [])
