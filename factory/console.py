"""What the command line prints: progress lines and the scoreboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from factory.costs import Measured, Price
    from factory.references import Reference

console = Console()


def say(text: str) -> None:
    """One line of progress, out at once."""
    print(text, flush=True)


def run_flag(run: str) -> str:
    """The option that names a run in a command to type; none for the one that is meant anyway."""
    return "" if run == "default" else f" --run {run}"


def scores_of(folder: Path) -> dict[str, Any]:
    """What evaluate measured in a run; FactoryError names the command that is missing."""
    from factory.files import read_json
    from factory.stage import manifest

    manifest(folder, "evaluate")
    scores: dict[str, Any] = read_json(folder / "evaluate" / "scores.json")
    return scores


def show_scores(domain: str, folder: Path) -> None:
    """The scoreboard of a run, with the references that are current."""
    from factory.build import run_domain
    from factory.references import current, standard

    mark = standard(run_domain(domain, folder.name), scores_of(folder).get("eval_digest", ""))
    print_scores(folder, *current(folder, mark))


def print_scores(folder: Path, references: Sequence[Reference] = (), stale: Sequence[Reference] = ()) -> None:
    """The scoreboard: a row per task, a column per model, 95% intervals below the scores; then a row per reference."""
    from factory import seeds

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
    here = {task: cell["n"] for task, cell in result["models"]["base"].items()}
    print_references([*result["tasks"], "mean"], references, stale, here)
    base: dict[str, Any] = next(
        (row for row in result["differences"] if (row["worse"], row["task"]) == ("base", "mean")), {}
    )
    if "detectable" in base:
        console.print(
            f"  {result['items']} items can show a gain over the base of {base['detectable']:.1f} points",
            highlight=False,
        )
    if spread := seeds.kept(folder):
        mean, many = spread["spread"]["mean"], len(spread["seeds"])
        console.print(
            f"  seeds   {many} trainings: {mean['score']:.1f}, standard deviation {mean['sd']:.1f}; over the base "
            f"{mean['difference']:+.1f} \\[{mean['low']:+.1f}, {mean['high']:+.1f}] with the chance of seeds and of items",
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


def print_references(
    tasks: list[str], references: Sequence[Reference], stale: Sequence[Reference], here: Mapping[str, int]
) -> None:
    """Other models on the run's items (`here`: how many, by task), a row each; then published scores on other items; then the
    stale ones, with what scores them again."""
    from factory.references import apart

    for title, wanted in (("References, on the same items", False), ("Published, on other items: no comparison", True)):
        if rows := [one for one in references if apart(one, here) == wanted]:
            _print_references(title, tasks, rows, here)
    for one in stale:
        console.print(f"  [yellow]stale[/]   {escape(one.name)} was scored on other items or by other code: "
                      f"factory eval --model {escape(one.model)} scores it again, --forget takes it out", highlight=False)  # fmt: skip


def _print_references(title: str, tasks: list[str], rows: Sequence[Reference], here: Mapping[str, int]) -> None:
    table = Table(title=f"\n{title}", title_justify="left")
    table.add_column("model", overflow="fold", min_width=16)
    for head in ("size", *tasks):
        table.add_column(head, justify="right")
    for one in rows:
        size = f"{one.parameters / 1e6:,.0f}M" if one.parameters else "-"
        bare = f"\n[dim]{one.unanswered} unanswered[/]" if one.unanswered else ""
        scores = [_score(one, task, here) for task in tasks[:-1]]
        table.add_row(escape(one.name) + bare, size, *scores, _cell(one.cells.get(tasks[-1])))
    console.print(table)


def _score(one: Reference, task: str, here: Mapping[str, int]) -> str:
    """A reference's score of a task, and how many items it had where that is not the run's number."""
    from factory.references import differing

    if task not in one.cells:
        return "-"
    differ, n = differing(one, here), one.cells[task]["n"]
    counts = f"n {n}, here {here.get(task, 0)}" if differ.get(task) else f"{n}/{here.get(task, 0)}"
    return f"{one.cells[task]['score']:.1f}" + (f"\n[dim]{counts}[/]" if task in differ else "")


def _cell(cell: dict[str, float] | None) -> str:
    return f"{cell['score']:.1f}\n[dim]{cell['low']:.0f} to {cell['high']:.0f}[/]" if cell else "-"


def print_costs(known: Mapping[str, Measured], best: str, price: float, hosted: Mapping[str, Price]) -> None:
    """What was measured here, then what hosted models would take for the same tokens, by their dated prices."""
    like = known[best]
    each = f"{like.tokens_in / like.answers:.0f} tokens in and {like.tokens_out / like.answers:.0f} out an answer"
    table = Table(title=f"\nMeasured on {like.machine}, {each}", title_justify="left")
    table.add_column("model", overflow="fold")
    for head in ("tokens/s", "s alone", "answers/h", "peak GB", "J/answer", "$/M tokens", "$/1000 answers"):
        table.add_column(head, justify="right")
    for name, row in known.items():
        money = [f"{row.per_million(price):.3f}", f"{1000 * row.per_answer(price):.3f}"] if price else ["-", "-"]
        joules = f"{row.joules_per_answer:.1f}" if row.joules_per_answer is not None else "-"
        table.add_row(f"{escape(name)}{' (best)' if name == best else ''}\n[dim]{row.engine}[/]", f"{row.tokens_per_second:.1f}",
                      f"{row.seconds_alone:.2f}", f"{row.answers_per_hour:,.0f}", f"{row.peak_gb:.2f}", joules, *money)  # fmt: skip
    console.print(table)
    if all(row.joules is None for row in known.values()):
        say("  This machine does not tell what energy it uses.")
    table = Table(title="\nHosted models, dollars at the price of the day", title_justify="left")
    for head in ("model", "of", "$/M in", "$/M out", "$/M tokens", "$/1000 answers", "here cheaper from"):
        table.add_column(head, justify="left" if head in ("model", "of") else "right")
    for other in sorted(hosted.values(), key=lambda row: row.per_answer(like)):
        table.add_row(escape(other.model), other.date, f"{other.input:g}", f"{other.output:g}", f"{other.per_million(like):.3f}",
                      f"{1000 * other.per_answer(like):.3f}", _from(other.even(price, like), like.answers_per_hour))  # fmt: skip
    console.print(table)
    say(f"  Here: at ${price:g} an hour, for a machine that always has something to answer. Sources: prices.toml"
        if price else "  What an hour of this machine costs is not known: --price-per-hour, or [cost] in domain.toml.")  # fmt: skip


def _from(least: float, most: float) -> str:
    """From how many answers an hour on this machine is the cheaper one, which gives `most`."""
    return "-" if not least else f"{least:,.0f}/h" if least <= most else "never"
