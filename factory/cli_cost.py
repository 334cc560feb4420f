"""The cost command: what an answer takes here, and what it would cost elsewhere. What is heavy is imported inside."""

from __future__ import annotations

from typing import Annotated

import typer

from factory.console import print_costs, say, scores_of

app = typer.Typer()


@app.command()
def cost(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    run: Annotated[str, typer.Option("--run", help="Name of the run: runs/DOMAIN/RUN.")] = "default",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Measure this, too: a GGUF, an export or model folder, RUN:sft; may be repeated."),
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Dollars for an hour of this machine; kept, and shown in the report.", min=0)
    ] = None,
    answers: Annotated[int, typer.Option(help="Eval questions to answer; 0: as the domain says.", min=0)] = 0,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is known.")] = False,
) -> None:
    """Measure what an answer takes here: tokens per second, memory, energy; and what it costs beside hosted models.

    Base and specialist are measured, each in a process of its own: leave the machine alone meanwhile.
    Hosted prices are dated rows; yours go into domains/DOMAIN/prices.toml.

    Examples:

      factory cost cooking --price-per-hour 0.2

      factory cost legal --model runs/legal/default/export/gguf-q8_0
    """
    from factory.build import refresh_report, run_domain
    from factory.costing import Wish, measure_models
    from factory.costs import measured, prices
    from factory.costs import price_per_hour as known_price

    folder = measure_models(Wish(domain, run, model or [], answers, price_per_hour, again), say)
    plugin = run_domain(domain, run)
    refresh_report(domain, run, say)
    price = known_price(folder, plugin.config.cost.price_per_hour)
    print_costs(measured(folder), scores_of(folder)["best"], price, prices(plugin.folder))
