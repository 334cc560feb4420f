"""The structure of a Markdown text: headings, paragraphs, lists, tables; and passages that follow it."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from markdown_it import MarkdownIt
from markdown_it.token import Token

from factory.records import Document, Passage
from factory.text import squeeze

MOST = {"zh": 400, "en": 900}  # letters of a passage: about 250 tokens
LEAST = {"zh": 30, "en": 80}  # a shorter one carries no question
LONGEST_HEADING = 120  # letters: a longer one is a paragraph
_INLINE, _SLASHED = r"([\\`*_<\[&#])", r"\\\1"
T = TypeVar("T")
_PARSER = MarkdownIt("commonmark").enable("table")
_PAGE = re.compile(r"<!-- page (\d+) -->")
_ADMONITION = re.compile(r"^\[![A-Za-z]+\][+-]?[ \t]*")  # GitHub's [!NOTE] above a quotation
_TAG = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """One paragraph, list, table or piece of code, below its headings.

    `lines` are its lines, list entries or table rows as plain text; `cells` a table's cells, the head first;
    `start` is the number of the first of its steps.
    """

    kind: str  # text, list, steps, table, code
    lines: tuple[str, ...]
    headings: tuple[str, ...] = ()
    page: int = 0
    cells: tuple[tuple[str, ...], ...] = ()
    start: int = 1

    @property
    def heading(self) -> str:
        return self.headings[-1] if self.headings else ""

    def markdown(self) -> str:
        """The block as Markdown that `blocks` reads again as the same block, escaped only where it must be."""
        plain = self._written(str)
        again = blocks(plain)
        same = len(again) == 1 and dataclasses.replace(self, headings=(), page=0) == again[0]
        return plain if same else self._written(_escaped)

    def _written(self, form: Callable[[str], str]) -> str:
        if self.kind == "list":
            return "\n".join(f"- {form(line)}" for line in self.lines)
        if self.kind == "steps":
            return "\n".join(f"{number}. {form(line)}" for number, line in enumerate(self.lines, self.start))
        if self.kind == "table":
            head, *rows = (_row(form(cell) for cell in row) for row in self.cells)
            return "\n".join([head, "| --- " * len(self.cells[0]) + "|", *rows])
        if self.kind == "code":
            fence = "`" * max(3, *(len(run) + 1 for line in self.lines for run in re.findall("`+", line)), 3)
            return "\n".join([fence, *self.lines, fence])
        return "\n".join(map(form, self.lines))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _escaped(line: str) -> str:
    """A line that Markdown reads as these very letters, wherever it stands."""
    line = re.sub(_INLINE, _SLASHED, line)
    line = re.sub(r"^(?=[+>=~:|-])", r"\\", line)
    return re.sub(r"^(\d{1,9})(?=[.)](?:\s|$))", r"\1\\", line)


def blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text in their order; `<!-- page N -->` says on which page the next ones stand."""
    tokens = _PARSER.parse(text)
    found: list[Block] = []
    headings: list[tuple[int, str]] = []
    page = 0
    index = 0
    while index < len(tokens):
        token = tokens[index]
        end = _end(tokens, index)
        inside = tokens[index + 1 : end]
        if token.type == "heading_open":
            level = int(token.tag[1])
            title = " ".join(_plain(inside[0]).split()).rstrip("：:")
            headings = [*(entry for entry in headings if entry[0] < level), *([(level, title)] if title else [])]
            if len(title) > LONGEST_HEADING:
                headings.pop()
                token = Token("paragraph_open", "p", 1)
        if marks := _PAGE.findall(token.content) if token.type == "html_block" else ():
            page = int(marks[-1])
        if block := _block(token, inside):
            path = tuple(title for _, title in headings)
            found.append(dataclasses.replace(block, headings=path, page=page))
        index = end + 1
    return found


