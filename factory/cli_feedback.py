"""The command that turns what experts said into what the next round learns from. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.console import say

app = typer.Typer()


@app.command()
def feedback(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    run: Annotated[str, typer.Option("--run", help="Name of the run that the rounds began with.")] = "default",
    store: Annotated[
        Path | None,
        typer.Option(help="The app's file of feedback; without it that of the demo: runs/DOMAIN/feedback.db."),
    ] = None,
    round: Annotated[int, typer.Option(help="For which round; 0: the one after the last that is built.", min=0)] = 0,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would be written.")] = False,
) -> None:
    """Turn approved feedback into examples and preference pairs for the next round, and promoted rows into eval items.

    Rows that match eval items are kept out, duplicates merged, contradictions named.

    Example: factory feedback cooking
    """
    from factory.feedback import Wish, take

    for line in take(Wish(domain, run, store, round, dry)):
        say(line)
