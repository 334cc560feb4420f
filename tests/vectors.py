"""Vectors for tests that must be quick: texts with the same letters pairs are near, whatever they mean."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def letter_pairs(texts: list[str]) -> Any:
    """Unit vectors (n, 256) of hashed pairs of letters."""
    rows = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for start in range(len(text)):
            row[zlib.crc32(text[start : start + 2].encode()) % 256] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def use(monkeypatch: pytest.MonkeyPatch, encode: Callable[[list[str]], Any] = letter_pairs) -> list[str]:
    """Let factory.embedding use these vectors; the list that is returned fills with the texts that were encoded."""
    seen: list[str] = []

    def spied(texts: list[str]) -> Any:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr("factory.embedding._encoder", lambda: (spied, "stub"))
    return seen
