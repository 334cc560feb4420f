"""Pieces of the pages as HTML. Every text that comes from a person, a document or the model is escaped here."""

from __future__ import annotations

import html
import re
from typing import Any

from words import Words

Passage = dict[str, str]
MOST_LABELS = 8  # shown of a task's labels
HEAD = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)  # a Markdown file's front matter
RULE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*")


def passages(near: list[Passage], read: Passage | None, words: Words) -> str:
    """The nearest passages with their sources, folded; the one that the model read is named and open."""
    if not near:
        return ""
    cards = "".join(_passage(row, row is read, words) for row in near)
    return f'<div class="near"><p class="small">{html.escape(words["near"])}</p>{cards}</div>'


def _passage(row: Passage, read: bool, words: Words) -> str:
    mark = f" <em>{html.escape(words['near_read'])}</em>" if read else ""
    first = next((line for line in HEAD.sub("", row["text"]).splitlines() if line.strip()), "")
    return (
        f"<details><summary><b>{html.escape(row['where'])}</b>{mark}"
        f'<span class="first">{html.escape(first[:90])}</span></summary>'
        f'<div class="text" tabindex="0">{text(row["text"])}</div></details>'
    )


def text(raw: str) -> str:
    """Text as it stands, escaped, with its Markdown tables as real ones."""
    lines = HEAD.sub("", raw).splitlines()
    made: list[str] = []
    plain: list[str] = []
    at = 0
    while at < len(lines):
        if "|" in lines[at] and at + 1 < len(lines) and "|" in lines[at + 1] and RULE.fullmatch(lines[at + 1]):
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            made += [_plain(plain), _table(lines[at], lines[at + 2 : end])]
            plain, at = [], end
        else:
            plain.append(lines[at])
            at += 1
    return "".join([*made, _plain(plain)])


def _plain(lines: list[str]) -> str:
    kept = "\n".join(lines).strip("\n")
    return f'<div class="plain">{html.escape(kept)}</div>' if kept.strip() else ""


def _table(head: str, rows: list[str]) -> str:
    def line(row: str, tag: str) -> str:
        cells = re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|"))
        told = (html.escape(cell.replace("\\|", "|").strip()) for cell in cells)
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in told)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def labels(choices: list[str], shares: list[float], words: Words) -> str:
    """The likeliest labels with their shares as bars; empty before there are any."""
    if not shares:
        return ""
    order = sorted(range(len(choices)), key=lambda at: -shares[at])
    rows = "".join(
        f'<tr><th scope="row">{html.escape(choices[at])}</th><td class="share"><span style="width:{100 * shares[at]:.1f}%">'
        f"</span></td><td>{100 * shares[at]:.1f}%</td></tr>"
        for at in order[:MOST_LABELS]
    )
    rest = sum(shares[at] for at in order[MOST_LABELS:])
    more = words["labels_rest"].format(n=len(order) - MOST_LABELS, p=f"{100 * rest:.1f}") if rest else ""
    return (
        f'<table class="labels"><caption>{html.escape(words["labels"])}</caption><tbody>{rows}</tbody></table>'
        f'<p class="small">{html.escape(more)}</p>'
    )


def answer(title: str, body: str, kind: str = "") -> str:
    """One of two answers that stand beside each other."""
    return f'<section class="answer {kind}"><h3>{html.escape(title)}</h3><div class="plain">{html.escape(body)}</div></section>'


def facts(rows: dict[str, Any]) -> str:
    """Names and values under each other."""
    told = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in rows.items() if value
    )
    return f'<dl class="facts">{told}</dl>'
