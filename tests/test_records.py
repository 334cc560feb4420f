"""Records travel as JSON Lines, in TRL's formats as they stand, and come back the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.records import (
    Document,
    EvalItem,
    Example,
    Passage,
    Prediction,
    Preference,
    read_records,
    read_rows,
    write_records,
)

USER = [{"role": "user", "content": "什么是合同？"}]
ANSWER = [{"role": "assistant", "content": "协议\u2028。"}]
RECORDS = [
    Document("a.md", "text", meta={"kind": "row", "n": 1}),
    Passage("a.md#0", "a.md", "text", split="eval"),
    Example("1", "topic", USER, ANSWER, {"kind": "rule"}),
    Preference("1", "topic", USER, ANSWER, [{"role": "assistant", "content": "no"}]),
    EvalItem("1", "topic", USER, ["a", "b"], "exact"),
    Prediction("1", "topic", "q", ["a"], "b", 0.5, True),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_there_and_back(record: Document, tmp_path: Path) -> None:
    assert write_records(tmp_path / "a.jsonl", [record, record]) == 2
    assert read_records(tmp_path / "a.jsonl", type(record)) == [record, record]


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORDS[0].text = "changed"  # type: ignore[misc, union-attr]


def test_rows_are_in_trl_formats(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", RECORDS[2:4])
    example, preference = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").split("\n")[:2])
    assert example["prompt"][0] == USER[0] and example["completion"][0]["role"] == "assistant"
    assert {"prompt", "chosen", "rejected"} <= set(preference)


def test_question_and_answer_are_the_last_messages() -> None:
    example = Example("1", "t", [{"role": "system", "content": "s"}, *USER], ANSWER)
    assert (example.question, example.answer) == (USER[0]["content"], ANSWER[0]["content"])


def test_bad_rows_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text, said in (
        ('{"a": 1}\n\n{"a": \n', "a.jsonl:3 is not JSON"),
        ('{"a": 1}\n[1]\n', "a.jsonl:2 is not a JSON object"),
        ('{"a": "\\ud83d\\ude00"}\n{"b": ["c\\uD83D"]}\n', r"a.jsonl:2 holds half a letter \(\\ud83d\)"),
    ):
        path.write_text(text)
        with pytest.raises(FactoryError, match=said):
            list(read_rows(path))


def test_line_separators_inside_a_text_do_not_end_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": "x\u2028y\x85z"}\n', encoding="utf-8")
    assert list(read_rows(tmp_path / "a.jsonl")) == [(1, {"a": "x\u2028y\x85z"})]


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_records(tmp_path / "a.jsonl", [{"a": {1}}])
    assert not list(tmp_path.glob("*a.jsonl*"))
