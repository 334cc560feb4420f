"""factory curate on a team's own rows: forms kept, other keys carried, bad input named, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import vectors

from factory.cleaning import Wish, clean_file
from factory.config import Curate, curate_settings
from factory.errors import FactoryError

TALK = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "怎样退货？"},
    {"role": "assistant", "content": "七天内申请。"},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def clean(
    tmp_path: Path, rows: list[Any], items: list[Any] | None = None, **settings: Any
) -> tuple[str, list[Any], list[Any]]:
    out, rest = tmp_path / "kept.jsonl", tmp_path / "dropped.jsonl"
    against = write(tmp_path / "eval.jsonl", items) if items is not None else None
    told = clean_file(
        Wish(write(tmp_path / "rows.jsonl", rows), out, against, rest, settings=Curate(**settings)), print
    )
    return told, *([json.loads(line) for line in path.read_text("utf-8").split("\n") if line] for path in (out, rest))


def test_forms_and_other_keys_are_kept(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "prompt": "电话是13800138000吗？", "completion": "是的。", "source": {"file": "a.pdf"}},
        {"messages": TALK, "tags": ["x"]},
        {"prompt": [{"role": "user", "content": "What is tea?", "name": "kim"}], "completion": [{"role": "assistant", "content": "A drink."}]},
    ]  # fmt: skip
    told, kept, dropped = clean(tmp_path, rows)
    assert kept == [{**rows[0], "prompt": "电话是[PHONE]吗？"}, *rows[1:]] and dropped == []
    assert told == "3 rows: 3 kept; nothing dropped; masked 1 phone"


def test_dropped_rows_are_as_they_were_with_reason_and_detail(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "What is the capital of France?", "completion": "Paris."},
        {"id": "b", "prompt": "how do I prune a rose", "completion": "Cut above an outward bud.", "x": 1},
        {"prompt": "How do I prune a rose?!", "completion": "Cut above an outward bud."},
        {"id": "d", "prompt": "Как обрезать розу?", "completion": "Над почкой."},
    ]
    items = [{"id": "e1", "task": "t", "prompt": "What is the capital of  FRANCE", "reference": "Paris"}]
    _, kept, dropped = clean(tmp_path, rows, items)
    assert [row["id"] for row in kept] == ["b"]
    assert [(row.get("id"), row["reason"]) for row in dropped] == [
        ("a", "leak"),
        (None, "duplicate"),
        ("d", "language"),
    ]
    assert dropped[0]["detail"] == "same question as eval item e1" and dropped[1]["detail"] == "same question as b"
    assert {key: dropped[0][key] for key in rows[0]} == rows[0]


@pytest.mark.parametrize(
    ("rows", "items", "said"),
    [
        ([], None, "has no rows"),
        ([{"prompt": "q"}], None, "rows.jsonl:1: no question and answer"),
        ([{"messages": [{"role": "user", "content": 3}]}], None, "rows.jsonl:1: no question and answer"),
        ([{"messages": [*TALK, {"content": "?"}]}], None, "rows.jsonl:1: no question and answer"),
        ([{"messages": [*TALK, "?"]}], None, "rows.jsonl:1: no question and answer"),
        ([{"messages": 5}], None, "rows.jsonl:1: no question and answer"),
        ([{"prompt": TALK}], None, "rows.jsonl:1: no question and answer"),
        ([{"completion": TALK}], None, "rows.jsonl:1: no question and answer"),
        ([["a"]], None, "rows.jsonl:1 is not a JSON object"),
        ([{"prompt": "q?", "completion": ""}], None, "No row is left: 1 rows: 0 kept; 1 too short"),
        ([{"prompt": "q?", "completion": "a"}], [], "eval.jsonl has no eval items"),
        ([{"prompt": "q?", "completion": "a"}], [{"id": "e"}], "eval.jsonl:1: no prompt"),
        ([{"prompt": "q?", "completion": "a"}], [{"prompt": [{"role": "user"}]}], "eval.jsonl:1: no prompt"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    tmp_path: Path, rows: list[Any], items: list[Any] | None, said: str
) -> None:
    with pytest.raises(FactoryError, match=said):
        clean(tmp_path, rows, items)
    assert not (tmp_path / "kept.jsonl").exists() and not list(tmp_path.glob(".*.tmp"))


def test_the_reasons_are_written_although_no_row_is_left(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="No row is left") as caught:
        clean(tmp_path, [{"prompt": "q?", "completion": ""}])
    rest = tmp_path / "dropped.jsonl"
    assert json.loads(rest.read_text("utf-8"))["reason"] == "too short" and str(rest) in caught.value.hint
    assert not (tmp_path / "kept.jsonl").exists() and not list(tmp_path.glob(".*.tmp"))


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"prompt": "q?", "completion": "a"}])
    with pytest.raises(FactoryError, match="would overwrite"):
        clean_file(Wish(rows, rows), print)
    assert rows.read_text("utf-8")


def test_settings_by_key(tmp_path: Path) -> None:
    assert curate_settings(["curate.mask_pii=false", "curate.max_chars=9"]) == Curate(mask_pii=False, max_chars=9)
    with pytest.raises(FactoryError, match=r"only curate\.KEY"):
        curate_settings(["sft.epochs=1"])
    with pytest.raises(FactoryError, match=r"unknown key 'curate\.mask'"):
        curate_settings(["curate.mask=1"])


def test_a_share_of_the_rows_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    asked = ["How is tea made?", "Where do whales sleep?", "Who paints fences?", "When does snow melt?"]
    rows = [{"id": str(n), "prompt": text, "completion": f"Answer {n}."} for n, text in enumerate(asked)]
    for by in ("random", "coverage"):
        told, kept, dropped = clean(tmp_path, rows, keep=0.5, keep_by=by)
        assert told == "4 rows: 2 kept; 2 not selected"
        assert len(kept) == 2 and {row["reason"] for row in dropped} == {"not selected"}
    with pytest.raises(FactoryError, match="needs a base model"):
        clean(tmp_path, rows, keep=0.5, keep_by="difficulty")


def test_a_language_that_cannot_be_told_by_its_letters_is_refused(tmp_path: Path) -> None:
    """It was taken for Latin without a word: every Russian row was dropped as not Russian."""
    rows = write(tmp_path / "rows.jsonl", [{"prompt": "Какой чай?", "completion": "Зелёный чай."}])
    with pytest.raises(FactoryError, match="Unknown language 'ru'") as caught:
        clean_file(Wish(rows, tmp_path / "kept.jsonl", languages=("ru",)), print)
    assert "en (Latin)" in caught.value.hint and not (tmp_path / "kept.jsonl").exists()
