"""The model card of a release: what whoever gets the model must know of it, in the domain's language."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import factory
from factory.costs import price_per_hour
from factory.datafacts import shared_folder, veil
from factory.files import read_json, read_text, templates
from factory.models import BaseModel, find_base
from factory.records import Document, EvalItem, Example, Preference, read_records
from factory.stage import manifest, seconds_of
from factory.stages.report import titled
from factory.verdict import by, forgotten, money, name, say
from factory.verdict import gates as gates_in_words
from factory.weights.job import Job

Row = dict[str, Any]
Groups = dict[tuple[str, str], list[Document]]
LISTED = 20  # sources


def card(job: Job, scores: Row, found: Row, gates: list[Row]) -> str:
    """Front matter as the Hugging Face hub reads it, then the page."""
    from jinja2 import Environment, StrictUndefined

    config, base = job.domain.config, replace(find_base(job.base["name"]), revision=job.revision)
    zh = config.language == "zh"
    scores = titled(scores, zh)
    done = [path.parent.name for path in job.run_dir.glob("*/manifest.json")]
    made = {stage: manifest(job.run_dir, stage) for stage in done}
    documents = read_records(job.run_dir / "ingest" / "documents.jsonl", Document)
    shown = [model for model in ("base", "sft", "dpo", "ngram", "majority") if model in scores["models"]]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(read_text(templates("release") / "README.md.jinja")).render(
        zh=zh,
        title=_plain(job.title),
        description=_plain(config.description),
        disclaimer=_plain(config.app.disclaimer),
        version=factory.__version__,
        scores=scores,
        models={model: name(model, zh) for model in shown},
        best=name(scores["best"], zh),
        tasks={task: _plain(row["title"]) for task, row in scores["tasks"].items()}
        | {"mean": "平均" if zh else "mean"},
        gates=gates_in_words(scores | {"gates": gates}, zh),
        general=say("forgot", zh, by=by(found["difference"]["mean"], zh)),
        general_items=found["difference"]["mean"]["n"],
        forgotten=list(forgotten(found, zh)),
        sources=sources([one for one in documents if one.split != "eval"], job.domain.folder),
        address=_address(job),
        kept_back=sum(one.split == "eval" for one in documents),
        curated=made["curate"]["summary"],
        teachers=_teachers(job),
        sft=made["sft"]["summary"],
        dpo=made["dpo"]["summary"] if made.get("dpo", {}).get("summary", {}).get("steps") else None,
        cost=_cost(job, made),
        machine=made["sft"]["machine"],
        base=base,
        base_name=Path(base.name).name,
        quantization=config.sft.quantization,
        decoding=_decoding(job),
        example=json.dumps(_example(job), ensure_ascii=False),
        license=job.base["license"],
    )
    return f"---\n{_front_matter(job, scores, base)}---\n\n{text.strip()}\n"


def _front_matter(job: Job, scores: Row, base: BaseModel) -> str:
    """YAML, each value as JSON, which is YAML, too. Keys: https://huggingface.co/docs/hub/model-cards."""
    config = job.domain.config
    of = "{}（满分 100）" if config.language == "zh" else "{} (of 100)"
    metrics = [
        {"type": scores["tasks"][task]["scorer"], "name": of.format(scores["tasks"][task]["title"]), "value": cell["score"]}
        for task, cell in scores["models"][scores["best"]].items()
        if task in scores["tasks"]
    ]  # fmt: skip
    data = {"name": f"{config.name} eval set {scores['eval_digest'][:16]}", "type": config.name}
    results = [{"task": {"type": "text-generation"}, "dataset": data, "metrics": metrics}]
    facts: Row = {
        "language": [config.language],
        "license": "other",
        "license_name": job.base["license"],
        "license_link": "LICENSE.txt",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "sft", *(["dpo"] if job.model == "dpo" else []), "vertical-factory", config.name],
        "model-index": [{"name": _plain(job.title), "results": results}],
    }
    if base.id or base.upstream:
        facts["base_model"] = base.id or base.upstream
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items())


