"""EPUB: the chapters of a book in the order of its spine, each by way of HTML."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from factory.readers.base import Reading, Skipped, Unreadable, lost, office, plain, whole
from factory.readers.markup import body_of, heading, soup_of

_POINTS = {"pt": 1.0, "px": 0.75, "em": 12.0, "rem": 12.0, "%": 0.12}


def read_epub(data: bytes) -> Reading:
    """A book below its title. Raises Unreadable for copy protection."""
    with zipfile.ZipFile(office(data)) as archive:
        places = _named(soup_of(_member(archive, "META-INF/container.xml")), "rootfile")
        if not places:
            raise Unreadable("broken: an EPUB without a list of its parts")
        place = str(places[0].get("full-path", ""))
        book = soup_of(_member(archive, place))
        names = list(dict.fromkeys(_spine(book, posixpath.dirname(place))))
        if _locked(archive) & set(names):
            raise Unreadable("an EPUB with copy protection")
        chapters = [soup_of(_member(archive, name)) for name in names]
        left_out = [
            Skipped(f"{part.name} of {name}", part.reason) for name in names for part in lost(archive.read(name))
        ]
        styles = "\n".join(_member(archive, name) for name in archive.namelist() if name.lower().endswith(".css"))
    if not any(chapter.find(re.compile("^h[1-6]$")) for chapter in chapters):
        _mark_headings(chapters, _sizes(styles))
    for chapter in chapters:
        if chapter.title:
            chapter.title.decompose()
    text = "\n\n".join(filter(None, (body_of(chapter).strip() for chapter in chapters)))
    titles = _named(book, "title")
    title = " ".join(titles[0].get_text().split()) if titles else ""
    return whole(f"# {title}\n\n{text}" if text and title and heading(text) != title else text, left_out)


def _spine(book: Any, folder: str) -> Iterator[str]:
    """The names of the chapters in reading order, without the page of contents."""
    items = {str(item.get("id")): item for item in _named(book, "item")}
    for reference in _named(book, "itemref"):
        item = items.get(str(reference.get("idref")))
        if item is not None and "nav" not in str(item.get("properties", "")).split():
            yield posixpath.normpath(posixpath.join(folder, unquote(str(item.get("href", "")))))


def _named(soup: Any, name: str) -> list[Any]:
    """The elements of this name, with or without a namespace before it."""
    return list(soup.find_all(re.compile(f"^(?:[a-z]+:)?{name}$")))


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """The parts that are encrypted; fonts often are, in books that are not protected."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    listed = _named(soup_of(_member(archive, "META-INF/encryption.xml")), "cipherreference")
    return {unquote(str(item.get("uri", ""))) for item in listed}


def _member(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return plain(archive.read(name))
    except KeyError:
        raise Unreadable(f"broken: it has no {name}") from None


# Books whose headings are paragraphs in large letters, as LibreOffice writes them


def _sizes(styles: str) -> dict[str, float]:
    """The size of the letters in points by class."""
    found = re.findall(r"\.([\w-]+)[^{}]*\{[^}]*?font-size:\s*([\d.]+)(pt|px|r?em|%)", styles)
    return {name: float(size) * _POINTS[unit] for name, size, unit in found}


def _mark_headings(chapters: Sequence[Any], sizes: Mapping[str, float]) -> None:
    """Paragraphs that are set larger than most of the text become headings, the largest of the first level."""
    paragraphs = [(part, _size(part, sizes)) for chapter in chapters for part in chapter.find_all("p")]
    letters: Counter[float] = Counter()
    for part, size in paragraphs:
        letters[size] += len(part.get_text())
    body = letters.most_common(1)[0][0] if letters else 0.0
    larger = sorted({size for _, size in paragraphs if size > 1.12 * body}, reverse=True)
    for part, size in paragraphs:
        if size in larger and 0 < len(part.get_text().strip()) < 80:
            part.name = f"h{min(6, larger.index(size) + 1)}"


def _size(part: Any, sizes: Mapping[str, float]) -> float:
    """Of the innermost element that holds all of the paragraph's text."""
    inner = part.find_all("span", recursive=False)
    classes = [*(inner[0].get("class", []) if len(inner) == 1 else []), *part.get("class", [])]
    return next((sizes[name] for name in classes if name in sizes), 12.0)
