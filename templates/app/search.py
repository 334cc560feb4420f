"""The passage of the documents that is nearest to a question, by BM25 (Robertson and Zaragoza 2009)."""

from __future__ import annotations

import json
import re
from pathlib import Path

Passage = dict[str, str]  # text, title, where


class Passages:
    """passages.jsonl, indexed once; empty when the file is not there."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: list[Passage] = [json.loads(line) for line in lines if line.strip()]
        if self.rows:
            import bm25s

            self._index = bm25s.BM25()
            self._index.index([words(f"{row['where']} {row['text']}") for row in self.rows], show_progress=False)

    def nearest(self, question: str) -> Passage | None:
        """The passage that shares most with the question; None when none shares anything."""
        known = [word for word in words(question) if word in self._index.vocab_dict] if self.rows else []
        if not known:
            return None
        found, scores = self._index.retrieve([known], k=1, show_progress=False)
        return self.rows[int(found[0][0])] if scores[0][0] > 0 else None


def words(text: str) -> list[str]:
    """Lower-case words and numbers; Chinese as pairs of neighbouring characters, a lone one as it is."""
    found = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[^\W_\u4e00-\u9fff]+", text.lower()):
        chinese = "\u4e00" <= run[0] <= "\u9fff" and len(run) > 1
        found += [run[start : start + 2] for start in range(len(run) - 1)] if chinese else [run]
    return found
