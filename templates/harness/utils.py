"""How lm-evaluation-harness reads these items and scores the answers. Written by `factory eval-export`; see README.md."""

import json
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


def items(task, **_):
    """The items of a task, in the factory's order."""
    from datasets import Dataset

    lines = (HERE / f"{task}.jsonl").read_text(encoding="utf-8").split("\n")
    return {"test": Dataset.from_list([json.loads(line) for line in lines if line])}


def choices(doc):
    """Every text whose likelihood decides among the labels of the item's task."""
    return list(_texts(_made()["labels"][doc["task"]]))


def chosen(doc, results):
    """The score of the label that the likelihoods lead to: at each fork the likelier text, as in the factory's decoding."""
    likely = dict(zip(choices(doc), (loglikelihood for loglikelihood, _ in results), strict=True))
    place = _made()["labels"][doc["task"]]
    while isinstance(place, dict):
        place = place[max(place, key=likely.__getitem__)]
    return {"score": _score(doc, place)}


def said(doc, results):
    """The score of a written answer."""
    return {"score": _score(doc, results[0].strip())}


def _texts(place):
    for text, after in place.items():
        yield text
        if isinstance(after, dict):
            yield from _texts(after)


def _score(doc, answer):
    return _domain().scorer(doc["scorer"])(answer, doc["references"], doc["question"])


@cache
def _made():
    return json.loads((HERE / "factory.json").read_text(encoding="utf-8"))


@cache
def _domain():
    """The domain, whose scorers judge: from its folder where that is here, else from an installed package."""
    from factory.domain import load_domain

    made = _made()
    return load_domain(made["domain"], made["settings"], Path(made["folder"]).parent)
