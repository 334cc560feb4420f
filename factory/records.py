"""The words of the project as frozen types that travel as JSON Lines.

`Example` and `Preference` rows are in TRL's conversational formats (prompt-completion, preference) as they stand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from factory.errors import FactoryError
from factory.files import atomic_write, digest, read_lines

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Document:
    """Text of one source file (or of one row of a task file), and where it came from."""

    id: str
    text: str
    title: str = ""
    language: str = ""
    license: str = ""
    source: str = ""
    split: str = "train"  # "train" or "eval": an eval document is never seen by training
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Passage:
    """A span of a Document, small enough to ask questions about."""

    id: str
    document: str
    text: str
    title: str = ""
    language: str = ""
    license: str = ""
    source: str = ""
    split: str = "train"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """Prompt messages and the completion to learn; `provenance` says which passage and rule made it."""

    id: str
    task: str
    prompt: list[Message]
    completion: list[Message]
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def question(self) -> str:
        return self.prompt[-1]["content"]

    @property
    def answer(self) -> str:
        return self.completion[-1]["content"]


@dataclass(frozen=True)
class Preference:
    """Prompt messages with a better and a worse answer."""

    id: str
    task: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalItem:
    """A question of the frozen eval set: reference answers and the name of the scorer that judges."""

    id: str
    task: str
    prompt: list[Message]
    references: list[str]
    scorer: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def question(self) -> str:
        return self.prompt[-1]["content"]


@dataclass(frozen=True)
class Prediction:
    """One model's answer to one EvalItem, and its score from 0 to 1."""

    id: str
    task: str
    question: str
    references: list[str]
    prediction: str
    score: float
    truncated: bool = False


R = TypeVar("R", Document, Passage, Example, Preference, EvalItem, Prediction)


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Write records as JSON Lines, atomically; return how many."""
    count = 0
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            row = dataclasses.asdict(record) if dataclasses.is_dataclass(record) else record  # type: ignore[arg-type]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of a JSON Lines file; FactoryError names the line that is not a JSON object
    or whose texts cannot be written as UTF-8."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\ud" in line or "\\uD" in line:
                json.dumps(row, ensure_ascii=False).encode()  # no file can hold half a letter
        except json.JSONDecodeError as error:
            raise FactoryError(f"{path}:{number} is not JSON ({error.msg}).", "One JSON object a line.") from error
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise FactoryError(f"{path}:{number} holds half a letter ({half}).", "Mend it or leave it out.") from error
        if not isinstance(row, dict):
            raise FactoryError(f"{path}:{number} is not a JSON object.", "One JSON object a line.")
        yield number, row


def read_records(path: Path, kind: type[R]) -> list[R]:
    """The records of a file that this program wrote."""
    return [kind(**row) for _, row in read_rows(path)]


def scores_by_task(predictions: Iterable[Prediction]) -> dict[str, list[float]]:
    """The scores of answers (0 to 1), by task, in their order."""
    found: dict[str, list[float]] = {}
    for row in predictions:
        found.setdefault(row.task, []).append(row.score)
    return found


def eval_digest(items: Sequence[EvalItem]) -> str:
    """The digest of an eval set: of what its items ask, what answers them, and how that is judged."""
    return digest([[item.id, item.prompt, item.references, item.scorer] for item in items])
