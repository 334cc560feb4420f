"""Files of every format, made here byte by byte, become Markdown; what cannot be read is named with its reason."""

from __future__ import annotations

import codecs
import io
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from papers import pdf

from factory import documents
from factory.documents import Unreadable, read_documents, read_folder
from factory.errors import FactoryError
from factory.readers import base as reading
from factory.structure import blocks

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OLE = b"\xd0\xcf\x11\xe0" + bytes(600)
LOCKED = OLE + "EncryptedPackage".encode("utf-16-le")
BOMB = "<!DOCTYPE z [" + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol" * 99}">' for n in range(9)
)  # 10 ** 8 * 297 letters


def put(name: str, content: str | bytes) -> Path:
    path = Path("docs") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_file(path: Path) -> str:
    """The text of a file that is one document."""
    return documents.read(path.name, lambda: documents._loaded(path)).texts[""]


def refused(path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        read_file(path)
    return str(caught.value)


def docx(body: str, before: str = "") -> bytes:
    """The least that Word opens: `body` is the XML of its paragraphs, `before` stands before the root."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    relation = '<Relationship Id="r{}" Type="{}/{}" Target="{}"{}/>'
    related = [
        relation.format(1, office, "numbering", "numbering.xml", ""),
        relation.format(2, office, "styles", "styles.xml", ""),
        relation.format(3, office, "image", "media/lost.png", ""),
    ]
    levels = "".join(f'<w:lvl w:ilvl="{n}"><w:numFmt w:val="bullet"/></w:lvl>' for n in (0, 1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">{relation.format(1, office, "officeDocument", "word/document.xml", "")}</Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}/relationships">{"".join(related)}</Relationships>',
        "word/styles.xml": f'<w:styles xmlns:w="{W}"><w:style w:type="paragraph" w:styleId="a3"><w:name w:val="Title"/></w:style></w:styles>',
        "word/numbering.xml": f'<w:numbering xmlns:w="{W}"><w:abstractNum w:abstractNumId="0">{levels}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>',
        "word/document.xml": f'{before}<w:document xmlns:w="{W}" xmlns:r="{office}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
        ' xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture" '
        f'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"><w:body>{body}</w:body></w:document>',
    }
    return packed(parts)


def packed(parts: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def para(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def item(text: str, level: int) -> str:
    return para(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>')


def xlsx(sheets: dict[str, list[Sequence[object]]]) -> bytes:
    import openpyxl

    book, file = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(file)
    return file.getvalue()


# Formats


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_markdown_with_front_matter(newline: str) -> None:
    path = put(
        "a.md", '---\ntitle: "工会章程"\ntags:\n  - x\n---\n正文。\n<!-- no\n-->![图](a.png)'.replace("\n", newline)
    )
    assert read_file(path) == "# 工会章程\n\n正文。"


def test_a_rule_at_the_top_is_no_front_matter() -> None:
    assert "first" in read_file(put("a.md", "---\n\nfirst\n\n---\n\nsecond"))
    assert read_file(put("a.md", "---\ntitle: T\n---\n# H\n\nx")) == "# H\n\nx"


def test_titles() -> None:
    put("a.md", "```sh\n# no title\n```\n\ntext")
    put("b.md", "text\n\n# The *title* #\n")
    put("c.md", "Under\n=====\n\ntext")
    put("handbook.pdf.md", "text")
    assert [document.title for document in read_documents(Path("docs"), "en")] == [
        "a",
        "The *title*",
        "Under",
        "handbook",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_of_chinese(encoding: str) -> None:
    assert (
        read_file(put("a.txt", "职工应当参加工会，\r\n并交纳会费。".encode(encoding)))
        == "职工应当参加工会，\n并交纳会费。"
    )


def test_other_encodings() -> None:
    english = "“It’s a café”, she said."
    assert read_file(put("a.txt", english.encode("cp1252"))) == english
    assert read_file(put("a.txt", codecs.BOM_UTF16_BE + "章程".encode("utf-16-be"))) == "章程"
    assert read_file(put("a.txt", ("中文" * 20).encode()[:-1])) == "中文" * 19 + "中"  # cut off in a letter
    assert read_file(put("a.html", '<meta charset="big5"><p>繁體中文</p>'.encode("big5"))) == "繁體中文"
    assert read_file(put("a.html", '<meta charset="gb2312"><p>简体</p>'.encode("gbk"))) == "简体"


def test_broken_letters_are_left_out_and_named() -> None:
    broken = ("中文" * 20).encode() + b"\xff" + "字".encode()
    rows = b'[{"text": "' + broken + b'"}]'
    put("a.txt", broken), put("b.md", broken), put("c.html", b"<p>" + broken), put("d.csv", b"x,y\n1," + broken)
    (
        put("e.json", rows),
        put("f.jsonl", rows[1:-1]),
        put("g.txt", "café".encode("cp1252")),
        put("h.txt", "好".encode("utf-16")),
    )
    put("i.epub", epub({"a.xhtml": "<p>text"}, ["a.xhtml"])), put("j.txt", broken + b"\xff")
    folder = read_folder(Path("docs"))
    assert len(folder.documents) == 10 and not any("\ufffd" in document.text for document in folder.documents)
    assert [f"{skipped.name}: {skipped.reason}" for skipped in folder.skipped] == [
        *(
            f"1 broken letter of {name}: not UTF-8"
            for name in ("a.txt", "b.md", "c.html", "d.csv", "e.json", "f.jsonl")
        ),
        "2 broken letters of j.txt: not UTF-8",
    ]


def test_plain_text_is_no_code_and_has_no_tags() -> None:
    (block,) = blocks(read_file(put("a.txt", "    List<String> x\n\u3000\u3000第二行")))
    assert (block.kind, block.lines) == ("text", ("List<String> x", "第二行"))


def test_html() -> None:
    page = """<html><head><title>Guide</title><script>alert(1)</script><style>p {}</style></head><body>
    <nav>menu<script>x</script></nav><form><h2>Rooms</h2><input value=no><p>See <a href="http://example.com">the plan</a> &lt;here&gt;.<img src="http://127.0.0.1:9/x.png"></p><p># 1 is one</p><!-- gone --></form>
    <ul><li>one<ul><li>deep</li></ul></li><li>two</li></ul><ol><li>first</li></ol>
    <table><tr><th>a</th><th>b</th></tr><tr><td>x|y</td><td>1<br>2</td></tr></table><footer>end</footer></body></html>"""
    text = read_file(put("a.html", page))
    assert text.startswith("# Guide\n\n## Rooms\n")
    found = {block.kind: block for block in reversed(blocks(text))}
    assert found["text"].lines == ("See the plan <here>.",) and "\\# 1 is one" in text
    assert found["list"].lines == ("one: deep", "two") and found["steps"].lines == ("first",)
    assert found["table"].cells == (("a", "b"), ("x|y", "1 2"))
    assert not any(word in text for word in ("menu", "alert", "gone", "end", "http", "p {}"))


def test_all_articles_of_a_page_are_read() -> None:
    assert read_file(put("a.html", "<body><article>one</article><article>two</article></body>")) == "one\n\ntwo"
    assert read_file(put("a.html", "<title>T</title><p>x<main>only</main>")) == "# T\n\nonly"


@pytest.mark.parametrize("around", ["article", "main", "section"])
def test_the_head_of_a_text_is_read_and_that_of_the_page_is_not(around: str) -> None:
    page = "<title>T</title><body><header>Logo<nav>menu</nav></header><{0}><header><h1>Title</h1><nav>x</nav></header><p>text</p></{0}></body>"
    assert read_file(put("a.html", page.format(around))) == "# Title\n\ntext"


def test_docx() -> None:
    table = "".join(
        f"<w:tr>{''.join(f'<w:tc>{para(c)}</w:tc>' for c in row)}</w:tr>" for row in (("名称", "值"), ("甲|乙", "1"))
    )
    image = '<w:p><w:r><w:drawing><wp:inline><a:graphic><a:graphicData><pic:pic><pic:blipFill><a:blip r:embed="r3"/></pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>'
    body = (
        para("员工手册", '<w:pStyle w:val="a3"/>') + para("请假", '<w:pStyle w:val="Heading2"/>') + para("提前三天申请。")
        + item("事假", 0) + item("半天", 1) + item("病假", 0) + f"<w:tbl>{table}</w:tbl>" + image
    )  # fmt: skip
    text = read_file(put("手册 1.docx", docx(body)))
    assert text.startswith("# 员工手册\n\n## 请假\n\n提前三天申请。")
    kinds = {block.kind: block for block in blocks(text)}
    assert kinds["list"].lines == ("事假：半天", "病假")
    assert kinds["table"].cells == (("名称", "值"), ("甲|乙", "1"))
    assert kinds["table"].headings == ("员工手册", "请假")


def test_xlsx() -> None:
    from datetime import datetime

    rows = [("品名", "日期", None), ("茶|叶", datetime(2024, 5, 1), None), (None, None, None), ("a\nb", 1.5, "")]
    text = read_file(put("a.xlsx", xlsx({"价格": rows, "empty": [], "one row": [("only", "head")]})))
    assert text == (
        "# 价格\n\n| 品名 | 日期 |\n| --- | --- |\n| 茶\\|叶 | 2024-05-01 |\n| a b | 1.5 |\n\n"
        "# one row\n\n| only | head |\n| --- | --- |"
    )
    assert blocks(text)[1].lines == ("only", "head")


def test_long_sheets_have_their_head_every_ten_rows() -> None:
    text = read_file(put("a.csv", "name,n\n" + "".join(f"x{n},{n}\n" for n in range(25))))
    assert [len(block.cells) for block in blocks(text)] == [11, 11, 6] and text.count("| name | n |") == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "名称,值\n“甲”,1;2\n乙,\n"), ("a.csv", "名称,值\n“甲”,1;2;3\n乙,4;5;6\n"),
        ("a.csv", "名称;值\n“甲”;1;2\n"), ("a.tsv", "名称\t值\n“甲”\t1;2\n"),
        ("a.csv", '"名称","值"\r\n"“甲”","1;2"\r\n"说 ""好"", 对","3"\r\n'),
    ],
)  # fmt: skip
def test_csv(name: str, content: str) -> None:
    for encoding in ("utf-8-sig", "gb18030"):
        (table,) = blocks(read_file(put(name, content.encode(encoding))))
        assert table.cells[0][:2] == ("名称", "值") and table.cells[1][0] == "“甲”"
    assert '""' not in content or table.cells[2] == ('说 "好", 对', "3")


def pptx(*slides: tuple[str, list[str]], notes: str = "") -> bytes:
    """Slides of a title and bullets; the last one has a table, a text box above it and notes."""
    from pptx import Presentation
    from pptx.util import Inches

    deck, file = Presentation(), io.BytesIO()
    for title, bullets in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(bullets)
    grid = slide.shapes.add_table(2, 2, Inches(1), Inches(5), Inches(4), Inches(1)).table
    for number, text in enumerate(("名称", "值", "甲|乙", "1")):
        grid.cell(number // 2, number % 2).text = text
    slide.shapes.add_textbox(Inches(1), Inches(1), Inches(4), Inches(1)).text_frame.text = "<b> box"
    slide.notes_slide.notes_text_frame.text = notes
    deck.save(file)
    return file.getvalue()


def test_pptx() -> None:
    text = read_file(put("a.pptx", pptx(("入职培训", ["第一天"]), ("报销", ["发票", "审批"]), notes="讲十分钟")))
    assert text == (
        "<!-- page 1 -->\n\n# 入职培训\n\n第一天\n\n<!-- page 2 -->\n\n## 报销\n\n\\<b> box\n\n- 发票\n- 审批\n\n"
        "| 名称 | 值 |\n| --- | --- |\n| 甲\\|乙 | 1 |\n\n讲十分钟"
    )
    assert {block.page for block in blocks(text)} == {1, 2}


def test_docx_of_python_docx() -> None:
    import docx as word

    made, file = word.Document(), io.BytesIO()
    made.add_heading("手册", 0), made.add_heading("总则", 1), made.add_heading("细则", 2)
    (
        made.add_paragraph("请假须提前三天。"),
        made.add_paragraph("事假", "List Bullet"),
        made.add_paragraph("申请", "List Number"),
    )
    made.save(file)
    text = read_file(put("a.docx", file.getvalue()))
    assert text == "# 手册\n\n# 总则\n\n## 细则\n\n请假须提前三天。\n\n- 事假\n\n1. 申请"


def epub(chapters: dict[str, str], spine: list[str], **more: str) -> bytes:
    """A book whose manifest lists chapters in one order and whose spine has another."""
    items = "".join(f'<opf:item id="i{n}" href="{name}"/>' for n, name in enumerate(chapters))
    order = "".join(f'<opf:itemref idref="i{list(chapters).index(name)}"/>' for name in spine)
    return packed({
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="O/b.opf"/></rootfiles></container>',
        "O/b.opf": '<opf:package><metadata><dc:title>The\nBook</dc:title></metadata><opf:manifest><opf:item id="toc" href="toc.xhtml" '
        f'properties="nav"/>{items}</opf:manifest><opf:spine><opf:itemref idref="toc"/>{order}</opf:spine></opf:package>',
        "O/toc.xhtml": "<body>contents</body>", **{f"O/{name}": page for name, page in chapters.items()}, **more,
    })  # fmt: skip


@pytest.mark.timeout(20)
def test_comments_and_images_without_an_end_stay_and_take_no_time() -> None:
    open_ones = "<!--![![![a](" * 100_000
    text = f"a<!-- x\n-->b![a\nb](c.png)<!-- page 3 -->![](d)[e](f)]-->)\n{open_ones}"
    assert read_file(put("a.md", text)) == f"ab<!-- page 3 -->[e](f)]-->)\n{open_ones}"


def test_epub() -> None:
    page = "<?xml version='1.0'?><html><head><title>no</title></head><body><h2>{}</h2><p>text</p></body></html>"
    made = epub({"b.xhtml": page.format("Two"), "a b.xhtml": page.format("One")}, ["a b.xhtml", "b.xhtml"])
    put("a.epub", made)
    (document,) = read_folder(Path("docs")).documents
    assert document.text == "# The Book\n\n## One\n\ntext\n\n## Two\n\ntext" and document.title == "The Book"


def test_epub_that_names_a_chapter_many_times_has_it_once() -> None:
    assert read_file(put("a.epub", epub({"a.xhtml": "<p>text"}, ["a.xhtml"] * 3))) == "# The Book\n\ntext"


def test_epub_whose_headings_are_large_paragraphs() -> None:
    page = '<body><p class="p0"><span class="s1">Title</span></p><p class="p0"><span class="s2">Part</span></p><p class="p0"><span class="s3">{}</span></p></body>'
    css = ".s1 { color: red; font-size: 24pt }\n.s2 { font-size: 14.5pt }\n.s3 { font-size: 11pt }"
    text = read_file(put("a.epub", epub({"a.xhtml": page.format("word " * 30)}, ["a.xhtml"], **{"O/s.css": css})))
    assert text.startswith("# The Book\n\n# Title\n\n## Part\n\nword")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("员工手册\n\n第一章 总则\n\n（一）范围\n\n本手册适用于全体员工和实习生。", ["# 员工手册", "## 第一章 总则", "### （一）范围"]),
        ("Staff handbook\n\n1.1 Scope\n\nThis is about all who work here.", ["# Staff handbook", "### 1.1 Scope"]),
    ],
)  # fmt: skip
def test_headings_of_plain_text(text: str, made: list[str]) -> None:
    assert read_file(put("a.txt", text)).split("\n\n")[:-1] == made


@pytest.mark.parametrize(
    "text",
    ["Dear Sir,\n\nplease read this long line.", "短句。\n\n这里是一个更长的段落，没有标题。", "one line\nand another one\n\ntext text text text", "end"],
)  # fmt: skip
def test_what_is_no_heading_in_plain_text(text: str) -> None:
    assert read_file(put("a.txt", text)) == text


# Archives


def test_zip_is_read_as_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("手册/b.md", "# 乙\n\n文")
        archive.writestr("a.md", "text")
        archive.writestr("__MACOSX/a.md", "no"), archive.writestr(".git/x.md", "no"), archive.writestr("empty/", "")
        archive.writestr("inner.zip", packed({"x.md": "x"})), archive.writestr("film.mp4", "x")
        link = zipfile.ZipInfo("link.md")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../../out.md", "stays inside")
    put("all.zip", file.getvalue()), put("z.md", "last")
    folder = read_folder(Path("docs"), "zh", "CC0-1.0")
    assert [document.id for document in folder.documents] == [
        "all.zip/a.md",
        "all.zip/out.md",
        "all.zip/手册/b.md",
        "z.md",
    ]
    assert folder.documents[2].source == "docs/all.zip/手册/b.md" and folder.documents[2].license == "CC0-1.0"
    assert {skipped.name: skipped.reason for skipped in folder.skipped} == {
        "all.zip/film.mp4": ".mp4: no document that can be read", "all.zip/link.md": "a link",
        "all.zip/inner.zip": ".zip: an archive in an archive: unpack it first",
    }  # fmt: skip
    assert not Path("../out.md").exists() and not Path("out.md").exists()


def test_zip_made_by_chinese_windows() -> None:
    named = packed({"aaaa.md": "文"}).replace(b"aaaa.md", "章程".encode("gb18030") + b".md")
    put("a.zip", named)
    assert [document.id for document in read_folder(Path("docs")).documents] == ["a.zip/章程.md"]


def test_zip_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one large member nor many that are large together; what the archive says of their sizes is not believed."""
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    bomb = packed({"a.md": "x" * 5_000_000, "b.md": "good"})
    put("a.zip", bomb), put("b.zip", packed({f"{n:02}.md": "x" * 90_000 for n in range(20)}))
    folder = read_folder(Path("docs"))
    reasons = {skipped.name: skipped.reason for skipped in folder.skipped}
    assert reasons["a.zip/a.md"] == "larger than 0 MB" and "a.zip/b.md" in {
        document.id for document in folder.documents
    }
    assert reasons["b.zip/19.md"].startswith("the archive holds more than") and len(folder.documents) == 1 + 12


def test_zip_is_not_unpacked_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that is too large is not opened, and a broken one counts."""
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    broken = bytearray(packed({f"{n:02}.md": "x" * 90_000 for n in range(20)}))
    for found in re.finditer(b"PK\1\2", broken):
        broken[found.start() + 16] ^= 1  # the checksum
    put("a.zip", bytes(broken)), put("b.zip", packed({"a.md": "x" * 5_000_000}))
    opened: list[str] = []
    once = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda self, member: (opened.append(member.filename), once(self, member))[1]
    )
    reasons = {skipped.name: skipped.reason for skipped in read_folder(Path("docs")).skipped}
    assert opened == [f"{n:02}.md" for n in range(12)] and reasons["b.zip/a.md"] == "larger than 0 MB"
    assert reasons["a.zip/11.md"] == "broken in the archive" and "holds more" in reasons["a.zip/12.md"]


# What cannot be read


def test_each_file_that_cannot_be_read_is_named_and_the_others_are_read() -> None:
    encrypted = "/Encrypt<</Filter/Standard/V 1/R 2/O<{0}>/U<{0}>/P -4>>/ID[<{0}><{0}>]".format("ab" * 32)
    bad: dict[str, tuple[str | bytes, str]] = {
        "empty.md": ("", "empty"), "blank.csv": (" \n,,\n", "empty"), "zero.txt": (b"ab\0c", "zero bytes"),
        "image.png": (b"\x89PNG", ".png: no document"), "Makefile": ("all:", "no suffix"),
        "broken.docx": ("no zip", "broken: File is not a zip"), "other.docx": (packed({"a": "b"}), "valid .docx"),
        "broken.xlsx": (docx("")[:-40], "broken: "), "broken.pdf": ("%PDF-1.4 no", "broken PDF"),
        "secret.pdf": (pdf([(11, "You see nothing")], trailer=encrypted), "password"),
        "scan.pdf": (pdf(b"q 90 0 0 90 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q"), "scanned"),
        "field.csv": ("a,b\n1," + "x" * 140_000, "field larger than field limit"), "half.txt": (b"\xff\xfea", "broken: "),
        "bytes.txt": (b"\x81\x20\xff\x81", "neither UTF-8 nor GB18030"), "old.doc": (OLE, "save it as .docx"), "old.xls": (OLE, "save it as .xlsx"),
        "old.docx": (OLE, "an old Office file under a new name"), "locked.docx": (LOCKED, "with a password"), "locked.xlsx": (LOCKED, "with a password"),
        "locked.pptx": (LOCKED, "with a password"), "other.pptx": (packed({"a": "b"}), "broken: "), "other.epub": (packed({"a": "b"}), "it has no META-INF"),
        "shut.epub": (epub({"a.xhtml": "x"}, ["a.xhtml"], **{"META-INF/encryption.xml": '<CipherReference URI="O/a.xhtml"/>'}), "copy protection"),
        "broken.zip": ("no zip", "broken zip"), "void.zip": (packed({}), "empty"), "broken.parquet": ("PAR1", "broken: "), "broken.json": ("[1,", "broken: "),
        "all.rar": ("Rar!", "unpack it first"),
    }  # fmt: skip
    for name, (content, _) in bad.items():
        put(name, content)
    later, unnamed = bytearray(packed({"a.md": "a"})), bytearray(packed({"aä.md": "a"}))
    later[later.index(b"PK\1\2") + 6] = 99  # the version that it takes to unpack it
    unnamed[unnamed.rindex(b"\xc3\xa4")] = 0xFF  # said to be UTF-8
    put("later.zip", bytes(later)), put("unnamed.zip", bytes(unnamed))
    bad |= dict.fromkeys(("later.zip", "unnamed.zip"), (b"", "broken zip"))
    secret = bytearray(packed({"a.md": "secret"}))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag that says: encrypted
        secret[secret.index(mark) + place] |= 1
    put("secret.zip", bytes(secret))
    bad["secret.zip/a.md"] = (b"", "with a password")
    put("last of all.md", "Read.")
    folder = read_folder(Path("docs"))
    assert [document.text for document in folder.documents] == ["Read."]
    reasons = {skipped.name: skipped.reason for skipped in folder.skipped}
    assert reasons.keys() == bad.keys()
    for name, (_, reason) in bad.items():
        assert reason in reasons[name], name


def test_names_order_and_what_a_document_is() -> None:
    for name in ("乙 文件.md", "b/z.md", "b.txt", "甲/一 二.MD", ".git/x.md", ".hidden.md", "a.md", "__pycache__/x.md"):
        put(name, f"# {name}\n\ntext")
    folder = read_folder(Path("docs"), "zh", "CC0-1.0")
    assert [document.id for document in folder.documents] == ["a.md", "b/z.md", "b.txt", "乙 文件.md", "甲/一 二.MD"]
    assert not folder.skipped
    first = folder.documents[0]
    assert (first.title, first.language, first.license, first.source) == ("a.md", "zh", "CC0-1.0", "docs/a.md")
    (alone,) = read_folder(Path("docs/b/z.md")).documents
    assert alone.id == "z.md" and alone.title == "b/z.md"


def test_a_name_in_gb18030_can_be_written() -> None:
    put("x.md", "text").rename(os.fsdecode(b"docs/" + "章程.md".encode("gb18030")))
    (document,) = read_folder(Path("docs")).documents
    assert (document.id, document.title, document.source) == ("章程.md", "章程", "docs/章程.md")


def test_half_a_letter_of_a_row_is_left_out() -> None:
    put("a.jsonl", '{"title": "T\\ud83d", "text": "An emoji was cut \\ud83d"}\n')
    (document,) = read_folder(Path("docs")).documents
    assert (document.title, document.text) == ("T", "# T\n\nAn emoji was cut")


@pytest.mark.timeout(20)
def test_links_and_pipes_are_named_and_not_followed() -> None:
    outside = put("../outside.md", "secret")
    put("a.md", "text")
    Path("docs/link.md").symlink_to(outside.resolve())
    Path("docs/loop").symlink_to(Path("docs").resolve())
    Path("docs/dead.md").symlink_to("nowhere")
    os.mkfifo("docs/pipe.md")
    folder = read_folder(Path("docs"))
    assert [document.id for document in folder.documents] == ["a.md"]
    assert [(skipped.name, skipped.reason) for skipped in folder.skipped] == [
        ("dead.md", "a link"), ("link.md", "a link"), ("loop", "a link"), ("pipe.md", "no regular file")
    ]  # fmt: skip


def test_files_and_folders_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    put("closed.md", "x"), put("open.md", "y"), put("shut/z.md", "z")
    read_bytes, scandir = Path.read_bytes, os.scandir

    def denied(original: Callable[..., object], word: str) -> Callable[..., object]:
        def call(path: object) -> object:
            if word in str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)

        return call

    monkeypatch.setattr(Path, "read_bytes", denied(read_bytes, "closed"))
    monkeypatch.setattr(os, "scandir", denied(scandir, "shut"))
    folder = read_folder(Path("docs"))
    assert [document.id for document in folder.documents] == ["open.md"]
    assert {skipped.name: skipped.reason for skipped in folder.skipped} == {
        "closed.md": "Permission denied", "shut": "a folder: Permission denied"
    }  # fmt: skip


def test_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.md", "x" * 100), put("b.md", "y" * 2_000_001), put("c.md", "z" * 100), put("d.md", "last")
    monkeypatch.setattr(reading, "MOST_BYTES", 2_000_000)
    monkeypatch.setattr(documents, "MOST_LETTERS", 150)
    folder = read_folder(Path("docs"))
    assert [document.id for document in folder.documents] == ["a.md", "c.md"]
    assert [skipped.reason for skipped in folder.skipped] == ["larger than 2 MB", "more than 0 million letters in all"]


def test_a_zip_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    big = docx(para("x" * 2_000_000))
    assert len(big) < 100_000
    assert "when unpacked" in refused(put("a.docx", big)) and "when unpacked" in refused(put("a.xlsx", big))


@pytest.mark.timeout(60)
def test_entities_neither_explode_nor_read_files() -> None:
    secret = put("../secret.txt", "SECRET").resolve()
    outside = f'<!DOCTYPE z [<!ENTITY a8 SYSTEM "{secret.as_uri()}">]>'
    good = zipfile.ZipFile(io.BytesIO(xlsx({"s": [("head",), ("cell",)]})))
    sheet = "xl/worksheets/sheet1.xml"
    parts = {name: good.read(name).decode() for name in good.namelist()}
    for name, before in (("bomb", BOMB + "]>"), ("file", outside)):
        put(f"{name}.docx", docx(para("plain &a8;"), before))
        cells = f"{before}{parts[sheet].replace('<t>', '<t>&a8;')}"
        put(f"{name}.xlsx", packed({**parts, sheet: cells}))
    folder = read_folder(Path("docs"))
    assert "SECRET" not in str(folder) and len(str(folder)) < 3000
    assert len(folder.skipped) + len(folder.documents) == 4
    assert {"bomb.docx", "bomb.xlsx"} <= {skipped.name for skipped in folder.skipped}


def test_missing_root() -> None:
    with pytest.raises(FactoryError, match="does not exist"):
        read_folder(Path("nowhere"))
    Path("void").mkdir()
    assert read_folder(Path("void")) == documents.Folder([], [])
