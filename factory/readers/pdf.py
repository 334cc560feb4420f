"""PDF by pdfium: letters, rules and pictures of its pages."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from factory.readers import scan
from factory.readers.base import Reading, Skipped, Unreadable, whole
from factory.readers.boxes import Box, Page, Run
from factory.readers.paragraphs import to_markdown

_SPACE = 0.2  # sizes of a letter: a wider gap parts words
_GAP, _WIDE_GAP = 0.75, 1.2  # a wider one, without and with a space in it, parts columns
_FEW = 100  # letters of a foot or a stamp on a scanned page; a Chinese letter counts for two
_LEAST = 10  # letters below which a page says nothing
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
_CUT = "\ufdd0"  # no letter of any text
_RADICALS = dict(
    zip("⺟⻅⻆⻋⻓⻔⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻨⻩⻬⻮⻰⻳⺠", "母见角车长门韦页风飞食马骨鬼鱼鸟麦黄齐齿龙龟民", strict=True)
)


def read_pdf(data: bytes) -> Reading:
    """Text below `<!-- page N -->`; pages that are pictures are read by OCR where that is installed, else named.

    Raises Unreadable where no other page has any text.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise Unreadable("a PDF with a password" if "assword" in str(error) else "broken PDF") from error
    try:
        pages = [_page(page) for page in document]
        scans = {number for number, page in enumerate(pages) if _is_scan(page)}
        for number in sorted(scans) if scan.can_read() else ():
            known, read = pages[number], replace(pages[number], runs=scan.read_page(document[number]))
            if _letters(read) >= _letters(known) + _LEAST:  # else the picture is the ground of those few words
                pages[number] = read
            if _letters(pages[number]) >= _LEAST:
                scans.remove(number)
    finally:
        document.close()
    if not any(_letters(page) for number, page in enumerate(pages) if number not in scans):
        raise Unreadable(scan.why_not())
    return whole(to_markdown(pages), [Skipped(f"page {number + 1}", scan.why_not()) for number in sorted(scans)])


def _is_scan(page: Page) -> bool:
    """A picture that stands alone, or one that covers most of the page and has only a few words beside it."""
    few = _FEW if page.pictured > 0.5 else _LEAST
    return page.pictures > 0 and _letters(page) < few


def _letters(page: Page) -> int:
    return sum(1 + bool(_IDEOGRAPH.match(letter)) for run in page.runs for letter in run.text)


def _page(page: Any) -> Page:
    import pypdfium2.raw as raw

    text_page = page.get_textpage()
    turn = _turn(text_page)
    rules: list[Box] = []
    pictures, pictured = 0, 0.0
    for part in page.get_objects(max_depth=2):
        if part.type == raw.FPDF_PAGEOBJ_IMAGE:
            pictures += 1
            pictured += _area(part) / math.prod(page.get_size())
        elif part.type == raw.FPDF_PAGEOBJ_PATH and part.container is None:
            box = Box(*_turned(part.get_bounds(), turn))
            if box.width * box.height < 0.9 * math.prod(page.get_size()):  # else it is the page's ground
                rules += _edges(box)
    return Page(list(_runs(text_page, rules, turn)), rules, pictures, pictured)


def _area(part: Any) -> float:
    """Of an object on the page: the bounds of one inside a form are in the form's own measure."""
    left, bottom, right, top = part.get_bounds()
    form = part.container.get_matrix() if part.container else None
    return float((right - left) * (top - bottom) * (abs(form.a * form.d - form.b * form.c) if form else 1))


def _edges(box: Box) -> Iterator[Box]:
    """A line itself, the four sides of a rectangle."""
    left, bottom, right, top = box.left, box.bottom, box.right, box.top
    if min(box.width, box.height) < 3:
        yield box
    else:
        yield from (Box(left, bottom, left, top), Box(right, bottom, right, top))
        yield from (Box(left, bottom, right, bottom), Box(left, top, right, top))


