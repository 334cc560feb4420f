"""From approved rows to examples, pairs and eval items: what becomes of each row, and what is told of those left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import Factory, make_toy

from factory.domain import FREE, Domain, load_domain
from factory.errors import FactoryError
from factory.expert import Gathered, gather, task_of
from factory.feedback import store_module
from factory.files import write_json
from factory.records import EvalItem, Preference, write_records
from factory.stages.prefer import weighted
from factory.versions import freeze, marks, newest, promoted

Row = store_module().Row
SAID: dict[str, Any] = {
    "at": "2026-11-25T04:00:00+00:00", "kind": "correction", "who": "Li", "session": "s", "model": "abc", "task": "", "answer": "No.",
    "made_by": "specialist", "other": "", "other_by": "", "verdict": "down", "reason": "", "better": "", "state": "approved",
    "reviewer": "Wu", "reviewed_at": "2026-11-25T05:00:00+00:00", "edited": "", "promote": False,
}  # fmt: skip
ITEM = EvalItem("kind-1", "kind", [{"role": "user", "content": "What is mango?"}], ["fruit"], "choice")


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    make_toy(tmp_path)
    return load_domain("toy")


def row(id: int, question: str, **said: Any) -> Any:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    return Row(**{**SAID, "id": id, "prompt": prompt, **said})


def vote(id: int, question: str, first: str, second: str, verdict: str) -> Any:
    return row(id, question, kind="vote", answer=first, other=second, other_by="base", verdict=verdict)


def sort(domain: Domain, *rows: Any, items: list[EvalItem] | None = None, used: set[str] | None = None) -> Gathered:
    return gather(rows, domain, items if items is not None else [ITEM], used or set(), {"saytwicesaw"})


def answers(found: Gathered) -> list[str]:
    return [example.answer for example in found.examples]


def sides(found: Gathered) -> list[tuple[str, str]]:
    return [(pair.chosen[0]["content"], pair.rejected[0]["content"]) for pair in found.pairs]


def test_a_correction_is_an_example_and_a_pair_that_know_where_they_come_from(domain: Domain) -> None:
    found = sort(domain, row(7, "Say twice: spade", better="spade", edited="spade spade"))
    [example], [pair] = found.examples, found.pairs
    assert (example.task, example.answer, sides(found)) == ("say", "spade spade", [("spade spade", "No.")])
    assert example.prompt == pair.prompt and example.prompt[0]["role"] == "system"
    known = example.provenance
    assert (known["kind"], known["said"], known["row"], known["model"], known["at"]) == (
        "expert",
        "correction",
        "7",
        "abc",
        SAID["at"],
    )
    assert len(known["who"]) == len(known["reviewer"]) == 12 and known["who"] != known["reviewer"], "pseudonyms"
    assert "Li" not in known.values() and found.told == []


def test_what_ratings_and_votes_come_to(domain: Domain) -> None:
    found = sort(
        domain,
        row(1, "Say twice: a1", kind="rating", verdict="up", answer="a1 a1"),
        row(2, "Say twice: b2", kind="rating"),
        row(3, "Say twice: c3", kind="rating", edited="c3 c3"),
        vote(4, "Say twice: d4", "d4", "d4 d4", "second"),
        vote(5, "Say twice: e5", "e5", "e5 e5", "first"),
        vote(6, "Say twice: f6", "f6", "f6 f6", "tie"),
    )
    assert answers(found) == ["a1 a1", "c3 c3"]
    assert sides(found) == [("c3 c3", "No."), ("d4 d4", "d4"), ("e5", "e5 e5")]
    assert found.told == ["row 2 has no better answer", "row 6 prefers neither answer"]


def test_rows_that_say_the_same_are_merged(domain: Domain) -> None:
    found = sort(
        domain, row(1, "Say twice: spade", better="Spade spade."), row(2, "say twice:  SPADE!", better="spade spade")
    )
    assert len(found.examples) == len(found.pairs) == 1 and found.merged == 2
    assert found.examples[0].provenance["row"] == "1, 2"


def test_contradictions_are_told_and_kept_out(domain: Domain) -> None:
    found = sort(
        domain,
        row(1, "What is melon?", better="fruit"),
        row(2, "What is melon?", better="tool"),
        row(3, "Say twice: spade", better="spade spade"),
        row(4, "Say twice: spade", kind="rating", verdict="up", answer="spade"),
        vote(5, "Say twice: fig", "fig", "fig fig", "first"),
        vote(6, "Say twice: fig", "fig", "fig fig", "second"),
    )
    assert answers(found) == ["spade spade"] and sides(found) == [("spade spade", "No.")]
    assert found.told == [
        "rows 1, 2 give different better answers to one question: reject those that are wrong",
        "row 4 praises an answer that another row corrects",
        "rows 5, 6 prefer opposite answers to one question",
    ]


def test_a_rewording_of_an_eval_item_with_its_answer_is_told_and_kept_out(domain: Domain) -> None:
    asked, answer = "How do I water a jade plant?", "Let it dry out, then soak it; less in summer."
    item = EvalItem("w", FREE.name, [{"role": "user", "content": asked}], [answer], "rouge_l")
    found = sort(
        domain,
        row(1, "How do I water the jade plant?", better="Let it dry out, then soak it, less in summer."),
        row(2, "How do I feed the jade plant?", better="A little in spring and in autumn, none in winter."),
        items=[item],
    )
    assert [example.provenance["row"] for example in found.examples] == ["2"]
    assert found.told == ["row 1 asks what eval item w asks, with the same answer"]


def test_eval_items_and_what_is_promoted_are_never_trained_on(domain: Domain) -> None:
    found = sort(
        domain,
        row(1, "What is mango?", better="fruit"),
        row(2, "Say twice: kumquat", better="kumquat kumquat", promote=True),
        row(3, "Say twice: KUMQUAT", better="kumquat, kumquat"),
        row(4, "What is  mango?", better="fruit", promote=True),
        row(5, "Say twice: saw", better="saw saw"),
    )
    assert answers(found) == ["saw saw"] and len(found.pairs) == 1
    [item] = found.items
    assert (item.task, item.references, item.scorer) == ("say", ["kumquat kumquat"], "rouge_l") and item.id.startswith(
        "expert/"
    )
    assert found.told == [
        "row 4 is promoted, but eval item kind-1 asks the same", "row 1 same question as eval item kind-1",
        f"row 3 same question as eval item {item.id}",
    ]  # fmt: skip
    again = sort(domain, row(2, "Say twice: kumquat", better="kumquat kumquat", promote=True), items=[ITEM, item])
    assert again.items == [] and again.told == [] and again.known == 1, "promoted before"
    seen = sort(domain, row(5, "Say twice: saw", better="saw saw", promote=True))
    assert seen.items == [] and seen.told == ["row 5 is promoted, but an earlier round was trained on its question"]


def test_personal_data_is_masked_before_it_is_written(domain: Domain) -> None:
    found = sort(
        domain, row(1, "Say twice: +1 415 555 2671", answer="call +1 415 555 2671", better="mail li@example.com")
    )
    assert "2671" not in repr(found) and "example.com" not in repr(found), found
    assert found.masked and found.examples[0].answer == "mail [EMAIL]"


def test_labels_are_held_to_and_unknown_tasks_told(domain: Domain) -> None:
    found = sort(
        domain,
        row(1, "What is spade?", better="a tool"),
        row(2, "?", task="gone", better="x"),
        row(3, "What is spade?", better="tool"),
    )
    assert answers(found) == ["tool"]
    assert found.told[0] == "row 1: 'a tool' is none of the labels of 'kind'" and "no task 'gone'" in found.told[1]


def test_the_task_of_a_question_asked_freely(domain: Domain) -> None:
    for question, task in {
        "What is plum?": "kind",
        "Say twice: plum": "say",
        "How do I cook plums?": "free",
        "What is": "free",
    }.items():
        assert task_of(row(1, question), domain).name == task, question
    assert domain.task("free") is FREE and task_of(row(1, "x", task="k-1"), domain).name == "kind"
    assert sort(domain, row(1, "How do I cook plums?", better="Slowly.")).examples[0].task == "free"


def test_what_an_earlier_round_learned_is_not_new(domain: Domain) -> None:
    first = sort(domain, row(1, "Say twice: spade", better="spade spade"))
    used = {record.id for record in [*first.examples, *first.pairs]}
    second = sort(
        domain,
        row(1, "Say twice: spade", better="spade spade"),
        row(2, "Say twice: hoe", better="hoe hoe"),
        row(3, "Say twice: spade", kind="rating", verdict="up", answer="spade spade"),
        row(4, "Say twice: spade", answer="Never.", better="spade spade"),
        used=used,
    )
    assert answers(second) == ["hoe hoe"] and len(second.pairs) == 2, "row 4 prefers it to another answer"
    assert second.known == 2 and second.told == [] and second.merged == 0


def test_weights_say_how_often_a_pair_is_seen() -> None:
    pairs = [Preference(str(n), "say", [], [], []) for n in range(10)]
    for weight, count in {0: 0, 0.5: 5, 1: 10, 2.3: 23}.items():
        found = weighted(pairs, weight)
        assert len(found) == count and found == weighted(pairs, weight)
        assert {found.count(pair) for pair in pairs} <= {int(weight), int(weight) + 1}


def test_versions_are_frozen(domain: Domain, tmp_path: Path) -> None:
    folder = domain.folder
    assert newest(folder) == 1 and promoted(folder, 1) == [] and marks(folder, 1) == {}
    other = EvalItem(
        "expert/1", "say", [{"role": "user", "content": "Say twice: 瓜"}], ["瓜 瓜"], "rouge_l", {"row": "1"}
    )
    assert (freeze(folder, [ITEM]), freeze(folder, [other])) == (2, 3)
    assert newest(folder) == 3 and promoted(folder, 2) == [ITEM] and promoted(folder, 3) == [ITEM, other]
    assert len(list(domain.frozen_items())) == 3, "the domain's own items are those of version 1"
    third = next((folder / "evals/versions").glob("v3-*"))
    third.write_text(third.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(FactoryError, match="was edited"):
        promoted(folder, 3)
    assert promoted(folder, 2) == [ITEM]
    third.unlink()
    with pytest.raises(FactoryError, match="Version 3 of the eval set is missing"):
        marks(folder, 3)


def finish_round_one(root: Path) -> Path:
    """A run of the toy as far as `factory feedback` looks at it."""
    run = root / "runs/toy/default"
    write_records(run / "ingest/eval.jsonl", [ITEM])
    write_records(run / "curate/train.jsonl", [])
    write_json(run / "evaluate/manifest.json", {})
    write_json(run / "run.json", {"source": "", "tasks": None, "settings": [], "evals": 1, "after": ""})
    return run.parent


def test_the_command_writes_whole_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_toy(tmp_path)
    runs, factory = finish_round_one(tmp_path), Factory(monkeypatch, capsys)
    store = store_module().Store(runs / "feedback.db")
    said = {"who": "Li", "session": "", "model": "m", "task": "", "answer": "?"}

    def add(question: str, better: str, promote: bool = False) -> None:
        number = store.add_correction(**said, prompt=[{"role": "user", "content": question}], better=better)
        store.decide(number, "approved", "Wu", promote=promote)

    add("Say twice: spade", "spade spade")
    add("Say twice: yam", "yam yam", promote=True)
    dry = factory("feedback", "toy", "--dry")
    assert dry.code == 0 and "1 promoted: version 2" in dry.out and "Nothing was written." in dry.out
    assert not (runs / "default-r2").exists() and not (folder / "evals/versions").exists()
    done = factory("feedback", "toy")
    assert "examples: 1, preference pairs: 1" in done.out and "Next: factory build toy --round 2" in done.out
    target = runs / "default-r2/feedback"
    assert sorted(path.name for path in target.iterdir()) == ["examples.jsonl", "pairs.jsonl", "summary.json"]
    summary = json.loads((target / "summary.json").read_text(encoding="utf-8"))
    assert (summary["examples"], summary["promoted"], summary["eval_version"], summary["round"]) == (1, 1, 2, 2)
    add("Say twice: hoe", "hoe hoe")
    again = factory("feedback", "toy").out
    assert "examples: 2" in again and newest(folder) == 2, "promoted once"
    assert "left out: 1 row is part of an earlier round or of the eval set" in again
    assert list(target.parent.iterdir()) and not list(target.parent.glob(".feedback*"))


def test_only_promoted_rows_make_a_version_and_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_toy(tmp_path)
    runs, factory = finish_round_one(tmp_path), Factory(monkeypatch, capsys)
    store = store_module().Store(runs / "feedback.db")
    prompt = [{"role": "user", "content": "Say twice: yam"}]
    number = store.add_correction(who="", session="", model="m", task="", answer="?", prompt=prompt, better="yam yam")
    store.decide(number, "approved", "Wu", promote=True)
    done = factory("feedback", "toy")
    assert done.code == 0 and "no example to learn from" in done.out and newest(folder) == 2
    refused = factory("build", "toy", "--round", "2")
    assert refused.code == 1 and "has no example to learn from" in refused.err


def test_the_demo_keeps_feedback_beside_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_toy(tmp_path)
    app = finish_round_one(tmp_path) / "default/app"
    write_json(app / "manifest.json", {})
    (app / "app.py").write_text("import sys; open('told', 'w').write('\\n'.join(sys.argv))", encoding="utf-8")
    assert Factory(monkeypatch, capsys)("demo", "toy").code == 0
    told = (app / "told").read_text(encoding="utf-8").splitlines()
    assert told[told.index("--feedback") + 1] == str(tmp_path / "runs/toy/feedback.db"), "a rebuilt app finds it again"
