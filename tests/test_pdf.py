"""Pages of a PDF, made byte by byte or printed by Chromium, come back in reading order as headings, paragraphs and tables."""

from __future__ import annotations

import io
import itertools
import random
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from papers import pdf
from PIL import Image, ImageDraw, ImageFont

from factory.readers import paragraphs, scan
from factory.readers.base import Unreadable
from factory.readers.boxes import Box, Line, Page, Run
from factory.readers.paragraphs import Habits
from factory.readers.pdf import read_pdf
from factory.structure import blocks

WIDE = "A long line of a paragraph that goes to the right edge of the page and on, see"
PICTURE = b"q 90 0 0 90 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q"


def text_of(*pages: list[tuple[int, str]] | bytes) -> str:
    return read_pdf(pdf(*pages)).texts[""]


def parts(text: str, page: int = 1) -> list[str]:
    """The parts of one page."""
    return text.split(f"<!-- page {page} -->\n\n")[1].split("\n\n<!--")[0].split("\n\n")


def at(x: float, y: float, text: str, size: float = 10, font: str = "F") -> str:
    return f"BT /{font} {size} Tf {x} {y} Td ({text}) Tj ET "


def page(*pieces: str) -> bytes:
    return "".join(pieces).encode()


def lines(x: float, y: float, *texts: str) -> list[str]:
    return [at(x, y - 14 * number, text, font="C") for number, text in enumerate(texts)]


BOTH = [
    "The left column begins with this line and goes on over several lines that all fill it up to its right edge, for so it is in papers and in old books.",
    "It has a second paragraph of its own as well, which is short.",
    "Then the right column is to be read, which is not what one gets by reading from left to right across the gutter of the page, line after line.",
    "Here it ends, with a line that is long and one more.",
]
LEFT, RIGHT = ([line for text in BOTH[at : at + 2] for line in textwrap.wrap(text, 36)] for at in (0, 2))


def test_headings_paragraphs_and_running_heads() -> None:
    pages = [
        [(11, "Handbook of the club"), (20, f"Chapter {n}"), (11, WIDE), (11, "3.5 euros."), (11, "- one"), (11, "2. two"),
         (11, "77"), (11, "Total" + "!" * n), (11, f"{n}")]
        for n in range(1, 5)
    ]  # fmt: skip
    text = text_of(*pages)
    assert parts(text, 2) == ["## Chapter 2", f"{WIDE} 3.5 euros.", "- one", "2. two", "77", "Total!!"]
    assert [block.page for block in blocks(text) if block.kind == "list"] == [1, 2, 3, 4]


@pytest.mark.parametrize("number", ["7", "- 7 -", "Page 7 of 9", "7 / 9"])
def test_the_number_of_a_page_is_dropped(number: str) -> None:
    assert parts(text_of([(11, WIDE), (11, "ends here."), (11, number)])) == [f"{WIDE} ends here."]


def test_the_largest_heading_is_the_title_and_bold_lines_are_headings() -> None:
    made = page(at(72, 760, "Title", 24), at(72, 720, "Section", 15), *lines(72, 690, WIDE, "ends."))
    made += page(at(72, 640, "Bold heading", 10, "B"), *lines(72, 620, WIDE, "ends again."))
    made += page(at(72, 570, "Bold, and a sentence.", 10, "B"))
    assert parts(text_of(made)) == [
        "# Title", "## Section", f"{WIDE} ends.", "### Bold heading", f"{WIDE} ends again.", "Bold, and a sentence."
    ]  # fmt: skip


def test_letters_of_size_one_that_are_scaled() -> None:
    scaled = "BT /F 1 Tf 24 0 0 24 72 760 Tm (Title) Tj ET "
    small = "".join(f"BT /C 1 Tf 10 0 0 10 72 {700 - 14 * n} Tm ({line}) Tj ET " for n, line in enumerate(LEFT[:5]))
    assert parts(text_of(page(scaled, small))) == ["# Title", BOTH[0]]


@pytest.mark.parametrize("order", ["columns", "rows"])
def test_two_columns(order: str) -> None:
    """Whichever way the file holds them; the title stands above both, a short heading belongs to its column."""
    left, right = lines(60, 700, *LEFT), lines(310, 700, *RIGHT)
    mixed = [*left, *right] if order == "columns" else [line for row in zip(left, right, strict=True) for line in row]
    made = page(
        at(200, 760, "A title over both columns", 20), *mixed, at(60, 585, "Methods", 14), *lines(60, 560, *LEFT[:5])
    )
    assert parts(text_of(made)) == ["# A title over both columns", *BOTH[:2], "## Methods", BOTH[0], *BOTH[2:]]


