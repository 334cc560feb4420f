"""The pages' tables are the measured ones."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


PAGES = sorted(
    path
    for path in [*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")]
    if "<!-- table: " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_results(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("quality", ROOT / "benchmarks" / "quality.py")
    assert spec and spec.loader
    quality = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quality)
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->")
    assert path in quality.pages() and quality.inserted(text) == text, (
        "run: python benchmarks/quality.py, or refresh() in it"
    )


def test_the_pages_of_both_languages_show_the_same_tables() -> None:
    assert {"README.md", "data-engine.md", "export.md", "feedback.md", "formats.md"} <= {path.name for path in PAGES}
    for path in PAGES:
        other = path.with_name(path.name.replace(".md", ".zh-CN.md")) if ".zh-CN" not in path.name else path
        assert _tables(path) == _tables(other), path


def _tables(path: Path) -> list[str]:
    return re.findall(r"<!-- table: ([\w-]+) -->", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda path: path.name)
def test_what_a_page_links_to_is_there(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if ":" not in link and not (path.parent / link).exists()]
    assert not missing
