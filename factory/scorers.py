"""Scorers: pure functions of (prediction, references) to a score from 0 to 1, right for Chinese and English."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from factory.errors import FactoryError, suggest

Scorer = Callable[..., float]  # of (prediction, references), or of (prediction, references, question)
Judge = Callable[[str, Sequence[str], str], float]

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"(?:(\d+)\s+(?=\d+/\d))?(\d+(?:\.\d+)?)(?:\s*/\s*(\d+))?")


def normalize(text: str) -> str:
    """NFKC (full-width to half-width), lower case, single spaces, no closing punctuation."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().lower()
    return text.strip(" .。,;!?\"'“”:、")


def tokens(text: str) -> list[str]:
    """Words of a text; each Chinese character is a word of its own."""
    return _TOKEN.findall(normalize(text))


def exact(prediction: str, references: Sequence[str]) -> float:
    """1 when the prediction is one of the references after `normalize`, else 0."""
    return float(normalize(prediction) in {normalize(reference) for reference in references})


def choice(prediction: str, references: Sequence[str]) -> float:
    """`exact` on the first line: a model that goes on talking after its label is still right."""
    lines = [line for line in prediction.splitlines() if line.strip()]
    return exact(lines[0], references) if lines else 0.0


def labels(text: str) -> list[str]:
    """The entries of a list written with newlines, semicolons or bullets."""
    parts = re.split(r"[\n;；]", text)
    return [entry for part in parts if (entry := normalize(re.sub(r"^\s*(?:[-*•]|\d+[.)、])\s*", "", part)))]


def set_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 of the predicted set of entries against the best reference's; order and repetition do not count."""
    return max(_f1(set(labels(prediction)), set(labels(reference))) for reference in references)


def _f1(found: set[str], wanted: set[str]) -> float:
    if not found and not wanted:
        return 1.0
    return 2 * len(found & wanted) / (len(found) + len(wanted))


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """ROUGE-L F1 (Lin 2004) over words, Chinese over characters; the best of the references."""
    return max(_rouge_l(tokens(prediction), tokens(reference)) for reference in references)


def _rouge_l(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return 0.0
    row = [0] * (len(wanted) + 1)
    for word in found:
        diagonal = 0
        for column, other in enumerate(wanted, 1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return 2 * row[-1] / (len(found) + len(wanted))


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 over the bag of words (SQuAD, arXiv 1606.05250); the best of the references."""
    return max(_bag_f1(tokens(prediction), tokens(reference)) for reference in references)


def _bag_f1(found: list[str], wanted: list[str]) -> float:
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def numbers(text: str) -> list[float]:
    """The numbers of a text in order; 1/2, ½ and 1 ½ are read as one number each."""
    found = _NUMBER.findall(_plain(text))
    return [
        float(whole or 0) + (float(top) / float(below) if below and float(below) else float(top))
        for whole, top, below in found
    ]


def _plain(text: str) -> str:
    """Full-width and fraction characters as ASCII; 1½ as 1 1/2, where NFKC alone makes it 11/2."""
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)
    return unicodedata.normalize("NFKC", text).replace("⁄", "/")


def number(prediction: str, references: Sequence[str], tolerance: float = 0.1) -> float:
    """1 when the first number is within 10% of the reference's range of numbers ("10-12 minutes"), in its unit or none.

    Times and temperatures are converted: 90 minutes is 1 hour 30 minutes, 350 °F is 177 °C.
    """
    return max((_near(prediction, reference, tolerance) for reference in references), default=0.0)


def _near(prediction: str, reference: str, tolerance: float) -> float:
    prediction, reference = _in_minutes(prediction), _in_minutes(reference)
    found, wanted, unit = numbers(prediction), numbers(reference), _unit(reference)
    if not found or not wanted:
        return 0.0
    value = _convert(found[0], _unit(prediction) or unit, unit)
    low, high = min(wanted), max(wanted)
    return float(value is not None and low * (1 - tolerance) - 1e-9 <= value <= high * (1 + tolerance) + 1e-9)


def _in_minutes(text: str) -> str:
    """Hours that minutes follow, as minutes: "1 hour 30 minutes" is one time, not two numbers."""
    return _HOURS_MINUTES.sub(lambda match: f"{float(match[1]) * 60 + float(match[2]):g} minutes", _plain(text))


_HOURS_MINUTES = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:hours?|hrs?|h|个?小时)(?:\s+and)?[\s,，]*(\d+)\s*(?:min(?:ute)?s?|分钟?)", re.IGNORECASE
)


def _convert(value: float, unit: str, wanted: str) -> float | None:
    """`value` in the wanted unit; None where the units measure different things."""
    if unit == wanted:
        return value
    if unit in _SECONDS and wanted in _SECONDS:
        return value * _SECONDS[unit] / _SECONDS[wanted]
    if (unit, wanted) == ("fahrenheit", "celsius"):
        return (value - 32) / 1.8
    return value * 1.8 + 32 if (unit, wanted) == ("celsius", "fahrenheit") else None


_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_UNITS = {
    "second": r"\d\s*(?:s\b|sec|秒)", "minute": r"\d\s*(?:min|分)", "hour": r"\d\s*(?:h\b|hr|hour|小时)",
    "day": r"\d\s*(?:day|天)", "month": r"\d\s*(?:month|个月)", "fahrenheit": r"\d\s*(?:°|º|degrees?)?\s*f\b",
    "celsius": r"\d\s*(?:°|º|degrees?)?\s*c\b|摄氏|\d\s*度",
}  # fmt: skip


def _unit(text: str) -> str:
    text = _plain(text).lower()
    found = [(match.start(), name) for name, form in _UNITS.items() if (match := re.search(form, text))]
    return min(found)[1] if found else ""


def log_distance(prediction: str, references: Sequence[str]) -> float:
    """Closeness of two numbers on a logarithmic scale, as LawBench scores prison terms (arXiv 2309.16289).

    1 - |ln(reference + 1) - ln(prediction + 1)| / ln(216), not below 0; 216 months bound the distance there.
    """
    found = numbers(prediction)
    if not found:
        return 0.0
    distances = [abs(math.log1p(wanted[0]) - math.log1p(found[0])) for r in references if (wanted := numbers(r))]
    return max(0.0, 1 - min(distances) / math.log(216)) if distances else 0.0


BUILT_IN: dict[str, Scorer] = {
    "exact": exact, "choice": choice, "set_f1": set_f1, "rouge_l": rouge_l, "token_f1": token_f1,
    "number": number, "log_distance": log_distance,
}  # fmt: skip


def find(name: str, extra: dict[str, Scorer], where: str = "") -> Scorer:
    """A scorer by name: the domain's own first, then the built-in ones."""
    known = BUILT_IN | extra
    if name not in known:
        raise FactoryError(f"{where + ': ' if where else ''}unknown scorer '{name}'.", suggest(name, known))
    return known[name]
