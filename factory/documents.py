"""Files as people have them to Documents in Markdown: text, Markdown, HTML, Word, PDF, Excel, CSV.

Well-kept converters read the formats; what is decided here is which file is read at all, and what is said about the rest.
A file that cannot be read is named with the reason, never silently empty. Links are not followed.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    files = list(_files(root)) if root.is_dir() else [root]
    progress = Progress(say, "read", len(files), every=5)
    documents: list[Document] = []
    skipped: list[Skipped] = []
    letters = 0
    for number, path in enumerate(files):
        name = path.relative_to(root).as_posix() if root.is_dir() else path.name
        progress.at(number)
        try:
            if letters > MOST_LETTERS:
                raise Unreadable(f"more than {MOST_LETTERS / 1e6:.0f} million letters in all")
            text = read_file(path)
        except Unreadable as why:
            skipped.append(Skipped(name, str(why)))
            continue
        letters += len(text)
        documents.append(Document(name, text, _title(text, path), language, license, str(path)))
    return Folder(documents, skipped)


def read_file(path: Path) -> str:
    """One file as Markdown; Unreadable says why not."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Unreadable(f"{path.suffix.lower() or 'no suffix'}: no document that can be read")
    try:
        if path.is_symlink():
            raise Unreadable("a link")
        if path.stat().st_size > MOST_BYTES:
            raise Unreadable(f"larger than {MOST_BYTES // 1_000_000} MB")
        text = normalize_text(reader(path))
    except Unreadable:
        raise
    except ModuleNotFoundError as error:
        raise FactoryError(f"{path.name} needs the package '{error.name}'.", "pip install vertical-factory") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except Exception as error:  # whatever a converter says about a broken file
        raise Unreadable(
            f"broken: {str(error).splitlines()[0][:80] if str(error) else type(error).__name__}"
        ) from error
    if not text:
        raise Unreadable("empty")
    return text


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder, sorted; hidden ones are left out, links to folders not followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


def _title(text: str, path: Path) -> str:
    found = re.search(r"^#\s+(.+)$", text, re.MULTILINE)
    stem = Path(path.stem)  # "handbook.pdf.md" is what new-domain makes of handbook.pdf
    return found[1].strip() if found else (stem.stem if stem.suffix.lower() in READERS else stem.name)


# Readers: a path to Markdown


def _plain(path: Path) -> str:
    """UTF-8, else GB18030 (or UTF-16 where a byte order mark says so)."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise Unreadable("no text: it holds zero bytes")
        return text
    raise Unreadable("neither UTF-8 nor GB18030")


def _markdown(path: Path) -> str:
    """Without its front matter, comments and images; the title of the front matter becomes the heading."""
    text = _plain(path)
    front = re.match(r"\A---\n(.*?)\n---\n", text, re.DOTALL)
    if front:
        title = re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.MULTILINE)
        text = text[front.end() :]
        if title and not re.search(r"^#\s", text, re.MULTILINE):
            text = f"# {title[1]}\n\n{text}"
    text = re.sub(r"<!--(?! page \d+ -->).*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)


def _text(path: Path) -> str:
    """Plain text; what Markdown would read as code (indented lines) is text, too."""
    return "\n".join(line.strip(" \t\u3000") for line in _plain(path).splitlines())


def _html(path: Path) -> str:
    return _from_html(_plain(path))


def _from_html(page: str) -> str:
    from bs4 import BeautifulSoup
    from markdownify import markdownify

    soup = BeautifulSoup(page, "html.parser")
    for tag in soup(
        ["script", "style", "nav", "header", "footer", "form", "noscript", "template", "img", "svg", "iframe"]
    ):
        tag.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    text = str(markdownify(str(body), heading_style="ATX", bullets="-", strip=["a"], escape_misc=False))
    title = soup.title.get_text().strip() if soup.title else ""
    return text if re.search(r"^#\s", text, re.MULTILINE) or not title else f"# {title}\n\n{text}"


def _docx(path: Path) -> str:
    import mammoth

    with open(path, "rb") as file:
        return _from_html(mammoth.convert_to_html(file, external_file_access=False).value)


def _csv(path: Path) -> str:
    text = _plain(path)
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(text[:4000], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    return _table([row for row in csv.reader(io.StringIO(text), dialect)][: MOST_ROWS + 1])


def _xlsx(path: Path) -> str:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    sheets = []
    for sheet in book.worksheets:
        rows = [
            ["" if cell is None else str(cell) for cell in row]
            for row in sheet.iter_rows(values_only=True, max_row=MOST_ROWS)
        ]
        table = _table([row for row in rows if any(row)])
        if table:
            sheets.append(f"# {sheet.title}\n\n{table}")
    return "\n\n".join(sheets)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, headed again every ten rows so that a passage never stands without its head."""
    if len(rows) < 2:
        return ""
    width = max(len(row) for row in rows)

    def line(row: Sequence[str]) -> str:
        cells = [re.sub(r"\s+", " ", cell).replace("|", "\\|").strip() for cell in row]
        return "| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |"

    head = f"{line(rows[0])}\n{'| --- ' * width}|"
    return "\n\n".join("\n".join([head, *map(line, rows[start : start + 10])]) for start in range(1, len(rows), 10))


