"""The app's store of feedback: what is kept, what is found again, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from factory.files import templates

sys.path.insert(0, str(templates("app")))
import store as module
from arena import POINTS, strength
from store import Store, StoreError, Vote

sys.path.remove(str(templates("app")))

ASKED = [{"role": "system", "content": "You cook."}, {"role": "user", "content": "Is naan 印度 100% bread?"}]
SAID: dict[str, Any] = {"who": "Li", "session": "s1", "model": "abc", "task": "bread", "prompt": ASKED, "answer": "No."}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "feedback.db")


def vote(store: Store, verdict: str, first: str = "specialist", second: str = "base", model: str = "abc") -> int:
    said = SAID | {"model": model}
    return store.add_vote(**said, made_by=first, other="Yes.", other_by=second, verdict=verdict)


def test_rows_come_back_as_they_were_sent(store: Store) -> None:
    first = store.add_rating(**SAID, verdict="up")
    second = store.add_correction(**SAID, better="Yes, it is. 是。", reason="wrong\x00\n<b>")
    third = vote(store, "second")
    rows = Store(store.path).rows()
    assert [row.id for row in rows] == [third, second, first]
    row = rows[1]
    assert (row.kind, row.who, row.prompt, row.answer, row.better) == (
        "correction",
        "Li",
        ASKED,
        "No.",
        "Yes, it is. 是。",
    )
    assert (row.reason, row.verdict, row.state, row.promote) == ("wrong\x00\n<b>", "down", "open", False)
    assert row.question == ASKED[-1]["content"] and row.wanted == row.better and rows[2].wanted == "No."
    assert row.at.endswith("+00:00")
    assert (rows[0].made_by, rows[0].other_by, rows[0].other, rows[0].wanted) == ("specialist", "base", "Yes.", "")


def test_filters_pages_and_search(store: Store) -> None:
    for number in range(5):
        store.add_correction(**SAID | {"task": "" if number % 2 else "bread"}, better=f"answer_{number}")
    store.add_rating(**SAID | {"who": "王芳"}, verdict="down", reason="100% wrong")
    assert store.count() == 6 and store.count(kind="correction") == 5 and store.count(task="") == 2
    assert [row.better for row in store.rows(kind="correction", limit=2, offset=1)] == ["answer_3", "answer_2"]
    assert store.count(search="answer_3") == 1, "an underscore is no wildcard"
    assert store.count(search="印度") == 6 and store.count(search="王") == 1 and store.count(search="YOU COOK") == 0
    assert store.count(search="100% wr") == 1 and store.count(search="'") == 0


def test_a_decision_changes_the_row_and_overwrites_nothing(store: Store) -> None:
    id = store.add_correction(**SAID, better="Yes.")
    row = store.decide(id, "approved", "Wu", better="Yes, a flat bread.", promote=True)
    assert (row.state, row.reviewer, row.edited, row.better, row.wanted) == (
        "approved",
        "Wu",
        "Yes, a flat bread.",
        "Yes.",
        row.edited,
    )
    assert row.promote and row.reviewed_at and store.row(id) == row and store.count(state="approved") == 1
    assert store.decide(id, "rejected", "Wu").promote is False
    assert store.decide(id, "open", "Wu").state == "open" and store.row(99) is None
    with sqlite3.connect(store.path) as file:
        assert [row[0] for row in file.execute("SELECT state FROM decisions ORDER BY id")] == [
            "approved",
            "rejected",
            "open",
        ]


def test_what_cannot_be_is_refused(store: Store) -> None:
    rated, voted = store.add_rating(**SAID, verdict="down"), vote(store, "tie")
    for wrong in (
        lambda: store.decide(99, "approved", "Wu"),
        lambda: store.decide(rated, "done", "Wu"),
        lambda: store.decide(rated, "approved", "Wu", promote=True),
        lambda: store.decide(voted, "approved", "Wu", better="x", promote=True),
        lambda: store.add_rating(**SAID, verdict="first"),
        lambda: store.add_rating(**SAID | {"prompt": []}, verdict="up"),
    ):
        with pytest.raises(ValueError):
            wrong()
    assert store.decide(rated, "approved", "Wu", better="Mended.", promote=True).wanted == "Mended."


def test_a_file_taken_away_is_made_anew(store: Store) -> None:
    store.add_rating(**SAID, verdict="up")
    for left in store.path.parent.iterdir():
        left.unlink()
    store.path.parent.rmdir()
    store.add_rating(**SAID, verdict="up")
    assert Store(store.path).count() == 1


def test_other_files_are_named(tmp_path: Path, store: Store) -> None:
    def why(path: Path) -> str:
        with pytest.raises(StoreError) as caught:
            Store(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return caught.value.why

    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("no database at all, but long enough to look at" * 20)
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE notes (id)")
    assert (why(text), why(other)) == ("foreign", "foreign")
    with sqlite3.connect(store.path) as file:
        file.execute("PRAGMA user_version = 7")
    store.close()
    assert why(store.path) == "newer"
    assert why(tmp_path) == "unwritable"


def test_a_damaged_file_is_named(store: Store) -> None:
    for _ in range(50):
        store.add_correction(**SAID, better="x" * 500)
    store.close()
    raw = bytearray(store.path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    store.path.write_bytes(raw)
    with pytest.raises(StoreError) as caught:
        store.rows()
    assert caught.value.why == "damaged"


@pytest.mark.parametrize("prompt", ["no JSON", "{}", "[]", '[{"role": "user"}]', "7"])
def test_a_prompt_that_is_none_is_damage(store: Store, prompt: str) -> None:
    store.add_rating(**SAID, verdict="up")
    with store._opened() as file:
        file.execute("UPDATE feedback SET prompt = ?", [prompt])
    searches = [lambda: store.rows(search="x")] if prompt == "no JSON" else []
    for act in (store.rows, lambda: store.row(1), lambda: store.decide(1, "approved", "Wu"), *searches):
        with pytest.raises(StoreError) as caught:
            act()
        assert caught.value.why == "damaged"
    assert store.count(state="open") == 1


def test_a_locked_and_a_full_store_say_so_and_lose_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_rating(**SAID, verdict="up")
    monkeypatch.setattr(module, "WAIT", 0.05)
    store.close()
    other = sqlite3.connect(store.path)
    short = Store(store.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError) as caught:
        short.add_rating(**SAID, verdict="up")
    assert caught.value.why == "locked" and short.count() == 1
    other.rollback()
    with short._opened() as file:
        file.execute(f"PRAGMA max_page_count = {file.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError) as caught:
        short.add_correction(**SAID, better="x" * 100_000)
    assert caught.value.why == "full" and short.count() == 1
    assert short.add_rating(**SAID, verdict="down") == 2


def test_a_file_that_may_not_be_written_is_still_read(store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    store.add_rating(**SAID, verdict="up")
    store.close()
    store.path.chmod(0o444)
    closed = Store(store.path)
    assert closed.count() == 1
    with pytest.raises(StoreError) as caught:
        closed.add_rating(**SAID, verdict="up")
    assert caught.value.why == "unwritable"


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from store import Store
store = Store(Path(sys.argv[2]))
said = {"who": "", "session": "", "model": "m", "task": "", "prompt": [{"role": "user", "content": "?"}], "answer": "x" * 3000}
for _ in range(int(sys.argv[3])):
    print(store.add_correction(**said, better="y" * 3000), flush=True)
"""


