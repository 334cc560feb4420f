"""Commands on domains: make one, bring it up to date, look it over, list them. What is heavy is imported inside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from factory.cli_options import DomainName, Source
from factory.console import console, say
from factory.errors import FactoryError

app = typer.Typer()


@app.command("new-domain")
def new_domain(
    name: Annotated[
        str, typer.Argument(help="What to call it; Chinese is fine, the folder gets its pinyin.", metavar="NAME")
    ],
    docs: Annotated[
        Path | None, typer.Option(help="Folder of documents (or one file); none: a sample to replace.")
    ] = None,
    lang: Annotated[str, typer.Option(help="zh or en; empty: as the documents are.")] = "",
    base: Annotated[str, typer.Option(help="Base model: see 'factory models list'.")] = "",
    title: Annotated[str, typer.Option(help="What people see; empty: the name.")] = "",
    license: Annotated[str, typer.Option(help="What others may do with the documents.")] = "",
    template: Annotated[Path | None, typer.Option("--from", help="Your own folder of templates (*.jinja).")] = None,
    teacher: Annotated[
        str,
        typer.Option(help="A larger model that writes examples, too: an address that ends in /v1, or a .gguf file."),
    ] = "",
    model: Annotated[str, typer.Option(help="The teacher's model; empty: the first that the address has.")] = "",
    most_tokens: Annotated[
        int, typer.Option(help="Tokens that the teacher may use now, and again in a run's builds; 0: no limit.", min=0)
    ] = 0,
    package: Annotated[bool, typer.Option("--package", help="Make an installable package ./NAME.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would be written.")] = False,
) -> None:
    """Make a domain from a folder of documents: looks at them, proposes tasks, writes what a build needs.

    Examples:

      factory new-domain tea --docs ./tea-handbook

      factory new-domain 茶叶 --docs ./资料 --yes
    """
    from factory.proposal import Wish, ask_for_missing, identifier, propose, show
    from factory.scaffold import target_of, write_domain

    target_of(identifier(name), package)
    wish = Wish(name, docs, lang, base, title, license, template, package, teacher, model, most_tokens)
    folder = None
    if not yes and not dry and sys.stdin.isatty():
        wish, folder = ask_for_missing(wish, say)
    proposal = propose(wish, say, folder)
    show(proposal, wish, say, dry)
    if dry:
        return
    if not yes and sys.stdin.isatty() and not typer.confirm("Write it?", default=True):
        raise typer.Exit
    place = write_domain(proposal, wish, say)
    say(f"\nWritten: {place}")
    for line in _next_steps(proposal.name, place, package):
        say(line)


def _next_steps(name: str, place: Path, package: bool) -> list[str]:
    first = [f"  pip install ./{place}           # then it is in 'factory domains' in any folder"] if package else []
    return [
        "Next:",
        *first,
        f"  factory build {name}           # trains and scores the specialist",
        f"  factory demo {name}            # opens it in the browser; the page 'Review' is for the expert",
        f"  factory check {name}           # looks the data over",
    ]


@app.command("update-domain")
def update_domain_(
    name: DomainName,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would change.")] = False,
) -> None:
    """Bring this version's templates into a domain that new-domain made; what you edited stays.

    Example: factory update-domain tea --dry
    """
    from factory.scaffold import update_domain

    for updated in update_domain(name, dry):
        beside = f": yours is kept, the new one is {updated.name}.new" if updated.what == "conflict" else ""
        say(f"{updated.what:10} {updated.name}{beside}")


@app.command()
def check(
    domain: DomainName,
    source: Source = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON and nothing else.")] = False,
) -> None:
    """Look a domain over: contract, settings, data, lengths; each finding says what to do. Exit status 1 on an error.

    Example: factory check cooking
    """
    import dataclasses

    from factory.check import check_domain

    found = check_domain(domain, source)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], ensure_ascii=False, indent=2))
    colors = {"error": "red", "warning": "yellow", "note": "cyan", "ok": "green"}
    for finding in () if as_json else found:
        console.print(f"[{colors[finding.level]}]{finding.level:8}[/] ", end="")
        console.print(str(finding), highlight=False, markup=False)
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(1)


@app.command()
def domains() -> None:
    """List the domains: those in ./domains and those that installed packages bring."""
    from factory.config import load_config
    from factory.domain import domain_places, find_domain

    table = Table(Column("name", no_wrap=True), "title", "language", "base", "tasks", "from")
    broken = []
    for name in sorted(domain_places()):
        try:
            found = find_domain(name)
            config = load_config(found.folder / "domain.toml")
            tasks = " ".join(task.name for task in found.kind(config, found.folder).active())
        except FactoryError as error:
            broken.append(f"{name}: {error.message} {error.hint}")
            continue
        table.add_row(name, config.title, config.language, config.base, tasks, found.origin)
    console.print(table)
    for line in broken:
        say(f"Cannot be used: {line}")
