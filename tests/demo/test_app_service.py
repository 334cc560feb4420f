"""What a question goes through, without a page: refusals, limits, the words of its kind, labels by likelihood."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from apps import NAAN, TEA, Kitchen, Library, make_context, make_run

from factory.domain import Domain
from factory.files import write_text
from factory.records import write_records
from factory.stages import app


class Fake:
    """An engine that answers at once, or waits until it is let go."""

    def __init__(self, *_: Any) -> None:
        self.ready, self.go, self.error = threading.Event(), threading.Event(), ""
        self.ready.set()
        self.go.set()
        self.asked: list[Any] = []

    def stream(self, messages: Any, specialist: bool, stop: threading.Event, temperature: float = 0.0) -> Any:
        self.asked.append((messages, specialist, temperature))
        while not self.go.wait(0.01) and not stop.is_set():
            pass
        if messages[-1]["content"] == "fail":
            raise RuntimeError("/secret/path")
        yield "answer", messages[-1]["content"] == "long"

    def weigh(self, messages: Any, choices: list[str]) -> list[float]:
        return [0.1, 0.7, 0.2]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service of a domain on the fake engine."""

    def made(kind: type[Domain] = Kitchen) -> Any:
        import service

        monkeypatch.setattr(service, "Engine", Fake)
        for name in ("config.json", "model.safetensors"):
            write_text(tmp_path / "base" / name, "{}")
        make_run(tmp_path / "run", tmp_path / "base")
        context = make_context(tmp_path / "run", kind, system_prompt="Be brief.")
        app.run(context)
        return service.Service(context.out)

    return made


def ended(turn: Any) -> Any:
    assert turn.done.wait(10)
    return turn


def why(call: Any, *arguments: Any, **more: Any) -> str:
    from service import Refused

    with pytest.raises(Refused) as caught:
        call(*arguments, **more)
    return str(caught.value.told[0])


def test_a_question_is_worded_as_in_training_and_braces_stay_braces(make: Any) -> None:
    service = make()
    turn = ended(service.ask("ann", "t", " {input} {0}\x00\u202e of naan ", "cuisine"))
    assert turn.prompt == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name the cuisine of {input} {0} of naan."}
    ]  # fmt: skip
    assert turn.answers == {"specialist": "answer"} and turn.near[0]["text"] == NAAN
    assert ended(service.ask("ann", "t", "plain")).prompt[-1]["content"] == "plain"


def test_questions_about_documents_are_read_from_the_nearest_passage(make: Any) -> None:
    service = make(Library)
    turn = ended(service.ask("ann", "t", "how hot is oolong?", "fact"))
    assert turn.prompt[-1]["content"] == f"Answer from the text.\n\nText:\n{TEA}\n\nQuestion: how hot is oolong?"
    assert turn.read == turn.near[0] and turn.read["where"] == "Tea › Oolong › p. 3"
    assert why(service.ask, "ann", "t", "xylophone", "fact") == "no_source"


def test_comparing_looks_a_passage_up_and_the_bare_question_is_found_again(make: Any) -> None:
    from service import plain

    service = make(Library)
    assert service.usual == "fact" and make().usual == ""
    turn = ended(service.ask("ann", "t", "how hot is oolong?", service.usual, compare=True))
    assert turn.read["where"] == "Tea › Oolong › p. 3" and turn.answers.keys() == {"specialist", "base"}
    tasks = {task["name"]: task for task in service.app["tasks"]}
    assert plain(tasks["fact"], turn.prompt[-1]["content"]) == "how hot is oolong?"
    assert plain(tasks["fact"], "asked in no task's words") == "asked in no task's words"
    assert plain(tasks["pitch"], "Praise it.\n\nOolong") == "Oolong"
    turned = {"template": "{input}\nShort.", "about": "{question}\n\nText: {passage}"}
    assert plain(turned, "How hot (in {C})?\n\nText: 95 degrees.\n\nText: hot\nShort.") == "How hot (in {C})?"


def test_a_task_with_labels_is_answered_by_likelihood(make: Any) -> None:
    turn = ended(make().ask("ann", "t", "soup", "course"))
    assert turn.choices == ["starter", "main dish", "dessert"] and turn.shares == [0.1, 0.7, 0.2]
    assert turn.answers == {"specialist": "main dish"}
    several = ended(make().ask("ann", "t", "soup", "tags"))
    assert several.choices == [] and several.answers == {"specialist": "answer"}  # more than one label may hold


def test_base_and_specialist_are_asked_the_same(make: Any) -> None:
    service = make()
    turn = ended(service.ask("ann", "t", "long", compare=True))
    assert turn.answers == {"specialist": "answer", "base": "answer"}
    assert [asked[1] for asked in service.engine.asked] == [True, False]
    assert [key for key, _ in turn.told] == ["ceiling"]


def test_the_conversation_is_read_only_where_it_is_wanted_and_retry_draws(make: Any) -> None:
    service = make()
    ended(service.ask("ann", "t", "one"))
    ended(service.ask("ann", "t", "two", follow=True))
    ended(service.ask("ann", "t", "three", again=True))
    asked = service.engine.asked
    assert [row["content"] for row in asked[1][0]] == ["Be brief.", "one", "answer", "two"]
    assert [row["content"] for row in asked[2][0]] == ["Be brief.", "three"]
    assert [row[2] > 0 for row in asked] == [False, False, True]
    assert [turn.question for turn in service.turns("t")] == ["one", "three"]  # it took the place of the last


