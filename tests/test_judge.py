"""Pairs: the worst of several answers is rejected, near-ties are dropped, and a judge that prefers the first place says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from served import served

from factory.config import Config, Prefer
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.files import read_json
from factory.judge import judge
from factory.progress import Progress
from factory.records import Example, Message, Preference
from factory.stage import Context
from factory.stages.prefer import _pair, _rewritten, _verdicts
from factory.teacher import Limits, Teacher


def test_both_orders_must_agree(tmp_path: Path) -> None:
    rows = [("q?", "short", "a longer answer"), ("q?", "a longer answer", "short")]
    with served() as server:
        teacher = Teacher(server.address, "toy-teacher", Limits(concurrency=1), tmp_path)
        assert judge(teacher, rows, "en", Progress(print, "judge", 4)) == ["first", "second"]
        assert len(server.asked) == 2  # the two rows ask the same two questions
        server.doubts = True  # now it always says A
        assert (
            judge(Teacher(server.address, "biased", Limits(), tmp_path), rows, "zh", Progress(print, "judge", 4))
            == ["turned"] * 2
        )


class Toy(Domain):
    def tasks(self) -> list[Task]:
        return [Task("name", "Name", "token_f1")]


def context(tmp_path: Path, **synthesize: str) -> Context:
    from factory.config import Synthesize

    config = Config("toy", "Toy", "en", "base", prefer=Prefer(margin=0.2), synthesize=Synthesize(**synthesize))
    return Context(Toy(config, tmp_path), tmp_path, "prefer", say=print)


def row(answer: str = "red round apple") -> Example:
    return Example(
        "1",
        "name",
        [{"role": "user", "content": "Which?"}],
        [{"role": "assistant", "content": answer}],
        {"passage": "p"},
    )


def test_the_worst_of_several_answers_is_rejected_and_near_ties_are_dropped(tmp_path: Path) -> None:
    here = context(tmp_path)
    pair = _pair(here, row(), ["red round apple", "red pear", "", "a blue car"])
    assert isinstance(pair, Preference)
    assert pair.rejected[0]["content"] == "a blue car" and pair.chosen[0]["content"] == "red round apple"
    assert pair.provenance["score"] == "0.000"
    assert _pair(here, row(), ["red round apple"]) == "right, or nearly" and _pair(here, row(), ["", ""]) == "no answer"


def pairs(prompt: list[Message] | None = None) -> list[Preference]:
    """The served judge prefers the shorter answer: the chosen one of the first pair, the rejected one of the second."""
    return [
        Preference(
            str(n),
            "name",
            prompt or row().prompt,
            [{"role": "assistant", "content": good}],
            [{"role": "assistant", "content": bad}],
        )
        for n, (good, bad) in enumerate([("pear", "a long wrong answer"), ("a long right answer", "no")])
    ]


def test_the_teacher_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    said: list[str] = []
    with served() as server:
        here = replace(context(tmp_path, teacher=server.address), say=said.append)
        assert _verdicts(here, pairs()) == ["first", "second"]
    assert "judge toy-teacher: 4 calls, 0 of them answered before" in said[0]
    assert read_json(tmp_path / "teacher.json") == {"tokens_in": 400, "tokens_out": 80}, "one budget for the run"


def test_the_teacher_sees_the_whole_talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    texts = {"system": "Be brief.", "user": "Which fruit is red?", "assistant": "Apples."}
    talk: list[Message] = [{"role": role, "content": text} for role, text in texts.items()]
    with served() as server:
        _verdicts(context(tmp_path, teacher=server.address), pairs([*talk, {"role": "user", "content": "Any other?"}]))
        asked = server.asked[0]["messages"][-1]["content"]
    assert "Which fruit is red?\n\nApples.\n\nAny other?" in asked and "Be brief." not in asked


def test_a_judge_that_gives_no_verdict_is_an_error_and_no_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else there were no pairs, and DPO was left out without a word."""
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    with served() as server:
        server.mute = True
        with pytest.raises(FactoryError, match="toy-teacher gives no verdict on 2 of 2 pairs") as caught:
            _verdicts(context(tmp_path, teacher=server.address), pairs())
    assert "JSON schema" in caught.value.hint


def test_the_teacher_rewrites_what_the_specialist_got_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    asked = "Which fruit? <<<\nFruit\nred round apple\n>>>"  # the served teacher answers with the second line
    prompt = [{"role": "user", "content": asked}]

    def pair(id: str, own: str, score: str) -> Preference:
        sides = [[{"role": "assistant", "content": text}] for text in ("a red round apple", own)]
        return Preference(id, "name", prompt, *sides, {"kind": "own answer", "score": score})

    with served() as server:
        here = context(tmp_path, teacher=server.address)
        [found] = _rewritten(here, [pair("wrong", "a blue car", "0.286"), pair("nearly", "red round pear", "0.800")])
    assert (found.id, found.chosen[0]["content"], found.rejected[0]["content"]) == (
        "wrong/teacher",
        "red round apple",
        "a blue car",
    )
    assert found.provenance == {"kind": "teacher answer", "score": "0.286", "teacher": "toy-teacher"}
    with pytest.raises(FactoryError, match=r"prefer\.weights\.teacher needs a teacher"):
        _rewritten(context(tmp_path), [])
