"""What a specialist forgot: general ability before and after, on a small frozen set of our own writing, in Chinese and English.

`factory/general/LANGUAGE.jsonl`: reading, arithmetic, common sense, instructions, 20 each; every model is held to an item's four
choices. `LANGUAGE.txt`: prose outside the shipped domains, for perplexity. None of it is ever trained on: what `curate.general`
mixes in, so that less is forgotten, are the other questions of `replay-LANGUAGE.jsonl`.
"""

from __future__ import annotations

import gc
import importlib.resources
import json
import math
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from factory.answers import Answers, answers_of_weights, weights_digest
from factory.difficulty import Part, losses
from factory.domain import Task
from factory.files import digest, read_sealed, weights_mark, write_sealed
from factory.generate import Question, answer
from factory.models import find_base, load_answering
from factory.progress import Progress
from factory.records import Example
from factory.stage import Say
from factory.statistics import Scores, compare, summarize

LANGUAGES = ("en", "zh")
RESAMPLES = 2000
FILE = "forgetting.json"


def forgetting(run_dir: Path, base: dict[str, Any], quantization: str, adapter: Path, say: Say) -> dict[str, Any]:
    """Base and specialist on the general set of every language that the base knows; kept, sealed, as `forgetting.json` in the run.

    Returns models (score, low, high, n by language and kind), difference (specialist - base, in points, paired), perplexity by
    model and language, and the digest of the set.
    """
    languages = _languages(base["name"])
    folder = Path(base["path"])
    mark = digest([weights_digest(folder, adapter), {language: _texts(language) for language in languages}])
    path = run_dir / FILE
    known = read_sealed(path)
    if known.get("mark") == mark:
        return known
    if path.exists() and not known:
        say(f"    {path} was changed since, or is of an earlier version: measured again")
    scores: dict[str, Scores] = {}
    perplexity: dict[str, dict[str, float]] = {}
    for name, trained in (("base", None), ("specialist", adapter)):
        model, tokenizer = load_answering(folder, quantization, trained)
        kept = answers_of_weights(run_dir.parent, folder, trained, quantization, base["stop"], 0)
        scores[name] = _answered(model, tokenizer, base["stop"], languages, kept, name, say)
        perplexity[name] = {language: _perplexity(model, tokenizer, language) for language in languages}
        del model
        gc.collect()
    made = {
        "mark": mark,
        "adapter": weights_mark(adapter),
        "models": {name: summarize(rows, RESAMPLES) for name, rows in scores.items()},
        "difference": compare(scores["specialist"], scores["base"], RESAMPLES),
        "perplexity": perplexity,
    }
    write_sealed(path, made)
    return made


def general_rows(base: str, count: int, seed: int) -> list[Example]:
    """So many general questions with their answers, at most those that there are, of the languages that the base knows; by chance."""
    texts = [(_general(f"replay-{language}.jsonl"), language) for language in (_languages(base) if count else ())]
    rows = [(json.loads(line), language) for text, language in texts for line in text.split("\n") if line]
    random.Random(seed).shuffle(rows)
    return [
        Example(
            row["id"], "general", [{"role": "user", "content": row["prompt"]}], [{"role": "assistant", "content": row["answer"]}],
            {"kind": "general", "source": f"replay-{language}.jsonl"},
        )
        for row, language in rows[:count]
    ]  # fmt: skip


def items(language: str) -> list[dict[str, Any]]:
    """The frozen items of a language: id, kind, prompt, choices, answer."""
    return [json.loads(line) for line in _texts(language)[0].split("\n") if line]


def _languages(base: str) -> list[str]:
    """Those of the general set that the base knows."""
    known = find_base(base).languages
    return [language for language in LANGUAGES if not known or {language, "and many more"} & set(known)]


def _texts(language: str) -> tuple[str, str]:
    return _general(f"{language}.jsonl"), _general(f"{language}.txt")


def _general(name: str) -> str:
    return (importlib.resources.files("factory") / "general" / name).read_text(encoding="utf-8")


def _answered(
    model: Any, tokenizer: Any, stop: list[str], languages: list[str], kept: Answers, name: str, say: Say
) -> Scores:
    rows = [(f"{language} {row['kind']}", row) for language in languages for row in items(language)]
    questions = [
        Question([{"role": "user", "content": row["prompt"]}], Task("general", "", "choice", choices=tuple(row["choices"]), max_new_tokens=24))
        for _, row in rows
    ]  # fmt: skip
    found = kept.find(questions)
    left = [place for place in range(len(questions)) if place not in found]
    progress = Progress(say, f"general ability, {name}", len(left))
    answers = answer(
        model, tokenizer, [questions[place] for place in left], stop=stop, progress=progress, keep=kept.keep
    )
    found |= dict(zip(left, answers, strict=True))
    scores: dict[str, list[float]] = defaultdict(list)
    for place, (kind, row) in enumerate(rows):
        scores[kind].append(float(found[place].text == row["answer"]))
    return scores


def _perplexity(model: Any, tokenizer: Any, language: str) -> float:
    """Of the paragraphs of the language's prose, by their tokens after the first."""
    parts: list[Part] = []
    for text in _texts(language)[1].split("\n\n"):
        tokens = tokenizer(text.strip())["input_ids"]
        if len(tokens) > 1:
            parts.append((tokens[:1], tokens[1:]))
    weights = [len(said) for _, said in parts]
    total = sum(loss * weight for loss, weight in zip(losses(model, parts), weights, strict=True))
    return round(math.exp(min(total / sum(weights), 50)), 2)