@dataclass(frozen=True)
class _Line:
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
    repeated = Counter(re.sub(r"\d+", "#", line.text) for page in pages for line in {*page[:2], *page[-2:]})
    running = {text for text, count in repeated.items() if len(pages) > 3 and count > len(pages) / 2}
    lines = [line for page in pages for line in page]
    body = statistics.mode(round(line.size) for line in lines for _ in range(len(line.text)))
    edge = max(line.right for line in lines)
    parts = []
    for number, page in enumerate(pages, 1):
        kept = [line for line in page if re.sub(r"\d+", "#", line.text) not in running and not line.text.isdigit()]
        parts.append(f"<!-- page {number} -->\n\n" + "\n\n".join(_paragraphs(kept, body, edge)))
    return "\n\n".join(parts)


def _pdf_lines(page: object) -> Iterator[_Line]:
    import pypdfium2.raw as raw

    text_page = page.get_textpage()  # type: ignore[attr-defined]
    codes = [raw.FPDFText_GetUnicode(text_page, index) for index in range(text_page.count_chars())]
    letters = [chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else " " for code in codes]  # one each
    starts = [0, *(index + 1 for index, letter in enumerate(letters) if letter == "\n"), len(letters) + 1]
    for start, end in itertools.pairwise(starts):
        inked = [index for index in range(start, end - 1) if not letters[index].isspace()]
        if inked:
            text = "".join(letters[start : end - 1])
            size = raw.FPDFText_GetFontSize(text_page, inked[0])
            right = text_page.get_charbox(inked[-1])[2]
            yield _Line(re.sub(r"\s+", " ", text).strip("\ufffe\u00ad\ufe0f "), size, right)


_ITEM = re.compile(
    r"^(?:[-*•·●○▪◦]|\d{1,2}[.)、．]|[(（]\d{1,2}[)）]|第[一二三四五六七八九十百千零〇\d]+[条章节编款])\s*"
)


def _paragraphs(lines: Iterable[_Line], body: float, edge: float) -> Iterator[str]:
    """Lines as paragraphs, list items and headings; a line that reaches the right edge goes on in the next."""
    text, open_ended = "", False
    for line in lines:
        if line.size > body * 1.12 and len(line.text) < 80:
            if text:
                yield text
            yield f"## {line.text}"
            text, open_ended = "", False
            continue
        if text and open_ended and not _ITEM.match(line.text):
            joined = "" if ord(text[-1]) > 0x2E80 and ord(line.text[0]) > 0x2E80 else " "
            text = text[:-1] + line.text if re.search(r"[a-z]-$", text) else text + joined + line.text
        else:
            if text:
                yield text
            text = re.sub(r"^[•·●○▪◦]\s*", "- ", line.text)
        open_ended = line.right > 0.86 * edge and not re.search(r"[。！？!?；;]$", line.text)
    if text:
        yield text


READERS: dict[str, Callable[[Path], str]] = {
    ".md": _markdown, ".markdown": _markdown, ".txt": _text, ".text": _text, ".html": _html, ".htm": _html,
    ".docx": _docx, ".pdf": _pdf, ".csv": _csv, ".tsv": _csv, ".xlsx": _xlsx,
}  # fmt: skip
