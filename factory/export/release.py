"""The release: what is handed to others once every gate is passed, with a model card that tells all of it."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import factory
from factory import gates
from factory.build import Order as Wanted
from factory.build import plan_run
from factory.console import scores_of
from factory.errors import FactoryError
from factory.export.notices import licence_text
from factory.files import read_text, templates, write_json, write_text
from factory.forgetting import forgetting, told
from factory.gates import Gate
from factory.generate import Question, answer
from factory.models import find_base, load_answering
from factory.records import Document, EvalItem, read_records
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
    name, run = job.domain.config.name, job.order.run
    for decision in plan_run(Wanted(name, run, until="evaluate")):
        if decision.action != "skip":
            raise FactoryError(
                f"{name} is not released: its scores are not of what is there now ({decision.stage.name}: {decision.reason}).",
                f"Bring it up to date: factory build {name}" + (f" --run {run}" if run != "default" else ""),
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


def card(job: Job, scores: dict[str, Any], found: dict[str, Any], every: list[Gate]) -> str:
    """The model card: front matter as the Hugging Face hub reads it, then the page, in the domain's language."""
    from jinja2 import Environment, StrictUndefined

    config, base = job.domain.config, find_base(job.base["name"])
    done = [path.parent.name for path in job.run_dir.glob("*/manifest.json")]
    made = {stage: manifest(job.run_dir, stage) for stage in done}
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(read_text(templates("release") / "README.md.jinja")).render(
        zh=config.language == "zh",
        title=_plain(job.title),
        description=_plain(config.description),
        disclaimer=_plain(config.app.disclaimer),
        base=Path(base.name).name,
        base_id=base.id or Path(base.name).name,
        version=factory.__version__,
        scores=scores,
        models=[name for name in ("base", "sft", "dpo", "ngram", "majority") if name in scores["models"]],
        tasks=[*scores["tasks"], "mean"],
        gates=every,
        forgotten=told(found),
        sources=_sources(job),
        curated=made["curate"]["summary"],
        sft=made["sft"]["summary"],
        dpo=made["dpo"]["summary"] if made.get("dpo", {}).get("summary", {}).get("steps") else None,
        minutes=sum(one["seconds"] for one in made.values()) / 60,
        machine=", ".join(f"{key} {value}" for key, value in made["sft"]["machine"].items()),
        energy=_energy(made, config.language == "zh"),
        example=json.dumps(_example(job), ensure_ascii=False),
        weights=job.facts()["base"]["weights"],
        license=job.base["license"],
    )
    return f"---\n{_front_matter(job, scores, base.id)}---\n\n{text.strip()}\n"


def _front_matter(job: Job, scores: dict[str, Any], base_id: str) -> str:
    """YAML, each value as JSON, which is YAML, too. Keys: https://huggingface.co/docs/hub/model-cards."""
    config = job.domain.config
    metrics = [
        {"type": scores["tasks"][task]["scorer"], "name": f"{task} (of 100)", "value": cell["score"]}
        for task, cell in scores["models"][scores["best"]].items()
        if task in scores["tasks"]
    ]
    data = {"name": f"{config.name} eval set {scores['eval_digest'][:16]}", "type": config.name}
    results = [{"task": {"type": "text-generation"}, "dataset": data, "metrics": metrics}]
    facts: dict[str, Any] = {
        "language": [config.language],
        "license": "other",
        "license_name": job.base["license"],
        "license_link": "LICENSE.txt",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "sft", *(["dpo"] if job.model == "dpo" else []), "vertical-factory", config.name],
        "model-index": [{"name": _plain(job.title), "results": results}],
    }
    if base_id:
        facts["base_model"] = base_id
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items())


def _sources(job: Job) -> list[dict[str, Any]]:
    documents = read_records(job.run_dir / "ingest" / "documents.jsonl", Document)
    counts, letters = Counter(row.license for row in documents), Counter[str]()
    for row in documents:
        letters[row.license] += len(row.text)
    return [
        {"license": _plain(license) or "not stated", "documents": count, "letters": letters[license]}
        for license, count in counts.most_common()
    ]


def _example(job: Job) -> list[dict[str, str]]:
    """A question as the model was asked it: of the first eval item."""
    return read_records(job.run_dir / "ingest" / "eval.jsonl", EvalItem)[0].prompt


def _energy(made: dict[str, Any], zh: bool) -> str:
    if joules := sum(one.get("joules", 0) for one in made.values()):
        return f"{joules / 3.6e6:.3f} kWh."
    return "耗电没有测：这台机器不提供。" if zh else "Energy was not measured: this machine does not tell it."


def _plain(text: str) -> str:
    """One line, with nothing that Markdown would take for a table's edge."""
    return " ".join(text.replace("|", "/").split())
