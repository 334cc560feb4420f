"""scoreboard.json as HTML: a bar with its 95% interval for every model and task, and the same figures as a table."""

from __future__ import annotations

import html
from typing import Any

Words = dict[str, str]


def scoreboard(scores: dict[str, Any], words: Words) -> str:
    """The picture and the table; every name is escaped."""
    names = [name for name in scores["models"] if name != "best"]
    if not names:
        return f"<p>{html.escape(words['no_scores'])}</p>"
    tasks = {"mean": words["overall"]} if len(scores["tasks"]) > 1 else {}
    tasks |= {name: task["title"] for name, task in scores["tasks"].items()}
    bars = "".join(_task(scores, words, names, task, title) for task, title in tasks.items())
    intro = html.escape(words["scores_intro"])
    review = scores.get("review") or {}
    if review:
        draft = words["draft"].format(approved=review["approved"], n=scores["items"])
        intro += f" <b>{html.escape(draft)}</b>"
    return f'<p class="intro">{intro}</p><div class="bars">{bars}</div>{_table(scores, words, names, tasks)}'


def _task(scores: dict[str, Any], words: Words, names: list[str], task: str, title: str) -> str:
    rows = [(name, scores["models"][name][task]) for name in names if task in scores["models"][name]]
    if not rows:
        return ""
    lines = "".join(_bar(_name(name, words), cell, name == scores["best"]) for name, cell in rows)
    count = html.escape(words["questions"].format(n=int(rows[0][1]["n"])))
    return f"<section><h3>{html.escape(title)} <small>{count}</small></h3>{lines}</section>"


def _bar(name: str, cell: dict[str, float], best: bool) -> str:
    score, low, high = (min(max(float(cell[key]), 0.0), 100.0) for key in ("score", "low", "high"))
    kind = "bar best" if best else "bar"
    told = html.escape(f"{name}: {_figure(cell)}")
    return (
        f'<div class="{kind}"><span class="who">{html.escape(name)}</span>'
        f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{told}">'
        f'<rect class="track" width="100" height="10" /><rect class="score" width="{score:.2f}" height="10" />'
        f'<line x1="{low:.2f}" x2="{high:.2f}" y1="5" y2="5" /></svg>'
        f'<span class="figure"><b>{score:.1f}</b> <small>{low:.1f}–{high:.1f}</small></span></div>'
    )


def _table(scores: dict[str, Any], words: Words, names: list[str], tasks: dict[str, str]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("", *tasks.values()))
    body = ""
    for name in names:
        mark = f" <em>{html.escape(words['used'])}</em>" if name == scores["best"] else ""
        cells = "".join(f"<td>{_figure(scores['models'][name].get(task))}</td>" for task in tasks)
        body += f"<tr><th>{html.escape(_name(name, words))}{mark}</th>{cells}</tr>"
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(cell: dict[str, float] | None) -> str:
    if cell is None:
        return "–"
    return f"{cell['score']:.1f} ({cell['low']:.1f}–{cell['high']:.1f}, n = {int(cell['n'])})"


def _name(model: str, words: Words) -> str:
    return words.get(f"model_{model}", model)
