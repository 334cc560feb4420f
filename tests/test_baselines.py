"""The cheap rivals answer from the training rows alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.baselines import BASELINES, majority, ngram
from factory.config import Config
from factory.domain import Domain, Task
from factory.records import EvalItem, Example, Prediction, read_records
from factory.stage import Context
from factory.stages import evaluate

KIND = Task("kind", "Kind", "choice", "What is {input}?", ("fruit", "tool"))
FREE = Task("free", "Free", "rouge_l")
FRUIT = ["red apple pie", "green apple tart", "apple juice", "ripe pear", "sweet pear jam", "pear cider"]
TOOLS = ["steel hammer", "claw hammer", "hammer handle", "hand drill", "drill bit", "power drill"]


def example(question: str, answer: str) -> Example:
    return Example(
        question, "kind", [{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]
    )


def item(question: str) -> EvalItem:
    return EvalItem(question, "kind", [{"role": "user", "content": question}], ["?"], "choice")


TRAIN = [example(text, "fruit") for text in FRUIT] + [example(text, "tool") for text in TOOLS]


def test_majority_is_the_commonest_and_ties_do_not_depend_on_order() -> None:
    rows = [example("1", "b"), example("2", "a"), example("3", "b")]
    assert majority(FREE, rows, [item("x"), item("y")]) == ["b", "b"]
    assert majority(FREE, rows[:2], [item("x")]) == majority(FREE, rows[1::-1], [item("x")]) == ["a"]
    assert majority(FREE, [], [item("x")]) == [""]


def test_ngram_learns_labels() -> None:
    assert ngram(KIND, TRAIN, [item("an apple"), item("a big hammer"), item("pear")]) == ["fruit", "tool", "fruit"]


def test_ngram_tells_several_labels_apart_that_it_never_saw_together() -> None:
    both = Task("both", "Both", "set_f1", "{input}", ("fruit", "tool"), ";")
    rows = [*TRAIN, *(example(f"{fruit} {tool}", "fruit;tool") for fruit, tool in zip(FRUIT, TOOLS, strict=True))]
    asked = ["apple juice and a claw hammer drill", "power hammer", "apple cider", "zzz"]
    found = ngram(both, rows, [item(text) for text in asked])
    assert found[:3] == ["fruit;tool", "tool", "fruit"] and found[3], "the likeliest where none holds"


def test_ngram_gives_the_nearest_question_s_answer_where_answers_are_free() -> None:
    rows = [
        example("how to bake bread", "with flour"),
        example("怎样煮米饭", "加水"),
        example("how to fry eggs", "in butter"),
    ]
    assert ngram(FREE, rows, [item("baking bread"), item("煮饭")]) == ["with flour", "加水"]


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("rows", [[], TRAIN[:1], TRAIN[:2], [TRAIN[0], TRAIN[-1]]], ids=["none", "one", "alike", "two"])
def test_few_rows_are_no_crash(name: str, rows: list[Example]) -> None:
    assert len(BASELINES[name](KIND, rows, [item("apple")])) == 1


def test_the_regression_answers_the_same_in_the_span_of_its_rows() -> None:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from factory.baselines import _in_the_span_of

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3))
    seen = vectorizer.fit_transform([row.question for row in TRAIN])
    asked = vectorizer.transform(["an apple", "hammer time", "something else", ""])
    found = []
    for left, right in ((seen, asked), _in_the_span_of(seen, asked)):
        model = LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(left, [row.answer for row in TRAIN])
        found.append(model.predict_proba(right))
    np.testing.assert_allclose(*found, atol=1e-5)
    assert _in_the_span_of(seen, asked)[0].shape[1] <= len(TRAIN) < seen.shape[1]


def test_tasks_asked_in_the_same_words_are_one_to_a_baseline(tmp_path: Path) -> None:
    """A baseline that is told 'decline' would always be right by declining; a model is not told."""

    class Desk(Domain):
        def tasks(self) -> list[Task]:
            return [Task("answer", "A", "exact", "Read. {input}"), Task("decline", "D", "exact", "Read. {input}")]

    context = Context(Desk(Config("desk", "D", "en", "x"), tmp_path), tmp_path, "evaluate")

    def prompt(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Read. {text}"}]

    def row(task: str, number: int, answer: str) -> Example:
        return Example(f"{task}{number}", task, prompt(f"{task} {number}"), [{"role": "assistant", "content": answer}])

    train = [*(row("answer", n, "yes") for n in range(3)), *(row("decline", n, "not said") for n in range(2))]
    items = [
        EvalItem("a", "answer", prompt("x"), ["yes"], "exact"),
        EvalItem("d", "decline", prompt("y"), ["not said"], "exact"),
    ]
    evaluate._judge_baseline(context, "majority", majority, train, items)
    found = read_records(tmp_path / "evaluate" / "predictions" / "majority.jsonl", Prediction)
    assert [(row.id, row.prediction, row.score) for row in found] == [("a", "yes", 1.0), ("d", "yes", 0.0)]
