"""What a model answered before, by the digest of everything that decides an answer, so that no question is asked twice.

One SQLite file for each domain, `runs/<domain>/answers.sqlite`: every run shares it, an eval set of which one item changed
costs one answer, and a build that was killed while it answered goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from factory.files import sha256
from factory.generate import Answer, Question
from factory.hardware import inspect_machine
from factory.store import opened

FILE = "answers.sqlite"
TABLE = "answers (key TEXT PRIMARY KEY, text TEXT, truncated INTEGER)"
DECIDING = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
NOTES = ("factory.json", "export.json")  # this program's own, on what it made


class Answers:
    """The answers of one model. `model`: the digest of its weights; `decoding`: what else decides them (stop words, n-gram limit, dtype)."""

    def __init__(self, path: Path, model: str, **decoding: object) -> None:
        self.path = path
        self._mark = json.dumps([model, sorted(decoding.items())], ensure_ascii=False, default=str)

    def find(self, questions: Sequence[Question]) -> dict[int, Answer]:
        """The answers that are kept, by the place of their question."""
        with opened(self.path, TABLE) as file:
            rows = (
                (place, file.execute("SELECT text, truncated FROM answers WHERE key = ?", (self._key(q),)).fetchone())
                for place, q in enumerate(questions)
            )
            return {place: Answer(row[0], bool(row[1])) for place, row in rows if row}

    def keep(self, answered: Iterable[tuple[Question, Answer]]) -> None:
        """Add answers, all or none of them; a bare one is none, and is asked for again."""
        with opened(self.path, TABLE) as file:
            file.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                [(self._key(asked), found.text, found.truncated) for asked, found in answered if not found.bare],
            )

    def _key(self, question: Question) -> str:
        task = question.task
        bound = [question.max_new_tokens, task.choices if task else (), task.separator if task else ""]
        text = json.dumps([self._mark, question.prompt, bound], ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def answers_of_weights(
    runs: Path, base: Path, adapter: Path | None, quantization: str, stop: Sequence[str], no_repeat_ngram: int
) -> Answers:
    """The answers that a base, or a base with an adapter, gave in any run of a domain on a machine of this precision."""
    decoding = {"stop": list(stop), "no_repeat_ngram": no_repeat_ngram, "quantization": quantization}
    return Answers(runs / FILE, weights_digest(base, adapter), **decoding, dtype=inspect_machine().answering.dtype)


def weights_digest(base: Path, adapter: Path | None) -> str:
    """The digest of a model: of every file of the base that decides its answers by name, size and time, of the adapter by content."""
    files = sorted(path for pattern in DECIDING for path in base.glob(pattern) if path.name not in NOTES)
    marks = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
    if adapter is not None:
        marks.append(sha256(adapter / "adapter_model.safetensors"))
    return hashlib.sha256("\n".join([str(base), *marks]).encode()).hexdigest()
