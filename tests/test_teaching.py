"""factory synthesize against a teacher behind real HTTP: grounded, cached, within its budget, and clear when it cannot go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served

from factory.errors import FactoryError
from factory.files import write_json
from factory.generate import Answer, Question
from factory.grounding import unsupported
from factory.kinds import Short
from factory.progress import Progress
from factory.synthesis import KINDS
from factory.teacher import KEY, Ask, Limits, Teacher, answers_of, open_teacher
from factory.teaching import Wish, synthesize_file, told

SUBJECTS = "Green tea|Oolong|White tea|Black tea|Puer|Matcha|Gyokuro|Assam|Keemun|Lapsang".split("|")
FACTS = [
    "brews at 75 degrees for two minutes", "is rolled by hand and half oxidised before roasting", "withers for three days in the shade",
    "goes well with milk and needs boiling water", "is pressed into cakes of 357 grams and kept for years", "is a powder that is beaten with a whisk",
    "grows under straw mats for twenty days", "comes from the valley of a broad river", "smells of cocoa and was first made in 1875", "dries over fires of pine",
]  # fmt: skip


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    with served() as server:
        yield server


def write_passages(path: Path, count: int = 10) -> Path:
    rows = [
        {"id": f"p{n}", "document": "tea.md", "text": f"# {SUBJECTS[n]}\n\n{SUBJECTS[n]} {FACTS[n]}.", "page": n, "meta": {"headings": SUBJECTS[n]}}
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def synthesize(
    tmp_path: Path, teacher: Served, count: int = 10, **wish: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = tmp_path / "examples.jsonl"
    passages = write_passages(tmp_path / "passages.jsonl", count)
    summary = synthesize_file(Wish(passages, out, teacher.address, refused=tmp_path / "refused.jsonl", **wish), print)
    return summary, read(out)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_every_kind_is_written_judged_and_told(tmp_path: Path, teacher: Served) -> None:
    summary, rows = synthesize(tmp_path, teacher, per_passage=7)
    # fact, explain and scenario ask the same of this teacher: one of them is kept, the others are duplicates
    assert {"fact", "explain", "scenario"} | {row["task"] for row in rows} == set(KINDS)
    assert summary["accepted"] == len(rows) == 49
    assert set(summary["refused"]) == {"duplicate", "near-duplicate"} and sum(summary["refused"].values()) == 21
    assert summary["calls"] == len(teacher.asked) and summary["tokens_in"] == 100 * summary["calls"]
    assert summary["passages_used"] == 10 and 0 < summary["sentences_used"] <= 1
    by_kind = {row["task"]: row for row in rows if row["provenance"]["passage"] == "p0"}
    assert by_kind["decline"]["completion"][0]["content"] == "The text does not say."
    assert by_kind["judge"]["completion"][0]["content"].startswith("Not correct. ")
    choice = by_kind["classify"]
    asked = "Which of these does it belong to: Green tea, minutes, two? It tea brews at 75 degrees"
    assert asked in choice["prompt"][0]["content"]
    assert choice["completion"][0]["content"].startswith("Green tea. Green tea brews at 75 degrees")
    assert [turn["role"] for turn in by_kind["talk"]["prompt"]] == ["user", "assistant", "user"]
    assert "brews at 75 degrees" in by_kind["talk"]["prompt"][0]["content"]
    assert by_kind["judge"]["provenance"]["quote"] == "Green tea brews at 75 degrees for two minutes."
    assert any("49 examples accepted" in line for line in told(summary))


def test_a_passage_is_data_and_the_key_is_written_nowhere(
    tmp_path: Path, teacher: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-very-secret")
    synthesize(tmp_path, teacher, per_passage=1)
    assert teacher.keys == {"Bearer sk-very-secret"}
    assert all("never follow" in body["messages"][0]["content"] for body in teacher.asked)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"sk-very-secret" in path.read_bytes()]


def test_broken_off_it_goes_on_and_finished_it_replays_without_a_teacher(tmp_path: Path, teacher: Served) -> None:
    with pytest.raises(FactoryError, match="budget is spent: 120 tokens"):
        synthesize(tmp_path, teacher, per_passage=2, limits=Limits(tokens=120, concurrency=1))
    assert len(teacher.asked) == 1 and not (tmp_path / "examples.jsonl").exists(), "nothing was accepted by then"
    summary, _ = synthesize(tmp_path, teacher, per_passage=2)
    first = (tmp_path / "examples.jsonl").read_bytes()
    bodies = [json.dumps(body, sort_keys=True) for body in teacher.asked]
    assert summary["answered_before"] >= 1 and len(set(bodies)) == len(bodies)  # not one call repeated
    teacher.shutdown()
    teacher.server_close()
    again, _ = synthesize(tmp_path, teacher, per_passage=2)
    assert (tmp_path / "examples.jsonl").read_bytes() == first and again["calls"] == 0


def test_where_the_budget_ends_what_was_accepted_is_written(tmp_path: Path, teacher: Served) -> None:
    summary, rows = synthesize(tmp_path, teacher, per_passage=2, limits=Limits(tokens=700, concurrency=1))
    assert len(teacher.asked) == 6 and 1 <= len(rows) == summary["accepted"] <= 3
    assert told(summary)[-1].startswith("Stopped before the end. The teacher's budget is spent: 720 tokens.")
    assert "run the same command again" in told(summary)[-1]
    more, again = synthesize(tmp_path, teacher, per_passage=2)
    assert again[: len(rows)] == rows and len(again) > len(rows) and not more["stopped"]
    assert not any("Stopped" in line for line in told(more))


def test_the_estimate_has_the_judgements_and_knows_what_was_answered(
    tmp_path: Path, teacher: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = {"per_passage": 2, "kinds": ["fact", "decline"]}
    summary, _ = synthesize(tmp_path, teacher, **wish)
    out = capsys.readouterr().out
    assert f"    {summary['calls']} calls, 0 of them answered before" in out and summary["calls"] == 50
    tokens = re.search(r"about (\d+)k tokens in", out)
    letters = sum(len(turn["content"]) for body in teacher.asked for turn in body["messages"])
    assert tokens and int(tokens[1]) == pytest.approx(0.28 * letters / 1000, rel=0.1)
    synthesize(tmp_path, teacher, **wish)
    assert "    50 calls, 50 of them answered before; about 0k tokens in" in capsys.readouterr().out


def test_an_unknown_language_is_one_clear_line(tmp_path: Path, teacher: Served) -> None:
    with pytest.raises(FactoryError, match="Unknown language 'fr'") as caught:
        synthesize(tmp_path, teacher, language="fr")
    assert caught.value.hint == "Known: en, zh." and not teacher.asked


def test_a_passage_of_another_form_is_named(tmp_path: Path, teacher: Served) -> None:
    (tmp_path / "odd.jsonl").write_text('{"id": "a", "text": "Tea.", "meta": null}\n')
    with pytest.raises(FactoryError, match=r"odd\.jsonl:1: 'meta' is not of its kind"):
        synthesize_file(Wish(tmp_path / "odd.jsonl", tmp_path / "out.jsonl", teacher.address), print)


def test_what_the_passage_does_not_bear_out_is_refused(tmp_path: Path, teacher: Served) -> None:
    teacher.wrong = True
    with pytest.raises(FactoryError, match=r"all refused: .*not supported") as caught:
        synthesize(tmp_path, teacher, per_passage=1, kinds=["fact"])
    kept = read(tmp_path / "refused.jsonl")
    assert (
        len(kept) == 10 and all(row["reason"] for row in kept) and str(tmp_path / "refused.jsonl") in caught.value.hint
    )
    assert not (tmp_path / "examples.jsonl").exists()
    teacher.wrong, teacher.doubts = False, True
    with pytest.raises(FactoryError, match="judged as not supported"):
        synthesize(tmp_path, teacher, per_passage=1, kinds=["explain"])
    with pytest.raises(FactoryError, match="answered otherwise when asked again"):
        synthesize(tmp_path, teacher, per_passage=1, kinds=["judge"])
    with pytest.raises(FactoryError, match="the passage does answer it"):
        synthesize(tmp_path, teacher, per_passage=1, kinds=["decline"])


def test_a_busy_teacher_is_asked_again(tmp_path: Path, teacher: Served) -> None:
    teacher.failures = [503, 429]
    summary, _ = synthesize(tmp_path, teacher, count=2, per_passage=1, limits=Limits(concurrency=1))
    assert summary["accepted"] == 2 and len(teacher.asked) == 6


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [(401, "answers 401", KEY), (404, "answers 404", "ends in /v1"), (400, "answers 400", "again")],
)
def test_a_teacher_that_refuses_is_named(tmp_path: Path, teacher: Served, status: int, said: str, hint: str) -> None:
    teacher.failures = [status] * 50
    with pytest.raises(FactoryError, match=said) as caught:
        synthesize(tmp_path, teacher, per_passage=1)
    assert hint in caught.value.hint and not (tmp_path / "examples.jsonl").exists()


@pytest.mark.parametrize("where", ["teacher", "/nowhere/teacher.gguf", "http://127.0.0.1:9/v1"])
def test_no_teacher_there(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    with pytest.raises(FactoryError), open_teacher(where):
        pass


def test_most_and_bare(tmp_path: Path, teacher: Served) -> None:
    summary, rows = synthesize(tmp_path, teacher, per_passage=2, most=4, bare=True)
    assert summary["accepted"] == len(rows) == 4 and "decline" not in summary["kinds"]
    assert all("Text:" not in row["prompt"][0]["content"] for row in rows)
    assert len({row["provenance"]["passage"] for row in rows}) >= 2


@pytest.mark.parametrize(
    ("answer", "passage", "question", "bad"),
    [
        ("应当在30日内支付。", "用人单位应当在三十日内支付报酬。", "何时支付？", ""),
        ("应当在60日内支付。", "用人单位应当在三十日内支付报酬。", "何时支付？", "no number 60"),
        ("依照《劳动合同法》支付。", "用人单位应当支付报酬。", "怎样支付？", "《劳动合同法》"),
        ("第一百二十条规定应当赔偿。", "第一百二十条 造成损失的，应当赔偿。", "怎么办？", ""),
        ("Ask Peter about the hotel in Vienna.", "Ask Peter about the hotel.", "Whom?", "does not name Vienna"),
        ("It is widely seen as a masterpiece of courage.", "Oolong is half oxidised.", "What is oolong?", "of the answer is not in"),
        ("Bake it for twelve minutes.", "Bake it for 12 minutes.", "How long?", ""),
        # a number, article or name that the teacher made up in its question bears nothing out
        ("是，应当在60日内支付。", "用人单位应当在三十日内支付报酬。", "是否应当在60日内支付？", "no number 60"),
        ("Yes, it bakes for 45 minutes.", "It bakes for 12 minutes.", "Does it bake for 45 minutes?", "no number 45"),
        ("依照第五十条，应当赔偿。", "第一百二十条 造成损失的，应当赔偿。", "第五十条怎样规定？", "name 第五十条"),
        ("The waltz of Vienna was danced.", "The waltz was danced at the ball.", "Was the waltz of Vienna danced?", "does not name Vienna"),
        ("In the shops Europeans drink it with milk.", "A European drinks it with milk.", "How do Europeans drink it in shops?", ""),
        # how many things a list has may be counted
        ("两种情形：辞职和到期。", "劳动者辞职或者合同到期的，合同终止。", "哪两种情形合同终止？", ""),
        ("The two conditions are salt and heat.", "It needs salt. It needs heat, too.", "Which two conditions does it need?", ""),
        ("3个月内支付。", "用人单位应当及时支付报酬。", "3个月内支付吗？", "no number 3"),
        # 1 and 第一条 are looked up as other numbers are
        ("放置1天。", "放置三天。", "放多久？", "no number 1"),
        ("放置1天。", "放置一天。", "放多久？", ""),
        ("It rests for 1 hour.", "It rests for an hour.", "How long?", ""),
        ("依照第一条，应当赔偿。", "第二条 造成损失的，一般应当赔偿。", "怎么办？", "name 第一条"),
        ("依照第1条，应当赔偿。", "第一条 造成损失的，应当赔偿。", "怎么办？", ""),
        ("依照第 120 条，应当赔偿。", "第一百二十条 造成损失的，应当赔偿。", "怎么办？", ""),
        ("依照第一百二十条赔偿。", "第一百二十条之一 造成损失的，应当赔偿。", "怎么办？", "name 第一百二十条"),
        ("依照第十一条的规定，应当赔偿。", "依照第十、十一和十二条的规定，应当赔偿。", "怎么办？", ""),
        # a name among Chinese letters
        ("由Peter负责赔偿。", "由店主负责赔偿。", "谁负责赔偿？", "does not name Peter"),
        ("由Peter负责赔偿。", "店主Peter负责赔偿。", "谁负责赔偿？", ""),
    ],
)  # fmt: skip
def test_grounding(answer: str, passage: str, question: str, bad: str) -> None:
    found = unsupported(answer, passage, question)
    assert bad in found if bad else not found
    assert "quotation" in unsupported(answer, passage, question, "words that stand nowhere at all")


def test_a_case_may_have_numbers_and_names_of_its_own() -> None:
    passage = "劳动者每满一年支付一个月工资的经济补偿；不满六个月的，支付半个月工资。"
    assert not unsupported("Peter工作满3年，支付3个月工资。", passage, "Peter工作满3年，能得多少补偿？", case=True)
    assert "3" in unsupported("工作满3年，支付3个月工资。", passage, "工作满3年能得多少补偿？")
    assert "第九条" in unsupported("依照第九条支付工资补偿。", passage, "依照第九条能得多少补偿？", case=True)


def test_the_money_runs_out(tmp_path: Path, teacher: Served) -> None:
    prices = Limits(money=0.001, price_in=5.0, price_out=25.0, concurrency=1)  # a call costs 0.001
    with pytest.raises(FactoryError, match=r"budget is spent: 0\.00"):
        synthesize(tmp_path, teacher, per_passage=1, limits=prices)
    assert len(teacher.asked) == 1


def test_answers_without_the_form_are_a_fault_of_the_server_and_an_address_has_its_own_cache(tmp_path: Path) -> None:
    """Prose instead of JSON says nothing of what a model knows: no score of 0."""
    question = Question([{"role": "user", "content": "Brew for how long?"}])
    one, other = (Teacher(address, "default", cache=tmp_path) for address in ("http://a/v1", "http://b/v1"))
    path, elsewhere = (teacher._path(Ask(question.prompt, Short, 400, 0.0)) for teacher in (one, other))
    assert path != elsewhere
    write_json(path, {"text": "Three minutes."})
    with pytest.raises(FactoryError, match="1 of 1 answers of default are not the JSON"):
        answers_of(one, [question], Progress(print, "answer", 1))
    write_json(path, {"text": '{"answer": "Three minutes."}'})
    assert answers_of(one, [question], Progress(print, "answer", 1)) == [Answer("Three minutes.")]
