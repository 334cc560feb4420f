"""What the readers of all formats share: what they give back, their limits, and text that is safe as Markdown."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MOST_BYTES = 50_000_000  # of one file: more is no document of text
MOST_ROWS = 2000  # of one sheet
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # the marks it begins with
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"


class Unreadable(Exception):
    """Why a file gives no text."""


@dataclass(frozen=True)
class Skipped:
    """A file, or a part of one, that is in no document, and why."""

    name: str
    reason: str


def named(skipped: Sequence[Skipped], most: int, where_all: str) -> list[str]:
    """The first `most` in a line each below their number; where there are more, how many and where all of them stand."""
    lines = [f"  {one.name}: {one.reason}" for one in skipped[:most]]
    more = [f"  and {len(skipped) - most} more: {where_all}"] if len(skipped) > most else []
    return [f"{len(skipped)} left out:", *lines, *more] if skipped else []


@dataclass(frozen=True)
class Reading:
    """What a file says as Markdown: one text under the name "", or one for each of its rows under their numbers."""

    texts: Mapping[str, str]
    left_out: Sequence[Skipped] = ()  # named as parts of the file: "page 3"


def whole(text: str, left_out: Sequence[Skipped] = ()) -> Reading:
    """A file that is one text."""
    return Reading({"": text}, left_out)


def plain(data: bytes) -> str:
    """The text of bytes; raises Unreadable."""
    text = decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise Unreadable("no text: it holds zero bytes")
    return text


def decoded(data: bytes) -> str:
    """UTF-8 (a few broken bytes are left out: see `lost`), UTF-16 where a mark says so, else Windows-1252 or GB18030."""
    if data[:2] in _UTF16:
        return data.decode("utf-16")
    text = data.decode("utf-8-sig", "replace")
    if _is_utf8(text):
        return text.replace("\ufffd", "")
    high = sum(byte > 0x7F for byte in data)
    lone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", data))
    for encoding in ("cp1252", "gb18030") if lone * 2 >= high else ("gb18030",):  # Chinese comes in pairs
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    raise Unreadable("neither UTF-8 nor GB18030")


def _is_utf8(text: str) -> bool:
    """Whether few enough of the letters beyond ASCII could not be decoded."""
    return text.count("\ufffd") * 10 <= sum(char > "\x7f" for char in text)


def lost(data: bytes) -> list[Skipped]:
    """The broken letters that `decoded` leaves out, counted."""
    text = data.decode("utf-8-sig", "replace") if data[:2] not in _UTF16 else ""
    count = text.count("\ufffd")
    return [Skipped(f"{count} broken letter{'s' * (count > 1)}", "not UTF-8")] if count and _is_utf8(text) else []


def unmarked(line: str) -> str:
    """Plain text as Markdown: what looks like a tag would be left out."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", line)


def lines_of(text: str) -> str:
    """Plain text as Markdown; what it would read as code (indented lines) is text, too."""
    return "\n".join(unmarked(line.strip(" \t\u3000")) for line in text.splitlines())


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, headed again every ten rows so that a passage never stands without its head."""
    rows = [row for row in rows if any(map(str.strip, row))]
    width = max((number for row in rows for number, cell in enumerate(row, 1) if cell.strip()), default=0)

    def line(row: Sequence[str]) -> str:
        cells = [unmarked(re.sub(r"\s+", " ", cell).replace("|", "\\|").strip()) for cell in row[:width]]
        return "| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |"

    if not rows:
        return ""
    head = f"{line(rows[0])}\n{'| --- ' * width}|"
    tens = [rows[start : start + 10] for start in range(1, len(rows), 10)]
    return "\n\n".join("\n".join([head, *map(line, ten)]) for ten in tens or [[]])


def office(data: bytes) -> io.BytesIO:
    """An Office file (a zip) to read from; raises Unreadable for a password and for one that would fill the memory."""
    if data.startswith(_OLD_OFFICE):
        locked = "EncryptedPackage".encode("utf-16-le") in data
        raise Unreadable("with a password: save it without one" if locked else "an old Office file under a new name")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(part.file_size for part in archive.infolist()) > 10 * MOST_BYTES:
            raise Unreadable(f"larger than {10 * MOST_BYTES // 1_000_000} MB when unpacked")
    return io.BytesIO(data)
