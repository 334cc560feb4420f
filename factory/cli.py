"""The command line: each command a few lines; what is heavy is imported inside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from factory import __version__, cli_cost, cli_data, cli_domain, cli_export, cli_feedback, cli_proof
from factory.cli_options import DomainName, RunName, Settings, Source, Tasks
from factory.console import console, run_flag, say, show_scores
from factory.errors import FactoryError

app = typer.Typer(
    name="factory",
    help="Turn a domain's documents into a small specialist model, with the proof that it is better and a demo.\n\n"
    "Start with: factory build cooking",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
models_app = typer.Typer(no_args_is_help=True, help="The catalog of base models.")
app.add_typer(models_app, name="models")
for part in (cli_cost, cli_data, cli_export, cli_feedback, cli_proof):
    app.registered_commands += part.app.registered_commands

Force = Annotated[
    list[str] | None, typer.Option("--force", help="Run this stage anew, and what depends on it ('all': every one).")
]
Processes = Annotated[
    int,
    typer.Option(help="Processes that share each training step: on GPUs one for each GPU, else of the cores.", min=1),
]


def main() -> None:
    """The `factory` command: a FactoryError becomes two lines and exit status 1; --debug shows the traceback."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app()
    except FactoryError as error:
        if debug:
            raise
        print(f"Error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise
    except OSError as error:
        if debug:
            raise
        print(f"Error: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        print(
            "  Mend that path (does it exist, may you write there, is the disk full?), then run again.", file=sys.stderr
        )
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (anywhere on the line).")] = False,
) -> None: ...


@app.command()
def build(
    domain: DomainName,
    run: RunName = "default",
    source: Source = "",
    task: Tasks = None,
    settings: Settings = None,
    until: Annotated[str, typer.Option(help="Stop after this stage.")] = "",
    force: Force = None,
    round: Annotated[
        int, typer.Option(help="2 and on: train on from the round before, on the feedback of experts.", min=1)
    ] = 1,
    report_to: Annotated[
        str, typer.Option(help="Show training's curves while it runs: trackio or tensorboard, if installed.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Train and score it from so many seeds, and show the spread.", min=1)] = 1,
    processes: Processes = 1,
    nodes: Annotated[int, typer.Option(help="Machines that train together: see docs/multi.md.", min=1)] = 1,
    meet: Annotated[str, typer.Option(help="HOST:PORT of this machine, where the other ones come to.")] = "",
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would run or be skipped, and why.")] = False,
) -> None:
    """Build a specialist: documents, examples, SFT, DPO, scores, report, app.

    What is up to date is skipped; a build that was broken off goes on.

    Examples:

      factory build cooking

      factory build legal --source ./data/legal --task topic --task charge

      factory build cooking --set dpo.beta=0.2 --dry

      factory build cooking --round 2

      factory build cooking --seeds 3

      factory build legal --processes 2
    """
    from factory.build import Order, build_run, build_seeds, orders_of_seeds, plan_run
    from factory.hardware import Ranks

    order = Order(
        domain, run, source, task, settings or [], until, force, round, report_to, Ranks(processes, nodes, meet)
    )
    if dry:
        for one in orders_of_seeds(order, seeds):
            if one.run != order.run:
                say(f"\n{one.run}, another seed:")
            for decision in plan_run(one):
                say(f"{decision.stage.name:10} {decision.action:7} {decision.reason}")
        return
    folder = build_seeds(order, seeds, say) if seeds > 1 else build_run(order, say)
    if (folder / "evaluate" / "scores.json").exists() and not until:
        show_scores(domain, folder)
        say(f"\nReport:  {folder / 'report' / 'report.html'}\nDemo:    factory demo {domain}" + run_flag(folder.name))


@app.command()
def plan(
    domain: DomainName,
    run: RunName = "default",
    source: Source = "",
    task: Tasks = None,
    settings: Settings = None,
    base: Annotated[str, typer.Option(help="Another base model; its size is known without a download.")] = "",
    machine: Annotated[str, typer.Option(help="Another machine: 8gb-laptop, 64gb-cpu, 24gb-gpu, 2x24gb-gpu.")] = "",
    processes: Processes = 1,
    price_per_hour: Annotated[float | None, typer.Option(help="What an hour of the machine costs.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON and nothing else.")] = False,
) -> None:
    """Say how the training would run on this machine or another, what it needs and how long it takes, and why.

    Nothing is downloaded and nothing is written.

    Examples:

      factory plan cooking

      factory plan legal --machine 24gb-gpu --base llama-3.1-8b-instruct
    """
    import dataclasses

    from factory.build import Order, plan_training
    from factory.hardware import Ranks

    order = Order(domain, run, source, task, settings, ranks=Ranks(processes))
    made = plan_training(order, machine, base, price_per_hour, (lambda _: None) if as_json else say)
    if as_json:
        print(json.dumps(dataclasses.asdict(made), ensure_ascii=False, indent=2))
        return
    for line in made.lines():
        say(line)
    if not (machine or base):
        from factory.export.engines import engine_line

        if line := engine_line(domain, run):
            say(line)


