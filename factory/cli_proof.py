"""Commands on a run's scores, and those that prove more: a judge, the eval set for another harness. What is heavy is imported inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from factory.cli_options import DomainName, RunName, Settings, Source, Tasks
from factory.console import run_flag, say, scores_of, show_scores
from factory.errors import FactoryError

app = typer.Typer()
scores = typer.Typer()  # what is asked most often: --help lists it after build and plan


@scores.command("eval")
def evaluate(
    domain: DomainName,
    run: RunName = "default",
    source: Source = "",
    task: Tasks = None,
    settings: Settings = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Score this, too: a GGUF, an export or model folder, RUN:sft, http://ADDRESS/v1, published scores (CSV); may be repeated."
        ),
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="Take this reference out, by its name; may be repeated.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="With --model: answer anew what is known, as for another model behind an address."
        ),
    ] = False,
) -> None:
    """Answer the frozen eval set with base, SFT and DPO, and print the scoreboard.

    What --model scores is kept in the run as a reference and shown in the report, until --forget; a run that has its scores stays as it is.

    Examples:

      factory eval cooking

      factory eval cooking --model runs/cooking/default/export/gguf-q8_0

      factory eval legal --model ./bigger.gguf --model http://127.0.0.1:8080/v1 --model published.csv

      factory eval legal --forget bigger
    """
    from factory import references
    from factory.build import Order, build_run, is_scored, open_run, refresh_report

    if again and not model:
        raise FactoryError("--again is for --model.", f"Example: factory eval {domain} --model ADDRESS --again")
    order = Order(domain, run, source, task, settings, until="evaluate")
    as_it_is = (model and is_scored(order)) or (forget and not model)
    folder = open_run(domain, run) if as_it_is else build_run(order, say)
    for name in forget or []:
        references.forget(folder, name)
    for name in model or []:
        from factory.scoring import score_model

        for other in references.keep(folder, score_model(domain, run, name, say, again)):
            say(f"    {other}: another model had this name before; it is replaced")
    refresh_report(domain, run, say)
    show_scores(domain, folder)


@scores.command()
def report(
    domain: DomainName,
    run: RunName = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON and nothing else.")] = False,
) -> None:
    """Show a run's scoreboard and where its report is; the report is made anew where what it shows has changed.

    Example: factory report cooking --json
    """
    from factory.build import open_run, refresh_report

    folder = open_run(domain, run)
    if as_json:
        print(json.dumps({"models": scores_of(folder)["models"]}, ensure_ascii=False, indent=2))
        return
    refresh_report(domain, run, say)
    show_scores(domain, folder)
    page = folder / "report" / "report.html"
    say(f"\nReport: {page}" if page.exists() else f"\nNo report.html yet. Run: factory build {domain}{run_flag(run)}")


@app.command()
def judge(
    domain: DomainName,
    model: Annotated[str, typer.Option(help="Who judges: http://ADDRESS/v1, http://ADDRESS/v1#MODEL or FILE.gguf.")],
    run: RunName = "default",
    store: Annotated[
        Path | None,
        typer.Option(help="The app's file of feedback; without it that of the demo: runs/DOMAIN/feedback.db."),
    ] = None,
) -> None:
    """Let a model compare the specialist's answers with the base's, and say whether experts' blind votes bear the judge out.

    Each pair is asked in both orders; a verdict that turns with the order is a tie.

    Example: factory judge cooking --model http://127.0.0.1:8080/v1
    """
    from factory.judging import FILE, Wish, judge_run, told

    for line in told(judge_run(Wish(domain, model, run, store), say)):
        say(line)
    kept = Path("runs") / domain / run / "evaluate" / FILE
    say(f"\nKept: {kept}; the report shows it after: factory report {domain}{run_flag(run)}")


@app.command("eval-export")
def eval_export(
    domain: DomainName,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that is written.")],
    run: RunName = "default",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the frozen eval set as tasks of lm-evaluation-harness, with the exact prompts and the domain's own scorers.

    Example: factory eval-export cooking -o cooking-tasks
    """
    from factory.harness import export_tasks

    for line in export_tasks(domain, run, output, force):
        say(line)
