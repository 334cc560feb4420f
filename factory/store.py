"""What took long to compute, kept on disk by the digest of what it was computed from, so that it is computed once."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.errors import FactoryError
from factory.models import home

ASKED_AT_ONCE = 500  # SQLite takes a limited number of parameters
TABLE = "rows (key TEXT PRIMARY KEY, row BLOB)"
WAIT = 60  # seconds for another process that is writing


@contextmanager
def opened(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """A SQLite file of one table for one transaction, made where it is missing.

    Raises OSError where the disk is full and FactoryError for a file that is damaged or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=WAIT)) as file, file:
            file.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield file
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        hint = "Make the file and its folder writable."
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            hint = "Wait for the program that holds it."
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            hint = "Delete it: it is made anew."
        raise FactoryError(f"{path} cannot be used: {error}.", hint) from error


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
        with opened(self.path, TABLE) as file:
            for start in range(0, len(wanted), ASKED_AT_ONCE):
                part = wanted[start : start + ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = file.execute(f"SELECT key, row FROM rows WHERE key IN ({marks})", part)  # noqa: S608
                found |= {key: np.frombuffer(row, dtype=np.float32) for key, row in rows}
        return found

    def write(self, rows: Mapping[str, NDArray[np.float32]]) -> None:
        """Add rows, all or none of them."""
        with opened(self.path, TABLE) as file:
            values = [(key, np.asarray(row, dtype=np.float32).tobytes()) for key, row in rows.items()]
            file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)


def key_of(*texts: str) -> str:
    """The key of something computed from these texts."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
