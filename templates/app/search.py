"""The passages of the documents that are nearest to a question, by BM25 (Robertson and Zaragoza 2009)."""

from __future__ import annotations

import json
import re
from pathlib import Path

NEAR = 3  # passages shown beside an answer
Passage = dict[str, str]  # text, where


class Passages:
    """passages.jsonl, indexed once; empty when the file is not there."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        self.rows: list[Passage] = [json.loads(line) for line in lines if line.strip()]
        if self.rows:
            import bm25s

            self._index = bm25s.BM25()
            self._index.index([words(f"{row['where']} {row['text']}") for row in self.rows], show_progress=False)

    def nearest(self, question: str, most: int = NEAR) -> list[Passage]:
        """At most `most` passages that share words with the question, the nearest first."""
        known = [word for word in words(question) if word in self._index.vocab_dict] if self.rows else []
        if not known:
            return []
        found, scores = self._index.retrieve([known], k=min(most, len(self.rows)), show_progress=False)
        return [self.rows[int(row)] for row, score in zip(found[0], scores[0], strict=True) if score > 0]


def words(text: str) -> list[str]:
    """Lower-case words and numbers; Chinese as pairs of neighbouring characters, a lone one as it is."""
    found = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[^\W_\u4e00-\u9fff]+", text.lower()):
        chinese = "\u4e00" <= run[0] <= "\u9fff" and len(run) > 1
        found += [run[start : start + 2] for start in range(len(run) - 1)] if chinese else [run]
    return found
