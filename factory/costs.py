"""What an answer costs: a run's measured models from a price per hour, and hosted models from a dated list of prices.

What was measured lies in a run's `costs.json` (factory.costing writes it). Prices are in dollars; those of hosted models come
from prices.toml here and from the domain's own prices.toml.
"""

from __future__ import annotations

import datetime
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.errors import FactoryError, suggest
from factory.files import digest, read_json, read_text

FILE = "costs.json"
OWN = "prices.toml"  # in a domain's folder
MILLION = 1e6
FORM = "A row is [MODEL] with input and output (dollars per million tokens), date (2024-07-18) and source."
_KEYS = ("input", "output", "date", "source", "also")


@dataclass(frozen=True)
class Measured:
    """So many answers of a model, all asked at once, and what they took."""

    digest: str  # of the model
    standard: str  # of the questions
    machine: str
    engine: str
    answers: int
    tokens_in: int
    tokens_out: int
    seconds: float
    seconds_alone: float  # the median of an answer that nothing else is asked beside
    peak_gb: float
    joules: float | None  # of the processor; None: this machine does not tell
    when: str

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_out / self.seconds

    @property
    def answers_per_hour(self) -> float:
        return 3600 * self.answers / self.seconds

    @property
    def joules_per_answer(self) -> float | None:
        return self.joules / self.answers if self.joules is not None else None

    def per_answer(self, price_per_hour: float) -> float:
        """Dollars, on a machine that always has something to answer."""
        return price_per_hour / self.answers_per_hour

    def per_million(self, price_per_hour: float) -> float:
        """Dollars for a million tokens, those of the questions and of the answers together."""
        return MILLION * self.per_answer(price_per_hour) * self.answers / (self.tokens_in + self.tokens_out)


@dataclass(frozen=True)
class Price:
    """A hosted model's price on a day, in dollars per million tokens."""

    model: str
    input: float
    output: float
    date: str
    source: str
    also: list[str] = field(default_factory=list)

    def per_answer(self, like: Measured) -> float:
        """Dollars for an answer with as many tokens as this one's: its own tokenizer may count some more or less."""
        return (like.tokens_in * self.input + like.tokens_out * self.output) / like.answers / MILLION

    def per_million(self, like: Measured) -> float:
        """Dollars for a million tokens in this mix of questions and answers."""
        return MILLION * self.per_answer(like) * like.answers / (like.tokens_in + like.tokens_out)

    def even(self, price_per_hour: float, like: Measured) -> float:
        """From how many answers an hour on a machine at this price is the cheaper one; 0: a price is not known or nothing."""
        return price_per_hour / self.per_answer(like) if self.per_answer(like) else 0.0


def measured(run_dir: Path) -> dict[str, Measured]:
    """What was measured of a run's models, by the name on the scoreboard."""
    path = run_dir / FILE
    return {name: Measured(**row) for name, row in read_json(path)["models"].items()} if path.exists() else {}


def price_per_hour(run_dir: Path, configured: float) -> float:
    """What an hour of the machine costs: as the last `factory cost --price-per-hour` said, else as domain.toml says; 0: not known."""
    path = run_dir / FILE
    said = read_json(path).get("price_per_hour") if path.exists() else None
    return float(configured if said is None else said)


def prices(folder: Path) -> dict[str, Price]:
    """The hosted models' prices by name; those of the domain in `folder` come first and count instead of ours."""
    ours = importlib.resources.files("factory").joinpath("prices.toml").read_text(encoding="utf-8")
    own = folder / OWN
    found = _read(read_text(own), str(own)) if own.exists() else {}
    return found | {name: price for name, price in _read(ours, "prices.toml").items() if name not in found}


def price_of(model: str, known: Mapping[str, Price]) -> Price | None:
    """The price of a model by one of its names, whatever their case and marks."""
    wanted = _plain(model)
    return next((price for price in known.values() if wanted in map(_plain, (price.model, *price.also))), None)


def marks(run_dir: Path, folder: Path) -> dict[str, str]:
    """The digests of what was measured and of the domain's own prices, so that the report is made anew."""
    found = {"costs": run_dir / FILE, "prices": folder / OWN}
    return {name: digest(read_text(path)) for name, path in found.items() if path.exists()}


def _read(text: str, where: str) -> dict[str, Price]:
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FactoryError(f"{where} is not TOML: {error}.", FORM) from error
    return {name: _price(name, row, f"{where}: [{name}]") for name, row in rows.items()}


def _price(name: str, row: Any, where: str) -> Price:
    if not isinstance(row, dict):
        raise FactoryError(f"{where} is no table.", FORM)
    for key in row:
        if key not in _KEYS:
            raise FactoryError(f"{where}: unknown key '{key}'.", suggest(key, _KEYS))
    for key in ("input", "output"):
        if not isinstance(row.get(key), int | float) or isinstance(row[key], bool) or row[key] < 0:
            raise FactoryError(f"{where}: {key} is missing or no price.", FORM)
    if not isinstance(row.get("date"), datetime.date) or not isinstance(row.get("source"), str) or not row["source"]:
        raise FactoryError(f"{where}: a price needs its date and source.", FORM)
    also = row.get("also", [])
    if not isinstance(also, list) or not all(isinstance(one, str) for one in also):
        raise FactoryError(f"{where}: also is no list of names.", 'Other names of the model: also = ["..."]')
    return Price(name, float(row["input"]), float(row["output"]), str(row["date"]), row["source"], also)


def _plain(name: str) -> str:
    """Letters and digits, without who hosts it: openai/GPT-4o_mini is gpt4omini."""
    return "".join(letter for letter in name.lower().rpartition("/")[2] if letter.isalnum())
