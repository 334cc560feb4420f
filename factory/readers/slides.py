"""PowerPoint: a slide's title as a heading, its texts from top to bottom, its tables, and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from factory.readers.base import Reading, office, table, unmarked, whole


def read_pptx(data: bytes) -> Reading:
    """Each slide below `<!-- page N -->`; the first title is the document's."""
    from pptx import Presentation

    slides = []
    titled = False
    for number, slide in enumerate(Presentation(office(data)).slides, 1):
        title = slide.shapes.title
        said = " ".join(title.text_frame.text.split()) if title is not None else ""
        parts = [f"{'##' if titled else '#'} {unmarked(said)}"] if said else []
        titled = titled or bool(said)
        for shape in _shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                parts += _said(shape)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            parts += map(unmarked, slide.notes_slide.notes_text_frame.text.splitlines())
        slides.append("\n\n".join([f"<!-- page {number} -->", *filter(str.strip, parts)]))
    return whole("\n\n".join(slides) if any("\n" in slide for slide in slides) else "")


def _shapes(shapes: Iterable[Any]) -> Iterator[Any]:
    """From top to bottom and left to right, groups opened."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _said(shape: Any) -> Iterator[str]:
    """What a shape says: a table, or paragraphs, which are a list where there are several in a slide's body."""
    if getattr(shape, "has_table", False):
        yield table([cell.text for cell in row.cells] for row in shape.table.rows)
    elif shape.has_text_frame:
        paragraphs = [(part.level, " ".join(part.text.split())) for part in shape.text_frame.paragraphs]
        said = [(level, unmarked(text)) for level, text in paragraphs if text]
        if shape.is_placeholder and len(said) > 1:
            yield "\n".join(f"{'  ' * level}- {text}" for level, text in said)
        else:
            yield from (text for _, text in said)
