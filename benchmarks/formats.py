"""The format matrix: two known texts written by real programs, read again here and by MarkItDown.

    python -m venv .work/markitdown && .work/markitdown/bin/pip install 'markitdown[all]'
    python benchmarks/formats.py                # needs LibreOffice (soffice), Chromium, python-docx; about five minutes

For each file: the share of the known words that come back (Chinese: pairs of letters; each counted as often as it stands in
the text), in how far their order is kept, and the share of the known headings that come back as headings.
Results go to benchmarks/results/formats.json and .md, and into the tables of docs/formats.md and .zh-CN.md; the files lie in .work/formats.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import html
import json
import re
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from quality import inserted  # noqa: E402

RESULTS = HERE / "results"
WORK = Path(".work/formats").resolve()
PEER = Path(".work/markitdown/bin/python").absolute()
PEER_CODE = """
import json, sys
from markitdown import MarkItDown
reader = MarkItDown()
for path in sys.stdin.read().splitlines():
    try:
        print(json.dumps([path, reader.convert(path).text_content]))
    except Exception as error:
        print(json.dumps([path, ""]), file=sys.stdout)
        print(path, str(error).splitlines()[0][:200], file=sys.stderr)
"""
Block = tuple[str, object]  # ("h1" | "h2" | "h3" | "p", text) or ("ul" | "ol", entries) or ("table", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only files with this in their name")
    parser.add_argument("--keep", action="store_true", help="read the files of the last time again")
    arguments = parser.parse_args()
    if not arguments.keep:
        shutil.rmtree(WORK, ignore_errors=True)
        for language in ("en", "zh"):
            write_all(known(language), language, WORK / language)
    files = {path: path.parent.name for path in sorted(WORK.glob("??/*")) if arguments.only in path.name}
    ours = {path: read_ours(path) for path in files}
    theirs = read_theirs(list(files))
    rows = [
        {"file": path.name, "language": language, "ours": score(ours[path], language), "markitdown": score(theirs[path], language)}
        for path, language in files.items()
    ]  # fmt: skip
    made = table(rows)
    sys.stdout.write(made)
    if not arguments.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "formats.md").write_text(made, encoding="utf-8")
        result = {"rows": rows, "versions": versions()}
        (RESULTS / "formats.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        for page in ("docs/formats.md", "docs/formats.zh-CN.md"):
            path = HERE.parent / page
            path.write_text(inserted(path.read_text(encoding="utf-8")), encoding="utf-8")


def known(language: str) -> list[Block]:
    """The known text as blocks."""
    blocks: list[Block] = []
    for part in (HERE / "texts" / f"formats.{language}.md").read_text(encoding="utf-8").strip().split("\n\n"):
        lines = part.split("\n")
        if part.startswith("#"):
            marks, _, text = part.partition(" ")
            blocks.append((f"h{len(marks)}", text))
        elif part.startswith("- "):
            blocks.append(("ul", [line[2:] for line in lines]))
        elif part.startswith("1. "):
            blocks.append(("ol", [line.partition(" ")[2] for line in lines]))
        elif part.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            blocks.append(("table", [rows[0], *rows[2:]]))
        else:
            blocks.append(("p", part))
    return blocks


# Writers


def write_all(blocks: list[Block], language: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    page = as_html(blocks, language)
    (folder / "markdown.md").write_text(
        (HERE / "texts" / f"formats.{language}.md").read_text(encoding="utf-8"), "utf-8"
    )
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "text.txt").write_bytes(as_text(blocks).encode("gb18030"))
    write_docx(blocks, language, folder / "python-docx.docx")
    write_pptx(blocks, folder / "python-pptx.pptx")
    write_xlsx(blocks, folder / "openpyxl.xlsx")
    with (folder / "table.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows(as_sheet(blocks))
    write_rows(blocks, folder)
    for columns in (1, 2):
        print_page(as_html(blocks, language, columns), folder / f"chromium-columns-{columns}.pdf")
    by_office(folder / "page.html", folder, "docx", "libreoffice", "--infilter=HTML (StarWriter)")
    made = folder / "libreoffice.docx"
    for kind in ("pdf", "epub", "html"):
        by_office(made, folder, kind, "libreoffice")
    write_two_columns(made, folder / "two-columns.docx")
    by_office(folder / "two-columns.docx", folder, "pdf", "libreoffice-columns-2")
    (folder / "two-columns.docx").unlink()
    by_office(folder / "python-docx.docx", folder, "pdf", "python-docx-libreoffice")
    by_office(folder / "openpyxl.xlsx", folder, "xlsx", "libreoffice")
    by_office(folder / "python-pptx.pptx", folder, "pptx", "libreoffice")
    by_office(folder / "python-pptx.pptx", folder, "pdf", "libreoffice-slides")
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "libreoffice.docx", "手册/handbook.docx")


def as_html(blocks: list[Block], language: str, columns: int = 1) -> str:
    style = "h1 { column-span: all } table { border-collapse: collapse } td, th { border: 1px solid #888; padding: 2px 6px }"
    parts = "\n".join(_html(*block) for block in blocks)
    return (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{blocks[0][1]}</title>'
        f"<style>body {{ font: 11pt/1.5 'Noto Serif CJK SC', serif; columns: {columns} }} {style}</style></head>"
        f"<body>\n{parts}\n</body></html>"
    )


def _html(kind: str, content: object) -> str:
    if isinstance(content, str):
        return f"<{kind}>{html.escape(content)}</{kind}>"
    assert isinstance(content, list)
    if kind == "table":
        lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in content)
        return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
    return f"<{kind}>" + "".join(f"<li>{html.escape(entry)}</li>" for entry in content) + f"</{kind}>"


def as_text(blocks: list[Block]) -> str:
    return "\r\n\r\n".join("\r\n".join(_lines(*block)) for block in blocks) + "\r\n"


def _lines(kind: str, content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for number, entry in enumerate(content, 1):
            yield "\t".join(entry) if kind == "table" else f"- {entry}" if kind == "ul" else f"{number}. {entry}"


def write_docx(blocks: list[Block], language: str, path: Path) -> None:
    import docx

    document = docx.Document()
    for kind, content in blocks:
        if isinstance(content, str):
            if kind == "p":
                document.add_paragraph(content)
            else:
                document.add_heading(content, int(kind[1]) - 1)  # 0 is Word's Title
        elif kind == "table" and isinstance(content, list):
            grid = document.add_table(len(content), len(content[0]), style="Table Grid")
            for row, cells in enumerate(content):
                for column, cell in enumerate(cells):
                    grid.cell(row, column).text = cell
        elif isinstance(content, list):
            for entry in content:
                document.add_paragraph(entry, "List Bullet" if kind == "ul" else "List Number")
    document.save(str(path))


def write_two_columns(source: Path, path: Path) -> None:
    import docx
    from docx.oxml.ns import qn

    document = docx.Document(str(source))
    for section in document.sections:
        found = section._sectPr.find(qn("w:cols"))
        columns = found if found is not None else section._sectPr.makeelement(qn("w:cols"), {})
        if found is None:
            section._sectPr.append(columns)
        columns.set(qn("w:num"), "2")
        columns.set(qn("w:space"), "500")
    document.save(str(path))


def write_pptx(blocks: list[Block], path: Path) -> None:
    """A slide for each heading: its paragraphs and entries in the body, a table below them."""
    from pptx import Presentation
    from pptx.util import Inches, Pt

    deck = Presentation()
    body = None
    for kind, content in blocks:
        if kind in ("h1", "h2", "h3"):
            slide = deck.slides.add_slide(deck.slide_layouts[0 if kind == "h1" else 1])
            slide.shapes.title.text = content
            body = slide.placeholders[1].text_frame
            body.word_wrap = True
        elif kind == "table" and isinstance(content, list):
            grid = slide.shapes.add_table(
                len(content), len(content[0]), Inches(1), Inches(3.8), Inches(8), Inches(3)
            ).table
            for row, cells in enumerate(content):
                for column, cell in enumerate(cells):
                    grid.cell(row, column).text = cell
        else:
            for entry in [content] if isinstance(content, str) else content:
                paragraph = body.paragraphs[0] if not body.text else body.add_paragraph()
                paragraph.text = entry
                paragraph.font.size = Pt(12)
    deck.save(str(path))


def as_sheet(blocks: list[Block]) -> list[list[str]]:
    """The whole text as rows: the heading, and what stands below it."""
    rows = [["heading", "text"]]
    for kind, content in blocks:
        if kind in ("h1", "h2", "h3"):
            rows.append([str(content), ""])
        elif kind != "table":
            rows += [["", entry] for entry in ([content] if isinstance(content, str) else content)]
        else:
            rows += content
    return rows


def write_xlsx(blocks: list[Block], path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in as_sheet(blocks):
        book.active.append(row)
    book.save(path)


def write_rows(blocks: list[Block], folder: Path) -> None:
    """A row for each heading with the text below it."""
    import pyarrow
    import pyarrow.parquet

    rows: list[dict[str, str]] = []
    for kind, content in blocks:
        if kind in ("h1", "h2", "h3"):
            rows.append({"title": str(content), "text": ""})
        else:
            rows[-1]["text"] += "\n".join(_lines(kind, content)) + "\n\n"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    (folder / "rows.json").write_text(json.dumps({"data": rows}, ensure_ascii=False), "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")


def by_office(source: Path, folder: Path, kind: str, name: str, *options: str) -> None:
    """A file written anew by LibreOffice."""
    made = folder / "made"
    command = ["soffice", "--headless", f"-env:UserInstallation=file://{WORK}/profile", *options]
    subprocess.run([*command, "--convert-to", kind, "--outdir", made, source], check=True, capture_output=True)
    (made / f"{source.stem}.{kind}").rename(folder / f"{name}.{kind}")
    shutil.rmtree(made)


def print_page(page: str, path: Path) -> None:
    source = path.with_suffix(".print.html")
    source.write_text(page, encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={path}")
    subprocess.run(["/usr/bin/chromium", *options, str(source)], check=True, capture_output=True, timeout=120)
    source.unlink()


# Readers


def read_ours(path: Path) -> str:
    from factory.documents import read_folder

    folder = read_folder(path)
    for skipped in folder.skipped:
        print("ours:", skipped.name, skipped.reason, file=sys.stderr)
    return "\n\n".join(document.text for document in folder.documents)


def read_theirs(paths: list[Path]) -> dict[Path, str]:
    if not PEER.exists():
        sys.exit(f"{PEER} is missing: see the top of this file")
    done = subprocess.run(
        [PEER, "-c", PEER_CODE], input="\n".join(map(str, paths)), capture_output=True, text=True, check=True
    )
    print(done.stderr[-3000:], file=sys.stderr)
    return {Path(path): text for path, text in map(json.loads, done.stdout.splitlines())}


# Scores


def score(text: str, language: str) -> dict[str, float]:
    blocks = known(language)
    wanted = words(
        "\n".join(re.sub(r"^(- |\d+\. )", "", line) for block in blocks for line in _lines(*block)), language
    )
    got = words(re.sub(r"<!--.*?-->", "", text), language)
    common = Counter(wanted) & Counter(got)
    matched = difflib.SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    headings = [squeezed(str(content)) for kind, content in blocks if kind in ("h1", "h2", "h3")]
    found = {squeezed(line) for line in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE)}
    return {
        "words": round(sum(common.values()) / len(wanted), 4),
        "in_order": round(sum(block.size for block in matched) / len(wanted), 4),
        "headings": round(sum(heading in found for heading in headings) / len(headings), 4),
    }


def words(text: str, language: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text)
    if language == "en":
        return re.findall(r"[a-z0-9]+", text.lower())
    runs = re.findall(r"[\u4e00-\u9fff0-9]+", re.sub(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])", "\n", text))
    return [run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))]


def squeezed(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


def table(rows: list[dict]) -> str:
    """Shares in percent, by language: words / words in their order / headings (a sheet has none)."""

    def cell(row: dict[str, float], sheet: bool) -> str:
        shares = [f"{100 * row[what]:.1f}".removesuffix(".0") for what in ("words", "in_order", "headings")]
        return " / ".join([*shares[:2], "-" if sheet else shares[2]])

    lines = ["| file | here, en | here, zh | MarkItDown, en | MarkItDown, zh |", "| --- " * 5 + "|"]
    for name in dict.fromkeys(row["file"] for row in rows):
        found = {
            (reader, row["language"]): row[reader]
            for row in rows
            if row["file"] == name
            for reader in ("ours", "markitdown")
        }
        cells = [
            cell(found[reader, language], name.endswith(("csv", "xlsx")))
            for reader in ("ours", "markitdown")
            for language in ("en", "zh")
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    return "\n".join([*lines, "", f"Percent: words / words in their order / headings. {told}.", ""])


def versions() -> dict[str, str]:
    def said(*command: str) -> str:
        found = re.search(r"\d+(\.\d+)+", subprocess.run(command, capture_output=True, text=True).stdout)
        return found[0] if found else "unknown"

    ours = {
        name: version(name)
        for name in ("pypdfium2", "mammoth", "markdownify", "python-pptx", "openpyxl", "pyarrow", "python-docx")
    }
    peer = said(str(PEER), "-c", "from importlib.metadata import version; print(version('markitdown'))")
    return {
        **ours,
        "LibreOffice": said("soffice", "--version"),
        "Chromium": said("/usr/bin/chromium", "--version"),
        "MarkItDown": peer,
    }


if __name__ == "__main__":
    main()
