"""Pairs: the worst of several answers is rejected, near-ties are dropped, and a judge that prefers the first place says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import served

from factory.config import Config, Prefer
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.judge import judge
from factory.progress import Progress
from factory.records import Example, Preference
from factory.stage import Context
from factory.stages.prefer import _agreed, _pair, _rewritten
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


def test_the_teacher_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    pairs = [
        Preference(
            str(n),
            "name",
            row().prompt,
            [{"role": "assistant", "content": good}],
            [{"role": "assistant", "content": bad}],
        )
        for n, (good, bad) in enumerate([("pear", "a long wrong answer"), ("a long right answer", "no")])
    ]
    with served() as server:
        assert [pair.id for pair in _agreed(context(tmp_path, teacher=server.address), pairs)] == ["0"]


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
