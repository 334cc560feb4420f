"""A toy domain, written into a test's own ./domains, and `factory` run inside the test's process."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from factory import cli

CODE = """
from factory.domain import Domain, Task, passage_of
from factory.files import read_text
from factory.records import Document

KIND = Task("kind", "Kind", "choice", "What is {input}?", ("fruit", "tool"), max_new_tokens=8, aliases=("k-1",))
SAY = Task("say", "Say twice", "rouge_l", "Say twice: {input}")


class Toy(Domain):
    options = {"loud": False}

    def tasks(self):
        return [KIND, SAY]

    def documents(self, source):
        for path in sorted((source or self.folder / "data").glob("*.txt")):
            yield Document(path.name, read_text(path), path.stem, "en", "CC0-1.0", path.name)

    def passages(self, document):
        for number, line in enumerate(document.text.splitlines()):
            yield passage_of(document, line, number)

    def examples(self, passages):
        for passage in passages:
            kind, word = passage.text.split()
            yield self.make_example(KIND, passage, word, kind)
            yield self.make_example(SAY, passage, word, f"{word} {word}")
"""
TOML = 'name = "toy"\ntitle = "Toy"\nlanguage = "en"\nbase = "smollm2-135m-instruct"\nsystem_prompt = "Be brief."\n'
WORDS = "fruit apple\nfruit pear\nfruit plum\ntool hammer\ntool saw\ntool drill\n"
ITEMS = [
    {"id": "kind-1", "task": "kind", "input": "mango", "reference": "fruit"},
    {"id": "kind-2", "task": "kind", "input": "chisel", "reference": "tool"},
    {"id": "say-1", "task": "say", "input": "kiwi", "reference": "kiwi kiwi"},
]


def make_toy(root: Path, code: str = CODE, toml: str = TOML) -> Path:
    """The toy domain in `root`/domains/toy; its folder."""
    folder = root / "domains" / "toy"
    for path, text in {
        "domain.py": code, "domain.toml": toml, "data/words.txt": WORDS, "evals/items.jsonl": jsonl(ITEMS),
    }.items():  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Factory:
    """`factory` with arguments, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["factory", *map(str, arguments)])
        self.capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = self.capsys.readouterr()
        return Ended(code, captured.out, captured.err)
