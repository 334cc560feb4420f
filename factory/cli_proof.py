"""Commands that prove more: a judge beside the scores, and the eval set for another harness. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.console import say

app = typer.Typer()
DomainName = Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")]
RunName = Annotated[str, typer.Option("--run", help="Name of the run: runs/DOMAIN/RUN.")]


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
    flag = "" if run == "default" else f" --run {run}"
    say(
        f"\nKept: {Path('runs') / domain / run / 'evaluate' / FILE}; the report shows it after: factory report {domain}{flag}"
    )


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
