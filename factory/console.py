"""What the command line prints: progress lines and the scoreboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from factory.references import Reference

console = Console()


def say(text: str) -> None:
    """One line of progress, out at once."""
    print(text, flush=True)


def scores_of(folder: Path) -> dict[str, Any]:
    """What evaluate measured in a run; FactoryError names the command that is missing."""
    from factory.files import read_json
    from factory.stage import manifest

    manifest(folder, "evaluate")
    scores: dict[str, Any] = read_json(folder / "evaluate" / "scores.json")
    return scores


def print_scores(folder: Path, references: Sequence[Reference] = (), stale: Sequence[Reference] = ()) -> None:
    """The scoreboard: a row per task, a column per model, 95% intervals below the scores; then a row per reference."""
    result = scores_of(folder)
    wanted = ("base", *result.get("rounds", []), "sft", "dpo", "ngram", "majority")
    names = [name for name in wanted if name in result["models"]]
    version = f" (version {result['eval_version']})" if "eval_version" in result else ""
    title = f"\nScore of 100 [95% interval], {result['items']} eval items{version}"
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    table.add_column("n", justify="right")
    for name in names:
        table.add_column(f"{name} (best)" if name == result["best"] else name, justify="right")
    for task in [*result["tasks"], "mean"]:
        text = [_cell(result["models"][name].get(task)) for name in names]
        table.add_row(task, str(result["models"]["base"][task]["n"]), *text, style="bold" if task == "mean" else "")
    console.print(table)
    print_references([*result["tasks"], "mean"], references, stale)
    base: dict[str, Any] = next(
        (row for row in result["differences"] if (row["worse"], row["task"]) == ("base", "mean")), {}
    )
    if "detectable" in base:
        console.print(
            f"  {result['items']} items can show a gain over the base of {base['detectable']:.1f} points",
            highlight=False,
        )
    if review := result.get("review"):
        console.print(
            f"  [yellow]draft[/]   {review['approved']} of {result['items']} eval items are approved by an expert "
            "(page 'Review' of the demo)",
            highlight=False,
        )
    for gate in result["gates"]:
        mark = "[green]passed[/]" if gate["passed"] else "[red]FAILED[/]"
        console.print(f"  {mark}  {gate['name']}: {gate['detail']}", highlight=False)


def print_references(tasks: list[str], references: Sequence[Reference], stale: Sequence[Reference]) -> None:
    """Other models on the same items, a row each; the stale ones are named, with what scores them again."""
    if references:
        table = Table(title="\nReferences, on the same items", title_justify="left")
        table.add_column("model", overflow="fold")
        for task in ("parameters", *tasks):
            table.add_column(task, justify="right")
        for one in references:
            size = f"{one.parameters / 1e6:,.0f} M" if one.parameters else "-"
            table.add_row(escape(one.name), size, *(_cell(one.cells.get(task)) for task in tasks))
        console.print(table)
    for one in stale:
        console.print(f"  [yellow]stale[/]   {escape(one.name)} was scored on other items or by other code: "
                      f"factory eval --model {escape(one.model)} scores it again, --forget takes it out", highlight=False)  # fmt: skip


def _cell(cell: dict[str, float] | None) -> str:
    return f"{cell['score']:.1f}\n[dim]{cell['low']:.0f} to {cell['high']:.0f}[/]" if cell else "-"
