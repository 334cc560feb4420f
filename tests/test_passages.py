"""`factory ingest`: any source becomes passages that know where they came from."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from papers import Words, pdf, write_papers
from typer.testing import CliRunner

from factory import passages
from factory.cli_data import app
from factory.errors import FactoryError
from factory.passages import Wish, ingest
from factory.records import Passage, read_records
from factory.structure import MOST

OUT = Path("made/passages.jsonl")


def said(source: str, language: str = "", license: str = "") -> str:
    return ingest(Wish(source, OUT, language, license), lambda text: None)


def test_a_folder_in_two_languages() -> None:
    write_papers(Path("docs/中文"), "zh", 2), write_papers(Path("docs/english"), "en", 2)
    Path("docs/film.mp4").write_bytes(b"x")
    told = said("docs", license="CC0-1.0").splitlines()
    made = read_records(OUT, Passage)
    assert told[0].startswith(f"4 documents, {len(made)} passages, {sum(len(one.text) for one in made)} letters")
    assert told[1:] == ["1 left out:", "  film.mp4: .mp4: no document that can be read"]
    assert {one.language for one in made if "english" in one.document} == {"en"}
    assert {one.language for one in made if "中文" in one.document} == {"zh"}
    assert {(one.license, one.split) for one in made} == {("CC0-1.0", "train")}
    assert all(len(one.text) <= MOST[one.language] and one.title and one.meta["headings"] for one in made)


def test_pages_and_the_command_line() -> None:
    line = "A long line of a paragraph that goes to the right edge of the page and on, see"
    Path("a.pdf").write_bytes(pdf(*[[(20, f"Chapter {n}"), (11, line), (11, line), (11, "ends.")] for n in (1, 2)]))
    done = CliRunner().invoke(app, ["ingest", "a.pdf", "-o", str(OUT), "--lang", "en"])
    assert done.exit_code == 0 and "1 documents, 1 passages" in done.output, done.output
    row = json.loads(OUT.read_text(encoding="utf-8"))
    assert row["document"] == "a.pdf" and row["meta"] == {"headings": "Chapter 1", "page": 1}


def test_only_the_first_skipped_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "MOST_NAMED", 2)
    Path("docs").mkdir()
    for name in "abcd":
        Path(f"docs/{name}.mp4").write_bytes(b"x")
    Path("docs/z.md").write_text("# H\n\n" + Words("en", 1).text(9), encoding="utf-8")
    Path("docs/short.md").write_text("short", encoding="utf-8")
    assert said("docs").splitlines()[1:] == [
        "5 left out:", "  a.mp4: .mp4: no document that can be read", "  b.mp4: .mp4: no document that can be read",
        "  and 3 more: --skipped FILE writes all of them",
    ]  # fmt: skip
    whole = Path("skipped.jsonl")
    told = ingest(Wish("docs", OUT, skipped=whole), lambda text: None)
    assert told.splitlines()[-1] == "  and 3 more: skipped.jsonl"
    rows = [json.loads(line) for line in whole.read_text(encoding="utf-8").splitlines()]
    assert [row["name"] for row in rows] == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "short.md"]
    assert rows[-1]["reason"].startswith("too short")


def test_a_zip() -> None:
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.writestr("手册.md", "# 手册\n\n" + Words("zh", 3).text(9))
    said("all.zip")
    assert read_records(OUT, Passage)[0].document == "all.zip/手册.md"


def test_nothing_to_write_is_an_error() -> None:
    Path("docs").mkdir()
    Path("docs/a.md").write_text("short", encoding="utf-8")
    with pytest.raises(FactoryError, match=r"1 documents, 1 left out \(the first: a.md: too short"):
        said("docs")
    with pytest.raises(FactoryError, match="Unknown language 'fr'"):
        said("docs", "fr")
    with pytest.raises(FactoryError, match="nowhere does not exist"):
        said("nowhere")
    assert not OUT.exists()
