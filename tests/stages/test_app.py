"""The app stage writes a project that runs alone; tests/demo looks at what it does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from apps import EVIL, TEA, Library, make_context, make_run

from factory.config import App
from factory.errors import FactoryError
from factory.files import read_json, templates, write_text
from factory.records import write_records
from factory.stages import app


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "LICENSE",
        "factory.json",
    ):
        write_text(folder / name, "{}")
    return folder


def test_project_is_complete(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", base, best="dpo")
    context = make_context(tmp_path / "run")
    told = app.run(context)
    out = context.out
    assert told["note"].endswith("open it with: factory demo kitchen")
    for name in (
        "app.py",
        "engine.py",
        "requirements.txt",
        "style.css",
        "base/LICENSE",
        "base/chat_template.jinja",
        "Dockerfile",
    ):
        assert (out / name).is_file(), name
    assert not (out / "base" / "factory.json").exists()
    assert read_json(out / "adapter" / "adapter_config.json")["of"] == "dpo"
    assert set(read_json(out / "scoreboard.json")) == {
        "models",
        "tasks",
        "best",
        "items",
        "review",
        "rounds",
        "eval_version",
    }
    settings = read_json(out / "app.json")
    assert settings["tasks"][0] == {
        "name": "cuisine", "title": "Which cuisine?", "template": "Name the cuisine of {input}.", "about": "", "choices": []
    }  # fmt: skip
    assert settings["tasks"][1]["choices"] == ["starter", "main dish", "dessert"]
    assert settings["tasks"][2]["choices"] == []  # several labels may hold: they have no shares of 1
    assert len(settings["model"]) == 64 and (out / "report.html").is_file() and (out / "passages.jsonl").is_file()
    assert settings["stop"] == ["<|im_end|>"] and settings["base"] == "tiny" and settings["best"] == "dpo"
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert readme.startswith('---\ntitle: "Kitchen"\nsdk: "gradio"\nsdk_version: "6.') and "\n# Kitchen\n" in readme
    assert 'app_file: "app.py"' in readme and 'colorFrom: "indigo"' in readme and 'license: "mit"' in readme


def test_a_licence_is_named_only_where_base_and_documents_share_it(tmp_path: Path, base: Path) -> None:
    for documents in ([{"id": "a", "text": "Tea"}], [{"id": "a", "text": "Tea", "license": "CC-BY-4.0"}]):
        make_run(tmp_path / "run", base)
        write_records(tmp_path / "run" / "ingest" / "documents.jsonl", documents)
        context = make_context(tmp_path / "run")
        app.run(context)
        assert 'license: "other"\n' in (context.out / "README.md").read_text(encoding="utf-8")


def test_base_is_hard_linked_and_can_be_linked_again(tmp_path: Path, base: Path) -> None:
    app.link_base(base, tmp_path / "out")
    app.link_base(base, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(base / "model.safetensors")


def test_base_is_copied_where_links_fail(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr("os.link", refuse)
    app.link_base(base, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").samefile(base / "model.safetensors")


def test_missing_base_and_adapter_say_what_to_do(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(FactoryError, match="is gone") as caught:
        app.run(make_context(tmp_path / "run"))
    assert "Run the build again" in caught.value.hint
    make_run(tmp_path / "other", base)
    (tmp_path / "other" / "sft" / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(FactoryError, match="No adapter"):
        app.run(make_context(tmp_path / "other"))


def test_fingerprint_watches_tasks_and_templates(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert app.STAGE.watches is not None
    assert set(app.STAGE.watches(context)) == {"app template", "tasks"}


def test_project_never_imports_the_factory() -> None:
    for path in templates("app").glob("*.py"):
        assert not re.search(r"^\s*(from|import) factory", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_settings_are_plain_json(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", base)
    context = make_context(tmp_path / "run", language="zh", title="厨房", app=App())
    app.run(context)
    text = (context.out / "app.json").read_text(encoding="utf-8")
    assert json.loads(text)["title"] == "厨房" and "厨房" in text


def test_a_draft_question_stands_apart_from_its_passage(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", base, drafts=1)
    context = make_context(tmp_path / "run", Library)
    app.run(context)
    (item,) = read_json(context.out / "items.json")
    assert item == {"id": "i0", "task": "Facts", "question": EVIL, "passage": TEA, "reference": "answer 0"}


def test_pins_are_those_of_this_environment() -> None:
    from importlib.metadata import version

    lines = (templates("app") / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        name, _, pin = line.partition("==")
        assert version(name).partition("+")[0] == pin, name