def test_a_heading_across_parts_the_columns_into_bands() -> None:
    above, below = (
        [*lines(60, 700, *LEFT), *lines(310, 700, *RIGHT)],
        [*lines(60, 540, *LEFT), *lines(310, 540, *RIGHT)],
    )
    made = parts(text_of(page(*above, at(60, 585, "Results", 14), *below)))
    assert made == [*BOTH, "# Results", *BOTH]


def test_a_turned_page() -> None:
    made = page("q 0 1 -1 0 595 0 cm ", at(60, 540, "Turned", 20), *lines(60, 500, *LEFT), "Q")
    assert parts(text_of(made)) == ["# Turned", *BOTH[:2]]


ROWS = [
    ("Item", "Period", "Fee"),
    ("Novel", "28 days", "none"),
    ("Sewing machine", "14 days", "2.00"),
    ("Atlas", "", "1.25"),
]
TABLE = (
    "| Item | Period | Fee |\n| --- | --- | --- |\n| Novel | 28 days | none |\n| Sewing machine | 14 days | 2.00 |\n| Atlas |  | 1.25 |"
)  # fmt: skip


def grid(top: float, rows: list[tuple[str, ...]] = ROWS, rules: bool = True) -> str:
    """A table with columns of 60 points, its rules drawn as they come: rectangles."""
    cells = [
        at(74 + 60 * column, top - 12 - 20 * row, text.split()[0], 8) + at(74 + 60 * column, top - 12 - 9 - 20 * row, " ".join(text.split()[1:]), 8)
        for row, texts in enumerate(rows) for column, text in enumerate(texts) if text
    ] if rules else [
        at(74 + 90 * column, top - 12 - 14 * row, text) for row, texts in enumerate(rows) for column, text in enumerate(texts) if text
    ]  # fmt: skip
    frames = [
        f"{70 + 60 * column} {top - 22 - 20 * row} 60 20 re S "
        for row, column in itertools.product(range(len(rows)), range(3))
    ]
    return "".join(cells) + "".join(frames) * rules


@pytest.mark.parametrize("rules", [True, False])
def test_tables(rules: bool) -> None:
    around = [*lines(72, 760, WIDE, "ends above it."), *lines(72, 500, WIDE, "ends below it.")]
    made = parts(text_of(page(*around, grid(700, rules=rules))))
    assert made == [f"{WIDE} ends above it.", TABLE, f"{WIDE} ends below it."]


def test_a_table_that_goes_on_has_its_head_on_the_next_page() -> None:
    above = page(*lines(72, 760, WIDE, "ends."), grid(700, ROWS[:3]))
    text = text_of(above, page(grid(780, [ROWS[3]]), *lines(72, 500, WIDE, "ends.")))
    assert parts(text, 2)[0] == "| Item | Period | Fee |\n| --- | --- | --- |\n| Atlas |  | 1.25 |"


def test_a_frame_around_a_text_is_no_table() -> None:
    made = page(
        "60 600 480 120 re S 62 602 476 116 re S ", *lines(72, 700, WIDE, "ends."), *lines(72, 650, WIDE, "Ends.")
    )
    assert parts(text_of(made)) == [f"{WIDE} ends.", f"{WIDE} Ends."]


@pytest.mark.parametrize(("installed", "said"), [(True, "OCR finds no text"), (False, "pip install 'rapidocr")])
def test_scanned_pages_are_named_and_blank_ones_are_not(
    installed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "can_read", lambda: installed)
    monkeypatch.setattr(scan, "read_page", lambda page: [])
    written = page(*lines(72, 700, WIDE, "ends."))
    made = read_pdf(pdf(written, b"", PICTURE, written))
    assert [skipped.name for skipped in made.left_out] == ["page 3"] and said in made.left_out[0].reason
    assert "<!-- page 4 -->" in made.texts[""]


SHEET = b"q 595 0 0 842 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q "  # a picture of the whole page
STAMP = page(at(72, 30, "Scanned by the office, page 3 of 9"))


