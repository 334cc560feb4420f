"""prefer: the specialist answers its own training questions; a wrong answer beside the right reference makes a pair.

In a round after the first the pairs of experts come with them; `prefer.weights` says how much of each source is taken.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import read_json
from factory.generate import Answer, Question, answer
from factory.judge import Verdict, asks_of, judge, question_of
from factory.kinds import Short
from factory.llama import open_llama, room_for
from factory.models import load_answering
from factory.progress import Progress
from factory.records import Example, Preference, read_records, write_records
from factory.rounds import expert, feedback_mark
from factory.selection import in_turn
from factory.stage import Context, Stage, code_parts
from factory.teacher import SPENT, Ask, Teacher, limits_of, open_teacher
from factory.weights.gguf_files import scratch_in, write_gguf_lora
from factory.weights.job import Job, Order, base_weights


def run(context: Context) -> dict[str, Any]:
    settings = context.config.prefer
    if settings.samples > 1 and not settings.temperature:
        raise FactoryError(
            "prefer.samples above 1 needs a temperature.", "All samples would be the same: prefer.temperature=0.7"
        )
    examples = in_turn(read_records(context.input("curate") / "train.jsonl", Example), settings.max_prompts)
    answers = _sampled(context, examples)
    found = [_pair(context, example, texts) for example, texts in zip(examples, answers, strict=True)]
    pairs = [pair for pair in found if isinstance(pair, Preference)]
    left_out = Counter(pair for pair in found if isinstance(pair, str))
    wrong = len(pairs)
    if settings.judge == "teacher":
        verdicts = _verdicts(context, pairs)
        pairs = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict == "first"]
        left_out["the teacher gives no verdict"] = verdicts.count("unanswered")
        left_out["the teacher does not agree"] = wrong - len(pairs) - verdicts.count("unanswered")
    sources = {"own": pairs, "expert": expert(context, Preference)}
    if settings.weights.teacher:
        sources["teacher"] = _rewritten(context, [pair for pair in found if isinstance(pair, Preference)])
    mixed = {name: weighted(found, getattr(settings.weights, name)) for name, found in sources.items()}
    pairs = [pair for found in mixed.values() for pair in found]
    write_records(context.out / "pairs.jsonl", pairs)
    chosen, rejected = (
        [len(answer[0]["content"]) for answer in side]
        for side in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    )
    count = max(1, len(pairs))
    longer = sum(a > b for a, b in zip(chosen, rejected, strict=True)) / count
    return {
        "note": f"{len(examples)} questions asked, {len(pairs)} pairs{_by_experts(len(mixed['expert']))}; "
        f"the chosen answer is the longer one in {longer:.0%} ({sum(chosen) / count:.0f} letters against {sum(rejected) / count:.0f})",
        "asked": len(examples),
        "wrong": wrong,
        "pairs": len(pairs),
        "sources": {name: len(found) for name, found in mixed.items()},
        "left_out": dict(left_out),
        "chosen_chars": round(sum(chosen) / count, 1),
        "rejected_chars": round(sum(rejected) / count, 1),
        "chosen_longer": round(longer, 3),
    }


def _sampled(context: Context, examples: list[Example]) -> list[list[str]]:
    """`prefer.samples` answers of the SFT adapter to each example's question."""
    settings, domain = context.config.prefer, context.domain
    base = read_json(context.input("sft") / "base.json")
    questions = [
        Question(example.prompt, domain.task(example.task)) for example in examples for _ in range(settings.samples)
    ]
    rules: dict[str, Any] = {
        "stop": base["stop"],
        "no_repeat_ngram": context.config.evaluate.no_repeat_ngram,
        "temperature": settings.temperature,
        "seed": context.config.seed,
        "progress": Progress(context.say, "prefer question", len(questions)),
    }
    answers: Sequence[Answer]
    if settings.engine == "llama":
        answers = _by_llama(context, base, questions, rules)
    else:
        model, tokenizer = load_answering(
            Path(base["path"]), context.config.sft.quantization, context.input("sft") / "adapter"
        )
        answers = answer(model, tokenizer, questions, batch=context.config.evaluate.batch, **rules)
    texts = [found.text for found in answers]
    return [texts[start : start + settings.samples] for start in range(0, len(texts), settings.samples)]