app.registered_commands += cli_proof.scores.registered_commands  # their place in --help


@app.command()
def status(domain: DomainName, run: RunName = "default") -> None:
    """Show which stages of a run are done, when, how long they took, and what would run now.

    Example: factory status cooking
    """
    from factory.build import Order, plan_run
    from factory.files import read_json
    from factory.stage import seconds_of

    table = Table("stage", "state", "seconds", "what came out")
    for decision in plan_run(Order(domain, run)):
        path = Path("runs") / domain / run / decision.stage.name / "manifest.json"
        old = read_json(path) if path.exists() else {}
        state = "done" if decision.action == "skip" else f"{decision.action}: {decision.reason}"
        table.add_row(
            decision.stage.name, state, str(seconds_of(old)) if old else "", old.get("summary", {}).get("note", "")
        )
    console.print(table)


app.registered_commands += cli_domain.app.registered_commands


@models_app.command("list")
def models_list() -> None:
    """List the catalog."""
    from factory.models import catalog, home

    table = Table(Column("name", no_wrap=True, min_width=22), "parameters", "from", "languages", "licence", "here")
    for base in catalog().values():
        here = "yes" if (home() / "models" / base.name / "factory.json").exists() else ""
        size = f"{base.parameters / 1e6:,.0f} M"
        table.add_row(base.name, size, base.source, " ".join(base.languages), base.license, here)
    console.print(table)


@models_app.command("info")
def models_info(name: str) -> None:
    """Show one base model's entry."""
    import dataclasses

    from factory.models import find_base

    for key, value in dataclasses.asdict(find_base(name)).items():
        if value:
            console.print(f"{key:14} {value}", highlight=False, markup=False)


@models_app.command("pull")
def models_pull(name: str) -> None:
    """Fetch a base model, so that a build needs no network.

    Example: factory models pull gemma-3-270m
    """
    from factory.models import base_folder

    say(f"{name} is in {base_folder(name, 'none', say)}")


@app.command()
def predict(
    domain: DomainName,
    file: Annotated[Path, typer.Argument(help="Rows as JSON Lines: {prompt}, {messages}, or {task, input}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the rows go, with `prediction` added.")],
    model: Annotated[
        str, typer.Option(help="base, sft, dpo, best; FILE.gguf, BASE.gguf+ADAPTER.gguf, or an export's folder.")
    ] = "best",
    run: RunName = "default",
) -> None:
    """Answer many rows at once.

    Examples:

      factory predict legal questions.jsonl -o answers.jsonl --model best

      factory predict legal questions.jsonl -o answers.jsonl --model legal-q8_0.gguf
    """
    from factory.predict import predict_file

    say(f"{predict_file(domain, run, file, output, model, say)} answers in {output}")


@app.command("app")
def make_app(domain: DomainName, run: RunName = "default") -> None:
    """Write the Gradio project of a run: a folder that runs alone with 'python app.py'.

    Example: factory app cooking
    """
    from factory.build import Order, build_run

    say(f"App: {build_run(Order(domain, run), say) / 'app'}")


@app.command()
def demo(
    domain: DomainName,
    run: RunName = "default",
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; the next free one is taken.", min=0, max=65535)] = 7860,
    engine: Annotated[
        str, typer.Option(help="torch, or llama (llama.cpp over an export, quicker on a CPU); empty: as it was last.")
    ] = "",
) -> None:
    """Open the demo of a run on 127.0.0.1.

    Examples:

      factory demo cooking

      factory demo cooking --engine llama
    """
    import os
    import signal
    import subprocess

    from factory.build import open_run
    from factory.domain import find_domain
    from factory.stage import manifest

    folder = open_run(domain, run)
    manifest(folder, "app")
    if engine:
        from factory.export.demo import use_engine

        use_engine(domain, run, engine, folder / "app", say)
    evals = find_domain(domain).folder / "evals"
    reviews = ["--reviews", str(evals / "reviews.json")] if os.access(evals, os.W_OK) else []
    kept = ["--feedback", str((folder.parent / "feedback.db").resolve()), *reviews]
    with subprocess.Popen([sys.executable, "app.py", "--port", str(port), *kept], cwd=folder / "app") as app_process:
        signal.signal(signal.SIGTERM, lambda *_: app_process.terminate())  # ended from outside, it ends what it started
        try:
            raise typer.Exit(app_process.wait())
        except KeyboardInterrupt:  # the app got it, too, and closes
            app_process.wait()
            say(f"\nThe demo is closed. It opens again with: factory demo {domain}{run_flag(run)}")


@app.command()
def doctor() -> None:
    """Show what this machine is, the versions, disk space, and what is missing for which command."""
    from factory.doctor import findings

    for ok, line in findings():
        console.print(f"{'[green]ok[/]  ' if ok else '[red]no[/]  '}{line}", highlight=False)
