"""Lines of printed pages as Markdown: larger lines are headings, wrapped lines are joined, running heads and feet dropped."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from factory.readers.base import table, unmarked
from factory.readers.boxes import Line, Page, Run, Table, rows
from factory.readers.layout import arranged, far_edge

_LARGER = 1.12  # times the size of the body: a heading
_LONGEST = 80  # letters of a heading
_ENDED = re.compile(r"[。！？!?；;]$")
_HYPHEN = re.compile(r"[a-zà-ÿ][-‐]$")
_NUMBER = re.compile(
    r"[-–—·\s]*(?:第\s*)?\d+(?:\s*页)?(?:\s*(?:/|of|共)\s*\d+\s*页?)?[-–—·\s]*|page\s+\d+(?:\s*(?:/|of)\s*\d+)?", re.I
)
_ITEM = re.compile(
    r"^(?:[-*•·●○▪◦–■□➢✓]|\d{1,2}[.)、．](?!\d)|[(（]\d{1,2}[)）]"
    r"|第[一二三四五六七八九十百千零〇\d]+[条章节编款](?![的之规至到和或及款项、，,]))\s*"
)


@dataclass(frozen=True)
class Part:
    """A paragraph, entry, heading or table."""

    text: str = ""
    size: float = 0  # of a heading, 0 for the rest
    rows: tuple[tuple[str, ...], ...] = ()

    def markdown(self, levels: dict[float, int]) -> str:
        return table(self.rows) or (f"{'#' * levels[self.size]} {self.text}" if self.size else self.text)


@dataclass(frozen=True)
class Habits:
    """How a document is set."""

    body: float  # size of its letters
    bold: bool  # most of it is
    leading: float  # from a line to the next of the same paragraph, in sizes
    spaced: bool  # paragraphs stand apart
    indented: bool  # their first lines are
    hyphens: bool = True  # long words are parted at the ends of lines
    words: frozenset[str] = frozenset()


def to_markdown(pages: Sequence[Page]) -> str:
    """The pages' text, each below `<!-- page N -->`. At least one page has letters."""
    runs = [run for page in pages for run in page.runs]
    body = statistics.mode(round(run.size) for run in runs for _ in range(len(run.text)))
    edges = min(run.left for run in runs), far_edge(runs)
    lines = _narrowed([list(arranged(page, *edges, body)) for page in _without_running(pages, body)])
    habits = _habits(lines, body)
    found = _with_heads([list(_parts(page, habits)) for page in lines])
    levels = _levels([part for parts in found for part in parts if part.size], body)
    return "\n\n".join(
        f"<!-- page {number} -->\n\n" + "\n\n".join(part.markdown(levels) for part in parts)
        for number, parts in enumerate(found, 1)
    )


def _without_running(pages: Sequence[Page], body: float) -> Iterator[Page]:
    """The pages without heads, feet and numbers: what more than half of the pages have in their first and last rows."""

    def form(run: Run) -> str:
        return run.text if run.size > body * _LARGER else re.sub(r"\d+", "#", run.text)  # "Chapter 3" is none

    ordered = [[[box for box in row if isinstance(box, Run)] for row in rows(page.runs)] for page in pages]
    edges = [[run for row in [*page[:2], *page[2:][-2:]] for run in row] for page in ordered]
    repeated = Counter(text for page in edges for text in {form(run) for run in page})
    running = {text for text, count in repeated.items() if len(pages) > 3 and count > len(pages) / 2}
    for page, lines, edge in zip(pages, ordered, edges, strict=True):
        gone = {id(run) for run in edge if form(run) in running}
        gone |= {id(row[0]) for row in [*lines[:1], *lines[-1:]] if len(row) == 1 and _NUMBER.fullmatch(row[0].text)}
        yield replace(page, runs=[run for run in page.runs if id(run) not in gone])


def _narrowed(pages: Sequence[list[Line | Table]]) -> list[list[Line | Table]]:
    """A page whose lines all fit into a column of the other pages has that column's edge: its second column is empty."""
    edges = Counter(round(line.edge) for page in pages for line in page if isinstance(line, Line))
    columns = [edge for edge, count in edges.items() if count > 9]
    made = []
    for page in pages:
        far = max((line.right for line in page), default=0)
        edge = min((edge for edge in columns if edge > far - 1), default=0)
        made.append(
            [replace(line, edge=min(line.edge, edge)) if isinstance(line, Line) and edge else line for line in page]
        )
    return made


def _habits(pages: Sequence[Sequence[Line | Table]], body: float) -> Habits:
    lines = [line for page in pages for line in page if isinstance(line, Line)]
    bold = sum(len(line.text) for line in lines if line.bold) * 2 > sum(len(line.text) for line in lines)
    pairs = [
        (one, two)
        for one, two in itertools.pairwise(lines)
        if one.start == two.start and one.size == two.size and abs(one.size - body) < 1 and one.top > two.top
        if not _ITEM.match(two.text)
    ]
    within = [_leading(*pair) for pair in pairs if _fills(*pair) and not _ENDED.search(pair[0].text)]
    between = [(_leading(one, two), _indent(two)) for one, two in pairs if not _fills(one, two)]
    leading = statistics.median(within) if within else 1.5
    spaced = not between or statistics.median(gap for gap, _ in between) > leading + 0.25
    indented = bool(between) and statistics.median(deep for _, deep in between) > 1
    hyphens = sum(bool(_HYPHEN.search(line.text)) for line in lines) > max(2, 0.005 * len(lines))
    text = re.sub(r"\w+[-‐]\n\w+", "", "\n".join(line.text for line in lines))
    words = frozenset(re.findall(r"[^\W\d_]{3,}", text.lower()))
    return Habits(body, bold, leading, spaced, indented, hyphens, words)


