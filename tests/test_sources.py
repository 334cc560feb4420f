"""Git sources and datasets: a local repository stands for a remote one, a local folder for one of the hub."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from factory import build, sources
from factory.documents import read_folder
from factory.errors import FactoryError
from factory.files import write_json
from factory.sources import fetch_git, public, read_source


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str]:
    folder = tmp_path / "remote"
    folder.mkdir()
    (folder / "a.md").write_text("one", encoding="utf-8")
    (folder / "link").symlink_to("/etc/hosts")
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*run, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*run, "add", "."], cwd=folder, check=True)
    subprocess.run([*run, "commit", "-qm", "one"], cwd=folder, check=True)
    commit = subprocess.run([*run, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return f"file://{folder}", commit.stdout.strip()


def test_a_commit_is_cloned_once_and_stays(repository: tuple[str, str], tmp_path: Path) -> None:
    address, commit = repository
    folder = fetch_git(f"{address}@{commit}")
    assert (folder / "a.md").read_text(encoding="utf-8") == "one"
    (tmp_path / "remote").rename(tmp_path / "gone")
    assert fetch_git(f"{address}@{commit}") == folder


@pytest.mark.parametrize("at", ["init", "checkout"])
def test_a_clone_that_was_killed_is_made_anew(repository: tuple[str, str], at: str) -> None:
    """Before the remote is there; while git held its lock on the index."""
    address = "@".join(repository)
    folder = fetch_git(address)
    (folder / ".git" / "factory-done").unlink()
    if at == "init":
        (folder / ".git" / "config").write_text("[core]\n\tbare = false\n", encoding="utf-8")
    else:
        (folder / ".git" / "index.lock").touch()
        (folder / "a.md").unlink()
    assert (fetch_git(address) / "a.md").read_text(encoding="utf-8") == "one"


def test_a_link_in_a_repository_leads_nowhere(repository: tuple[str, str]) -> None:
    folder = fetch_git("@".join(repository))
    assert (folder / "a.md").is_file() and not os.path.lexists(folder / "link")


def test_a_moving_branch_is_refused(repository: tuple[str, str]) -> None:
    with pytest.raises(FactoryError, match="names no commit"):
        fetch_git(f"{repository[0]}@main")


def test_unknown_commit_and_address_are_one_line(repository: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="has no commit 0000000"):
        fetch_git(f"{repository[0]}@0000000")
    with pytest.raises(FactoryError, match="git fetch failed"):
        fetch_git(f"file://{tmp_path}/nowhere@{repository[1]}")


def test_a_repository_is_read_under_its_address(repository: tuple[str, str]) -> None:
    address = "@".join(repository)
    (document,) = read_source(address, "CC0-1.0").documents
    assert (document.id, document.source, document.license) == ("a.md", f"{address}:a.md", "CC0-1.0")


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/papers.git?token=secret", "https://me:s/secret@host/papers.git"]
)
def test_what_opens_a_repository_is_kept_nowhere(repository: tuple[str, str], url: str) -> None:
    """git is told that the address with the secret is the repository here."""
    Path.home().joinpath(".gitconfig").write_text(f'[url "{repository[0]}"]\n\tinsteadOf = "{url}"\n', encoding="utf-8")
    folder = fetch_git(f"{url}@{repository[1]}")
    assert (folder / "a.md").exists() and not (folder / ".git" / "FETCH_HEAD").exists()
    for path in (folder.parent, *folder.parent.rglob("*")):
        assert "secret" not in path.name and (path.is_dir() or b"secret" not in path.read_bytes())
    (document,) = read_source(f"{url}@{repository[1]}").documents
    assert "secret" not in document.source


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@127.0.0.1:1/papers.git@3f2c1ab",
        "https://127.0.0.1:1/papers.git?token=secret@3f2c1ab",
        "https://me:secret@127.0.0.1:1/papers.git",
        "https://me:secret@127.0.0.1:1/papers.git@main",
    ],
)
def test_what_opens_a_repository_is_in_no_error(address: str) -> None:
    with pytest.raises(FactoryError) as failed:
        fetch_git(address)
    assert "secret" not in failed.value.message + failed.value.hint


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("https://host/papers.git@3f2c1ab", "https://host/papers.git@3f2c1ab"),
        ("https://me:secret@host/papers.git@3f2c1ab", "https://host/papers.git@3f2c1ab"),
        ("https://secret@host:8443/papers.git?token=secret@3f2c1ab", "https://host:8443/papers.git@3f2c1ab"),
        ("https://me:secret@host/papers.git", ""),
        ("https://me:sec/ret@host/papers.git@3f2c1ab", ""),
        ("https://me:se/cr?et@host/papers.git@3f2c1ab", ""),
        ("ssh://git@host/papers.git@3f2c1ab", "ssh://host/papers.git@3f2c1ab"),
        ("git@host:me/papers.git@3f2c1ab", "git@host:me/papers.git@3f2c1ab"),
        ("hf://owner/name:config@abc123", "hf://owner/name:config@abc123"),
        ("file:///home/me/papers@3f2c1ab", ""),
        ("/home/me/papers", ""),
        ("sample", ""),
    ],
)
def test_an_address_is_shown_without_what_opens_it(source: str, seen: str) -> None:
    assert public(source) == seen


def test_a_run_remembers_the_address_of_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what opens it, until it gets another source."""
    monkeypatch.setattr(build, "_resolve", lambda source: "/cache/papers" if source else "")
    folder = build.RUNS / "cooking" / "default"
    for source, address in (
        ("https://me:secret@host/papers.git@3f2c1ab", "https://host/papers.git@3f2c1ab"),
        ("", "https://host/papers.git@3f2c1ab"),
        ("/cache/papers", ""),
    ):
        notes = build.prepare(build.Order("cooking", source=source))[2]
        assert (notes["source"], notes["address"]) == ("/cache/papers", address)
        write_json(folder / "run.json", notes)
        assert "secret" not in (folder / "run.json").read_text(encoding="utf-8")


