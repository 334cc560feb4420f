"""Files of every format, made here byte by byte, become Markdown; what cannot be read is named with its reason."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from factory import documents
from factory.documents import Unreadable, read_documents, read_file, read_folder
from factory.errors import FactoryError
from factory.structure import blocks

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
BOMB = "<!DOCTYPE z [" + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol" * 99}">' for n in range(9)
)  # 10 ** 8 * 297 letters


def put(name: str, content: str | bytes) -> Path:
    path = Path("docs") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


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


def pdf(*pages: list[tuple[int, str]] | bytes, trailer: str = "") -> bytes:
    """Pages of (font size, line) in Helvetica, or with a content stream of their own."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    for number, page in enumerate(pages):
        if not isinstance(page, bytes):
            lines = "".join(f"/F {size} Tf ({text}) Tj 0 -{size * 2} Td " for size, text in page)
            page = f"BT 72 740 Td {lines}ET".encode()
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F 3 0 R>>>>/Contents {5 + 2 * number} 0 R>>".encode()
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(page), page))
    file, starts = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    size = len(objects) + 1
    return (
        bytes(file)
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{len(file)}\n%%EOF"
        ).encode()
    )


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


def test_pdf() -> None:
    wide = "A long line of a paragraph that goes to the right edge of the page and on, see"
    pages = [
        [(11, "Handbook of the club"), (20, f"Chapter {n}"), (11, wide), (11, "3.5 euros."), (11, "- one"), (11, "2. two"),
         (11, "77"), (11, "Total" + "!" * n), (11, f"{n}")]
        for n in range(1, 5)
    ]  # fmt: skip
    text = read_file(put("a.pdf", pdf(*pages)))
    assert text.split("<!-- page 2 -->\n\n")[1].split("\n\n<!--")[0].split("\n\n") == [
        "## Chapter 2", f"{wide} 3.5 euros.", "- one", "2. two", "77", "Total!!"
    ]  # fmt: skip
    assert [block.page for block in blocks(text) if block.kind == "list"] == [1, 2, 3, 4]


def test_lines_of_a_pdf_are_joined() -> None:
    lines = [
        ("应当依照", 500), ("第三条的规定", 200), ("第四条 本法适用", 500), ("第五条 另行", 200), ("a com-", 500), ("mon word", 500),
        ("10.2 % and", 100), ("(3) an item that is long", 500), ("• dot", 500), ("12) last", 90),
    ]  # fmt: skip
    assert list(documents._paragraphs([documents._Line(text, 11, right) for text, right in lines], 11, 520)) == [
        "应当依照第三条的规定", "第四条 本法适用", "第五条 另行", "a common word 10.2 % and", "(3) an item that is long", "- dot", "12) last",
    ]  # fmt: skip


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_pdf_of_a_browser() -> None:
    chinese = "中国工会是职工自愿结合的工人阶级的群众组织，是党联系职工群众的桥梁和纽带，依照第三条的规定执行。" * 2
    english = (
        "The library opens at nine in the morning and closes at six in the evening on every working day, they say, " * 2
    )
    put("a.html", f"""<meta charset=utf-8><style>body {{font-family: 'Noto Sans CJK SC'}} h2 {{break-before: page}}</style>
        <h1>工会章程</h1><p>{chinese}</p><ul><li>第一项内容<li>第二项内容</ul><p>第一条　本章程自公布之日起施行。</p>
        <h2>Opening hours of the library and of the reading rooms on the second floor</h2><p>{english}</p>
        <ol><li>Show it<li>Sit</ol><h2>Last</h2><p>List&lt;String&gt; stays.</p>""")  # fmt: skip
    subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", "--print-to-pdf=docs/a.pdf", "docs/a.html"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert read_file(Path("docs/a.pdf")).split("\n\n") == [
        "<!-- page 1 -->", "## 工会章程", chinese, "第一项内容", "第二项内容", "第一条 本章程自公布之日起施行。",
        "<!-- page 2 -->", "## Opening hours of the library and of the reading rooms on the second floor",
        english.strip(), "1. Show it", "2. Sit", "<!-- page 3 -->", "## Last", "List\\<String> stays.",
    ]  # fmt: skip


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
        "bytes.txt": (b"\x81\x20\xff\x81", "neither UTF-8 nor GB18030"),
    }  # fmt: skip
    for name, (content, _) in bad.items():
        put(name, content)
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
    monkeypatch.setattr(documents, "MOST_BYTES", 2_000_000)
    monkeypatch.setattr(documents, "MOST_LETTERS", 150)
    folder = read_folder(Path("docs"))
    assert [document.id for document in folder.documents] == ["a.md", "c.md"]
    assert [skipped.reason for skipped in folder.skipped] == ["larger than 2 MB", "more than 0 million letters in all"]


def test_a_zip_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 100_000)
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