def sources(documents: Sequence[Document], own: Path) -> Row:
    """`listed`: the sources with the most letters, each with its licence; `more`: what the others come to.

    `own`: the domain's folder, below which its embedded sample lies.
    """
    rows: list[Row] = [
        {"name": _named(place, group), "license": _plain(license), "documents": len(group), "letters": sum(len(one.text) for one in group)}
        for (place, license), group in _grouped(documents, own).items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row["letters"], row["name"]))
    rest = rows[LISTED:]
    more = {key: sum(row[key] for row in rest) for key in ("documents", "letters")}
    licenses = sorted({row["license"] for row in rest} - {""})
    return {"listed": rows[:LISTED], "more": more | {"sources": len(rest), "licenses": licenses}}


def _grouped(documents: Sequence[Document], own: Path) -> Groups:
    """By place and licence: a file, whether it is one document or one a row; where these are more than LISTED, its folder."""
    places = _short({one.source for one in documents}, own)
    files = _by_place(documents, lambda one: places[one.source])
    if len(files) <= LISTED:
        return files
    folders = _by_place(documents, lambda one: _folder(places[one.source]))
    return folders if len({folder for folder, _ in folders}) > 1 else files


def _by_place(documents: Sequence[Document], place: Callable[[Document], str]) -> Groups:
    groups: Groups = defaultdict(list)
    for one in documents:
        groups[place(one), one.license].append(one)
    return groups


def _short(names: set[str], own: Path) -> dict[str, str]:
    """Where each source lies, without the folder that they share: nobody else has it."""
    sample = f"{own}/"
    home = shared_folder({one for one in names if not one.startswith(sample)})
    return {one: one.removeprefix(sample if one.startswith(sample) else home) for one in names}


def _folder(place: str) -> str:
    return place.rpartition("/")[0] + "/"


def _named(place: str, group: Sequence[Document]) -> str:
    """A source's place, before it the title of what is one document; documents are untrusted, so nothing of it is Markdown."""
    code = "`{}`".format(_plain(veil(place)).replace("`", "'"))
    title = _plain(veil(group[0].title)) if len(group) == 1 else ""
    if not title or title == Path(place).stem:
        return code
    return "{} ({})".format(re.sub(r"([\\`*_\[\]<>#&])", r"\\\1", title), code)


def _address(job: Job) -> str:
    """The git address or dataset that the run's documents come from, as one piece of code; empty where they lie here."""
    notes = job.run_dir / "run.json"
    return _plain(read_json(notes).get("address", "") if notes.exists() else "").replace("`", "'")


def _teachers(job: Job) -> Row:
    """How many training rows, and chosen answers of preference pairs, each teacher wrote."""
    rows = read_records(job.run_dir / "curate" / "train.jsonl", Example)
    found = {"rows": Counter(row.provenance["teacher"] for row in rows if "teacher" in row.provenance)}
    pairs = read_records(job.run_dir / "prefer" / "pairs.jsonl", Preference) if job.model == "dpo" else []
    said = (pair.provenance["teacher"] for pair in pairs if pair.provenance.get("kind") == "teacher answer")
    return found | {"pairs": Counter(said)}


def _cost(job: Job, made: Mapping[str, Row]) -> Row:
    """Minutes of all stages, dollars (empty: no price is known), and kWh, 0 unless every stage has its joules."""
    seconds = sum(seconds_of(one) for one in made.values())
    price = price_per_hour(job.run_dir, job.domain.config.cost.price_per_hour)
    unknown = sum("joules" not in one for one in made.values())
    return {
        "minutes": seconds / 60,
        "price": f"{price:g}" if price else "",
        "dollars": money(price * seconds / 3600),
        "stages": len(made),
        "unknown": unknown,
        "kwh": 0.0 if unknown else sum(one["joules"] for one in made.values()) / 3.6e6,
    }


def _decoding(job: Job) -> str:
    """The arguments with which an answer is written, and ended, as it was when it was scored."""
    ngram = job.domain.config.evaluate.no_repeat_ngram
    return f"do_sample=False, eos_token_id={job.ends}" + (f", no_repeat_ngram_size={ngram}" if ngram else "")


def _example(job: Job) -> list[dict[str, str]]:
    """A question as the model was asked it: of the first eval item."""
    return read_records(job.run_dir / "ingest" / "eval.jsonl", EvalItem)[0].prompt


def _plain(text: str) -> str:
    """One line, with nothing that Markdown would take for a table's edge."""
    return " ".join(text.replace("|", "/").split())
