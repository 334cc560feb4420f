"""The pages' tables are the measured ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


TABLES = {"README.md": 5, "README.zh-CN.md": 5, "docs/data-engine.md": 2, "docs/data-engine.zh-CN.md": 2}


@pytest.mark.parametrize("page", list(TABLES))
def test_tables_are_those_of_the_results(page: str) -> None:
    spec = importlib.util.spec_from_file_location("quality", ROOT / "benchmarks" / "quality.py")
    assert spec and spec.loader
    quality = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quality)
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->") == TABLES[page]
    assert quality.inserted(text) == text, (
        "run: python benchmarks/quality.py, or quality.write for the run that changed"
    )
