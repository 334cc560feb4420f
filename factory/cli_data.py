"""The data engine's commands: each part works alone, on files of one's own. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.console import say

app = typer.Typer()


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="A folder, file, zip, git address with @COMMIT, or hf://OWNER/NAME.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The passages, as JSON Lines.")],
    lang: Annotated[str, typer.Option(help="zh or en; empty: each document's own.")] = "",
    license: Annotated[str, typer.Option(help="The licence of the documents, kept with each passage.")] = "",
    skipped: Annotated[Path | None, typer.Option(help="What is left out, each with its reason, as JSON Lines.")] = None,
) -> None:
    """Read documents and cut them into passages that know their file, page and headings.

    What cannot be read is named with the reason. Example: factory ingest papers -o passages.jsonl
    """
    from factory.passages import Wish, ingest

    say(ingest(Wish(source, output, lang, license, skipped), say))


@app.command()
def curate(
    rows: Annotated[Path, typer.Argument(help="JSON Lines: {prompt, completion} or {messages}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The rows that training may see.")],
    against: Annotated[Path | None, typer.Option(help="Eval items {id, prompt, reference} that must not leak.")] = None,
    dropped: Annotated[Path | None, typer.Option(help="The other rows, each with `reason` and `detail`.")] = None,
    lang: Annotated[
        list[str] | None,
        typer.Option(
            help="By their letters: zh (Chinese) or en (Latin, of any language); may be repeated; none: as --against."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="E.g. curate.mask_pii=false; may be repeated.")
    ] = None,
) -> None:
    """Clean rows of your own: leaks, duplicates, broken and repeating text, other languages, personal data.

    Example: factory curate rows.jsonl --against eval.jsonl -o kept.jsonl --dropped dropped.jsonl
    """
    from factory.cleaning import Wish, clean_file
    from factory.config import curate_settings

    wish = Wish(rows, output, against, dropped, tuple(lang or ()), curate_settings(settings or []))
    say(clean_file(wish, say))


@app.command()
def synthesize(
    passages: Annotated[Path, typer.Argument(help="JSON Lines of passages: see 'factory ingest'.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The accepted examples.")],
    teacher: Annotated[str, typer.Option(help="An OpenAI-compatible address that ends in /v1, or a .gguf file.")],
    model: Annotated[str, typer.Option(help="The teacher's model; empty: the first that the address has.")] = "",
    refused: Annotated[Path | None, typer.Option(help="The refused examples, each with its reason.")] = None,
    lang: Annotated[str, typer.Option(help="zh or en; empty: as the passages are.")] = "",
    per_passage: Annotated[int, typer.Option(help="Examples to ask for about one passage.", min=1)] = 3,
    most: Annotated[int, typer.Option(help="Stop at so many examples; 0: no limit.", min=0)] = 0,
    kind: Annotated[
        list[str] | None, typer.Option(help="fact, explain, scenario, judge, talk, decline, classify; may be repeated.")
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Leave the passage out of the prompts.")] = False,
    concurrency: Annotated[int, typer.Option(help="Calls at once.", min=1)] = 4,
    most_tokens: Annotated[
        int, typer.Option(help="Stop when so many are used, and keep what is accepted; 0: no limit.", min=0)
    ] = 0,
    most_money: Annotated[
        float, typer.Option(help="Stop when so much is spent, and keep what is accepted; 0: no limit.", min=0)
    ] = 0.0,
    price_in: Annotated[float, typer.Option(help="Price of a million tokens in.", min=0)] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of a million tokens out.", min=0)] = 0.0,
) -> None:
    """Let a teacher write examples about passages; only what a passage bears out is kept.

    Its key comes from FACTORY_TEACHER_KEY. Answers are kept: a broken-off synthesis goes on, a finished one can be played again with no network.

    Example: factory synthesize passages.jsonl --teacher http://127.0.0.1:8080/v1 -o examples.jsonl
    """
    from factory.teacher import Limits
    from factory.teaching import Wish, synthesize_file, told

    limits = Limits(most_tokens, most_money, price_in, price_out, concurrency)
    wish = Wish(passages, output, teacher, model, refused, lang, per_passage, most, kind or [], bare, limits=limits)
    for line in told(synthesize_file(wish, say)):
        say(line)


@app.command()
def data(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    run: Annotated[str, typer.Option(help="Name of the run: runs/DOMAIN/RUN.")] = "default",
    source: Annotated[
        str, typer.Option(help="Folder of documents (or GIT_URL@COMMIT, hf://OWNER/NAME@REVISION).")
    ] = "",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. curate.keep=0.2; may be repeated.")
    ] = None,
) -> None:
    """Show a run's training data on one HTML page: counts of every step, what was left out and why, samples.

    Brings the run up to date until curate. Example: factory data cooking
    """
    from factory.build import Order
    from factory.datapage import data_page

    page, told = data_page(Order(domain, run, source, task, settings), say)
    say(f"{told}\nData: {page}")


@app.command()
def curve(
    domain: Annotated[str, typer.Argument(help="A domain's name: see 'factory domains'.", metavar="DOMAIN")],
    shares: Annotated[str, typer.Option(help="Shares of the training rows.")] = "0.05,0.1,0.25,0.5,1",
    by: Annotated[str, typer.Option(help="How rows are selected: coverage, difficulty or mix.")] = "coverage",
    run: Annotated[str, typer.Option(help="Name of the run whose data it takes.")] = "default",
    source: Annotated[
        str, typer.Option(help="Folder of documents (or GIT_URL@COMMIT, hf://OWNER/NAME@REVISION).")
    ] = "",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. sft.epochs=1; may be repeated.")
    ] = None,
) -> None:
    """Draw the learning curve: SFT on shares of the rows, selected against random, each with the full set's steps.

    It takes as long as two trainings for each share below 1, and one more; broken off, it goes on where it was.

    Example: factory curve cooking --shares 0.1,0.5,1 --by mix
    """
    from factory.build import Order
    from factory.curve import Wish, draw
    from factory.errors import FactoryError

    try:
        parts = [float(part) for part in shares.replace(",", " ").split()]
    except ValueError as error:
        raise FactoryError(f"--shares {shares} is no list of numbers.", "Example: --shares 0.1,0.5,1") from error
    folder = draw(Wish(Order(domain, run, source, task, settings), parts, by), say)
    say(f"\nCurve: {folder / 'curve.html'}")
