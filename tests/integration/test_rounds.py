"""The loop on a tiny model: experts correct, a reviewer approves, `factory feedback`, round 2, round 3; round 1 stays whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from factory.feedback import store_module

from .toy import STAGES, actions, adapter, factory, make_base, make_toy, tree

Store = store_module().Store  # the app's own
RUNS = Path("runs/toy")
SYSTEM = {"role": "system", "content": "Be brief."}
NEW = ["spade", "tongs", "prune", "guava"]  # words that neither training nor the eval set knows


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished round 1."""
    cwd = tmp_path_factory.mktemp("rounds") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    factory(cwd, "build", "toy")
    return cwd


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Round 2 on corrections of four words, a vote, and a promoted question."""
    cwd = Path(shutil.copytree(first, tmp_path_factory.mktemp("second") / "work"))
    store = Store(cwd / RUNS / "feedback.db")
    for word in NEW:
        correct(store, word, f"{word} {word}")
    approve(store, correct_kind(store, "melon", "tool"))  # known as a fruit: the expert says otherwise
    approve(store, vote(store, "lychee"))
    promoted = correct(store, "yam", "yam yam", approved=False)
    store.decide(promoted, "approved", "Wu", promote=True)
    correct(store, "never", "never never", approved=False)
    store.close()
    factory(cwd, "feedback", "toy")
    factory(cwd, "build", "toy", "--round", "2")
    return cwd


def said(word: str, task: str = "twice") -> dict[str, Any]:
    asked = {"twice": f"Say twice: {word}", "kind": f"What is {word}?"}[task]
    return {
        "who": "Li Ming", "session": "s", "model": "m" * 64, "task": task, "prompt": [SYSTEM, {"role": "user", "content": asked}],
        "answer": "wrong words",
    }  # fmt: skip


def approve(store: Any, id: int) -> int:
    store.decide(id, "approved", "Wu")
    return id


def correct(store: Any, word: str, better: str, approved: bool = True) -> int:
    id = store.add_correction(**said(word), better=better)
    return approve(store, id) if approved else int(id)


def correct_kind(store: Any, word: str, better: str) -> int:
    return int(store.add_correction(**said(word, "kind"), better=better))


def vote(store: Any, word: str) -> int:
    return int(
        store.add_vote(**said(word), made_by="base", other=f"{word} {word}", other_by="specialist", verdict="second")
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_round_needs_round_one_and_feedback(first: Path, tmp_path: Path) -> None:
    cwd = Path(shutil.copytree(first, tmp_path / "work"))
    for command, words in {
        ("build", "toy", "--round", "2"): ("no example to learn from", "factory feedback toy"),
        ("build", "toy", "--round", "3"): ("Round 2 of 'toy' is not built", "factory build toy --round 2"),
        ("build", "toy", "--round", "2", "--run", "other"): ("Round 1 of 'toy' is not built", "factory build toy --run other"),
        ("feedback", "toy"): ("No feedback in runs/toy/feedback.db", "factory demo toy"),
        ("feedback", "toy", "--run", "other"): ("is not built", "factory build toy --run other"),
        ("feedback", "toy", "--store", "domains/toy/domain.toml"): ("this is no file of feedback", "--store"),
    }.items():  # fmt: skip
        text = factory(cwd, *command, code=1)
        assert all(word in text for word in words) and "Traceback" not in text, text
    correct(Store(cwd / RUNS / "feedback.db"), "spade", "spade spade", approved=False)
    assert "(1 wait for a reviewer)" in factory(cwd, "feedback", "toy", code=1)
    assert sorted(path.name for path in (cwd / RUNS).iterdir() if path.is_dir()) == ["default"]


def test_round_one_stays_whole(first: Path, second: Path) -> None:
    assert tree(second / RUNS / "default") == tree(first / RUNS / "default")
    assert actions(factory(second, "build", "toy", "--dry")) == dict.fromkeys(STAGES, "skip"), (
        "nor does version 2 move it"
    )


def test_what_round_two_learned_from(second: Path) -> None:
    run = second / RUNS / "default-r2"
    examples, pairs = rows(run / "feedback/examples.jsonl"), rows(run / "feedback/pairs.jsonl")
    assert [row["completion"][0]["content"] for row in examples] == [*(f"{w} {w}" for w in NEW), "tool"]
    assert len(pairs) == 6 and pairs[-1]["chosen"][0]["content"] == "lychee lychee"
    known = examples[0]["provenance"]
    assert (
        known["kind"] == "expert"
        and known["row"] == "1"
        and known["model"] == "m" * 64
        and "Li" not in json.dumps(known)
    )
    train = rows(run / "curate/train.jsonl")
    mine = {row["id"] for row in examples}
    assert mine <= {row["id"] for row in train} and len(train) == 5 + 15, "three earlier rows for each of the experts'"
    before = {row["id"] for row in rows(second / RUNS / "default/curate/train.jsonl")}
    assert {row["id"] for row in train} - mine <= before
    asked = [row["prompt"][-1]["content"] for row in train]
    assert asked.count("What is melon?") == 1, "the row that the expert contradicts is not seen again"
    assert not [text for text in asked if "yam" in text], "a promoted question is not trained on"
    assert rows(run / "curate/dev.jsonl") == rows(second / RUNS / "default/curate/dev.jsonl")
    sft = read(run / "sft/manifest.json")["summary"]
    assert sft["steps"] == -(-(5 * 8 + 15) // 8), "an expert's row eight times, an earlier one once"
    made = rows(run / "prefer/pairs.jsonl")
    assert {row["provenance"]["kind"] for row in made} >= {"expert"}
    assert read(run / "prefer/manifest.json")["summary"]["sources"]["expert"] == 6


def test_it_goes_on_from_the_adapter_of_round_one(second: Path) -> None:
    best = read(second / RUNS / "default/evaluate/scores.json")["best"]
    before, after = adapter(second / RUNS / "default", best), adapter(second / RUNS / "default-r2", "sft")
    assert before.keys() == after.keys()
    moved = {name: float((after[name] - before[name]).norm() / before[name].norm()) for name in before}
    assert all(0 < share < 0.5 for share in moved.values()), moved


def test_every_round_answers_the_same_items(second: Path) -> None:
    run = second / RUNS / "default-r2"
    scores = read(run / "evaluate/scores.json")
    assert (scores["items"], scores["eval_version"], scores["rounds"]) == (13, 2, ["round1"])
    assert read(second / RUNS / "default/evaluate/scores.json")["eval_version"] == 1
    for model in ("base", "round1", "sft"):
        assert len(rows(run / f"evaluate/predictions/{model}.jsonl")) == 13
    best = read(second / RUNS / "default/evaluate/scores.json")["best"]
    before = {row["id"]: row for row in rows(second / RUNS / f"default/evaluate/predictions/{best}.jsonl")}
    again = {row["id"]: row for row in rows(run / "evaluate/predictions/round1.jsonl")}
    assert {id: again[id] for id in before} == before
    [new] = set(again) - set(before)
    assert new.startswith("expert/") and again[new]["question"] == "Say twice: yam"
    difference = next(row for row in scores["differences"] if (row["worse"], row["task"]) == ("round1", "mean"))
    models = scores["models"]
    assert difference["difference"] == pytest.approx(
        models["best"]["mean"]["score"] - models["round1"]["mean"]["score"], abs=0.02
    )
    assert "not below round1" in [gate["name"] for gate in scores["gates"]]


def test_the_report_sets_round_against_round(second: Path) -> None:
    page = (second / RUNS / "default-r2/report/report.html").read_text(encoding="utf-8")
    assert "Round against round" in page and "eval set version 2" in page and "than Round 1: " in page
    assert "From experts: 7 approved rows gave 5 examples" in page
    assert "Round against round" not in (second / RUNS / "default/report/report.html").read_text(encoding="utf-8")
    assert read(second / RUNS / "default-r2/app/scoreboard.json")["eval_version"] == 2


def test_a_second_build_of_the_round_skips_everything(second: Path) -> None:
    before = tree(second)
    for flags in (("--round", "2"), ("--run", "default-r2")):
        assert actions(factory(second, "build", "toy", *flags, "--dry")) == dict.fromkeys(STAGES, "skip")
    assert tree(second) == before


def test_a_frozen_version_may_not_be_edited(second: Path, tmp_path: Path) -> None:
    cwd = Path(shutil.copytree(second, tmp_path / "work"))
    [path] = (cwd / "domains/toy/evals/versions").iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace("yam", "jam"), encoding="utf-8")
    text = factory(cwd, "build", "toy", "--round", "2", code=1)
    assert "was edited" in text and path.name in text
    assert actions(factory(cwd, "build", "toy", "--dry")) == dict.fromkeys(STAGES, "skip"), "round 1 does not read it"


def test_more_feedback_changes_the_round_or_makes_the_next(second: Path, tmp_path: Path) -> None:
    cwd = Path(shutil.copytree(second, tmp_path / "work"))
    assert "7 rows are part of an earlier round" in factory(cwd, "feedback", "toy", code=1)
    assert "is a round itself" in factory(cwd, "feedback", "toy", "--run", "default-r2", code=1)
    correct(Store(cwd / RUNS / "feedback.db"), "papaya", "papaya papaya")
    again = factory(cwd, "feedback", "toy", "--round", "2", "--dry")
    assert "examples: 6" in again and "Nothing was written" in again
    text = factory(cwd, "feedback", "toy")
    assert "examples: 1, preference pairs: 1" in text and "factory build toy --round 3" in text
    built = factory(cwd, "build", "toy", "--round", "3")
    assert actions(built) == dict.fromkeys(STAGES, "run")
    scores = read(cwd / RUNS / "default-r3/evaluate/scores.json")
    assert scores["rounds"] == ["round1", "round2"] and scores["eval_version"] == 2
    old = rows(cwd / RUNS / "default/curate/train.jsonl") + rows(cwd / RUNS / "default-r2/feedback/examples.jsonl")
    train = {row["id"] for row in rows(cwd / RUNS / "default-r3/curate/train.jsonl")}
    assert len(train) == 4 and len(train & {row["id"] for row in old}) == 3
    assert "answers are known from an earlier build" in built, "the base is not asked again"
    other = factory(cwd, "build", "toy", "--round", "3", "--set", "base=smollm2-135m-instruct", code=1)
    assert "this round would be on smollm2-135m-instruct" in other
    other = factory(cwd, "build", "toy", "--round", "3", "--set", "sft.top_layers=1", code=1)
    assert "has its adapter on all layers, and sft.top_layers is 1" in other and "--set sft.top_layers=0" in other
