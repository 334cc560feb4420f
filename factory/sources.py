"""Sources by their address: a folder or file, a git repository at a commit, a dataset of the Hugging Face hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.documents import MOST_LETTERS, READERS, Folder, made_documents, read_folder
from factory.errors import FactoryError
from factory.files import digest, lock
from factory.models import home
from factory.readers import sheets
from factory.readers.base import Skipped, Unreadable, named
from factory.records import Document, write_records

_BARE = 10_000  # rows of a dataset without a letter after which there is none
_PART = 10_000_000  # letters of one file of rows, which may have reading.MOST_BYTES
_GIT = re.compile(r"^(https?|ssh|git|file)://|^git@")
_COMMIT = r"@[0-9a-fA-F]{7,40}$"
_HIDDEN = "The repository"
_DATASET = re.compile(r"(?:hf://)?(?:datasets/)?([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?")


def read_source(source: str, license: str = "", say: Callable[[str], None] = lambda text: None) -> Folder:
    """The documents of a folder, file, git address (`URL@COMMIT`) or dataset (`hf://OWNER/NAME[:CONFIG][@REVISION]`).

    Raises FactoryError for a source that does not exist or cannot be reached.
    """
    path = Path(source).expanduser()
    if _GIT.match(source):
        folder = read_folder(fetch_git(source), license=license, say=say)
        return replace(
            folder,
            documents=[replace(made, source=f"{shown(source)}:{made.id}") for made in folder.documents],
        )
    if not source.startswith("hf://") and path.exists():
        return read_folder(path, license=license, say=say)
    found = None if source.startswith((".", "/", "~")) else _DATASET.fullmatch(source)
    if not found or path.suffix.lower() in READERS:
        raise FactoryError(
            f"{source} does not exist.",
            "Give a folder, a file, a git address with @COMMIT, or a dataset: hf://OWNER/NAME",
        )
    return read_dataset(found[1], found[2] or "", found[3] or "", license, say)


def public(source: str) -> str:
    """The address of a git repository or dataset as others may see it, with no user, password or query; empty for a place here."""
    if source.startswith("hf://"):
        return source
    if source.startswith("file://") or not _GIT.match(source) or not re.search(_COMMIT, source):
        return ""
    return shown(source).removeprefix(_HIDDEN)


def shown(source: str) -> str:
    """A source as a message may name it: a git address without the user, password and query that may open it."""
    if source.startswith("file://") or not _GIT.match(source):
        return source
    commit = re.search(_COMMIT, source)
    url = re.sub(r"(?<=://)[^/]*@", "", source[: commit.start()] if commit else source)
    if "@" in url.removeprefix("git@"):  # a password with a slash in it, or none at all
        return _HIDDEN
    return re.sub(r"[?#].*", "", url) + (commit[0] if commit else "")


def read_dataset(name: str, config: str, revision: str, license: str, say: Callable[[str], None]) -> Folder:
    """The rows of the split `train`, or of all where there is none, as Documents, as many as MOST_LETTERS hold.

    Other splits are there to be asked, not learned. Code of a dataset is never run. The columns of text are found as in a file of rows. Raises FactoryError when the dataset cannot be read.
    """
    import datasets

    say(f"    dataset {name}" + ("" if revision else ", its newest revision (pin one: @REVISION)"))
    documents: list[Document] = []
    skipped: list[Skipped] = []
    try:
        splits = datasets.load_dataset(name, config or None, revision=revision or None, streaming=True)
        for split, rows in splits.items():
            if split != "train" and "train" in splits:
                skipped.append(Skipped(f"{name}/{split}", "only the split train is read"))
                continue
            letters = sum(len(document.text) for document in documents)
            try:
                made = sheets.read_rows(_limited(rows, f"{name}/{split}", skipped, letters))
            except Unreadable as why:
                skipped.append(Skipped(f"{name}/{split}", str(why)))
                continue
            skipped += (Skipped(f"{part.name} of {name}/{split}", part.reason) for part in made.left_out)
            address = f"hf://{name}" + f"@{revision}" * bool(revision)
            documents += made_documents(made, f"{name}/{split}", address, license=license)
    except Exception as error:  # whatever the library says about names, revisions, configurations and the network
        reason = [*str(error).splitlines(), type(error).__name__][0].rstrip(".")
        raise FactoryError(
            f"The dataset {name} cannot be read: {reason}.",
            f"If {name} is a folder or file, it does not exist here; else check name, revision, configuration "
            "(OWNER/NAME:CONFIG) and the network.",
        ) from error
    return Folder(documents, skipped)


def _limited(rows: Iterable[Any], name: str, skipped: list[Skipped], letters: int) -> Iterator[Any]:
    """The rows until MOST_LETTERS are reached; `letters` were read before. After _BARE rows of no text none follow."""
    before = letters
    for number, row in enumerate(rows, 1):
        if letters > MOST_LETTERS:
            skipped.append(
                Skipped(f"rows from {number} of {name}", f"more than {MOST_LETTERS / 1e6:.0f} million letters in all")
            )
            return
        letters += sum(map(_letters, row.values()))
        if number >= _BARE and letters == before:
            return
        yield row


def _letters(value: Any) -> int:
    """Of a text, or of a list of texts."""
    parts = value if isinstance(value, list) else [value]
    return sum(len(part) for part in parts if isinstance(part, str))


def fetch_dataset(source: str, say: Callable[[str], None] = lambda text: None) -> Path:
    """Write the texts of `hf://OWNER/NAME[:CONFIG]@REVISION` into the cache once, as files of rows, for a domain's loader."""
    found = _DATASET.fullmatch(source)
    if not found or not found[3]:
        raise FactoryError(f"{source} names no revision.", "Pin it: --source hf://OWNER/NAME[:CONFIG]@REVISION")
    folder = home() / "sources" / f"{found[1].replace('/', '--')}-{digest(source)[:8]}"
    with lock(folder.with_suffix(".lock"), FactoryError(f"{source} is being read.", "Wait for the other build.")):
        if not (folder / ".factory-done").exists():
            read = read_dataset(found[1], found[2] or "", found[3], "", say)
            for line in named(read.skipped, 5, "factory ingest tells them"):
                say(f"    {line}")
            for number, part in enumerate(_parts(read.documents), 1):
                write_records(folder / f"rows-{number}.jsonl", ({"text": document.text} for document in part))
            if not read.documents:
                raise FactoryError(f"{source} gives no text.", "See docs/formats.md for the columns that are read.")
            (folder / ".factory-done").touch()
    return folder