def _by_llama(
    context: Context, base: dict[str, Any], questions: list[Question], rules: dict[str, Any]
) -> Sequence[Answer]:
    """llama.cpp answers: the SFT adapter as a GGUF over the base's, which the next build finds again below home()/gguf."""
    order = Order(context.config.name, "gguf-lora", "f16", model="sft")
    weights = base_weights(base, context.config.sft.quantization, "trained", context.say)
    job = Job(order, "f16", context.run_dir.resolve(), context.domain, "sft", base, weights, context.say)
    with scratch_in(context.out) as scratch:
        made = write_gguf_lora(job, scratch)
        file = Path(made["base_gguf"])
        with open_llama(file, [scratch / made["file"]], context=room_for(questions)) as llama:
            return llama.answer(questions, **rules)


def weighted(pairs: Sequence[Preference], weight: float) -> list[Preference]:
    """Every pair as often as the whole part of `weight` says, and its other part of them, by hash, once more."""
    times = int(weight)
    more = sorted(pairs, key=lambda pair: hashlib.sha256(pair.id.encode()).digest())[
        : round((weight - times) * len(pairs))
    ]
    return [*(list(pairs) * times), *more]


def _by_experts(count: int) -> str:
    return f" ({count} of them by experts)" if count else ""


def _pair(context: Context, example: Example, texts: list[str]) -> Preference | str:
    """The reference beside the worst answer; why there is no pair where none scores at least `margin` below it."""
    scorer = context.domain.scorer(context.domain.task(example.task).scorer)
    reference = example.answer
    right = scorer(reference, [reference], example.question)
    scored = sorted((scorer(text, [reference], example.question), text) for text in texts if text)
    if not scored:
        return "no answer"
    own, worst = scored[0]
    if right - own < context.config.prefer.margin:
        return "right, or nearly"
    return Preference(
        example.id,
        example.task,
        example.prompt,
        example.completion,
        [{"role": "assistant", "content": worst}],
        {"kind": "own answer", "passage": example.provenance.get("passage", ""), "score": f"{own:.3f}"},
    )


def _verdicts(context: Context, pairs: list[Preference]) -> list[Verdict]:
    """What the teacher makes of each pair, asked in both orders: "first" where it, too, prefers the chosen answer."""
    rows = [(question_of(pair.prompt), pair.chosen[0]["content"], pair.rejected[0]["content"]) for pair in pairs]
    language = context.config.language
    with _teacher(context, "prefer.judge = 'teacher'", "take judge = 'scorer'") as teacher:
        context.say(f"    judge {teacher.model}: {teacher.estimate(asks_of(rows, language))}")
        return judge(teacher, rows, language, Progress(context.say, "judge", 2 * len(rows)))


def _rewritten(context: Context, pairs: list[Preference]) -> list[Preference]:
    """The teacher's own answers over the rejected ones, where the scorer finds them better by `margin`.

    Not of tasks with labels: there the right label is the better answer already.
    """
    asked = [pair for pair in pairs if not context.domain.task(pair.task).choices]
    with _teacher(context, "prefer.weights.teacher", "set it to 0") as teacher:
        asks = [Ask(pair.prompt, Short, max_tokens=400, temperature=0.0) for pair in asked]
        context.say(f"    teacher {teacher.model}: {teacher.estimate(asks)}")
        answers = teacher.all(asks, Progress(context.say, "teacher answers", len(asks)))
    better: list[Preference] = []
    for pair, said in zip(asked, answers, strict=True):
        text = str(getattr(said, "answer", "")).strip()
        scorer = context.domain.scorer(context.domain.task(pair.task).scorer)
        score = scorer(text, [pair.chosen[0]["content"]], pair.prompt[-1]["content"]) if text else 0.0
        if score - float(pair.provenance["score"]) >= context.config.prefer.margin:
            known = {**pair.provenance, "kind": "teacher answer", "teacher": teacher.model}
            chosen = [{"role": "assistant", "content": text}]
            better.append(replace(pair, id=f"{pair.id}/teacher", chosen=chosen, provenance=known))
    return better


def _teacher(context: Context, wanted_by: str, or_else: str) -> AbstractContextManager[Teacher]:
    settings = context.config.synthesize
    if not settings.teacher:
        raise FactoryError(f"{wanted_by} needs a teacher.", f"Name one: [synthesize] teacher = ADDRESS, or {or_else}.")
    return open_teacher(settings.teacher, settings.model, limits_of(settings), context.run_dir / SPENT)


STAGE = Stage(
    "prefer",
    run,
    reads=("curate", "sft"),
    settings=("prefer", "synthesize.teacher", "synthesize.model", "evaluate.batch", "evaluate.no_repeat_ngram"),
    watches=lambda context: code_parts(context) | feedback_mark(context),
    version=5,  # sources by weights; answers in fp32 on a CPU
)