def writer(path: Path, rows: int) -> subprocess.Popen[str]:
    """A process that adds rows and says the number of each once it is kept."""
    command = [sys.executable, "-S", "-c", WRITER, str(templates("app")), str(path), str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    writers = [writer(path, 10) for _ in range(4)]
    numbers = [line for process in writers for line in process.communicate()[0].splitlines()]
    shared = Store(path)
    threads = [threading.Thread(target=shared.add_rating, kwargs=SAID | {"verdict": "up"}) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 40 and shared.count() == 60


def test_killed_fifty_times_every_acknowledged_row_is_there(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    told: list[int] = []
    for number in range(50):
        with writer(path, 1_000_000) as process:
            assert process.stdout
            told += [int(process.stdout.readline()) for _ in range(1 + number % 7)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    kept = {row.id: row for row in Store(path).rows()}
    assert len(told) >= 50 and set(told) <= set(kept)
    assert all(len(row.answer) == len(row.better) == 3000 for row in kept.values())
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_votes_leave_out_the_rejected(store: Store) -> None:
    kept, bad = vote(store, "first"), vote(store, "second")
    vote(store, "tie", "base", "specialist", model="new")
    store.decide(bad, "rejected", "Wu")
    store.decide(kept, "approved", "Wu")
    assert store.votes() == [Vote("abc", "specialist", "base", "first"), Vote("new", "base", "specialist", "tie")]
    assert store.votes("new") == [Vote("new", "base", "specialist", "tie")]


def test_the_strength_of_two_is_the_log_odds_of_their_wins() -> None:
    import math

    votes = [Vote("", "specialist", "base", "first")] * 12 + [Vote("", "specialist", "base", "second")] * 3
    votes += (
        [Vote("", "base", "specialist", "second")] * 4
        + [Vote("", "base", "specialist", "tie")]
        + [Vote("", "base", "specialist", "bad")]
    )
    [found] = strength(votes)
    won, lost = 12 + 4 + 1 + 0.5, 3 + 1 + 0.5
    assert found.score == pytest.approx(POINTS * math.log(won / lost), abs=1e-4)
    assert found.high - found.score == pytest.approx(POINTS * 1.96 * math.sqrt(1 / won + 1 / lost), rel=1e-4)
    assert (found.wins, found.losses, found.ties, found.bad, found.n) == (16, 3, 2, 1, 21)


def test_strength_without_votes_with_one_and_of_several() -> None:
    assert strength([]) == [] and strength([Vote("", "a", "b", "first")]) == []
    [one] = strength([Vote("", "base", "specialist", "second")])
    assert one.low < 0 < one.score < one.high
    chain = [Vote("", "one", "base", "first")] * 6 + [Vote("", "base", "one", "first")] * 2
    chain += (
        [Vote("", "two", "one", "first")] * 6 + [Vote("", "one", "two", "first")] * 2 + [Vote("", "x", "y", "first")]
    )
    two, first = strength(chain)
    assert (two.name, first.name) == ("two", "one") and two.score == pytest.approx(2 * first.score, abs=1e-3)
    assert two.high - two.score > first.high - first.score, "farther from the anchor: less sure"