def test_what_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import service as module

    service = make()
    for empty in ("", " \n ", "\x00\x07", None):
        assert why(service.ask, "ann", "t", empty) == "empty"
    service.engine.go.clear()
    first = service.ask("ann", "t", "one")
    assert why(service.ask, "ann", "t", "two") == "busy"
    service.ask("ann", "t2", "two")
    service.ask("ann", "t3", "three")
    assert why(service.ask, "ann", "t4", "four") == "busy"
    assert first.begun.wait(5)
    monkeypatch.setattr(service.line, "most", 2)
    assert why(service.ask, "bob", "b", "five") == "full"
    monkeypatch.setattr(module, "MOST_A_MINUTE", 1)
    service.engine.go.set()
    for turn in (first, *service.turns("t2"), *service.turns("t3")):
        ended(turn)
    ended(service.ask("eve", "e", "six"))
    assert why(service.ask, "eve", "e", "seven") == "fast"
    service.engine.ready.clear()
    assert why(service.ask, "ann", "z", "x") == "loading"
    service._usual = 100
    assert service.loading() == ("loading_of", {"s": 0, "n": 100})
    service.engine.error = "OSError: /secret/path is gone"
    assert service.loading() == ("failed", {})


def test_the_time_of_loading_is_remembered_for_the_next_start(make: Any) -> None:
    service = make()
    service.engine.start = lambda: None
    service.start()
    deadline = time.monotonic() + 5
    while not (service._took.exists() and service._took.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)  # the file is there before its text is
    assert service._took.read_text() == "0"


def test_a_long_text_is_cut_and_said_so(make: Any) -> None:
    from service import MOST_CHARACTERS

    turn = ended(make().ask("ann", "t", "naan " * 20_000))
    assert len(turn.question) == MOST_CHARACTERS and turn.told == [("cut", {"most": MOST_CHARACTERS})]


def test_a_fault_is_told_plainly_and_its_words_stay_on_the_server(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = ended(make().ask("ann", "t", "fail"))
    assert turn.told == [("error", {})] and "/secret/path" in capsys.readouterr().err


def test_stopped_and_forgotten_questions_leave_the_line(make: Any) -> None:
    service = make()
    service.engine.go.clear()
    first, second = service.ask("ann", "a", "one"), service.ask("bob", "b", "two")
    assert first.begun.wait(5)
    service.forget("b")
    assert second.done.is_set() and service.turns("b") == []
    service.line.leave(first)
    assert ended(first).stop.is_set()


def test_watching_a_turn_wakes_up_for_each_change_and_ends_with_it(make: Any) -> None:
    service = make()
    service.engine.go.clear()
    turn = service.ask("ann", "a", "one")
    seen = 0

    async def watch() -> None:
        nonlocal seen
        async for _ in service.watch(turn):
            seen += 1
            service.engine.go.set()

    asyncio.run(asyncio.wait_for(watch(), 10))
    assert turn.done.is_set() and 1 <= seen <= 4


def test_memory_of_conversations_is_bounded(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import service as module

    service = make()
    monkeypatch.setattr(module, "MOST_TALKS", 3)
    monkeypatch.setattr(module, "MOST_TURNS", 2)
    for number in range(4):
        ended(service.ask("ann", "one", f"question {number}"))
    assert [turn.question for turn in service.turns("one")] == ["question 2", "question 3"]
    for number in range(3):
        ended(service.ask("bob", f"talk {number}", "question"))
    assert list(service._talks) == ["talk 0", "talk 1", "talk 2"] and service.turns("one") == []


def test_a_name_that_is_made_up_or_a_question_that_is_refused_begins_no_conversation(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import service as module

    service = make()
    monkeypatch.setattr(module, "MOST_TALKS", 2)
    monkeypatch.setattr(module, "MOST_A_MINUTE", 2)
    for owner, talk in (("ann", "hers"), ("eve", "the same"), ("eve", "the same")):
        ended(service.ask(owner, talk, "question"))
    for number in range(4):
        service.turns(f"made up {number}")
        assert why(service.ask, "eve", f"too fast {number}", "question") == "fast"
        assert why(service.ask, "bob", f"empty {number}", "") == "empty"
    assert list(service._talks) == ["hers", "the same"]


def test_kinds_of_question(make: Any) -> None:
    from service import kinds

    tasks = [app._task(task) for task in make_context(Path("run"), Library).domain.active()]
    assert list(kinds(tasks, True)) == ["fact", "pitch"]  # define is asked in the same words as fact
    assert list(kinds(tasks, False)) == []  # without documents there is nothing to look up


def test_the_nearest_passages_in_both_languages(tmp_path: Path) -> None:
    from search import Passages  # type: ignore[import-not-found]

    rows = [
        {"text": text, "where": where}
        for text, where in (
            ("乌龙茶用沸水冲泡。", "茶"),
            ("洗碗先刮残渣。", "碗"),
            (f"{NAAN}\u2028\u2029\x85", "Bread"),  # ends of lines to str.splitlines, not to JSON Lines
            ("Naan again", "Naan"),
        )
    ]
    write_records(tmp_path / "passages.jsonl", rows)
    passages = Passages(tmp_path / "passages.jsonl")
    for question, where in {"乌龙茶怎么泡": ["茶"], "怎么洗碗？": ["碗"], "NAAN?": ["Naan", "Bread"]}.items():
        assert [found["where"] for found in passages.nearest(question)] == where
    assert passages.nearest("xylophone") == [] and passages.nearest("") == []
    assert len(passages.nearest("naan", 1)) == 1 and Passages(tmp_path / "none.jsonl").nearest("naan") == []
