"""Thirty people at once at the app of one build, over its HTTP API: times, lost rows, errors, memory.

    python benchmarks/load.py runs/cooking/default/app               # 10 minutes
    python benchmarks/load.py runs/cooking/default/app --minutes 1 --people 5

Each person loads the page, asks the starter questions in turn, reads the answer as it streams, sends a word about it, and
waits a moment. Every row that was acknowledged must be in the store at the end; nobody may fall back in the line. Results
go to benchmarks/results/load.json and .md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from quality import RESULTS, processor

EVERY = 5.0  # seconds between two looks at the memory
PATIENCE = 600.0  # seconds that a person waits for one answer
REST = (1.0, 5.0)  # seconds of rest after an answer
IDLE = 2.0  # seconds after which a person's connection is opened anew; the server closes an idle one after 5


@dataclass
class Seen:
    """What all people met together."""

    first: list[float] = field(default_factory=list)  # seconds from the question to the first token
    whole: list[float] = field(default_factory=list)  # seconds from the question to the end of the answer
    rows: list[int] = field(default_factory=list)  # numbers that the store gave back
    errors: list[str] = field(default_factory=list)
    longest: int = 0  # the longest line that a person was told of
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("app", type=Path, help="the folder that `factory app` wrote")
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "feedback.db"
        seen = measure(wanted.app.resolve(), store, wanted.people, wanted.minutes)
        result = summary(seen, store, wanted.people, wanted.minutes)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "load.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "load.md").write_text(page(result), encoding="utf-8")
    print(page(result))
    if result["errors"] or result["lost_rows"]:
        raise SystemExit(f"{len(seen.errors)} errors, {result['lost_rows']} lost rows: {seen.errors[:3]}")


def measure(app: Path, store: Path, people: int, minutes: float) -> Seen:
    """Start the app, let the people in, end it."""
    command = [sys.executable, "app.py", "--port", "7950", "--feedback", str(store)]
    with subprocess.Popen(command, cwd=app, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            found = re.search(r"http://\S+:\d+", server.stdout.readline() if server.stdout else "")
            if not found:
                raise SystemExit(f"The app in {app} did not start: run `python app.py` there to see why.")
            questions = json.loads((app / "app.json").read_text(encoding="utf-8"))["starters"] or [
                "What is this about?"
            ]
            return asyncio.run(crowd(found[0], questions, server.pid, people, minutes * 60))
        finally:
            server.terminate()


async def crowd(address: str, questions: list[str], process: int, people: int, seconds: float) -> Seen:
    """Everybody at once, for so many seconds; then each answer that was begun is waited for."""
    seen = Seen()
    await ready(address)
    start = time.monotonic()
    watch = asyncio.create_task(watch_memory(process, start, seen))
    chance = random.Random(0)
    orders = [chance.sample(questions, len(questions)) for _ in range(people)]
    await asyncio.gather(
        *(person(address, order, start + seconds, seen, number) for number, order in enumerate(orders))
    )
    watch.cancel()
    return seen


async def ready(address: str) -> None:
    """Wait until the model is loaded."""
    async with httpx.AsyncClient(base_url=address, follow_redirects=True, timeout=30) as client:
        await client.get("/")
        for _ in range(300):
            last = [state async for state in states(client, "answer", ["", "", "probe"])][-1]
            if last["why"] == "empty":
                return
            if last["why"] == "failed":
                raise SystemExit("The model could not be loaded: run `python app.py` in its folder to see why.")
            await asyncio.sleep(1)
    raise SystemExit("The model was not ready after 5 minutes.")


async def person(address: str, questions: list[str], until: float, seen: Seen, number: int) -> None:
    """One person: asks, reads, says a word, rests; a fault is written down and the person goes on."""
    rest = random.Random(number)
    kept = httpx.Limits(keepalive_expiry=IDLE)
    async with httpx.AsyncClient(base_url=address, follow_redirects=True, timeout=PATIENCE, limits=kept) as client:
        await client.get("/")
        turn = 0
        while time.monotonic() < until:
            try:
                await one_question(client, questions[turn % len(questions)], turn, seen)
            except Exception as error:
                seen.errors.append(f"{type(error).__name__}: {error}")
            turn += 1
            await asyncio.sleep(rest.uniform(*REST))


async def one_question(client: httpx.AsyncClient, question: str, turn: int, seen: Seen) -> None:
    """Ask, follow the answer to its end, and rate it or write a better one."""
    asked, first, place, last = time.monotonic(), 0.0, 10_000, {}
    async for last in states(client, "answer", [question, "", "load"]):
        if last["state"] == "waiting":
            seen.longest = max(seen.longest, last["place"])
            if last["place"] > place:
                raise RuntimeError(f"fell back in the line from {place} to {last['place']}")
            place = last["place"]
        first = first or (time.monotonic() - asked if last.get("answer") else 0.0)
    if last.get("state") != "done":
        raise RuntimeError(f"no answer: {last}")
    seen.first.append(first or time.monotonic() - asked)
    seen.whole.append(time.monotonic() - asked)
    better = f"A better answer, number {turn}." if turn % 2 else ""
    kept = [state async for state in states(client, "rate", [last["id"], "load", not better, "load", better])][-1]
    if kept["state"] != "kept":
        raise RuntimeError(f"not kept: {kept}")
    seen.rows.append(kept["number"])


async def states(client: httpx.AsyncClient, call: str, data: list[Any]) -> AsyncIterator[dict[str, Any]]:
    """The states that a call of the API goes through."""
    begun = await client.post(f"/gradio_api/call/{call}", json={"data": data})
    begun.raise_for_status()
    event = ""
    async with client.stream("GET", f"/gradio_api/call/{call}/{begun.json()['event_id']}") as stream:
        stream.raise_for_status()
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "error":
                raise RuntimeError(f"{call}: {line}")
            elif line.startswith("data: ") and event in ("generating", "complete"):
                told = json.loads(line.removeprefix("data: "))
                if told and isinstance(told[0], dict):
                    yield told[0]


async def watch_memory(process: int, start: float, seen: Seen) -> None:
    """Resident memory of the server, in MiB, every few seconds."""
    with suppress(asyncio.CancelledError):
        while True:
            status = Path(f"/proc/{process}/status").read_text()
            kib = int((re.search(r"VmRSS:\s+(\d+)", status) or [0, 0])[1])
            seen.memory.append((time.monotonic() - start, kib / 1024))
            await asyncio.sleep(EVERY)


def summary(seen: Seen, store: Path, people: int, minutes: float) -> dict[str, Any]:
    """The figures; memory is flat when its last quarter is no higher than its second, but for a few MiB."""
    with sqlite3.connect(store) as file:
        there = {row[0] for row in file.execute("SELECT id FROM feedback")}
        whole = file.execute("PRAGMA integrity_check").fetchone()[0]
    levels = [mib for _, mib in seen.memory]
    quarter = max(1, len(levels) // 4)
    return {
        "processor": processor(), "people": people, "minutes": minutes, "answers": len(seen.whole), "errors": len(seen.errors),
        "error_examples": seen.errors[:5], "acknowledged_rows": len(seen.rows), "lost_rows": len(set(seen.rows) - there),
        "store": whole, "longest_line": seen.longest,
        "first_token_s": spread(seen.first), "whole_answer_s": spread(seen.whole),
        "memory_mib": {
            "second_quarter": round(median(levels[quarter : 2 * quarter] or levels), 1),
            "last_quarter": round(median(levels[-quarter:]), 1), "highest": round(max(levels), 1),
            "each_minute": [round(mib, 1) for _, mib in seen.memory[:: round(60 / EVERY)]],
        },
    }  # fmt: skip


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, the 95th of 100, and the longest."""
    if len(seconds) < 2:
        return {"median": 0.0, "p95": 0.0, "longest": 0.0}
    return {
        "median": round(median(seconds), 2), "p95": round(quantiles(seconds, n=20)[-1], 2), "longest": round(max(seconds), 2)
    }  # fmt: skip


def page(result: dict[str, Any]) -> str:
    """The figures for people."""
    first, whole, memory = result["first_token_s"], result["whole_answer_s"], result["memory_mib"]
    return f"""# {result["people"]} people at once for {result["minutes"]:g} minutes

One model, one line: each question waits its turn. {result["processor"]}

| | |
| --- | --- |
| answers | {result["answers"]} |
| errors | {result["errors"]} |
| acknowledged rows of feedback, of them lost | {result["acknowledged_rows"]}, {result["lost_rows"]} (integrity: {result["store"]}) |
| longest line that a person was told of | {result["longest_line"]} |
| question to first token, s | median {first["median"]}, 95% below {first["p95"]}, longest {first["longest"]} |
| question to whole answer, s | median {whole["median"]}, 95% below {whole["p95"]}, longest {whole["longest"]} |
| memory, MiB | second quarter {memory["second_quarter"]}, last quarter {memory["last_quarter"]}, highest {memory["highest"]} |
"""


if __name__ == "__main__":
    main()
