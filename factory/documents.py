"""Files as people have them to Documents in Markdown: text, Markdown, HTML, Word, PDF, Excel, CSV.

Well-kept converters read the formats; what is decided here is which file is read at all, and what is said about the rest.
A file that cannot be read is named with the reason, never silently empty; hidden files are passed over. Links are not
followed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import re
import stat
import statistics
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from factory.errors import FactoryError
from factory.progress import Progress
from factory.records import Document
from factory.text import normalize_text

MOST_BYTES = 50_000_000  # of one file: more is no document of text
MOST_LETTERS = 20_000_000  # of all documents together
MOST_ROWS = 2000  # of one sheet


class Unreadable(Exception):
    """Why a file gives no text."""


@dataclass(frozen=True)
class Skipped:
    """A file that is no document, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Folder:
    """What a folder holds: its documents in the order of their names, and the files that gave none."""

    documents: list[Document]
    skipped: list[Skipped]


def read_documents(root: Path, language: str, license: str = "") -> Iterator[Document]:
    """The documents below `root`, a folder or one file."""
    yield from read_folder(root, language, license).documents


def read_folder(
    root: Path,
    language: str = "",
    license: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Folder:
    """Read every file below `root`. A Document's id is its path below `root`, its text is Markdown.

    Raises FactoryError when `root` cannot be read; a single file that cannot be read is skipped with its reason.
    """
    if not os.access(root, os.R_OK):
        raise FactoryError(f"{root} does not exist or may not be read.", "Give a folder of documents.")
    skipped: list[Skipped] = []
    files = sorted(_files(root, skipped)) if root.is_dir() else [root]
    progress = Progress(say, "read", len(files), every=5)
    documents: list[Document] = []
    letters = 0
    for number, path in enumerate(files):
        name = _name(path, root)
        progress.at(number)
        try:
            if letters > MOST_LETTERS:
                raise Unreadable(f"more than {MOST_LETTERS / 1e6:.0f} million letters in all")
            text = read_file(path)
        except Unreadable as why:
            skipped.append(Skipped(name, str(why)))
            continue
        letters += len(text)
        documents.append(Document(name, text, _title(text, name), language, license, _utf8(path)))
    return Folder(documents, skipped)


def read_file(path: Path) -> str:
    """One file as Markdown; Unreadable says why not."""
    if path.is_symlink():
        raise Unreadable("a link")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Unreadable(f"{path.suffix.lower() or 'no suffix'}: no document that can be read")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > MOST_BYTES:
            raise Unreadable(f"larger than {MOST_BYTES // 1_000_000} MB")
        text = normalize_text(reader(path))
    except Unreadable:
        raise
    except ModuleNotFoundError as error:
        raise FactoryError(f"{path.name} needs the package '{error.name}'.", "pip install vertical-factory") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except Exception as error:  # whatever a converter says about a broken file
        raise Unreadable(f"broken: {[*str(error).splitlines(), type(error).__name__][0][:80]}") from error
    if not text:
        raise Unreadable("empty")
    return text


def _files(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Every file below a folder, and links to folders, which are not followed; hidden ones are left out."""

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(_name(Path(error.filename), root), f"a folder: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*names, *linked] if not name.startswith("."))


def _name(path: Path, root: Path) -> str:
    return _utf8(path.name if path == root else path.relative_to(root).as_posix())


def _utf8(path: Path | str) -> str:
    """A path that can be written as UTF-8: archives made by Chinese Windows leave names in GB18030."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        return os.fsencode(path).decode("gb18030", "replace")


def _title(text: str, name: str) -> str:
    stem = PurePosixPath(PurePosixPath(name).stem)  # "handbook.pdf.md" is what new-domain makes of handbook.pdf
    return _heading(text) or (stem.stem if stem.suffix.lower() in READERS else stem.name)


def _heading(text: str) -> str:
    """The first heading of the first level; a comment in a piece of code is none."""
    text = re.sub(r"^(```|~~~).*?(?:^\1|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.search(r"^#[ \t]+(.+?)[ \t#]*$|^(\S.*)\n=+[ \t]*$", text, re.MULTILINE)
    return re.sub(r"\\([^\w\s])", r"\1", found[1] or found[2]) if found else ""


# Readers: a path to Markdown


def _plain(path: Path) -> str:
    data = path.read_bytes()
    text = _decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise Unreadable("no text: it holds zero bytes")
    return text


def _decoded(data: bytes) -> str:
    """UTF-8 (a few broken bytes are left out), UTF-16 where a mark says so, else Windows-1252 or GB18030."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    text = data.decode("utf-8-sig", "replace")
    if text.count("\ufffd") * 10 <= sum(char > "\x7f" for char in text):
        return text.replace("\ufffd", "")
    high = sum(byte > 0x7F for byte in data)
    lone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", data))
    for encoding in ("cp1252", "gb18030") if lone * 2 >= high else ("gb18030",):  # Chinese comes in pairs
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    raise Unreadable("neither UTF-8 nor GB18030")


def _unmarked(line: str) -> str:
    """Plain text as Markdown: what looks like a tag would be left out."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", line)


_FRONT = re.compile(r"\A---[ \t]*\n(?=[\w-]+[ \t]*:)(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def _markdown(path: Path) -> str:
    """Without its front matter, comments and images; the title of the front matter becomes the heading."""
    text = _plain(path)
    if front := _FRONT.match(text):
        title = re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.MULTILINE)
        text = text[front.end() :]
        if title and not _heading(text):
            text = f"# {title[1]}\n\n{text}"
    text = re.sub(r"<!--(?! page \d+ -->).*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)


def _text(path: Path) -> str:
    """Plain text; what Markdown would read as code (indented lines) is text, too."""
    return "\n".join(_unmarked(line.strip(" \t\u3000")) for line in _plain(path).splitlines())


def _html(path: Path) -> str:
    """As the page says it is encoded, if that is neither Unicode nor mainland Chinese, which `_plain` knows better."""
    named = re.search(rb"<meta[^>]+charset=[\"']?([\w-]+)", path.read_bytes()[:4000], re.IGNORECASE)
    encoding = named[1].decode().lower() if named else "utf-8"
    if not encoding.startswith(("utf", "gb", "hz")):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return _from_html(path.read_bytes().decode(encoding))
    return _from_html(_plain(path))


_NO_TEXT = (
    "script style nav header footer noscript template img svg iframe input button select textarea datalist".split()
)


def _from_html(page: str) -> str:
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString
    from markdownify import markdownify

    soup = BeautifulSoup(page, "html.parser")
    for tag in soup(_NO_TEXT):
        tag.decompose()
    articles = soup("article")
    body = soup.find("main") or (articles[0] if len(articles) == 1 else None) or soup.body or soup
    title = soup.title.get_text().strip() if soup.title else ""
    if soup.title and body is soup:
        soup.title.decompose()
    for part in body(string=True):
        if type(part) is not NavigableString:  # a comment
            continue
        said = str(part) if part.find_parent(["pre", "code"]) else re.sub(r"^(\s*)(?=#)", r"\1\\", _unmarked(part))
        part.replace_with(said.replace("|", "\\|") if part.find_parent(["td", "th"]) else said)
    text = str(markdownify(str(body), heading_style="ATX", bullets="-", strip=["a"], escape_misc=False))
    return text if _heading(text) or not title else f"# {title}\n\n{text}"


def _docx(path: Path) -> str:
    import mammoth

    _unpacked(path)
    titles = "\n".join(f"p[style-name='{name}'] => h1:fresh" for name in ("Title", "标题"))
    no_image = mammoth.images.img_element(lambda image: {})
    with open(path, "rb") as file:
        return _from_html(mammoth.convert_to_html(file, style_map=titles, convert_image=no_image).value)


def _unpacked(path: Path) -> None:
    """Raise Unreadable for an Office file (a zip) that would fill the memory."""
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > 10 * MOST_BYTES:
            raise Unreadable(f"larger than {10 * MOST_BYTES // 1_000_000} MB when unpacked")


def _csv(path: Path) -> str:
    text = _plain(path)
    marks = "\t" if path.suffix.lower() == ".tsv" else ",;\t|"
    mark = max(marks, key=lambda mark: _columns(text[:4000], mark))
    return _table(list(itertools.islice(csv.reader(io.StringIO(text), delimiter=mark), MOST_ROWS + 1)))


def _columns(text: str, mark: str) -> float:
    """How well a mark parts the first lines into columns: most of them have the same number of them."""
    widths = [len(row) for row in csv.reader(text.splitlines()[:20], delimiter=mark) if row]
    width, count = Counter(widths).most_common(1)[0] if widths else (1, 1)
    return count / len(widths) if width > 1 else 0.0


def _xlsx(path: Path) -> str:
    import openpyxl

    _unpacked(path)
    sheets = []
    with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # some programs write wrong ones
            rows = itertools.islice(sheet.iter_rows(values_only=True), MOST_ROWS + 1)
            table = _table(
                [["" if cell is None else str(cell).removesuffix(" 00:00:00") for cell in row] for row in rows]
            )
            if table:
                sheets.append(f"# {sheet.title}\n\n{table}")
    return "\n\n".join(sheets)


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, headed again every ten rows so that a passage never stands without its head."""
    rows = [row for row in rows if any(map(str.strip, row))]
    width = max((number for row in rows for number, cell in enumerate(row, 1) if cell.strip()), default=0)

    def line(row: Sequence[str]) -> str:
        cells = [_unmarked(re.sub(r"\s+", " ", cell).replace("|", "\\|").strip()) for cell in row[:width]]
        return "| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |"

    if not rows:
        return ""
    head = f"{line(rows[0])}\n{'| --- ' * width}|"
    tens = [rows[start : start + 10] for start in range(1, len(rows), 10)]
    return "\n\n".join("\n".join([head, *map(line, ten)]) for ten in tens or [[]])


@dataclass(frozen=True)
class _Line:
    """A line of a page."""

    text: str
    size: float  # of its first letter, in points
    right: float  # where it ends, in points


def _pdf(path: Path) -> str:
    """Text of a PDF by pdfium: larger lines are headings, wrapped lines are joined, running heads and feet dropped."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        raise Unreadable("a PDF with a password" if "assword" in str(error) else "broken PDF") from error
    try:
        pages = [list(_pdf_lines(page)) for page in document]
    finally:
        document.close()
    if sum(len(line.text) for page in pages for line in page) < 10 * len(pages):
        raise Unreadable("scanned: its pages are pictures without text (run an OCR program on it first)")
    lines = [line for page in pages for line in page]
    body = statistics.mode(round(line.size) for line in lines for _ in range(len(line.text)))
    edge = max(line.right for line in lines)
    parts = []
    for number, kept in enumerate(_without_running(pages, body), 1):
        parts.append(f"<!-- page {number} -->\n\n" + "\n\n".join(_paragraphs(kept, body, edge)))
    return "\n\n".join(parts)


def _without_running(pages: Sequence[list[_Line]], body: float) -> Iterator[list[_Line]]:
    """The pages without heads, feet and numbers: lines at a page's edge that more than half of the pages have."""

    def form(line: _Line) -> str:
        return line.text if line.size > body * _LARGER else re.sub(r"\d+", "#", line.text)  # "Chapter 3" is none

    repeated = Counter(text for page in pages for text in {form(line) for line in [*page[:2], *page[-2:]]})
    running = {text for text, count in repeated.items() if len(pages) > 3 and count > len(pages) / 2}
    for page in pages:
        edges = {0, 1, len(page) - 2, len(page) - 1}
        ends = {0, len(page) - 1}
        yield [
            line
            for at, line in enumerate(page)
            if not (at in edges and form(line) in running) and not (at in ends and line.text.isdigit())
        ]


def _pdf_lines(page: object) -> Iterator[_Line]:
    import pypdfium2.raw as raw

    text_page = page.get_textpage()  # type: ignore[attr-defined]
    codes = [raw.FPDFText_GetUnicode(text_page, index) for index in range(text_page.count_chars())]
    letters = [chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else " " for code in codes]  # one each
    starts = [0, *(index + 1 for index, letter in enumerate(letters) if letter == "\n"), len(letters) + 1]
    for start, end in itertools.pairwise(starts):
        inked = [index for index in range(start, end - 1) if not letters[index].isspace()]
        text = re.sub(r"\s+", " ", "".join(letters[start : end - 1])).strip("\ufffe\u00ad\ufe0f ")
        if inked and text:
            size = raw.FPDFText_GetFontSize(text_page, inked[0])
            right = text_page.get_charbox(inked[-1])[2]
            yield _Line(text, size, right)


_LARGER = 1.12  # times the size of the body: a heading
_ITEM = re.compile(
    r"^(?:[-*•·●○▪◦]|\d{1,2}[.)、．](?!\d)|[(（]\d{1,2}[)）]"
    r"|第[一二三四五六七八九十百千零〇\d]+[条章节编款](?![的之规至到和或及款项、，,]))\s*"
)


def _paragraphs(lines: Iterable[_Line], body: float, edge: float) -> Iterator[str]:
    """Lines as paragraphs, list items and headings; a line that reaches the right edge goes on in the next."""
    text, before = "", _Line("", 0, 0)
    for line in lines:
        heading = line.size > body * _LARGER and len(line.text) < 80
        reaches = before.right > (0.75 if heading else 0.86) * edge and not re.search(r"[。！？!?；;]$", before.text)
        same = line.size == before.size if heading else not text.startswith("## ")
        if text and reaches and same and not _ITEM.match(line.text):
            text = _joined(text, _unmarked(line.text))
        else:
            if text:
                yield text
            text = "## " * heading + re.sub(r"^[•·●○▪◦]\s*", "- ", _unmarked(line.text))
        before = line
    if text:
        yield text


def _joined(text: str, more: str) -> str:
    """A line and the next one: a hyphen goes, and between Chinese letters stands no space."""
    if re.search(r"[a-z]-$", text):
        return text[:-1] + more
    return text + ("" if ord(text[-1]) > 0x2E80 and ord(more[0]) > 0x2E80 else " ") + more


READERS: dict[str, Callable[[Path], str]] = {
    ".md": _markdown, ".markdown": _markdown, ".txt": _text, ".text": _text, ".html": _html, ".htm": _html,
    ".docx": _docx, ".pdf": _pdf, ".csv": _csv, ".tsv": _csv, ".xlsx": _xlsx,
}  # fmt: skip
