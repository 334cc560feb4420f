"""prefer: the specialist answers its own training questions; a wrong answer beside the right reference makes a pair."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from factory.files import read_json
from factory.generate import Answer, Question, answer
from factory.models import load_answering
from factory.progress import Progress
from factory.records import Example, Preference, read_records, write_records
from factory.stage import Context, Stage, code_parts


def run(context: Context) -> dict[str, Any]:
    settings = context.config.prefer
    examples = _spread(read_records(context.input("curate") / "train.jsonl", Example), settings.max_prompts)
    base = read_json(context.input("sft") / "base.json")
    adapter = context.input("sft") / "adapter"
    model, tokenizer = load_answering(Path(base["path"]), context.config.sft.quantization, adapter)
    tasks = {task.name: task for task in context.domain.tasks()}
    answers = answer(
        model,
        tokenizer,
        [Question(example.prompt, tasks[example.task]) for example in examples],
        batch=context.config.evaluate.batch,
        stop=base["stop"],
        no_repeat_ngram=context.config.evaluate.no_repeat_ngram,
        temperature=settings.temperature,
        seed=context.config.seed,
        progress=Progress(context.say, "prefer question", len(examples)),
    )
    pairs = [pair for row in zip(examples, answers, strict=True) if (pair := _pair(context, *row))]
    write_records(context.out / "pairs.jsonl", pairs)
    wrong = len(pairs)
    return {
        "note": f"{len(examples)} questions asked, {wrong} wrong answers make {wrong} pairs",
        "asked": len(examples),
        "wrong": wrong,
        "pairs": wrong,
        "chosen_chars": round(sum(len(pair.chosen[0]["content"]) for pair in pairs) / max(1, wrong), 1),
        "rejected_chars": round(sum(len(pair.rejected[0]["content"]) for pair in pairs) / max(1, wrong), 1),
    }


def _spread(examples: list[Example], most: int) -> list[Example]:
    """At most `most` examples, in turn from each task, by hash of the id."""
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda row: hashlib.sha256(row.id.encode()).digest()):
        by_task[example.task].append(example)
    chosen: list[Example] = []
    while len(chosen) < most and any(by_task.values()):
        for name in sorted(by_task):
            if by_task[name] and len(chosen) < most:
                chosen.append(by_task[name].pop(0))
    return chosen


def _pair(context: Context, example: Example, found: Answer) -> Preference | None:
    """A pair when the answer scores at least `margin` below the reference; none where both are right."""
    scorer = context.domain.scorer(context.domain.task(example.task).scorer)
    reference = example.answer
    right, own = (scorer(text, [reference], example.question) for text in (reference, found.text))
    if not found.text or right - own < context.config.prefer.margin:
        return None
    return Preference(
        example.id,
        example.task,
        example.prompt,
        example.completion,
        [{"role": "assistant", "content": found.text}],
        {"kind": "own answer", "passage": example.provenance.get("passage", ""), "score": f"{own:.3f}"},
    )


STAGE = Stage(
    "prefer",
    run,
    reads=("curate", "sft"),
    settings=("prefer", "evaluate.batch", "evaluate.no_repeat_ngram"),
    watches=code_parts,
    version=2,  # what the number scorer accepts
)