def test_documents_of_a_repository_name_it_without_what_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "a.md").write_text("one", encoding="utf-8")
    monkeypatch.setattr(sources, "fetch_git", lambda address: tmp_path / "clone")
    (document,) = read_source("https://me:secret@host/papers.git@3f2c1ab").documents
    assert document.source == "https://host/papers.git@3f2c1ab:a.md"


@pytest.fixture
def dataset() -> Path:
    """A folder with the layout of the hub, in the working folder: the library reads it by that name."""
    import pyarrow
    import pyarrow.parquet

    folder = Path("owner/name/data")
    folder.mkdir(parents=True)
    for split, texts in (("train", ["one", "two", "two"]), ("test", ["three"])):
        rows = pyarrow.Table.from_pylist([{"text": text, "label": 1} for text in texts])
        pyarrow.parquet.write_table(rows, folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_dataset_of_the_hub(dataset: Path) -> None:
    told: list[str] = []
    folder = read_source("hf://owner/name@abc123", "CC0-1.0", told.append)
    assert [(made.id, made.text) for made in folder.documents] == [
        ("owner/name/train#1", "one"), ("owner/name/train#2", "two")
    ]  # fmt: skip
    assert {(made.source, made.license) for made in folder.documents} == {("hf://owner/name@abc123", "CC0-1.0")}
    assert [(left.name, left.reason) for left in folder.skipped] == [
        ("1 rows of owner/name/train", "the same text as a row before"),
        ("owner/name/test", "only the split train is read"),
    ]
    assert told == ["    dataset owner/name"]
    read_source("hf://owner/name", say=told.append)
    assert "pin one" in told[-1]


def test_a_dataset_is_read_as_far_as_it_fits(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_LETTERS", 2)
    folder = read_source("hf://owner/name")
    assert [made.text for made in folder.documents] == ["one"]
    assert folder.skipped[0].name == "rows from 2 of owner/name/train"
    (dataset / "train-00000-of-00001.parquet").rename(dataset / "validation-00000-of-00001.parquet")
    folder = read_source("hf://owner/name")
    assert len(folder.documents) == 1, "the limit is that of all splits together"
    assert sorted(left.name for left in folder.skipped) == [
        "owner/name/test",
        "rows from 1 of owner/name/test",
        "rows from 2 of owner/name/validation",
    ]


def test_a_dataset_without_text_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = {"train": ({"label": [number]} for number in itertools.count())}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: endless)
    folder = read_source("hf://owner/name")
    assert [left.name for left in folder.skipped] == ["owner/name/train"]
    assert folder.skipped[0].reason.startswith("no column of text among its columns (label)")
    assert next(endless["train"]) == {"label": [10000]}
    with pytest.raises(FactoryError, match="gives no text"):
        sources.fetch_dataset("hf://owner/name@abc123")


def test_letters_of_lists_of_texts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_LETTERS", 100)
    endless = {"train": ({"text": [f"line {number}", "more"]} for number in itertools.count())}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: endless)
    folder = read_source("hf://owner/name")
    assert len(folder.documents) == 11 and folder.skipped[0].reason.startswith("more than")


def test_a_build_reads_a_dataset_at_a_revision(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As files of rows, which every loader reads that reads documents; written once."""
    monkeypatch.setattr(sources, "_PART", 4)
    folder = Path(build._resolve("hf://owner/name@abc123"))
    assert [document.text for document in read_folder(folder).documents] == ["one", "two"]
    assert sorted(path.name for path in folder.glob("*.jsonl")) == ["rows-1.jsonl", "rows-2.jsonl"]
    dataset.rename("gone")
    assert build._resolve("hf://owner/name@abc123") == str(folder)
    with pytest.raises(FactoryError, match="names no revision"):
        build._resolve("hf://owner/name")


def test_a_dataset_that_cannot_be_reached_is_one_line() -> None:
    for source in ("hf://no/such", "no/such@abc", "no/such:config"):
        with pytest.raises(FactoryError, match="The dataset no/such cannot be read: ") as caught:
            read_source(source)
        assert "\n" not in caught.value.message and "it does not exist here" in caught.value.hint
    for source in ("no/such.pdf", "nowhere", "hf://a"):
        with pytest.raises(FactoryError, match="does not exist"):
            read_source(source)


def test_code_of_a_dataset_is_never_run() -> None:
    Path("owner/name").mkdir(parents=True)
    Path("owner/name/name.py").write_text("open('ran', 'w')", encoding="utf-8")
    with pytest.raises(FactoryError, match="cannot be read"):
        read_source("hf://owner/name")
    assert not Path("ran").exists()
