"""Models at an address and published scores beside a run: what came back in no form, what may be compared, what is traced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served
from toys import Factory, make_toy

from factory.files import read_json, write_json
from factory.records import EvalItem, Prediction, eval_digest, read_records, write_records
from factory.references import answers_file, kept
from factory.scoring import score_model

ITEMS = 5


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An evaluated run of the toy domain's `kind`, as far as a scoreboard reads it."""
    make_toy(tmp_path)
    folder = tmp_path / "runs" / "toy" / "default"
    items = [EvalItem(f"kind-{n}", "kind", [{"role": "user", "content": f"What is {n}?"}], ["fruit"], "choice") for n in range(ITEMS)]  # fmt: skip
    write_records(folder / "ingest" / "eval.jsonl", items)
    cell = {"score": 50.0, "low": 9.5, "high": 90.5, "n": ITEMS}
    scores = {"items": ITEMS, "eval_digest": eval_digest(items), "differences": [], "gates": [], "tasks": {"kind": {}}, "best": "sft"}  # fmt: skip
    models = {name: {"kind": cell, "mean": cell} for name in ("base", "sft")}
    write_json(folder / "evaluate" / "scores.json", scores | {"models": models})
    write_json(folder / "evaluate" / "manifest.json", {"outputs": {}})
    monkeypatch.setattr("factory.build.build_run", lambda order, say: folder)
    return folder


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Factory:
    return Factory(monkeypatch, capsys)


def prose(count: int) -> list[dict[str, Any]]:
    """Bodies that answer with no JSON."""
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Well, a fruit."}}
    return [{"choices": [message]}] * count


def test_what_came_back_in_no_form_is_counted_and_asked_again(run: Path, server: Served, factory: Factory) -> None:
    server.odd = prose(2)
    shown = factory("eval", "toy", "--model", server.address)
    assert f"toy-teacher: 2 of {ITEMS} answers have not the form" in shown.out and "2 unanswered" in shown.out, shown
    [one] = kept(run)
    assert one.unanswered == 2 and one.cells["mean"]["score"] == 60 and len(server.asked) == ITEMS
    again = factory("eval", "toy", "--model", server.address)
    assert len(server.asked) == ITEMS + 2, "the two alone"
    assert kept(run)[0].unanswered == 0 and kept(run)[0].cells["mean"]["score"] == 100
    assert "not the form" not in again.out and "unanswered" not in again.out


def test_another_model_behind_the_same_name_is_asked_anew(run: Path, server: Served, factory: Factory) -> None:
    for flags, calls in (((), ITEMS), ((), ITEMS), (("--again",), 2 * ITEMS)):
        assert factory("eval", "toy", "--model", server.address, *flags).code == 0
        assert len(server.asked) == calls
    ended = factory("eval", "toy", "--again")
    assert ended.code == 1 and "--again is for --model" in ended.err


def test_every_figure_is_traced_to_its_answers(run: Path, server: Served, factory: Factory) -> None:
    factory("eval", "toy", "--model", f"{server.address}#openai/gpt")
    path = answers_file(run, "openai/gpt")
    rows = read_records(path, Prediction)
    assert [(row.id, row.prediction, row.score) for row in rows] == [(f"kind-{n}", "fruit", 1.0) for n in range(ITEMS)]
    assert path.parent == run / "references" and answers_file(run, "openai_gpt") != path
    (run / "told.csv").write_text(f"model,task,score,n\nopenai/gpt,kind,60,{ITEMS}\n")
    factory("eval", "toy", "--model", run / "told.csv")
    assert not path.exists(), "published scores have no answers"
    factory("eval", "toy", "--model", f"{server.address}#plain.name")
    assert (run / "references" / "plain.name.jsonl").exists()
    factory("eval", "toy", "--forget", "plain.name")
    assert not list((run / "references").iterdir())


def test_published_scores_on_other_items_stand_apart(run: Path, factory: Factory) -> None:
    (run / "told.csv").write_text(f"model,task,score,n\nsame,kind,40,{ITEMS}\nGPT-4,kind,60,100\n")
    shown = factory("eval", "toy", "--model", run / "told.csv").out
    assert (
        f"told.csv: kind: n 100, here {ITEMS}: other items, kept apart from the run's scores (1 of 2 models)" in shown
    )
    assert "told.csv: mean" not in shown
    same, others = shown.split("References, on the same items")[1].split("Published, on other items")
    assert "same" in same and "GPT-4" not in same
    assert "GPT-4" in others and f"n 100, here {ITEMS}" in others and "same" not in others


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("kind,40,9,\n", "told.csv:2: no model"),
        ("kind,40,9,A\nkind,50,9,A\n", "told.csv:3: a second score of A on kind"),
    ],
)
def test_a_published_score_has_a_model_and_stands_once(run: Path, factory: Factory, rows: str, said: str) -> None:
    (run / "told.csv").write_text("task,score,n,model\n" + rows)
    ended = factory("eval", "toy", "--model", run / "told.csv")
    assert ended.code and said in " ".join(ended.err.split())


def test_published_scores_of_other_tasks_are_counted(run: Path, factory: Factory) -> None:
    (run / "told.csv").write_text(f"model,task,score,n\nA,kind,40,{ITEMS}\nA,knid,50,9\nB,knid,50,9\n")
    shown = factory("eval", "toy", "--model", run / "told.csv").out
    assert "told.csv: rows of tasks that this run has not, left out: knid 2" in shown


def test_nearly_as_many_are_noted_and_kept(tmp_path: Path, run: Path, factory: Factory) -> None:
    scores = read_json(run / "evaluate" / "scores.json")
    items = [EvalItem(f"kind-{n:03}", "kind", [], ["fruit"], "choice") for n in range(100)]
    write_records(run / "ingest" / "eval.jsonl", items)
    for cells in scores["models"].values():
        for cell in cells.values():
            cell["n"] = 100
    write_json(run / "evaluate" / "scores.json", scores | {"eval_digest": eval_digest(items)})
    (run / "told.csv").write_text("model,task,score,n\nGPT-4,kind,60,98\n")
    shown = factory("eval", "toy", "--model", run / "told.csv").out
    assert "told.csv: kind: n 98, here 100: nearly the same items (1 of 1 models)" in shown
    assert "98/100" in shown.split("References, on the same items")[1] and "Published, on other items" not in shown


def test_the_answers_of_any_model_can_be_read_as_predictions(run: Path, server: Served) -> None:
    said: list[str] = []
    server.odd = prose(1)
    [one] = score_model("toy", "default", server.address, said.append)
    rows = [json.loads(line) for line in answers_file(run, one.name).read_text("utf-8").splitlines()]
    assert sum(row["prediction"] == "" and row["score"] == 0 for row in rows) == one.unanswered == 1
    assert sum(row["score"] for row in rows) == sum(one.scores["kind"]) == ITEMS - 1
