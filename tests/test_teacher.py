"""What a teacher keeps, asks once, counts and may spend; against a server behind real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served

from factory.addresses import KEY
from factory.errors import FactoryError
from factory.files import read_json
from factory.kinds import Short
from factory.progress import Progress
from factory.teacher import Ask, Limits, Spent, Teacher, _key, open_teacher


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as found:
        yield found


def teacher(server: Served, tmp_path: Path, limits: Limits | None = None, **more: Any) -> Teacher:
    return Teacher(server.address, "toy-teacher", limits or Limits(concurrency=1), tmp_path / "cache", **more)


def ask(number: int = 0, letters: int = 0) -> Ask:
    return Ask([{"role": "user", "content": f"Question {number}?" + "x" * letters}], Short)


def said(text: str | None, reason: str = "stop") -> dict[str, Any]:
    """A body's choices, with this answer and why it ended."""
    return {"choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}]}


def test_openais_key_goes_to_openai_alone(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    teacher(server, tmp_path).ask(ask())
    monkeypatch.setenv(KEY, "own")
    teacher(server, tmp_path).ask(ask(1))
    assert server.keys == {"Bearer none", "Bearer own"}
    monkeypatch.delenv(KEY)
    assert _key("https://api.openai.com/v1") == "sk-of-openai"
    assert _key("https://api.openai.com.elsewhere.org/v1") == "none"


@pytest.mark.parametrize("empty", ["", None])
def test_an_answer_that_is_empty_is_asked_for_once_more(server: Served, tmp_path: Path, empty: str | None) -> None:
    server.odd = [said(empty)]
    assert teacher(server, tmp_path).ask(ask()) is not None and len(server.asked) == 2
    server.odd = [said(empty), said(empty)]
    assert teacher(server, tmp_path).ask(ask(1)) is None and len(server.asked) == 4
    assert teacher(server, tmp_path).ask(ask(1)) is None and len(server.asked) == 4, "a replay needs no network"


def test_an_answer_that_was_cut_would_be_cut_again(server: Served, tmp_path: Path) -> None:
    server.odd = [said('{"answer": "It is', "length")]
    assert teacher(server, tmp_path).ask(ask()) is None
    assert teacher(server, tmp_path).ask(ask()) is None and len(server.asked) == 1, "the same model, words and seed"


@pytest.mark.parametrize("choices", [[], None, [{"index": 0, "finish_reason": "error"}]])
def test_no_choices_are_one_clear_line(server: Served, tmp_path: Path, choices: list[Any] | None) -> None:
    server.odd = [{"choices": choices, "error": {"message": "no credit"}}]
    with pytest.raises(FactoryError, match=r"answers nothing: .*no credit"):
        teacher(server, tmp_path).ask(ask())


@pytest.mark.parametrize(
    "page",
    [
        ("text/html", b"<html>Welcome</html>"),
        ("application/json", b'{"choices": [{"ind'),
        ("application/json", b'{"choices": "\xff"}'),
        ("application/json", b'["a", "b"]'),
        ("application/json", b'"no"'),
    ],
)
def test_an_address_that_is_no_teacher_s_is_one_clear_line(
    server: Served, tmp_path: Path, page: tuple[str, bytes]
) -> None:
    server.page = page
    with pytest.raises(
        FactoryError, match=rf"No teacher answers at {server.address}: what it sends is no model's JSON"
    ):
        teacher(server, tmp_path).ask(ask())
    with pytest.raises(FactoryError, match="what it sends is no model's JSON"), open_teacher(server.address):
        pass


def test_the_same_asked_at_once_goes_out_once(server: Served, tmp_path: Path) -> None:
    server.slow = 0.2
    found = teacher(server, tmp_path, Limits(concurrency=4))
    answers = found.all([ask()] * 4, Progress(print, "answers", 4))
    assert len(server.asked) == 1 == found.called and found.told == 3 and len({str(one) for one in answers}) == 1


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
def test_a_server_that_counts_no_tokens_spends_the_budget_all_the_same(
    server: Served, tmp_path: Path, usage: dict[str, int] | None
) -> None:
    server.odd = [{"usage": usage}] * 9
    found = teacher(server, tmp_path, Limits(tokens=800, concurrency=1))
    for number in range(2):
        found.ask(ask(number, letters=2000))
    assert 1100 < found.tokens_in < 1200 and 0 < found.tokens_out < 20
    with pytest.raises(Spent, match="budget is spent"):
        found.ask(ask(2, letters=2000))


def test_an_answer_cut_by_the_limit_has_used_it(server: Served, tmp_path: Path) -> None:
    server.odd = [{**said("{", "length"), "usage": None}]
    found = teacher(server, tmp_path)
    found.ask(ask())
    assert found.tokens_out == 512


def test_teachers_of_one_run_share_the_budget(server: Served, tmp_path: Path) -> None:
    spent, limits = tmp_path / "run" / "teacher.json", Limits(tokens=300, concurrency=1)
    first = teacher(server, tmp_path, limits, spent=spent)
    first.ask(ask(0))
    first.ask(ask(1))
    assert read_json(spent) == {"tokens_in": 200, "tokens_out": 40}
    second = teacher(server, tmp_path, limits, spent=spent)
    second.ask(ask(2))
    with pytest.raises(Spent, match="360 tokens") as caught:
        second.ask(ask(3))
    assert "synthesize.max_tokens" in caught.value.hint and second.tokens_in == 100, "its own are told apart"
    assert second.ask(ask(0)) is not None, "what is kept costs nothing"
    money = Limits(money=0.001, price_in=5.0, concurrency=1)
    with pytest.raises(Spent, match=r"0\.00") as caught:
        teacher(server, tmp_path, money, spent=spent).ask(ask(4))
    assert "synthesize.max_money" in caught.value.hint
