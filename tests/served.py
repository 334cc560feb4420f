"""A teacher behind real HTTP that answers from the passage it is shown, by a few rules; it counts its calls and can fail."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Served(ThreadingHTTPServer):
    """`failures` are answered first (status codes), `wrong` makes every answer say a number that no passage has, `mute` empty.

    `odd` changes the next answers' bodies, `page` (type and bytes) stands in their place, `slow` is the seconds that each takes.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.failures: list[int] = []
        self.wrong = self.doubts = self.mute = False
        self.odd: list[dict[str, Any]] = []
        self.page: tuple[str, bytes] | None = None
        self.slow = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Served

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer(
            200, {"object": "list", "data": [{"id": "toy-teacher", "object": "model", "created": 0, "owned_by": "t"}]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.add(self.headers.get("Authorization", ""))
        if self.server.failures:
            self._answer(self.server.failures.pop(0), {"error": {"message": "busy"}})
            return
        self.server.asked.append(body)
        text = json.dumps(told(self.server, body), ensure_ascii=False)
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        odd = self.server.odd.pop(0) if self.server.odd else {}
        time.sleep(self.server.slow)
        self._answer(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "toy-teacher",
                "choices": [message],
                "usage": usage,
                **odd,
            },
        )

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        kind, data = self.server.page or ("application/json", json.dumps(body).encode())
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def told(server: Served, body: dict[str, Any]) -> dict[str, Any]:
    if server.mute:
        return {}
    form = body["response_format"]["json_schema"]["name"]
    text = body["messages"][-1]["content"]
    passage = text.partition("<<<\n")[2].partition("\n>>>")[0]
    subject = re.sub(r"[^\w ]", "", passage.split("\n")[0])[:40].strip()
    fact = next((line for line in passage.split("\n")[1:] if line.strip()), passage).strip()
    answer = "It costs 98765." if server.wrong else fact
    if form == "Answered":
        return {"question": f"What holds for {subject}?", "answer": answer, "quote": fact}
    if form == "Judged":
        return {"statement": f"{fact.rstrip('.')} at dawn.", "correct": False, "reason": answer, "quote": fact}
    if form == "Sorted":
        sorts = [subject, *re.findall(r"\w+", fact)[-2:]]
        return {"case": f"It {fact.partition(' ')[2]}", "categories": sorts, "category": subject, "reason": answer, "quote": fact}  # fmt: skip
    if form == "Talk":
        return {
            "question": f"What is this of {subject}?",
            "answer": f"{subject}.",
            "follow_up": f"What else of {subject}?",
            "follow_up_answer": answer,
            "quote": fact,
        }
    if form == "Unanswered":
        return {"question": f"Who invented {subject}?", "missing": "the inventor"}
    if form == "Better":
        first, second = re.findall(r"<<<\n(.*?)\n>>>", text, re.DOTALL)[1:]
        return {"better": "A" if server.doubts or len(first) < len(second) else "B"}
    if form == "Verdict":
        return {"supported": not server.doubts, "answers_the_question": True}
    if form == "Unaided":
        asked = text.rpartition("Question: ")[2]
        stated = not asked.startswith("Who invented") or server.doubts
        return {"stated": stated, "answer": fact if stated else ""}
    if form == "Weighed":
        return {"correct": server.doubts}
    if form == "Chosen":
        return {"category": subject}
    return {
        "answer": body["response_format"]["json_schema"]["schema"]["properties"]["answer"].get("enum", [fact or "?"])[0]
    }


@contextmanager
def served() -> Iterator[Served]:
    server = Served()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
