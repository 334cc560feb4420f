"""What took long to compute, kept on disk by the digest of what it was computed from, so that it is computed once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.models import home

ASKED_AT_ONCE = 500  # SQLite takes a limited number of parameters


class Store:
    """Rows of float32 below `factory.models.home()`, by key; several processes may use one at the same time.

    A row is written whole or not at all. Rows of one store have the same width.
    """

    def __init__(self, name: str) -> None:
        self.path: Path = home() / f"{name}.sqlite"

    def read(self, keys: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """The rows that are there, each of shape (width,)."""
        wanted = sorted(set(keys))
        found: dict[str, NDArray[np.float32]] = {}
        with closing(self._open()) as file:
            for start in range(0, len(wanted), ASKED_AT_ONCE):
                part = wanted[start : start + ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = file.execute(f"SELECT key, row FROM rows WHERE key IN ({marks})", part)  # noqa: S608
                found |= {key: np.frombuffer(row, dtype=np.float32) for key, row in rows}
        return found

    def write(self, rows: Mapping[str, NDArray[np.float32]]) -> None:
        """Add rows, all or none of them."""
        with closing(self._open()) as file, file:
            values = [(key, np.asarray(row, dtype=np.float32).tobytes()) for key, row in rows.items()]
            file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self.path, timeout=60)
        file.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, row BLOB)")
        return file


def key_of(*texts: str) -> str:
    """The key of something computed from these texts."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
