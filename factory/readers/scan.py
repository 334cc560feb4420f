"""Pages that are pictures: their text by RapidOCR (Chinese and English), whose models lie in its wheel; an extra."""

from __future__ import annotations

import functools
import importlib.util
import logging
import statistics
from typing import Any

from factory.errors import pip_install
from factory.readers.boxes import Run

_SCALE = 2.5  # pixels a point: 180 to the inch
_SURE = 0.6  # confidence of a line, 0 to 1, from which it counts
_LARGER = 1.35  # times the usual height of a line: another size of letters


def can_read() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("rapidocr") is not None


def why_not() -> str:
    """What is said about a page that gave no text."""
    if can_read():
        return "scanned: a picture in which OCR finds no text"
    return f"scanned: a picture without text ({pip_install('ocr')} reads such pages)"


def read_page(page: Any) -> list[Run]:
    """The lines of a pypdfium2 page as runs in points, read off its picture; sizes are those of the lines' boxes."""
    picture = page.render(scale=_SCALE).to_numpy()
    found = _engine()(picture)
    if found.boxes is None:
        return []
    high = page.get_height()
    lines = [
        (
            box[:, 0].min() / _SCALE,
            high - box[:, 1].max() / _SCALE,
            box[:, 0].max() / _SCALE,
            high - box[:, 1].min() / _SCALE,
            text,
        )
        for box, text, sure in zip(found.boxes, found.txts, found.scores, strict=True)
        if sure >= _SURE and text.strip()
    ]
    usual = statistics.median(top - bottom for _, bottom, _, top, _ in lines) if lines else 0.0

    def size(height: float) -> float:
        return round(0.75 * (height if height > _LARGER * usual else usual), 1)

    return [
        Run(float(left), float(bottom), float(right), float(top), text.strip(), size(float(top - bottom)), order=number)
        for number, (left, bottom, right, top, text) in enumerate(lines)
    ]


@functools.cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    log = logging.getLogger("RapidOCR")  # it tells on the screen which files it loads
    log.handlers = [logging.NullHandler()]
    log.propagate = False
    return RapidOCR(params={"Global.log_level": "critical"})