def _parts(documents: Iterable[Document]) -> Iterator[list[Document]]:
    part: list[Document] = []
    letters = 0
    for document in documents:
        if part and letters + len(document.text) > _PART:
            yield part
            part, letters = [], 0
        part.append(document)
        letters += len(document.text)
    if part:
        yield part


def fetch_git(address: str) -> Path:
    """Clone `URL@COMMIT` once into the cache and check the commit out; FactoryError when git cannot."""
    if not re.search(_COMMIT, address):
        raise FactoryError(f"{shown(address)} names no commit.", "Pin it: --source https://host/repo.git@COMMIT")
    url, _, commit = address.rpartition("@")
    name = shown(url)
    folder = home() / "sources" / f"{Path(name).stem}-{digest(url)[:8]}-{commit[:12]}"
    with lock(folder.with_suffix(".lock"), FactoryError(f"{name} is being fetched.", "Wait for the other build.")):
        if not (folder / ".git" / "factory-done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # broken off at any point: git's own locks may lie in it
            folder.mkdir(parents=True)
            _git(folder, "init", "--quiet")
            _git(folder, "config", "core.logAllRefUpdates", "false")  # a log would hold the address, as a remote would
            _git(folder, "config", "core.symlinks", "false")  # a link could point at anything of this machine
            _git(folder, "fetch", "--quiet", url, "+refs/heads/*:refs/remotes/origin/*")
            (folder / ".git" / "FETCH_HEAD").unlink(missing_ok=True)
            if not _git(folder, "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}", may_fail=True):
                raise FactoryError(f"{name} has no commit {commit}.", "Check it with: git log")
            _git(folder, "checkout", "--quiet", "--detach", commit)
            for entry in _git(folder, "ls-files", "--stage", "-z").split("\0"):
                if entry.startswith("120000"):  # a link, now a file that holds its target's name
                    (folder / entry.partition("\t")[2]).unlink(missing_ok=True)
            (folder / ".git" / "factory-done").touch()
    return folder


def _git(folder: Path, *arguments: str, may_fail: bool = False) -> str:
    """What git says; nothing where it fails and may."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="surrogateescape", env=environment
        )
    except FileNotFoundError:
        raise FactoryError("git is not installed.", "Install git, or give a folder.") from None
    if done.returncode and not may_fail:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        reason = re.sub(r"\w+://\S+", lambda url: shown(url[0]), reason)
        raise FactoryError(f"git {arguments[0]} failed: {reason}", "Check the address, the commit and the network.")
    return "" if done.returncode else done.stdout