@pytest.mark.parametrize("installed", [True, False])
def test_a_scanned_page_with_a_stamp_is_scanned(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its picture covers it, and it has only a few words; a stamp beside a small picture is a short page."""
    inked = Run(72, 700, 300, 714, "What the picture says, which is a good deal more than what the stamp says.", 10)
    monkeypatch.setattr(scan, "can_read", lambda: installed)
    monkeypatch.setattr(scan, "read_page", lambda page: [inked])
    written = page(*lines(72, 700, WIDE, "ends."))
    made = read_pdf(pdf(written, SHEET + STAMP, PICTURE + STAMP, SHEET + page(*lines(72, 700, WIDE, WIDE))))
    assert [skipped.name for skipped in made.left_out] == ([] if installed else ["page 2"])
    assert (inked.text in made.texts[""]) is installed and made.texts[""].count(inked.text) < 2


def test_a_picture_behind_a_few_words_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """OCR finds what the page says already: its own letters are the better ones, and nothing is lost."""
    monkeypatch.setattr(scan, "can_read", lambda: True)
    monkeypatch.setattr(
        scan, "read_page", lambda page: [Run(72, 30, 300, 44, "Scamed bv the office, page 3 of 9.", 10)]
    )
    made = read_pdf(pdf(SHEET + STAMP, page(*lines(72, 700, WIDE, "ends."))))
    assert made.left_out == [] and "Scanned by the office" in made.texts[""] and "Scamed" not in made.texts[""]


def test_a_file_whose_pages_are_all_scanned_is_refused_and_one_of_few_letters_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "can_read", lambda: False)
    with pytest.raises(Unreadable, match="scanned"):
        read_pdf(pdf(SHEET + STAMP, SHEET + STAMP, b""))
    made = read_pdf(pdf([(11, "Yes")], [(11, "No")], b"", b"", b"", b""))
    assert made.left_out == [] and "Yes" in made.texts[""] and "No" in made.texts[""]


def test_a_scanned_page_is_read_by_ocr() -> None:
    """A picture of two paragraphs below a heading, with the words of a page beside it."""
    picture = Image.new("RGB", (1240, 1754), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((120, 120), "Storing green tea", font=ImageFont.load_default(72), fill="black")
    told = ["Keep it in a tin, away from light and spices.", "It lasts for 18 months in a dry place."]
    for number, text in enumerate(told):
        draw.text((120, 320 + 160 * number), text, font=ImageFont.load_default(40), fill="black")
    file = io.BytesIO()
    picture.save(file, "PDF", resolution=150)
    made = read_pdf(file.getvalue())
    assert made.left_out == [] and "# Storing green tea" in made.texts[""]
    assert all(text in made.texts[""] for text in told)


def line(text: str, right: float, top: float, left: float = 72) -> Line:
    return Line(left, top - 11, right, top, text, 11, False, 520, 72)


def test_lines_are_joined() -> None:
    texts = [
        ("应当依照", 500), ("第三条的规定", 200), ("第四条 本法适用", 500), ("第五条 另行", 200), ("a com-", 500), ("mon word", 500),
        ("10.2 % and", 100), ("(3) an item that is long", 500), ("• dot", 500), ("12) last", 90),
    ]  # fmt: skip
    held = [line(text, right, 700 - 14 * number) for number, (text, right) in enumerate(texts)]
    assert [part.text for part in paragraphs._parts(held, Habits(11, False, 1.3, False, False))] == [
        "应当依照第三条的规定", "第四条 本法适用", "第五条 另行", "a common word 10.2 % and", "(3) an item that is long", "- dot", "12) last",
    ]  # fmt: skip


def test_a_hyphen_stays_where_a_document_does_not_part_words() -> None:
    plain = [(11, WIDE)] * 40
    assert "thirty-four" in text_of([*plain, (11, WIDE[:-10] + " thirty-"), (11, "four and more.")])


def test_what_parts_paragraphs() -> None:
    """Where they stand apart or are indented, a sentence that ends at the edge does not end one."""
    full, short = "字" * 39 + "。", "字" * 9 + "。"
    apart = [
        line(full, 520, 700),
        line(full, 520, 686),
        line(short, 180, 672),
        line(full, 520, 644),
        line(short, 180, 630),
    ]
    spaced = Habits(11, False, 14 / 11, True, False)
    assert [part.text for part in paragraphs._parts(apart, spaced)] == [full + full + short, full + short]
    close = [
        line(full, 520, 700, 94),
        line(short, 180, 686),
        line(full, 520, 672, 94),
        line(full, 520, 658),
        line(short, 90, 644),
    ]
    indented = Habits(11, False, 14 / 11, False, True)
    assert [part.text for part in paragraphs._parts(close, indented)] == [full + short, full + full + short]


def test_no_word_is_lost_wherever_it_stands() -> None:
    """Runs and rules thrown onto pages."""
    for seed in range(150):
        dice = random.Random(seed)
        pages, wanted = [], set()
        for number in range(dice.randrange(1, 4)):
            runs = []
            for at in range(dice.randrange(1, 60)):
                left, top, size = (
                    dice.choice([60, 200, 310, 400]) + dice.random() * 9,
                    dice.randrange(50, 800),
                    dice.choice([8, 10, 10, 20]),
                )
                texts = [f"w{number}x{at}y{piece}" for piece in range(dice.randrange(1, 6))]
                wanted |= set(texts)
                wide = 40 + dice.random() * 200
                pieces = tuple(
                    Run(left + wide * n / len(texts), top - size, left + wide * (n + 0.9) / len(texts), top, text, size)
                    for n, text in enumerate(texts)
                )
                runs.append(
                    Run(left, top - size, left + wide, top, " ".join(texts), size, dice.random() < 0.2, pieces, at)
                )
            rules = [
                Box(x, y, x + dice.choice([0, 90]), y + 40)
                for x in (50, 140, 230)
                for y in (100, 140)
                if dice.random() < 0.7
            ]
            pages.append(Page(runs, rules))
        text = paragraphs.to_markdown(pages)
        assert wanted <= set(re.findall(r"w\d+x\d+y\d+", text)), seed


# Printed by a browser

CHINESE = "中国工会是职工自愿结合的工人阶级的群众组织，是党联系职工群众的桥梁和纽带，依照第三条的规定执行。"


def printed(html: str) -> str:
    Path("a.html").write_text(f"<meta charset=utf-8>{html}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", "--print-to-pdf=a.pdf"]
    subprocess.run(["chromium", *options, "a.html"], check=True, capture_output=True, timeout=120)
    return read_pdf(Path("a.pdf").read_bytes()).texts[""]


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_pdf_of_a_browser() -> None:
    english = (
        "The library opens at nine in the morning and closes at six in the evening on every working day, they say, "
    )
    text = printed(f"""<style>body {{font-family: 'Noto Sans CJK SC'}} h2 {{break-before: page}}</style>
        <h1>工会章程</h1><p>{CHINESE * 2}</p><ul><li>第一项内容<li>第二项内容</ul><p>第一条　本章程自公布之日起施行。</p>
        <h2>Opening hours of the library and of the reading rooms on the second floor</h2><p>{english * 2}</p>
        <ol><li>Show it<li>Sit</ol><h2>Last</h2><p>List&lt;String&gt; stays.</p>""")  # fmt: skip
    assert text.split("\n\n") == [
        "<!-- page 1 -->", "# 工会章程", CHINESE * 2, "第一项内容", "第二项内容", "第一条 本章程自公布之日起施行。",
        "<!-- page 2 -->", "## Opening hours of the library and of the reading rooms on the second floor",
        (english * 2).strip(), "1. Show it", "2. Sit", "<!-- page 3 -->", "## Last", "List\\<String> stays.",
    ]  # fmt: skip


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_two_columns_and_a_table_of_a_browser() -> None:
    cells = "".join(f"<tr><td>{name}</td><td>{degrees}度</td></tr>" for name, degrees in (("茶类", 90), ("碧螺春", 80)))
    made = parts(printed(
        "<style>body {font: 11pt/1.5 'Noto Serif CJK SC'; columns: 2} h1 {column-span: all} td {border: 1px solid}</style>"
        f"<h1>员工手册</h1><h2>第一章 总则</h2><p>{CHINESE * 4}</p><table>{cells}</table><h2>第二章 附则</h2><p>{CHINESE * 5}</p>"
    ))  # fmt: skip
    assert made == [
        "# 员工手册", "## 第一章 总则", CHINESE * 4, "| 茶类 | 90度 |\n| --- | --- |\n| 碧螺春 | 80度 |", "## 第二章 附则", CHINESE * 5
    ]  # fmt: skip
