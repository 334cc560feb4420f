"""Files as people have them to Documents in Markdown: text, HTML, Office, PDF, EPUB, sheets, rows, and zips of them.

Well-kept converters read the formats; what is decided here is which file is read at all, and what is said about the rest.
A file that cannot be read is named with the reason, never silently empty; hidden files are passed over. Links are not
followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from factory.errors import FactoryError
from factory.files import utf8
from factory.progress import Progress
from factory.readers import archives, epub, markup, sheets, slides
from factory.readers import base as reading
from factory.readers.base import Reading, Skipped, Unreadable
from factory.records import Document
from factory.text import normalize_text


def _pdf(data: bytes) -> Reading:
    from factory.readers.pdf import read_pdf  # half of what all the readers take to be imported

    return read_pdf(data)


MOST_LETTERS = 20_000_000  # of all documents together
READERS: dict[str, Callable[[bytes], Reading]] = {
    ".md": markup.read_markdown, ".markdown": markup.read_markdown, ".txt": markup.read_text, ".text": markup.read_text,
    ".html": markup.read_html, ".htm": markup.read_html, ".xhtml": markup.read_html, ".epub": epub.read_epub,
    ".docx": markup.read_docx, ".pptx": slides.read_pptx, ".pdf": _pdf, ".xlsx": sheets.read_xlsx,
    ".csv": sheets.read_csv, ".tsv": sheets.read_csv, ".json": sheets.read_json, ".jsonl": sheets.read_jsonl,
    ".ndjson": sheets.read_jsonl, ".parquet": sheets.read_parquet,
}  # fmt: skip
INSTEAD = {
    ".doc": "the old Word format: save it as .docx", ".ppt": "the old PowerPoint format: save it as .pptx",
    ".xls": "the old Excel format: save it as .xlsx", ".wps": "a WPS file: save it as .docx",
    ".et": "a WPS file: save it as .xlsx", ".dps": "a WPS file: save it as .pptx", ".rtf": "save it as .docx",
    ".odt": "save it as .docx", ".ods": "save it as .xlsx", ".odp": "save it as .pptx",
    ".rar": "unpack it first", ".7z": "unpack it first", ".tar": "unpack it first", ".gz": "unpack it first",
    ".zip": "an archive in an archive: unpack it first",
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """What a folder holds: its documents in the order of their names, and the files that gave none."""

    documents: list[Document]
    skipped: list[Skipped]


@dataclass(frozen=True)
class File:
    """A file on the disk or in an archive."""

    name: str  # below the folder
    source: str
    load: Callable[[], bytes]  # raises Unreadable and OSError


_left_out: ContextVar[list[Skipped] | None] = ContextVar("left_out", default=None)


@contextmanager
def left_out() -> Iterator[list[Skipped]]:
    """What is skipped inside the block, by `read_documents` or `leave_out`: a domain's loader hands on documents alone."""
    skipped: list[Skipped] = []
    token = _left_out.set(skipped)
    try:
        yield skipped
    finally:
        _left_out.reset(token)


def read_documents(root: Path, language: str, license: str = "") -> Iterator[Document]:
    """The documents below `root`, a folder or one file; a build names the files that gave none."""
    folder = read_folder(root, language, license)
    for one in folder.skipped:
        leave_out(one.name, one.reason)
    yield from folder.documents


def files(root: Path, *suffixes: str) -> Iterator[tuple[str, Path]]:
    """(name below `root`, path) of each file with one of these suffixes, for a loader of its own; a build names the others.

    `root` may be one file. Hidden files are passed over.
    """
    skipped: list[Skipped] = []
    for path in sorted(_files(root, skipped)) if root.is_dir() else [root]:
        name = _name(path, root)
        if path.is_symlink():
            leave_out(name, "a link")
        elif path.suffix.lower() not in suffixes:
            leave_out(name, f"{path.suffix or 'no suffix'}: this domain reads {' and '.join(suffixes)}")
        else:
            yield name, path
    for one in skipped:
        leave_out(one.name, one.reason)


def leave_out(name: str, reason: str) -> None:
    """Let a build name a file from which a domain's loader takes nothing."""
    if (skipped := _left_out.get()) is not None:
        skipped.append(Skipped(name, reason))


