"""synthesize: a teacher that proved itself on the eval set writes examples about the passages that training may see."""

from __future__ import annotations

import dataclasses
from typing import Any

from factory.drafts import Draft
from factory.errors import FactoryError
from factory.files import digest
from factory.generate import Question
from factory.progress import Progress
from factory.records import EvalItem, Example, Passage, read_records, write_records
from factory.stage import Context, Stage, code_parts
from factory.synthesis import KINDS, Wanted, estimate, write
from factory.teacher import SPENT, Teacher, answers_of, asks_about, limits_of, open_teacher


def run(context: Context) -> dict[str, Any]:
    settings = context.config.synthesize
    if context.earlier:
        write_records(context.out / "examples.jsonl", [])
        return {"note": "a round goes on from the rows of those before it", "accepted": 0}
    if not settings.teacher:
        write_records(context.out / "examples.jsonl", [])
        return {"note": "no teacher: the examples are those by rule", "accepted": 0}
    everything = read_records(context.input("ingest") / "passages.jsonl", Passage)
    passages = [passage for passage in everything if passage.split != "eval"]
    items = read_records(context.input("ingest") / "eval.jsonl", EvalItem)
    wanted = Wanted(
        passages, context.config.language, settings.per_passage, settings.most, settings.kinds or KINDS, context.config.seed
    )  # fmt: skip
    context.domain.taught(passages[0], "?")  # says now, not after the calls, that the domain has no task for them
    chosen = sorted(items, key=lambda item: digest(item.id))[: settings.floor_items]
    questions = [Question(item.prompt, context.domain.task(item.task)) for item in chosen]
    with open_teacher(settings.teacher, settings.model, limits_of(settings), context.run_dir / SPENT) as teacher:
        context.say(f"    {teacher.model}: {estimate(wanted, teacher, asks_about(questions))}")
        score = _gate(context, teacher, chosen, questions)
        written = write(wanted, teacher, context.say, context.out / "refused.jsonl")
    if written.stopped:
        accepted = len(written.accepted)
        raise FactoryError(
            f"{written.stopped} The teacher wrote {accepted} examples by then.",
            "Raise synthesize.max_tokens or max_money: what was answered is kept and not asked again."
            + (f" Or go on with these: --set synthesize.most={accepted}" if settings.most else ""),
        )
    examples = [_example(context, draft, number, teacher.model) for number, draft in enumerate(written.accepted)]
    write_records(context.out / "examples.jsonl", examples)
    write_records(context.out / "coverage.jsonl", [{"passage": k, "share": v} for k, v in written.coverage.items()])
    summary = written.summary()
    return {
        "note": f"{len(examples)} examples by {teacher.model} ({score:.0f} of 100 on the eval set), {len(written.refused)} refused; "
        f"{summary['passages_used']} of {summary['passages']} passages carry one",
        **summary, "teacher": teacher.model, "teacher_score": round(score, 1),
        "calls": teacher.called, "answered_before": teacher.told, "tokens_in": teacher.tokens_in, "tokens_out": teacher.tokens_out,
        "money": round(teacher.money, 4),
    }  # fmt: skip


def _gate(context: Context, teacher: Teacher, chosen: list[EvalItem], questions: list[Question]) -> float:
    """The teacher's mean score over tasks; FactoryError when it is below the floor."""
    settings, domain = context.config.synthesize, context.domain
    answers = answers_of(teacher, questions, Progress(context.say, "teacher answers eval item", len(questions)))
    scores: dict[str, list[float]] = {}
    for item, found in zip(chosen, answers, strict=True):
        scores.setdefault(item.task, []).append(domain.judged(item, found.text).score)
    mean = 100 * sum(sum(one) / len(one) for one in scores.values()) / len(scores)
    bare = sum(found.bare for found in answers)
    context.say(
        f"    teacher {teacher.model}: {mean:.0f} of 100 on {len(chosen)} eval items (floor {settings.floor:.0f})"
        + (f"; {bare} came back in no form and score 0" if bare else "")
    )
    if mean < settings.floor:
        raise FactoryError(
            f"The teacher {teacher.model} scores {mean:.0f} on {len(chosen)} eval items, below the floor of {settings.floor:.0f}: its examples are refused.",
            f"Take a stronger teacher, or lower synthesize.floor in {domain.folder / 'domain.toml'}.",
        )
    return mean


def _example(context: Context, draft: Draft, number: int, teacher: str) -> Example:
    """A draft as an Example of the domain's task; a talk goes on below the first question."""
    questions = [*draft.before[::2], draft.question]
    task, text = context.domain.taught(draft.passage, questions[0])
    prompt = context.domain.prompt(task, text)
    for answer, question in zip(draft.before[1::2], questions[1:], strict=True):
        prompt += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    made = context.domain.make_example(task, draft.passage, text, draft.answer, number)
    return dataclasses.replace(
        made, id=f"{draft.passage.id}/{task.name}/teacher/{number}", prompt=prompt, provenance=draft.provenance(teacher)
    )


STAGE = Stage(
    "synthesize",
    run,
    reads=("ingest",),
    settings=("language", "synthesize"),
    watches=code_parts,
    version=2,  # a draft must come again without its answer
)
