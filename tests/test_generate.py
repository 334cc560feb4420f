"""Which questions are answered together."""

from __future__ import annotations

from factory.domain import Task
from factory.generate import Question, _batches


def question(task: Task | None) -> Question:
    return Question([{"role": "user", "content": "?"}], task)


def test_tasks_with_one_limit_and_no_labels_share_batches() -> None:
    """Eight small tasks in batches of their own would take eight times the steps of one."""
    tasks = [Task(name, name, "exact", max_new_tokens=128) for name in ("define", "about", "step")]
    labels = Task("source", "S", "choice", choices=("a", "b"), max_new_tokens=128)
    short = Task("fact", "F", "exact", max_new_tokens=48)
    questions = [question(task) for task in [*tasks, labels, short] * 4] + [question(None)]
    texts = ["x" * (number * 7 % 20) for number in range(len(questions))]
    made = list(_batches(questions, texts, 8))
    assert sorted(row for rows in made for row in rows) == list(range(len(questions)))
    assert sorted(map(len, made)) == [1, 4, 4, 4, 8]  # free text; labels; short; 12 of the three long tasks as 8 and 4
    for rows in made:
        limits = {(questions[row].max_new_tokens, (t.choices if (t := questions[row].task) else ())) for row in rows}
        assert len(limits) == 1
        assert [len(texts[row]) for row in rows] == sorted(len(texts[row]) for row in rows)
