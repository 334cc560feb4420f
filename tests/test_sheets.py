"""Rows of JSON, JSON Lines and Parquet by their column of text; sheets that are too long."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factory.documents import read_folder
from factory.readers import base as reading
from factory.readers import sheets
from factory.readers.base import Skipped, Unreadable
from factory.readers.sheets import read_csv, read_json, read_jsonl, read_parquet, read_rows

Rows = list[dict[str, Any]]


def parquet(rows: Rows) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "a.json": lambda rows: json.dumps({"version": 1, "data": rows}).encode(),
    "b.json": lambda rows: json.dumps(rows).encode(),
    "c.jsonl": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("gb18030"),
    "d.parquet": parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_with_a_column_of_text_are_documents(name: str) -> None:
    rows: Rows = [{"Title": "甲", "Text": "第一条。", "n": 1}, {"Title": "", "Text": "  第二条 <b>", "n": 2}]
    Path(name).write_bytes(WRITERS[name](rows))
    one, two = read_folder(Path(name)).documents
    assert (one.id, one.text, one.title) == (f"{name}#1", "# 甲\n\n第一条。", "甲")
    assert (two.id, two.text, two.title) == (f"{name}#2", "第二条 \\<b>", f"{name[0]}#2")


@pytest.mark.parametrize("name", WRITERS)
def test_questions_and_answers_are_sections_of_one_document(name: str) -> None:
    rows: Rows = [{"question": "几点\n开门？", "answer": "九点。"}, {"question": "几点关门？", "answer": "十点。"}]
    Path(name).write_bytes(WRITERS[name](rows))
    (document,) = read_folder(Path(name)).documents
    assert document.text == "## 几点 开门？\n\n九点。\n\n## 几点关门？\n\n十点。" and document.id == name


def test_which_column_is_the_text() -> None:
    assert read_rows([{"content": "c", "text": "t", "question": "q", "answer": "a"}]).texts == {"1": "t"}
    assert read_rows([{"正文": ["甲", "乙"], "标题": "丙"}]).texts == {"1": "# 丙\n\n甲\n\n乙"}
    with pytest.raises(Unreadable, match=r"no column of text among its columns \(id, label\): name one text"):
        read_rows([{"id": 1, "label": "x"}, {"id": 2}])


def test_rows_that_are_left_out_are_counted() -> None:
    made = read_rows([{"text": "t"}, {"text": "t"}, {"text": ""}, {"text": None}, {"text": "u"}, "v", None, ["w"]])
    assert made.texts == {"1": "t", "5": "u"}
    assert made.left_out == [
        Skipped("2 rows", "no text"), Skipped("3 rows", "no object with columns"), Skipped("1 rows", "the same text as a row before")
    ]  # fmt: skip
    assert read_jsonl(b'{"text": "t"}\n\n5\n').left_out == [Skipped("1 rows", "no object with columns")]


def test_lists_beside_the_longest_are_named() -> None:
    made = read_json(
        b'{"train": [{"text": "one"}, {"text": "two"}], "te\\ud83dst": [{"text": "three"}], "v": [1, 2, 3]}'
    )
    assert list(made.texts.values()) == ["one", "two"]
    assert made.left_out == [Skipped("the 1 rows under 'test'", "only the longest list is read")]
    with pytest.raises(Unreadable, match=r"its columns \(id\)"):
        read_json(b'[{"id\\ud83d": 1}]')


def test_a_broken_line_is_named_and_the_others_are_read() -> None:
    made = read_jsonl(b'{"text": "one"}\n{"text": \n\n{"text": "two"}\n')
    assert made.texts == {"1": "one", "4": "two"} and made.left_out[0].name == "line 2"
    for data, reason in ((b"{no\n", "no line of it is JSON"), (b"\n", "empty")):
        with pytest.raises(Unreadable, match=reason):
            read_jsonl(data)


def test_one_object_is_a_row() -> None:
    assert read_json(b'{"text": "one", "tags": ["a"]}').texts == {"1": "one"}
    with pytest.raises(Unreadable, match="neither a list nor an object"):
        read_json(b"3")


def test_parquet_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 1000)
    with pytest.raises(Unreadable, match="when unpacked"):
        read_parquet(parquet([{"text": str(n) * 50} for n in range(1000)]))


def test_rows_beyond_the_most_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import openpyxl

    monkeypatch.setattr(reading, "MOST_ROWS", 3)
    made = read_csv("名称,值\n".encode() + b"a,1\n" * 3 + b",\n" + b"b,2\n" * 2)
    assert made.left_out == [Skipped("the last 2 rows", "more than 3 rows")] and "b" not in made.texts[""]
    assert not read_csv("名称,值\n".encode() + b"a,1\n" * 3).left_out
    book, file = openpyxl.Workbook(), io.BytesIO()
    for number in range(6):
        book.active.append(["x", number])
    book.save(file)
    assert sheets.read_xlsx(file.getvalue()).left_out == [Skipped("the last 2 rows of sheet Sheet", "more than 3 rows")]
    Path("a.xlsx").write_bytes(file.getvalue())
    assert read_folder(Path("a.xlsx")).skipped[0].name == "the last 2 rows of sheet Sheet of a.xlsx"
