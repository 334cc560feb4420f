"""The structure of a Markdown text: headings, paragraphs, lists, tables; and passages that follow it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from factory.records import Document, Passage
from factory.text import squeeze

MOST = {"zh": 400, "en": 900}  # letters of a passage: about 250 tokens
LEAST = {"zh": 30, "en": 80}  # a shorter one carries no question
_PARSER = MarkdownIt("commonmark").enable("table")
_PAGE = re.compile(r"<!-- page (\d+) -->")


@dataclass(frozen=True)
class Block:
    """One paragraph, list, table or piece of code, below its headings.

    `lines` are its lines, list entries or table rows as plain text; `cells` a table's cells, the head first.
    """

    kind: str  # text, list, steps, table, code
    lines: tuple[str, ...]
    headings: tuple[str, ...] = ()
    page: int = 0
    cells: tuple[tuple[str, ...], ...] = ()

    @property
    def heading(self) -> str:
        return self.headings[-1] if self.headings else ""

    def markdown(self) -> str:
        """The block as Markdown that `blocks` reads again as the same block."""
        if self.kind == "list":
            return "\n".join(f"- {line}" for line in self.lines)
        if self.kind == "steps":
            return "\n".join(f"{number}. {line}" for number, line in enumerate(self.lines, 1))
        if self.kind == "table":
            head, *rows = ("| " + " | ".join(row) + " |" for row in self.cells)
            return "\n".join([head, "| --- " * len(self.cells[0]) + "|", *rows])
        return "\n".join(self.lines)


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
        elif token.type == "html_block":
            if mark := _PAGE.search(token.content):
                page = int(mark[1])
        elif block := _block(token, inside):
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
        lines = tuple(line.strip() for line in token.content.splitlines() if line.strip())
        return Block("code", lines) if lines else None
    if token.type in ("bullet_list_open", "ordered_list_open"):
        entries = tuple(filter(None, (" ".join(entry.split()) for entry in _entries(token, inside))))
        return Block("steps" if token.type.startswith("ordered") else "list", entries) if entries else None
    if token.type == "table_open":
        cells = tuple(_rows(inside))
        return Block("table", tuple(" | ".join(row) for row in cells), cells=cells) if len(cells) > 1 else None
    if token.type in ("paragraph_open", "blockquote_open"):
        told = [line.strip() for part in inside if part.type == "inline" for line in _plain(part).splitlines()]
        return Block("text", tuple(filter(None, told))) if any(told) else None
    return None


def _entries(token: Token, inside: list[Token]) -> Iterator[str]:
    """The entries of a list; what is nested in an entry follows it after a colon."""
    entry: list[str] = []
    for part in inside:
        if part.type == "list_item_open" and part.level == token.level + 1:
            entry = []
        elif part.type == "inline":
            entry.append(_plain(part))
        elif part.type == "list_item_close" and part.level == token.level + 1 and entry:
            first, *rest = entry
            mark = "" if not rest or first.rstrip().endswith(("：", ":", "。", ".")) else "："
            yield first + mark + "；".join(rest)


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
        elif child.type in ("softbreak", "hardbreak"):
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
            length = sum(map(len, piece.lines))
            turned = bool(group) and piece.headings != group[-1].headings
            if group and (size + length > most or (turned and size > most / 3)):
                yield group
                group, size = [], 0
            group.append(piece)
            size += length
    if group:
        yield group


def _pieces(block: Block, most: int) -> Iterator[Block]:
    """A block that is too long, in parts: by lines, entries or rows, and long lines by sentences."""
    if sum(map(len, block.lines)) <= most:
        yield block
        return
    if block.kind == "table":
        head, *rows = block.cells
        size = max(1, most // max(1, sum(map(len, block.lines)) // len(block.lines)) - 1)
        for start in range(0, len(rows), size):
            cells = (head, *rows[start : start + size])
            yield dataclasses.replace(block, lines=tuple(" | ".join(row) for row in cells), cells=cells)
        return
    lines = [part for line in block.lines for part in _wrapped(line, most)]
    held: list[str] = []
    for line in [*lines, ""]:
        if held and (not line or sum(map(len, held)) + len(line) > most):
            yield dataclasses.replace(block, lines=tuple(held))
            held = []
        held.append(line)


def _wrapped(line: str, most: int) -> Iterator[str]:
    part = ""
    for sentence in sentences(line):
        if part and len(part) + len(sentence) > most:
            yield part.strip()
            part = ""
        part += sentence
        while len(part) > most:  # a sentence without end
            yield part[:most]
            part = part[most:]
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
    before: tuple[str, ...] | None = None
    for block in group:
        if block.headings != before and block.heading:
            parts.append(f"# {block.heading}")
        parts.append(block.markdown())
        before = block.headings
    return "\n\n".join(parts)


def _hash(text: str) -> float:
    """From 0 to 1, the same for the same text in every run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
