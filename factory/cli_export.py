"""The export command: what people run, from a built run. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.console import say

app = typer.Typer()


@app.command()
def export(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    to: Annotated[str, typer.Option("--to", help="adapter, merged, gguf, gguf-lora, ollama, folder or onnx.")],
    quant: Annotated[
        str, typer.Option(help="f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m or q4_0; empty: the kind's own.")
    ] = "",
    model: Annotated[str, typer.Option(help="base, sft, dpo or best.")] = "best",
    run: Annotated[str, typer.Option("--run", help="Name of the run: runs/DOMAIN/RUN.")] = "default",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder, or NAME.zip; empty: runs/DOMAIN/RUN/export/KIND.")
    ] = None,
    over: Annotated[
        str, typer.Option(help="The base's weights to merge into: trained (what the adapter learned over) or original.")
    ] = "trained",
    zipped: Annotated[bool, typer.Option("--zip", help="Make one zip file of it, too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Export a specialist for llama.cpp, Ollama, LM Studio, transformers or a phone.

    Examples:

      factory export cooking --to gguf --quant q8_0

      factory export cooking --to gguf-lora

      factory export cooking --to folder -o cooking.zip
    """
    from factory.export.artifact import export
    from factory.export.budgets import check
    from factory.weights.job import Order

    order = Order(domain, to, quant, model, run, output, over, force, zipped)
    say(f"\nExported: {export(order, say, check)}")


@app.command()
def release(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    run: Annotated[str, typer.Option("--run", help="Name of the run: runs/DOMAIN/RUN.")] = "default",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The folder, or NAME.zip; empty: runs/DOMAIN/RUN/export/release."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Hand a specialist on, if every gate is passed: adapter, chat template, licences and a model card with all figures.

    Measures first what it forgot. Exit status 1 names the gates that are not passed, and nothing is written.

    Example: factory release cooking
    """
    from factory.export.artifact import export
    from factory.weights.job import Order

    say(f"\nReleased: {export(Order(domain, 'release', run=run, output=output, force=force), say)}")
