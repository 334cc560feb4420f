"""The release: what is handed to others once every gate is passed, with a model card that tells all of it."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from factory import gates
from factory.build import Order as Wanted
from factory.build import plan_run
from factory.console import scores_of
from factory.errors import FactoryError
from factory.export.card import card
from factory.export.notices import licence_text
from factory.files import sha256, write_json, write_text
from factory.forgetting import forgetting
from factory.gates import Gate
from factory.generate import Question, answer
from factory.models import load_answering
from factory.records import EvalItem, read_records
from factory.stage import manifest
from factory.weights.job import Job
from factory.weights.merge import write_adapter

ASKED = 8  # eval items that are asked one by one for the time of an answer


def write_release(job: Job, out: Path) -> dict[str, Any]:
    """The adapter, its chat template, licences and the model card; FactoryError with every gate that is not passed."""
    scores = scores_of(job.run_dir)
    if job.adapter is None or job.model != scores["best"]:
        raise FactoryError(f"Only the model that evaluation chose is released: {scores['best']}.", "Leave --model out.")
    _require_up_to_date(job)
    found = forgetting(job.run_dir, job.base, job.domain.config.sft.quantization, job.adapter, job.say)
    limits = job.domain.config.evaluate.gates
    more = [*gates.of_forgetting(found, limits), *_latency(job)]
    gates.keep(job.run_dir, job.adapter, limits, more)
    every = [*scores["gates"], *more]
    require(job, every)
    made = write_adapter(job, out)
    write_text(out / "chat_template.jinja", job.template)
    write_text(out / "LICENSE.txt", licence_text(job))
    write_json(out / "eval.json", {"scores": scores, "forgetting": found, "gates": every})
    write_text(out / "README.md", card(job, scores, found, every))
    return {**made, "gates": every}


def _require_up_to_date(job: Job) -> None:
    """FactoryError where what was scored is not what lies there now: another adapter, eval set, scorer or limit."""
    for decision in plan_run(Wanted(job.domain.config.name, job.order.run, until="evaluate")):
        if decision.action != "skip":
            raise _stale(job, f"{decision.stage.name}: {decision.reason}")
    for file, known in manifest(job.run_dir, job.model)["outputs"].items():  # a build compares those over 64 MB by size
        if sha256(job.run_dir / job.model / file) != known["sha256"]:
            raise _stale(job, f"{job.model}: {file} was changed", f" --force {job.model}")


def _stale(job: Job, why: str, force: str = "") -> FactoryError:
    name, run = job.domain.config.name, job.order.run
    return FactoryError(
        f"{name} is not released: its scores are not of what is there now ({why}).",
        f"Bring it up to date: factory build {name}" + (f" --run {run}" if run != "default" else "") + force,
    )


def require(job: Job, every: list[Gate]) -> None:
    """FactoryError that names each gate that is not passed, with its figures."""
    failed = [f"{gate['name']} ({gate['detail']})" for gate in every if not gate["passed"]]
    for gate in every:
        job.say(f"    {'passed' if gate['passed'] else 'FAILED'}  {gate['name']}: {gate['detail']}")
    if failed:
        raise FactoryError(
            f"{job.domain.config.name} is not released: {len(failed)} of {len(every)} gates are not passed: {'; '.join(failed)}.",
            f"docs/guide/gates.md says what helps for each. Then: factory build {job.domain.config.name}",
        )


def _latency(job: Job) -> list[Gate]:
    """The gate on the time of an answer, where the domain sets one."""
    limit = job.domain.config.evaluate.gates.seconds
    if not limit:
        return []
    took = seconds_an_answer(job)
    detail = f"{took:.1f} s an answer (median of {ASKED}, one at a time), at most {limit:g}"
    return [{"name": "latency", "passed": took <= limit, "detail": detail}]


def seconds_an_answer(job: Job) -> float:
    """The median time of an answer on this machine, asked one by one."""
    config = job.domain.config
    items = read_records(job.run_dir / "ingest" / "eval.jsonl", EvalItem)
    chosen = items[:: max(1, len(items) // ASKED)][:ASKED]
    model, tokenizer = load_answering(Path(job.base["path"]), config.sft.quantization, job.adapter)
    times = []
    for item in chosen:
        started = time.perf_counter()
        question = Question(item.prompt, job.domain.task(item.task))
        answer(model, tokenizer, [question], stop=job.base["stop"], no_repeat_ngram=config.evaluate.no_repeat_ngram)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