def _turn(text_page: Any) -> int:
    """By how many quarters most of the page's letters are turned."""
    import pypdfium2.raw as raw

    count = text_page.count_chars()
    angles = (raw.FPDFText_GetCharAngle(text_page, index) for index in range(0, count, max(1, count // 200)))
    quarters = Counter(round(angle / (math.pi / 2)) % 4 for angle in angles)
    return quarters.most_common(1)[0][0] if quarters else 0


def _turned(bounds: Sequence[float], turn: int) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a box on a page that is turned back."""
    left, bottom, right, top = bounds
    if turn == 3:
        return bottom, -right, top, -left
    if turn == 2:
        return -right, -top, -left, -bottom
    if turn == 1:
        return -top, left, -bottom, right
    return left, bottom, right, top


def _runs(text_page: Any, rules: Sequence[Box], turn: int) -> Iterator[Run]:
    """Letters in the order of the file, parted where the line ends, at wide gaps and at upright rules."""
    import pypdfium2.raw as raw

    upright = [rule for rule in rules if rule.width < 3 < rule.height]
    text, boxes, first = "", list[Box](), 0
    for index in range(text_page.count_chars()):
        code = raw.FPDFText_GetUnicode(text_page, index)
        letter = chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else " "
        letter = "-" if letter in "\ufffe\x02" else letter  # a hyphen at the end of a line
        if letter in "\u00ad\ufe0f":
            continue
        if letter == " " and raw.FPDFText_IsGenerated(text_page, index) == 1:
            text += _CUT * bool(boxes)
            continue
        box = None if letter.isspace() else _box(text_page, index, letter, turn)
        if letter in "\r\n" or (box and boxes and _is_apart(boxes[-1], box, text[-1:], upright)):
            if boxes:
                yield replace(_run(text, boxes, _is_bold(text_page, first)), order=first)
            text, boxes = "", []
        if box:
            first = first if boxes else index
            if (
                boxes
                and not text[-1:].isspace()
                and text[-1:] != _CUT
                and box.left - boxes[-1].right > _SPACE * box.height
            ):
                text += _CUT
            boxes.append(box)
        text += letter if boxes else ""
    if boxes:
        yield replace(_run(text, boxes, _is_bold(text_page, first)), order=first)


def _run(text: str, boxes: Sequence[Box], bold: bool) -> Run:
    """Letters with their boxes; a gap between them that is no space of the file stands as _CUT."""
    gaps = [two.left - one.right for one, two in itertools.pairwise(boxes)]
    usual = sorted(gaps or [0])[len(gaps) // 4]
    pieces, at, said = list[Run](), 0, ""
    for part in text.strip(f" {_CUT}").split(_CUT):
        inked = sum(not letter.isspace() for letter in part)
        if pieces:
            wide = [said[-1] > "\u2e80", part[0] > "\u2e80"]  # next to Chinese, a gap is rarely a space
            spaced = not any(wide) or (
                all(map(_IDEOGRAPH.match, (said[-1], part[0])))
                and gaps[at - 1] > usual + _SPACE * boxes[0].height * 0.9
            )
            said += " " * spaced
        said += part
        pieces.append(_piece(part, boxes[at : at + inked], bold))
        at += inked
    whole = _piece(said, boxes, bold)
    return replace(whole, pieces=tuple(pieces)) if len(pieces) > 1 else whole


def _piece(text: str, boxes: Sequence[Box], bold: bool) -> Run:
    said = "".join(_RADICALS.get(letter, letter) for letter in " ".join(text.split()))
    said = re.sub("[\u2f00-\u2fdf\ufb00-\ufb06]", lambda found: unicodedata.normalize("NFKC", found[0]), said)
    said = re.sub("^[\ue000-\uf8ff]", "•", said)  # bullets of symbol fonts
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    return Run(left, boxes[0].bottom, right, boxes[0].top, said, round(boxes[0].height, 1), bold)


def _box(text_page: Any, index: int, letter: str, turn: int) -> Box:
    """Of a letter: as high as its size, whatever its form. Some programs write size 1 and scale it."""
    import pypdfium2.raw as raw

    matrix, x, y = raw.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetMatrix(text_page, index, matrix)
    raw.FPDFText_GetCharOrigin(text_page, index, x, y)
    size = float(raw.FPDFText_GetFontSize(text_page, index)) * (math.hypot(matrix.c, matrix.d) or 1)
    left, _, right, _ = _turned(text_page.get_charbox(index, loose=True), turn)
    start, base, _, _ = _turned((x.value, y.value, x.value, y.value), turn)
    if _IDEOGRAPH.match(letter):  # each as wide as high, where pdfium measures the ink
        left, right = start, start + size
    return Box(left, base - 0.2 * size, right, base + 0.8 * size)


def _is_apart(before: Box, box: Box, between: str, upright: Sequence[Box]) -> bool:
    gap = (box.left - before.right) / (before.height or 1)
    if not -2 < gap < (_WIDE_GAP if between.isspace() else _GAP) or not before.bottom < box.middle < before.top:
        return True
    return any(
        before.right - 2 < rule.left and rule.right < box.left + 2 and rule.bottom < box.middle < rule.top
        for rule in upright
    )


def _is_bold(text_page: Any, index: int) -> bool:
    import pypdfium2.raw as raw

    flags = ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text_page, index, name, 128, flags)
    return bool(re.search(rb"bold|heavy|black|simhei", name.value, re.I))
