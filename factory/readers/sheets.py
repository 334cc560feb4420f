"""Sheets and rows: CSV and Excel as tables; JSON, JSON Lines and Parquet by their column of text."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from factory.readers import base as reading
from factory.readers.base import Reading, Skipped, Unreadable, lines_of, lost, office, plain, table, whole
from factory.text import normalize_text

Row = Mapping[str, Any]
TEXT = "text content body passage context document article 正文 内容 文本 全文".split()
QUESTION = "question instruction query prompt 问题 问".split()
ANSWER = "answer output response completion 答案 回答 答".split()
TITLE = "title headline heading subject name 标题 题目 名称".split()


def read_csv(data: bytes) -> Reading:
    """A table, whichever of comma, semicolon, tab and bar parts its columns."""
    text = plain(data)
    mark = max(",;\t|", key=lambda mark: _columns(text[:4000], mark))
    made, left_out = _sheet(csv.reader(io.StringIO(text), delimiter=mark), "")
    return whole(made, [*lost(data), *left_out])


def _columns(text: str, mark: str) -> float:
    """How well a mark parts the first lines into columns: most of them have the same number of them."""
    widths = [len(row) for row in csv.reader(text.splitlines()[:20], delimiter=mark) if row]
    width, count = Counter(widths).most_common(1)[0] if widths else (1, 1)
    return count / len(widths) if width > 1 else 0.0


def read_xlsx(data: bytes) -> Reading:
    """Each sheet as a table below its name."""
    import openpyxl

    sheets: list[str] = []
    left_out: list[Skipped] = []
    with contextlib.closing(openpyxl.load_workbook(office(data), read_only=True, data_only=True)) as book:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # some programs write wrong ones
            made, more = _sheet(map(_cells, sheet.iter_rows(values_only=True)), f" of sheet {sheet.title}")
            left_out += more
            if made:
                sheets.append(f"# {sheet.title}\n\n{made}")
    return whole("\n\n".join(sheets), left_out)


def _cells(row: Iterable[object]) -> list[str]:
    return ["" if cell is None else str(cell).removesuffix(" 00:00:00") for cell in row]


def _sheet(rows: Iterator[Sequence[str]], where: str) -> tuple[str, list[Skipped]]:
    """The first rows as a table, and the rest named."""
    most = reading.MOST_ROWS
    made = table(list(itertools.islice(rows, most + 1)))
    rest = sum(any(map(str.strip, row)) for row in rows)
    return made, [Skipped(f"the last {rest} rows{where}", f"more than {most} rows")] if rest else []


def read_json(data: bytes) -> Reading:
    """The rows of a list, of the longest list inside an object, or an object as the only row."""
    found = json.loads(plain(data))
    others: list[Skipped] = []
    if isinstance(found, dict):
        lists = {
            key: rows for key, rows in found.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        }
        longest = max(lists, key=lambda key: len(lists[key]), default="")
        others = [
            Skipped(f"the {len(rows)} rows under {normalize_text(key)!r}", "only the longest list is read")
            for key, rows in lists.items()
            if key != longest
        ]
        found = lists.get(longest, [found])
    if not isinstance(found, list):
        raise Unreadable("no rows: neither a list nor an object")
    made = read_rows(found)
    return Reading(made.texts, [*lost(data), *others, *made.left_out])


def read_jsonl(data: bytes) -> Reading:
    """One row a line; a line that is broken is named."""
    rows: list[object] = []
    broken: list[Skipped] = []
    for number, line in enumerate(plain(data).split("\n"), 1):
        try:
            rows.append(json.loads(line) if line.strip() else {})
        except json.JSONDecodeError as error:
            rows.append({})
            broken.append(Skipped(f"line {number}", f"no JSON: {error.msg}"))
    if not any(rows):
        raise Unreadable("broken: no line of it is JSON" if broken else "empty")
    made = read_rows(rows)
    return Reading(made.texts, [*lost(data), *broken, *made.left_out])


def read_parquet(data: bytes) -> Reading:
    """Rows by way of pyarrow."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > 10 * reading.MOST_BYTES:
        raise Unreadable(f"larger than {10 * reading.MOST_BYTES // 1_000_000} MB when unpacked")
    return read_rows(row for batch in file.iter_batches() for row in batch.to_pylist())


def read_rows(rows: Iterable[object]) -> Reading:
    """Rows with a column of text: a text each, below its title. Rows of questions and answers: one text, a heading each.

    The columns are found by their names (TEXT, QUESTION, ANSWER, TITLE; case does not matter), a text before a question.
    A text that came before is left out, and a row that is no object. Raises Unreadable where no row has such columns.
    """
    texts: dict[str, str] = {}
    pairs: dict[str, str] = {}
    columns: dict[str, None] = {}
    empty = repeated = bare = 0
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            bare += 1
            continue
        columns |= dict.fromkeys(map(str, row))
        question, answer = " ".join(_column(row, QUESTION).split()), _column(row, ANSWER)
        if text := _column(row, TEXT):
            title = " ".join(_column(row, TITLE).split())
            held, made = texts, f"# {title}\n\n{text}" if title else text
        elif question and answer:
            held, made = pairs, f"## {question}\n\n{answer}"
        else:
            empty += bool(row)
            continue
        repeated += made in held
        held.setdefault(made, str(number))
    if not texts and not pairs:
        named = normalize_text(", ".join(list(columns)[:8])) or "none"
        raise Unreadable(f"no column of text among its columns ({named}): name one text, or two question and answer")
    left_out = [Skipped(f"{empty} rows", "no text")] if empty else []
    left_out += [Skipped(f"{bare} rows", "no object with columns")] if bare else []
    left_out += [Skipped(f"{repeated} rows", "the same text as a row before")] if repeated else []
    made_texts = {number: text for text, number in texts.items()}
    return Reading(made_texts | ({"": "\n\n".join(pairs)} if pairs else {}), left_out)


def _column(row: Row, names: Sequence[str]) -> str:
    """The first of these columns that holds text; several texts in one are paragraphs."""
    lower = {str(key).strip().lower(): value for key, value in row.items()}
    for name in names:
        value = lower.get(name)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = "\n\n".join(value)
        if isinstance(value, str) and value.strip():
            return lines_of(value.strip())
    return ""
