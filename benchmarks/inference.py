"""The same specialist answering the same questions: transformers, and llama.cpp over its exports; and what `factory predict` adds.

    python benchmarks/inference.py [--domain cooking] [--run default] [--items 24] [--tokens 64] [--threads 2] [--rounds 3]

Run in a folder whose runs/DOMAIN/RUN is built; what of its GGUF exports is missing is exported first. Every side answers one question
at a time, each with exactly so many tokens, in a fresh process; the sides take turns, and the median of the rounds counts. Then the raw
engine (xllamacpp, its own chat call) beside `factory predict` over the same file and rows. Writes benchmarks/results/inference.json and .md.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from quality import RESULTS, processor

QUANTS = ("f16", "q8_0", "q4_k_m", "q4_0")
PACKAGES = ("torch", "transformers", "xllamacpp", "gguf")
WARM = "Say one word."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", default="cooking")
    parser.add_argument("--run", default="default")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # of one child: what it measures
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side.split(":")[0]](arguments)))
        return
    files = exported(arguments)
    sides = ["fp32", *(["bf16"] if native_bf16() else []), *(f"gguf:{quant}" for quant in files)]
    result = {
        "machine": processor(), "cores": os.cpu_count(), "threads": arguments.threads, "domain": arguments.domain,
        "items": arguments.items, "tokens": arguments.tokens, "rounds": arguments.rounds,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "sides": rounds(arguments, sides),
        "engine": overhead(rounds(arguments, ["raw:q8_0", "predict:q8_0"])),
    }  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "inference.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "inference.md").write_text(table(result), encoding="utf-8")
    sys.stdout.write(table(result))


def exported(arguments: argparse.Namespace) -> dict[str, Path]:
    """The run's GGUF of each quantization, exported where it is missing."""
    from factory.export.artifact import export
    from factory.files import read_json
    from factory.weights.job import Order

    found = {}
    for quant in QUANTS:
        folder = Path("runs") / arguments.domain / arguments.run / "export" / f"gguf-{quant}"
        if not (folder / "export.json").exists():
            export(Order(arguments.domain, "gguf", quant, run=arguments.run), print)
        found[quant] = folder / read_json(folder / "export.json")["file"]
    return found


def native_bf16() -> bool:
    from factory.hardware import inspect_machine

    return inspect_machine().native_bf16