def read_folder(
    root: Path,
    language: str = "",
    license: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Folder:
    """Read every file below `root`, and those in its zip archives. A Document's text is Markdown, its id the path below
    `root`; a row of a file of rows is a Document of its own, its number follows the path after a `#`.

    Raises FactoryError when `root` cannot be read; a single file that cannot be read is skipped with its reason.
    """
    if not os.access(root, os.R_OK):
        raise FactoryError(f"{root} does not exist or may not be read.", "Give a folder of documents.")
    skipped: list[Skipped] = []
    paths = sorted(_files(root, skipped)) if root.is_dir() else [root]
    progress = Progress(say, "read", len(paths), every=5)
    documents: list[Document] = []
    letters = 0
    for number, path in enumerate(paths):
        progress.at(number)
        for file in _opened(path, _name(path, root), skipped):
            try:
                if letters > MOST_LETTERS:
                    raise Unreadable(f"more than {MOST_LETTERS / 1e6:.0f} million letters in all")
                made = read(file.name, file.load)
            except Unreadable as why:
                skipped.append(Skipped(file.name, str(why)))
                continue
            skipped += (Skipped(f"{part.name} of {file.name}", part.reason) for part in made.left_out)
            letters += sum(map(len, made.texts.values()))
            documents += made_documents(made, file.name, file.source, language, license)
    return Folder(documents, skipped)


def made_documents(made: Reading, name: str, source: str, language: str = "", license: str = "") -> Iterator[Document]:
    """A file's text as a Document, or each of its rows."""
    for row, text in made.texts.items():
        number = f"#{row}" if row else ""
        yield Document(
            name + number, text, _title(text, name) + number * (not markup.heading(text)), language, license, source
        )


def read(name: str, load: Callable[[], bytes]) -> Reading:
    """The file of this name as Markdown; Unreadable says why not."""
    suffix = PurePosixPath(name).suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise Unreadable(f"{suffix or 'no suffix'}: {INSTEAD.get(suffix, 'no document that can be read')}")
    try:
        made = reader(load())
    except Unreadable:
        raise
    except ModuleNotFoundError as error:
        raise FactoryError(f"{name} needs the package '{error.name}'.", "pip install vertical-factory") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except Exception as error:  # whatever a converter says about a broken file
        raise Unreadable(f"broken: {[*str(error).splitlines(), type(error).__name__][0][:80]}") from error
    texts = {row: text for row, said in made.texts.items() if (text := normalize_text(said))}
    if not texts:
        raise Unreadable("empty")
    return Reading(texts, made.left_out)


def _loaded(path: Path) -> bytes:
    _check(path, reading.MOST_BYTES)
    return path.read_bytes()


def _check(path: Path, most: int) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("no regular file")
    if status.st_size > most:
        raise Unreadable(f"larger than {most // 1_000_000} MB")


def _opened(path: Path, name: str, skipped: list[Skipped]) -> Iterator[File]:
    """The file itself, or those in a zip archive."""
    source = utf8(path)
    if path.is_symlink():
        skipped.append(Skipped(name, "a link"))
        return
    if path.suffix.lower() != ".zip":
        yield File(name, source, lambda: _loaded(path))
        return
    empty = True
    try:
        _check(path, 10 * reading.MOST_BYTES)
        for member, load in archives.members(path):
            empty = False
            yield File(f"{name}/{member}", f"{source}/{member}", load)
        if empty:
            raise Unreadable("empty")
    except (Unreadable, OSError) as why:
        skipped.append(Skipped(name, getattr(why, "strerror", "") or str(why)))


def _files(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Every file below a folder, and links to folders, which are not followed; hidden ones are left out."""

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(_name(Path(error.filename), root), f"a folder: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*names, *linked] if not name.startswith("."))


def _name(path: Path, root: Path) -> str:
    return utf8(path.name if path == root else path.relative_to(root).as_posix())


def _title(text: str, name: str) -> str:
    stem = PurePosixPath(PurePosixPath(name).stem)  # "handbook.pdf.md" is what new-domain makes of handbook.pdf
    return markup.heading(text) or (stem.stem if stem.suffix.lower() in READERS else stem.name)
