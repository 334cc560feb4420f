"""Text, Markdown, HTML, and Word, which comes by way of HTML."""

from __future__ import annotations

import contextlib
import re
import warnings
from typing import TYPE_CHECKING

from factory.readers.base import Reading, lines_of, lost, office, plain, unmarked, whole

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_FRONT = re.compile(r"\A---[ \t]*\n(?=[\w-]+[ \t]*:)(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_COMMENT = re.compile(r"<!--(?! page \d+ -->).*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[(?:(?!!\[)[^\]])*\]\([^)]*\)")
_CHAPTER = re.compile(
    r"第[一二三四五六七八九十百零〇\d]+[编章部]|[一二三四五六七八九十]+、|(?:chapter|part)\b|\d+[.．]?\s", re.I
)
_SECTION = re.compile(r"第[一二三四五六七八九十百零〇\d]+节|[(（][一二三四五六七八九十]+[)）]|\d+[.．]\d")
_NO_TEXT = "script style nav footer noscript template img svg iframe input button select textarea datalist".split()


def heading(text: str) -> str:
    """The first heading of the first level; a comment in a piece of code is none."""
    text = re.sub(r"^(```|~~~).*?(?:^\1|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.search(r"^#[ \t]++(.*[^\s#].*)$|^(\S.*)\n=+[ \t]*$", text, re.MULTILINE)
    title = (found[1] or "").rstrip(" \t#") or found[2] if found else ""
    return re.sub(r"\\([^\w\s])", r"\1", title)


def read_markdown(data: bytes) -> Reading:
    """Without its front matter, comments and images; the title of the front matter becomes the heading."""
    text = plain(data)
    if front := _FRONT.match(text):
        title = re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", front[1], re.MULTILINE)
        text = text[front.end() :]
        if title and not heading(text):
            text = f"# {title[1]}\n\n{text}"
    return whole(_without(_IMAGE, ")", _without(_COMMENT, "-->", text)), lost(data))


def _without(shape: re.Pattern[str], end: str, text: str) -> str:
    """The text without what has this shape. Behind the last `end` nothing has, and each beginning would be followed to the end."""
    last = text.rfind(end) + len(end)
    return shape.sub("", text[:last]) + text[last:]


def read_text(data: bytes) -> Reading:
    """Plain text: a short line that stands alone above a longer one is a heading."""
    parts = re.split(r"\n(?:[ \t]*\n)+", lines_of(plain(data)).strip("\n"))
    if any(re.match(r"#{1,6} ", part) for part in parts):  # it is Markdown by another name
        return whole("\n\n".join(parts), lost(data))
    titled = [_is_title(part) for part in parts]
    made = []
    for number, part in enumerate(parts):
        below = next((len(parts[at]) for at in range(number + 1, len(parts)) if not titled[at]), 0)
        level = 1 if number == 0 else 3 if _SECTION.match(part) else 2
        made.append(f"{'#' * level} {part}" if titled[number] and below > len(part) else part)
    return whole("\n\n".join(made), lost(data))


def _is_title(part: str) -> bool:
    """One short line without a mark at its end that is no entry of a list."""
    wide = any(char > "\u2e80" for char in part)
    if "\n" in part or not part or len(part) > (30 if wide else 70) or re.search(r"[。！？；，：.!?;:,、|]$", part):
        return False
    return bool(_CHAPTER.match(part) or _SECTION.match(part) or re.match(r"[^\W\d_]", part))


def read_html(data: bytes) -> Reading:
    """As the page says it is encoded, if that is neither Unicode nor mainland Chinese, which `plain` knows better."""
    named = re.search(rb"<meta[^>]+charset=[\"']?([\w-]+)", data[:4000], re.IGNORECASE)
    encoding = named[1].decode().lower() if named else "utf-8"
    if not encoding.startswith(("utf", "gb", "hz")):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return whole(_from_html(data.decode(encoding)))
    return whole(_from_html(plain(data)), lost(data))


def _from_html(page: str) -> str:
    """A page as Markdown below its title."""
    soup = soup_of(page)
    title = soup.title.get_text().strip() if soup.title else ""
    if soup.title:
        soup.title.decompose()
    text = body_of(soup)
    return text if heading(text) or not title else f"# {title}\n\n{text}"


def soup_of(page: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # XHTML is read as HTML on purpose
        return BeautifulSoup(page, "html.parser")


def body_of(soup: BeautifulSoup) -> str:
    """The page's text as Markdown, without what surrounds it."""
    from bs4.element import NavigableString
    from markdownify import markdownify

    for tag in soup(_NO_TEXT):
        tag.decompose()
    for tag in soup("header"):
        if not tag.find_parent(
            ["article", "main", "section"]
        ):  # else it is no head of the page: it has the text's heading
            tag.decompose()
    articles = soup("article")
    body = soup.find("main") or (articles[0] if len(articles) == 1 else None) or soup.body or soup
    _name_columns(body)
    for part in body(string=True):
        if type(part) is not NavigableString:  # a comment
            continue
        said = str(part) if part.find_parent(["pre", "code"]) else re.sub(r"^(\s*)(?=#)", r"\1\\", unmarked(part))
        part.replace_with(said.replace("|", "\\|") if part.find_parent(["td", "th"]) else said)
    return str(markdownify(str(body), heading_style="ATX", bullets="-", strip=["a"], escape_misc=False))


def _name_columns(body: Tag) -> None:
    """The first row of a table without a head is its head, as Word writes them; two columns may be names and values."""
    for table in body("table"):
        first = table.find("tr")
        cells = first.find_all("td", recursive=False) if first and not table.find(["th", "thead"]) else []
        if len(cells) > 2 and all(cell.get_text(strip=True) for cell in cells):
            for cell in cells:
                cell.name = "th"


def read_docx(data: bytes) -> Reading:
    """Word, with its styles as headings."""
    import mammoth

    titles = "\n".join(f"p[style-name='{name}'] => h1:fresh" for name in ("Title", "标题"))
    no_image = mammoth.images.img_element(lambda image: {})
    made = mammoth.convert_to_html(office(data), style_map=titles, convert_image=no_image)
    return whole(_from_html(made.value))