def rounds(arguments: argparse.Namespace, sides: list[str]) -> dict[str, dict[str, float]]:
    """Medians by side; in every round each side runs once, in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    for number in range(arguments.rounds):
        for side in sides:
            words = [f"--{key}={value}" for key, value in vars(arguments).items() if key != "side"]
            command = [sys.executable, __file__, *words, f"--side={side}"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{side}: {done.stderr[-800:]}")
            found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"round {number + 1}, {side}: {found[side][-1]}", file=sys.stderr, flush=True)
    return {
        side: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for side, rows in found.items()
    }


# What one child measures


def questions(arguments: argparse.Namespace) -> list[Any]:
    """Free questions of the run's eval set, one in each so many, bounded to exactly the wanted number of tokens."""
    from factory.build import run_domain
    from factory.domain import Task
    from factory.generate import Question
    from factory.records import EvalItem, read_records

    domain = run_domain(arguments.domain, arguments.run)
    path = Path("runs") / arguments.domain / arguments.run / "ingest" / "eval.jsonl"
    items = [item for item in read_records(path, EvalItem) if not domain.task(item.task).choices]
    chosen = items[:: max(1, len(items) // arguments.items)][: arguments.items]
    task = Task("free", "Free", "exact", max_new_tokens=arguments.tokens)
    return [Question(item.prompt, task) for item in chosen]


def transformers_side(arguments: argparse.Namespace) -> dict[str, float]:
    """transformers as the factory answers on a CPU (fp32, packed weights), or in bf16 with the adapter beside the weights."""
    import torch

    from factory import hardware, models
    from factory.build import run_domain
    from factory.files import read_json

    folder = Path("runs") / arguments.domain / arguments.run
    base, best = read_json(folder / "sft" / "base.json"), read_json(folder / "evaluate" / "scores.json")["best"]
    quantization = run_domain(arguments.domain, arguments.run).config.sft.quantization
    if arguments.side == "fp32":
        model, tokenizer = models.load_answering(Path(base["path"]), quantization, folder / best / "adapter")
    else:
        machine = dataclasses.replace(hardware.inspect_machine(), native_bf16=True)
        model, tokenizer = models.load_base(Path(base["path"]), quantization, machine)
        model = models.add_adapter(model, folder / best / "adapter")
    torch.set_num_threads(arguments.threads)
    model.eval()

    def answer(messages: list[Any], tokens: int) -> tuple[int, float]:
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(**inputs, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens)
        return inputs["input_ids"].shape[1], time.perf_counter() - start

    answer([{"role": "user", "content": WARM}], 2)
    rows = []
    for question in questions(arguments):
        length, first = answer(question.prompt, 1)
        _, whole = answer(question.prompt, arguments.tokens)
        rows.append((length, first, whole - first))
    return {
        "prompt_tps": statistics.median(length / first for length, first, _ in rows),
        "gen_tps": statistics.median((arguments.tokens - 1) / rest for *_, rest in rows),
        "first_token_ms": statistics.median(1e3 * first for _, first, _ in rows),
        "peak_mb": hardware.peak_memory_gb() * 1e3,
    }


def gguf_side(arguments: argparse.Namespace) -> dict[str, float]:
    from factory.export.measure import measure

    file = exported(arguments)[arguments.side.split(":")[1]]
    prompts = [question.prompt for question in questions(arguments)]
    found = measure([file], prompts, arguments.tokens, arguments.threads)
    return {key: found[key] for key in ("prompt_tps", "gen_tps", "first_token_ms", "peak_mb")}


def raw_side(arguments: argparse.Namespace) -> dict[str, float]:
    """xllamacpp alone: its server in this process, asked by its own chat call from as many threads as it has slots."""
    from factory.llama import SLOTS, room_for

    asked = questions(arguments)
    file = exported(arguments)["q8_0"]
    start = time.perf_counter()
    import xllamacpp  # predict loads it after its clock has started, too

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_parallel = SLOTS
    params.n_ctx = room_for(asked) * SLOTS
    params.verbosity = 0
    params.warmup = False
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    server = xllamacpp.Server(params)
    bodies = [
        {"messages": question.prompt, "max_tokens": arguments.tokens, "temperature": 0.0, "samplers": ["temperature"]}
        for question in asked
    ]
    with ThreadPoolExecutor(SLOTS) as pool:
        found = list(pool.map(server.handle_chat_completions, bodies))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": sum(one["usage"]["completion_tokens"] for one in found)}


def predict_side(arguments: argparse.Namespace) -> dict[str, float]:
    """`factory predict` over the same rows, from the file that it reads to the file that it writes."""
    from factory import llama, predict

    made = exported(arguments)["q8_0"]
    with tempfile.TemporaryDirectory() as scratch:
        rows, out = Path(scratch) / "rows.jsonl", Path(scratch) / "out.jsonl"
        asked = questions(arguments)
        rows.write_text("".join(json.dumps({"messages": one.prompt}) + "\n" for one in asked), encoding="utf-8")
        bound = asked[0].task
        whole, told = predict.question_of, []
        predict.question_of = lambda *given: dataclasses.replace(
            whole(*given), task=bound
        )  # as many tokens as the raw side
        ask = llama.Llama.answer
        llama.Llama.answer = lambda *given, **rules: told.extend(ask(*given, **rules | {"no_repeat_ngram": 0})) or told
        start = time.perf_counter()
        predict.predict_file(arguments.domain, arguments.run, rows, out, str(made), lambda _: None)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": sum(len(one.tokens) for one in told)}


SIDES = {
    "fp32": transformers_side,
    "bf16": transformers_side,
    "gguf": gguf_side,
    "raw": raw_side,
    "predict": predict_side,
}


# What is written


def overhead(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    raw, ours = found["raw:q8_0"], found["predict:q8_0"]
    rates = {"raw": raw["tokens"] / raw["seconds"], "predict": ours["tokens"] / ours["seconds"]}
    return {"raw": raw, "predict": ours, "overhead": round(100 * (rates["raw"] / rates["predict"] - 1), 1)}


def table(result: dict[str, Any]) -> str:
    names = {"fp32": "transformers, fp32 (as the factory answers on a CPU)", "bf16": "transformers, bf16"}
    slow = result["sides"]["fp32"]
    lines = [
        "| | prompt, tokens/s | answer, tokens/s | first token | peak memory | answer beside fp32 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for side, row in result["sides"].items():
        name = names.get(side) or f"llama.cpp, {side.split(':')[1]}"
        lines.append(
            f"| {name} | {row['prompt_tps']:.0f} | {row['gen_tps']:.1f} | {row['first_token_ms']:.0f} ms "
            f"| {row['peak_mb']:.0f} MB | {row['gen_tps'] / slow['gen_tps']:.1f} times |"
        )
    engine = result["engine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join([
        *lines, "",
        f"One question at a time, {result['items']} questions of {result['domain']}, {result['tokens']} tokens each, {result['threads']} threads; "
        f"median of {result['rounds']} rounds in turns.", "",
        f"The raw engine (xllamacpp, q8_0) took {engine['raw']['seconds']:.1f} s for the same questions, loading included, `factory predict` "
        f"{engine['predict']['seconds']:.1f} s: {engine['overhead']:+.1f}% a token.", "",
        f"{result['machine']}, {result['cores']} cores; {versions}.", "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