def _end(tokens: list[Token], start: int) -> int:
    """Where the block that begins at `start` closes."""
    depth = 0
    for index in range(start, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return len(tokens) - 1


def _block(token: Token, inside: list[Token]) -> Block | None:
    if token.type in ("fence", "code_block"):
        return _of_lines("code", token.content.splitlines())
    if token.type == "html_block":
        return _of_lines("text", map(str.strip, html.unescape(_TAG.sub(" ", token.content)).splitlines()))
    if token.type in ("bullet_list_open", "ordered_list_open"):
        entries = (" ".join(entry.split()) for entry in _entries(token, inside))
        block = _of_lines("steps" if token.type.startswith("ordered") else "list", entries)
        return block and dataclasses.replace(block, start=int(token.attrs.get("start", 1)))
    if token.type == "table_open":
        cells = tuple(_rows(inside))
        if len(cells) < 2:  # a frame around a text
            return _of_lines("text", (cell for row in cells for cell in row))
        return Block("table", tuple(" | ".join(row) for row in cells), cells=cells)
    if token.type in ("paragraph_open", "blockquote_open"):
        lines = [line.strip() for part in inside for line in _told(part).splitlines()]
        if token.type == "blockquote_open" and lines:
            first = next((at for at, line in enumerate(lines) if line), 0)
            lines[first] = _ADMONITION.sub("", lines[first])
        return _of_lines("text", lines)
    return None


def _of_lines(kind: str, lines: Iterable[str]) -> Block | None:
    kept = tuple(line.rstrip() for line in lines if line.strip())
    return Block(kind, kept) if kept else None


def _told(token: Token) -> str:
    """What a token inside a list or a quotation says: text or code."""
    return token.content if token.type in ("fence", "code_block") else _plain(token)


def _entries(token: Token, inside: list[Token]) -> Iterator[str]:
    """The entries of a list; what is nested in an entry follows it after a colon."""
    entry: list[str] = []
    for part in inside:
        if part.type == "list_item_open" and part.level == token.level + 1:
            entry = []
        elif told := _told(part).strip():
            entry.append(told)
        elif part.type == "list_item_close" and part.level == token.level + 1 and entry:
            first, *rest = entry
            wide = any(char > "\u2e80" for char in first)
            stop = first.endswith(("：", ":", "。", ".", "；", ";", "！", "!", "？", "?"))
            mark = ("" if stop else "：") if wide else (" " if stop else ": ")
            yield first + (mark if rest else "") + ("；" if wide else "; ").join(rest)


def _rows(inside: list[Token]) -> Iterator[tuple[str, ...]]:
    row: list[str] = []
    for part in inside:
        if part.type == "tr_open":
            row = []
        elif part.type == "inline":
            row.append(" ".join(_plain(part).split()))
        elif part.type == "tr_close" and any(row):
            yield tuple(row)


def _plain(token: Token) -> str:
    """An inline token without links, emphasis, images and inline HTML."""
    parts = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak") or child.content.lower().startswith("<br"):
            parts.append("\n")
    return "".join(parts)


# Passages


def cut(document: Document, eval_share: float) -> Iterator[Passage]:
    """Passages that follow the document's structure, each beginning with its heading.

    About `eval_share` of them get the split "eval": always the same ones, chosen by a hash of their text, so that the
    same text in another file falls on the same side.
    """
    most, least = MOST.get(document.language, 900), LEAST.get(document.language, 80)
    number = 0
    for group in _groups(document.text, most):
        text = _text(group)
        if len(text) < least:
            continue
        split = "eval" if document.split == "eval" or _hash(squeeze(text)) < eval_share else "train"
        meta = {**document.meta, "headings": " / ".join(group[0].headings)}
        if group[0].page:
            meta["page"] = group[0].page
        yield Passage(
            f"{document.id}#{number}", document.id, text, document.title, document.language, document.license,
            document.source, split, meta,
        )  # fmt: skip
        number += 1


def _groups(text: str, most: int) -> Iterator[list[Block]]:
    """Neighbouring blocks of up to `most` letters; a new heading begins a new group once a third of that is there."""
    group: list[Block] = []
    size = 0
    for block in blocks(text):
        for piece in _pieces(block, most):
            turned = bool(group) and piece.headings != group[-1].headings
            length = len(piece.markdown()) + 2
            above = len(_above(piece))
            if group and (size + length + above * turned > most or (turned and size > most / 3)):
                yield group
                group, size = [], 0
            size += length + (above if turned or not group else 0)
            group.append(piece)
    if group:
        yield group


def _pieces(block: Block, most: int) -> Iterator[Block]:
    """A block that is too long, in parts: by lines, entries or rows, and long lines by sentences."""
    room = most - len(_above(block)) - 2
    if len(block.markdown()) <= room:
        yield block
    elif block.kind == "table":
        yield from _table_pieces(block, room, most)
    else:
        room -= 8  # the fences of code
        parts = []
        for number, line in enumerate(block.lines, block.start):
            for again, part in enumerate(_wrapped(line, room - 8) if len(line) > room - 8 else [line]):
                apart = again and block.kind == "steps"  # or the next step would get a wrong number
                parts.append(((number, part), room if apart else len(_escaped(part)) + 4 + len(str(number))))
        for held in _filled(parts, room):
            start = held[0][0] if block.kind == "steps" else 1
            yield dataclasses.replace(block, lines=tuple(part for _, part in held), start=start)


def _table_pieces(block: Block, room: int, most: int) -> Iterator[Block]:
    """Rows below their head; a row that is too long for that as lines of `head: cell`."""
    head, *rows = block.cells
    room -= len(_row(map(_escaped, head))) + 6 * len(head) + 2
    sizes = [(row, len(_row(map(_escaped, row))) + 1) for row in rows]
    for held in _filled(sizes, room):
        if len(held) == 1 and len(_row(map(_escaped, held[0]))) + 1 > room:
            colon = "：" if any(char > "\u2e80" for char in "".join(head)) else ": "
            pairs = (colon.join(filter(None, pair)) for pair in zip(head, held[0], strict=False) if pair[1])
            yield from _pieces(Block("text", tuple(pairs), block.headings, block.page), most)
        else:
            yield dataclasses.replace(block, lines=tuple(map(" | ".join, (head, *held))), cells=(head, *held))


def _filled(items: Iterable[tuple[T, int]], room: int) -> Iterator[list[T]]:
    """Items with their sizes in runs that fill the room, an item that is larger than it by itself."""
    held: list[T] = []
    size = 0
    for item, length in items:
        if held and size + length > room:
            yield held
            held, size = [], 0
        held.append(item)
        size += length
    if held:
        yield held


def _wrapped(line: str, most: int) -> Iterator[str]:
    part = ""
    for sentence in sentences(line):
        if part and len(part) + len(sentence) > most:
            yield part.strip()
            part = ""
        part += sentence
        while len(part) > most:  # a sentence without end
            end = max(part.rfind(mark, most // 2, most) for mark in " ，、：") + 1 or most
            yield part[:end].strip()
            part = part[end:]
    if part.strip():
        yield part.strip()


def sentences(text: str) -> list[str]:
    """Sentences with their closing marks (and the blank after them), joined again they are the text."""
    ends = [match.end() for match in re.finditer(r"[。！？；]+[”」』）]*|[.!?]+[\"')]*\s+(?=[A-Z\d\"'(]|$)|\n+", text)]
    starts = [0, *ends]
    return [part for start, end in zip(starts, [*ends, len(text)], strict=True) if (part := text[start:end]).strip()]


def _text(group: list[Block]) -> str:
    """The blocks as Markdown, each run of them below its own heading."""
    parts: list[str] = []
    before: Block | None = None
    mark = "."
    for block in group:
        above = _above(block) if before is None or block.headings != before.headings else ""
        text = block.markdown()
        if (
            before
            and not above
            and before.kind == block.kind == "steps"
            and before.start + len(before.lines) != block.start
        ):
            mark = ")" if mark == "." else "."  # or both would be read as one list, counted on
        if block.kind == "steps":
            text = re.sub(r"^(\d+)\.", rf"\1{mark}", text, flags=re.MULTILINE)
        parts.append(above + text)
        before = block
    return "\n\n".join(parts)


def _above(block: Block) -> str:
    """The heading as it stands above the block."""
    if not block.heading:
        return ""
    plain = _PARSER.parse(f"# {block.heading}")
    same = _plain(plain[1]) == block.heading
    return f"# {block.heading if same else re.sub(_INLINE, _SLASHED, block.heading)}\n\n"


def _hash(text: str) -> float:
    """From 0 to 1, the same for the same text in every run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
