"""What the specialist got wrong: its failures by kind, with examples, and which labels it takes for which."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
RIGHT = 0.5  # an answer that scores at least this is no failure
SHOWN = 3  # examples of a kind
LABELS = 12  # a confusion of more labels than these is told as its most frequent pairs
PAIRS = 10
KINDS = {  # in this order; the first that fits
    "empty": ("No answer", "没有回答"),
    "cut": ("Cut off at the length limit", "超出长度被截断"),
    "label": ("Another label", "选错了标签"),
    "number": ("Another number", "数字不对"),
    "partly": ("Right in part", "只对了一部分"),
    "other": ("Another answer", "答案不对"),
}


def grouped(best: Sequence[Row], base: Mapping[str, Row], scorers: Mapping[str, str], closed: Collection[str]) -> Row:
    """Predictions of the specialist as counts and failures by kind.

    `base`: the base's predictions by id; `scorers`: of each task; `closed`: the tasks that are answered with a label. Returns n,
    right, gained and lost (against the base), and kinds, the most frequent first: kind, n, lost, tasks (counts) and up to
    SHOWN examples, the first by hash of the id.
    """
    failed = [row for row in best if row["score"] < RIGHT]
    had = {id: row["score"] >= RIGHT for id, row in base.items()}
    kinds: dict[str, list[Row]] = {}
    for row in failed:
        kinds.setdefault(_kind(row, row["task"] in closed, scorers.get(row["task"], "")), []).append(row)
    groups = [
        {
            "kind": kind, "n": len(rows), "lost": sum(had.get(row["id"], False) for row in rows),
            "tasks": dict(Counter(row["task"] for row in rows).most_common()),
            "examples": [row | {"had": had.get(row["id"], False)} for row in sorted(rows, key=_mark)[:SHOWN]],
        }
        for kind, rows in sorted(kinds.items(), key=lambda entry: (-len(entry[1]), list(KINDS).index(entry[0])))
    ]  # fmt: skip
    return {
        "n": len(best), "right": len(best) - len(failed), "kinds": groups,
        "gained": sum(row["score"] >= RIGHT and not had.get(row["id"], True) for row in best),
        "lost": sum(group["lost"] for group in groups),
    }  # fmt: skip


def _kind(row: Row, closed: bool, scorer: str) -> str:
    if not row["prediction"].strip():
        return "empty"
    if row.get("truncated"):
        return "cut"
    if closed:
        return "label"
    if scorer in ("number", "log_distance"):
        return "number"
    return "partly" if row["score"] > 0 else "other"


def confusion(rows: Sequence[Row]) -> Row:
    """What the answers to a task with labels were, where which label was right.

    labels, the most frequent first, and counts by label and answer (an answer that is no label of these stands under ""): for more
    than LABELS of them there are no counts. pairs: the most frequent confusions (label, answer, n).
    """
    labels = [label for label, _ in Counter(row["references"][0] for row in rows).most_common()]
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        label = row["references"][0]
        found[label, label if row["score"] > 0.995 else row["prediction"].strip()] += 1
    pairs = [(label, said, n) for (label, said), n in found.most_common() if label != said]
    if len(labels) > LABELS:
        return {"labels": labels, "counts": {}, "other": False, "pairs": pairs[:PAIRS]}
    counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for (label, said), n in found.items():
        counts[label][said if said in labels else ""] += n
    return {
        "labels": labels,
        "counts": counts,
        "other": any(row[""] for row in counts.values()),
        "pairs": pairs[:PAIRS],
    }


def _mark(row: Row) -> str:
    return hashlib.sha256(row["id"].encode()).hexdigest()