def _leading(one: Line, two: Line) -> float:
    return (one.top - two.top) / one.size


def _indent(line: Line) -> float:
    return (line.left - line.start) / line.size


def _fills(line: Line, following: Line) -> bool:
    """Whether the first word of the following line would not have found room."""
    word = re.match(r"[\x21-\u2e7f]*", following.text)
    room = max(1, len(word[0]) if word else 1) * following.width / max(1, len(following.text))
    return line.right + room + line.size / 2 > line.edge


def _levels(headings: Sequence[Part], body: float) -> dict[float, int]:
    """The level of a heading by its size: the largest is 1 where it stands once, for then it is the title."""
    sizes = Counter(heading.size for heading in headings)
    order = sorted(sizes, reverse=True)
    first = 1 if order and sizes[order[0]] == 1 and order[0] > body * _LARGER else 2
    return {size: min(level, 6) for level, size in enumerate(order, first)}


def _with_heads(pages: Sequence[list[Part]]) -> Sequence[list[Part]]:
    """A table that goes on on the next page has its head there, too."""
    for page, following in itertools.pairwise(pages):
        if page and following and (head := page[-1].rows[:1]) and following[0].rows:
            rows = following[0].rows
            if len(head[0]) == len(rows[0]) and rows[0] != head[0]:
                following[0] = Part(rows=head + rows)
    return pages


def _parts(lines: Sequence[Line | Table], habits: Habits) -> Iterator[Part]:
    """Lines as paragraphs, entries and headings; tables that a column's end has parted as one."""
    held: list[Line] = []
    grid: tuple[tuple[str, ...], ...] = ()
    for line in [*lines, None]:
        if held and not (isinstance(line, Line) and _goes_on(held, line, habits)):
            yield _part(held, habits)
            held = []
        if grid and not (isinstance(line, Table) and len(line.rows[0]) == len(grid[0])):
            yield Part(rows=grid)
            grid = ()
        if isinstance(line, Table):
            grid += line.rows[1:] if grid[:1] == line.rows[:1] else line.rows
        elif line is not None:
            held.append(line)


def _goes_on(held: Sequence[Line], line: Line, habits: Habits) -> bool:
    """Whether a line continues the lines before it: they reach the edge of their column, and nothing new begins."""
    before = held[-1]
    heading = _is_large(line, habits.body)
    if heading != _is_large(before, habits.body) or (heading and line.size != before.size) or _ITEM.match(line.text):
        return False
    near = before.right - before.start > (0.7 if heading else 0.84) * (before.edge - before.start)
    if not near and not _fills(before, line):
        return False
    turned = before.start != line.start or before.top < line.top  # to another column
    if heading:
        return turned or _leading(before, line) < 1.35 * habits.leading
    if not turned and _leading(before, line) > habits.leading + (0.2 if habits.spaced else 0.8):
        return False
    if habits.indented and not _ITEM.match(held[0].text) and _indent(line) > 1 > _indent(before):
        return False
    if _ENDED.search(before.text):  # at the edge by chance, or a paragraph's end
        return _fills(before, line) and ((habits.spaced and not turned) or (habits.indented and _indent(line) < 1))
    return True


def _is_large(line: Line, body: float) -> bool:
    return line.size > body * _LARGER and len(line.text) < _LONGEST


def _part(lines: Sequence[Line], habits: Habits) -> Part:
    text = unmarked(lines[0].text)
    for line in lines[1:]:
        text = joined(text, unmarked(line.text), habits)
    if _is_large(lines[0], habits.body):
        return Part(text, lines[0].size)
    strong = not habits.bold and all(line.bold for line in lines) and len(text) < _LONGEST
    if strong and not re.search(r"[。！？；，：.!?;,:]$", text) and not re.match(r"[-*•·●○▪◦–]", text):
        return Part(text, habits.body)
    return Part(re.sub(r"^[•·●○▪◦–■□➢✓]\s*", "- ", text))


def joined(text: str, more: str, habits: Habits) -> str:
    """A line and the next one: between Chinese letters stands no space, and the hyphen of a parted word goes."""
    if _HYPHEN.search(text) and more[0].islower():
        first, second = re.findall(r"[^\W\d_]+", text)[-1].lower(), re.split(r"[\W\d_]", more)[0].lower()
        one = first + second in habits.words or (habits.hyphens and not {first, second} <= habits.words)
        return (text[:-1] if one else text) + more
    return text + ("" if ord(text[-1]) > 0x2E80 and ord(more[0]) > 0x2E80 else " ") + more
