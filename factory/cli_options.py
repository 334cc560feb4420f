"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

DomainName = Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")]
RunName = Annotated[str, typer.Option("--run", help="Name of the run: runs/DOMAIN/RUN.")]
Source = Annotated[
    str,
    typer.Option(
        "--source",
        help="Folder of documents (or GIT_URL@COMMIT, hf://OWNER/NAME@REVISION); 'sample': the embedded one.",
    ),
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, e.g. sft.learning_rate=1e-4; may be repeated.")
]
