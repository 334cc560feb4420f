"""Cheap rivals trained on the same rows: a specialist that cannot beat them is not worth its weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from factory.domain import Task
from factory.records import EvalItem, Example


def majority(task: Task, train: Sequence[Example], items: Sequence[EvalItem]) -> list[str]:
    """The commonest training answer, for every item."""
    counts = Counter(example.answer for example in train)
    answer = min(counts, key=lambda text: (-counts[text], text)) if counts else ""
    return [answer] * len(items)


def ngram(task: Task, train: Sequence[Example], items: Sequence[EvalItem]) -> list[str]:
    """Character n-grams (1 to 3, TF-IDF): logistic regression where the answer is a label, else the nearest question's answer.

    The regression's strength C and whether rare labels weigh more are chosen by cross-validation on the training rows.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len({example.answer for example in train}) < 2:
        return majority(task, train, items)
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    seen = vectorizer.fit_transform([example.question for example in train])
    asked = vectorizer.transform([item.question for item in items])
    answers = [example.answer for example in train]
    if task.separator and len(task.choices) <= _MOST_LABELS:
        return _each_label(seen, asked, [answer.split(task.separator) for answer in answers], task.separator)
    if task.choices:
        return _regression(*_in_the_span_of(seen, asked), answers)
    nearest = np.asarray((asked @ seen.T).argmax(axis=1)).ravel()
    return [answers[row] for row in nearest.tolist()]


def _in_the_span_of(seen: Any, asked: Any) -> tuple[Any, Any]:
    """The same rows in an orthonormal basis of the training rows' span: (n, features) become (n, at most n), dense.

    A regularized linear model's weights lie in that span, so that its answers stay the same, and a thousand columns are
    fitted instead of a hundred thousand. Above a few thousand rows the sparse matrices are cheaper and come back as they are.
    """
    if seen.shape[0] > _MOST_DENSE:
        return seen, asked
    gram = (seen @ seen.T).toarray()
    values, vectors = np.linalg.eigh(gram)
    basis = vectors[:, values > 1e-9] / np.sqrt(values[values > 1e-9])
    return gram @ basis, (asked @ seen.T).toarray() @ basis


_MOST_DENSE = 4000
_MOST_LABELS = 64  # a regression for each of several labels that may hold; above, one over the answers as they stand


def _each_label(seen: Any, asked: Any, answers: list[list[str]], separator: str) -> list[str]:
    """The labels that hold by a regression each; the likeliest where none does."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    binarizer = MultiLabelBinarizer()
    held = binarizer.fit_transform(answers)
    model = OneVsRestClassifier(LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label that every row has
        shares = model.fit(seen, held).predict_proba(asked)
    found = [np.flatnonzero(row >= min(0.5, row.max())) for row in shares]
    return [separator.join(binarizer.classes_[row]) for row in found]


def _regression(seen: Any, asked: Any, answers: list[str]) -> list[str]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, KFold

    if len(answers) < 6:  # too few for folds
        return [str(answer) for answer in LogisticRegression(C=10.0, max_iter=1000).fit(seen, answers).predict(asked)]
    settings = {"C": [1.0, 10.0, 100.0], "class_weight": [None, "balanced"]}
    search = GridSearchCV(LogisticRegression(max_iter=1000), settings, cv=KFold(3, shuffle=True, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(seen, answers)
    return [str(answer) for answer in search.predict(asked)]


BASELINES = {"ngram": ngram, "majority": majority}
