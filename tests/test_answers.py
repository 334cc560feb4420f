"""Kept answers: found again by all that decides them, and by nothing less."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from factory.answers import TABLE, Answers, weights_digest
from factory.domain import Task
from factory.errors import FactoryError
from factory.files import write_json
from factory.generate import Answer, Question
from factory.models import own_ends
from factory.stage import full_disk_named
from factory.store import opened

TASK = Task("color", "Color", "exact", choices=("red", "blue"))
ASKED = [
    Question([{"role": "user", "content": "Which color?"}], TASK),
    Question([{"role": "user", "content": "为什么？"}]),
]
TOLD = [Answer("red"), Answer("因为……", truncated=True)]


def test_what_was_answered_is_found_again(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "new" / "answers.sqlite", "m", stop=["<end>"])
    assert kept.find(ASKED) == {}
    kept.keep(zip(ASKED, TOLD, strict=True))
    assert Answers(kept.path, "m", stop=["<end>"]).find(list(reversed(ASKED))) == {0: TOLD[1], 1: TOLD[0]}


def test_a_file_that_cannot_be_used_is_named_and_the_disk_told_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "m")
    kept.path.write_bytes(b"this is no database" * 100)
    with pytest.raises(FactoryError, match=r"answers.sqlite cannot be used: file is not a database\.") as caught:
        kept.find(ASKED)
    assert caught.value.hint.startswith("Delete it: it is made anew")
    kept.path.unlink()
    kept.keep([])
    monkeypatch.setattr("factory.store.WAIT", 0)
    with sqlite3.connect(kept.path) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FactoryError, match="locked") as caught:
            kept.keep(zip(ASKED, TOLD, strict=True))
        assert "Wait" in caught.value.hint
    holder.close()
    with (
        pytest.raises(FactoryError, match="The disk is full: it stopped"),
        full_disk_named("it", tmp_path),
        opened(kept.path, TABLE) as file,
    ):
        file.execute("PRAGMA max_page_count = 3")
        file.execute("INSERT INTO answers VALUES ('key', ?, 0)", ["x" * 100_000])
    assert kept.find(ASKED) == {}


def test_another_model_decoding_prompt_or_bound_is_another_answer(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers.sqlite", "m", stop=["<end>"])
    kept.keep(zip(ASKED, TOLD, strict=True))
    assert Answers(kept.path, "other", stop=["<end>"]).find(ASKED) == {}
    assert Answers(kept.path, "m", stop=[]).find(ASKED) == {}
    for changed in (
        replace(ASKED[0], prompt=[{"role": "user", "content": "Which color!"}]),
        replace(ASKED[0], task=replace(TASK, choices=("red", "green"))),
        replace(ASKED[0], task=replace(TASK, separator=";")),
        replace(ASKED[0], task=replace(TASK, max_new_tokens=8)),
    ):
        assert kept.find([changed]) == {}


def test_a_model_is_its_base_and_its_adapter(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "model.safetensors").write_bytes(b"base")
    (adapter / "adapter_model.safetensors").write_bytes(b"one")
    first = weights_digest(base, adapter)
    assert first == weights_digest(base, adapter) != weights_digest(base, None)
    (adapter / "adapter_model.safetensors").write_bytes(b"two")
    assert weights_digest(base, adapter) != first


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "pytorch_model.bin", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja"])  # fmt: skip
def test_a_folder_that_is_changed_in_place_is_another_model(tmp_path: Path, name: str) -> None:
    for file in ("model.safetensors", "config.json", "README.md", "export.json", name):
        (tmp_path / file).write_text("one")
    first = weights_digest(tmp_path, None)
    for note in ("README.md", "export.json", "LICENSE"):
        (tmp_path / note).write_text("of no effect on answers")
    assert weights_digest(tmp_path, None) == first
    (tmp_path / name).write_text("another")
    assert weights_digest(tmp_path, None) != first


def test_a_local_base_ends_where_its_own_files_say(tmp_path: Path) -> None:
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [1, 106, 9]})
    added = {"1": {"content": "<eos>"}, "106": {"content": "<end_of_turn>"}}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": added})
    assert own_ends(tmp_path) == ["<eos>", "<end_of_turn>"]
    write_json(tmp_path / "generation_config.json", {"eos_token_id": 106})
    assert own_ends(tmp_path) == ["<end_of_turn>"]
    assert own_ends(tmp_path / "none") == []
