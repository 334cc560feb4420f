"""The LawBench table says where published scores are of another number of items than ours."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT


@pytest.fixture
def legal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("legal_benchmark", ROOT / "benchmarks" / "legal.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(published: int) -> dict[str, Any]:
    cell = {"score": 50.0, "low": 40.0, "high": 60.0, "n": 100}
    cells = {"focus": cell, "topic": cell, "mean": cell}
    return {
        "scores": {"best": "sft", "models": dict.fromkeys(("base", "sft", "ngram"), cells)},
        "aliases": {"focus": "2-2", "topic": "2-4"}, "published": {"GPT4": {"focus": 45.0, "topic": 48.0}, "fuzi": {"focus": 1.0, "topic": 2.0}},
        "published_n": {"topic": [100], "focus": [published]}, "nested": {"base": 1.0, "sft": 2.0}, "looked_up": 80.0,
        "base": "gemma", "rows": 9, "seconds": {"sft": 60}, "packages": {"torch": "2"}, "machine": {"processor": "x", "cpus": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("published", "said"), [(98, "Published on another number of items: 2-2 98 (here 100). "), (100, "")]
)
def test_another_number_of_items_stands_below_the_table(legal: ModuleType, published: int, said: str) -> None:
    text = legal.table(result(published))
    assert said in text and ("another number" in text) == bool(said)
