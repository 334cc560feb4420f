"""Measuring what an answer costs here: tokens per second, memory and energy of a run's models, in a process that does nothing else.

    python -m factory.costing SPEC.json

SPEC: {"domain", "run", "model": as `factory eval --model` takes it, "answers": N}; prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from factory.build import open_run, run_domain
from factory.costs import FILE, Measured, measured
from factory.errors import FactoryError
from factory.files import read_json, write_json
from factory.generate import Question
from factory.hardware import inspect_machine, peak_memory_gb
from factory.meter import Meter
from factory.predict import MODELS, resolve_model
from factory.progress import Progress
from factory.records import eval_digest
from factory.references import standard
from factory.scoring import Ask, Model, eval_questions, find_model
from factory.stage import Say

ALONE = 5  # of the questions, each asked with nothing beside it


@dataclass(frozen=True)
class Wish:
    """What to measure. `answers` 0 and `price` None: as the domain says; `again`: what is known, too."""

    domain: str
    run: str = "default"
    models: Sequence[str] = ()
    answers: int = 0
    price: float | None = None
    again: bool = False


def measure_models(wish: Wish, say: Say) -> Path:
    """Measure base, specialist and `models`, each in a process of its own, keep it in costs.json; return the run's folder."""
    folder, plugin = open_run(wish.domain, wish.run), run_domain(wish.domain, wish.run)
    resolve_model(folder, "best")  # says which command is missing
    items, _ = eval_questions(folder, plugin)
    count = min(wish.answers or plugin.config.cost.answers, len(items))
    spec = {"domain": wish.domain, "run": wish.run, "answers": count}
    mark, machine = standard(plugin, eval_digest(items)), _machine()
    known = measured(folder)
    found = {model: find_model(folder, plugin, model) for model in dict.fromkeys(["base", "best", *wish.models])}
    for model, one in found.items():
        if one.kind == "address":
            raise FactoryError(
                f"{model} runs elsewhere: its speed and memory are not this machine's.",
                f"Its price per token goes into {plugin.folder / 'prices.toml'}.",
            )
    for model, one in found.items():
        name = resolve_model(folder, model) if model in MODELS else one.name
        old = known.get(name)
        now = one.digest, mark, machine, count
        if old and now == (old.digest, old.standard, old.machine, old.answers) and not wish.again:
            say(f"    {name}: measured on {old.when[:10]} (--again measures anew)")
            continue
        say(f"    measuring {name}: {count} answers")
        known[name] = replace(_in_a_process(spec | {"model": model}, name), standard=mark)
        _write(folder, wish.price, known)
    _write(folder, wish.price, known)
    return folder


def _write(folder: Path, price: float | None, known: dict[str, Measured]) -> None:
    path = folder / FILE
    if price is None and path.exists():
        price = read_json(path)["price_per_hour"]
    write_json(path, {"price_per_hour": price, "models": {name: asdict(row) for name, row in known.items()}})


def _machine() -> str:
    return inspect_machine().lines()[0]


def _in_a_process(spec: dict[str, Any], name: str) -> Measured:
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "spec.json", spec)
        command = [sys.executable, "-m", "factory.costing", str(Path(scratch) / "spec.json")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FactoryError(f"{name} could not be measured: {last}", "Is there memory enough? Run it again.")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def _run(spec: dict[str, Any]) -> Measured:
    folder, plugin = open_run(spec["domain"], spec["run"]), run_domain(spec["domain"], spec["run"])
    _, questions = eval_questions(folder, plugin)
    return measure(find_model(folder, plugin, spec["model"]), _spread(questions, spec["answers"]))


def measure(model: Model, questions: Sequence[Question]) -> Measured:
    """The questions answered all at once, and some of them one by one before; what this process held at its peak is the model's."""
    with model.open(questions) as opened:
        assert opened.count  # an address has none
        asked = sum(opened.count(question.prompt) for question in questions)
        _timed(opened.ask, questions[:1])  # the weights come off the disk once
        alone = statistics.median(_timed(opened.ask, [one])[0] for one in _spread(questions, ALONE))
        with Meter() as meter:
            seconds, said = _timed(opened.ask, questions)
    machine = inspect_machine()
    return Measured(
        digest=model.digest,
        standard="",
        machine=_machine(),
        engine="llama.cpp" if model.kind in ("gguf", "export") else f"transformers, {machine.answering.dtype}",
        answers=len(questions),
        tokens_in=asked,
        tokens_out=said,
        seconds=round(seconds, 3),
        seconds_alone=round(alone, 3),
        peak_gb=round(peak_memory_gb(), 3),
        joules=None if machine.gpu else meter.used.get("joules"),
        when=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def _timed(ask: Ask, questions: Sequence[Question]) -> tuple[float, int]:
    """Seconds, and the tokens of the answers."""
    start = time.perf_counter()
    found = ask(questions, Progress(lambda _: None, "", len(questions)))
    return time.perf_counter() - start, sum(len(answer.tokens) for answer in found)


def _spread(questions: Sequence[Question], most: int) -> Sequence[Question]:
    """So many of the questions, from all over them."""
    count = min(most, len(questions))
    return [questions[place * len(questions) // count] for place in range(count)]


if __name__ == "__main__":
    print(json.dumps(asdict(_run(read_json(Path(sys.argv[1]))))))
