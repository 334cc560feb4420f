"""CPU training side by side: this project, plain TRL as documented, TRL tuned by hand, LLaMA-Factory, and the machine's roof.

    python benchmarks/train.py                                  # both works on the embedded samples
    python benchmarks/train.py --data ../shared/data            # work A on the real legal rows, work B on real recipes
    python benchmarks/train.py --epoch                          # and the loss after a whole epoch, for the sides that get there
    python benchmarks/train.py --llamafactory /path/to/venv     # its own environment (docs/benchmarks.md says how to make it)

All sides take the same rows in the same order, the same global batch, LoRA r=16 on all linear layers, AdamW. Throughput counts
the tokens without padding of every step after the first. Results go to results/train.json and train.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
WORKS = {
    "A": ("legal", "gemma-3-270m", "legal", "gemma3"),
    "B": ("cooking", "smollm2-135m-instruct", "cooking/en", "smollm2"),
}
SIDES = ("factory", "trl-default", "trl-tuned", "llamafactory")
BATCH, RANK = 8, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with legal and cooking/en; without it the embedded samples")
    parser.add_argument("--llamafactory", type=Path, help="a virtual environment with llamafactory")
    parser.add_argument("--steps", type=int, default=4, help="steps of each run, the first of which is not timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=WORKS, action="append")
    parser.add_argument("--side", choices=SIDES, action="append")
    parser.add_argument("--epoch", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-train"), help="where the runs lie")
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "TASK.json", "OUT.json"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        side, task, out = arguments.one
        run_trl(side, json.loads(Path(task).read_text(encoding="utf-8")), Path(out))
        return
    arguments.folder = arguments.folder.resolve()
    known = RESULTS / "train.json"
    result: dict[str, Any] = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    for name in arguments.work or WORKS:
        result[name] = measure(name, arguments)
        known.write_text(json.dumps(result | about(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "train.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All sides of one work, alternating; the median of the rounds."""
    domain, base, source, template = WORKS[name]
    folder = arguments.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--source", str((arguments.data / source).resolve())] if arguments.data else []
    task = prepare(folder, domain, base, options, template)
    sides = [side for side in arguments.side or SIDES if side != "llamafactory" or arguments.llamafactory]
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(arguments.rounds):
        for side in sides:
            seen[side].append(run(side, {**task, "steps": arguments.steps}, folder, arguments, f"{side}-{turn}"))
            print(name, side, turn, seen[side][-1], flush=True)
    found: dict[str, Any] = {
        side: {key: round(statistics.median(row[key] for row in rows), 2) for key in ("tokens_per_s", "peak_rss_mb")}
        for side, rows in seen.items()
    }
    found["roof"] = {"tokens_per_s": round(roof(task, arguments.steps), 1)}
    if arguments.epoch:
        for side in (side for side in sides if side != "trl-default"):
            steps = len(task["order"]) // BATCH
            told = run(side, {**task, "steps": steps, "keep": True}, folder, arguments, f"{side}-epoch")
            found[side] |= {
                "epoch_tokens_per_s": round(told["tokens_per_s"], 1),
                "eval_loss": round(told["eval_loss"], 4),
            }
            print(name, side, "epoch", told, flush=True)
    return found


def prepare(folder: Path, domain: str, base: str, options: list[str], template: str) -> dict[str, Any]:
    """The rows of a domain in the order in which every side trains on them, with their tokens."""
    from factory.models import base_folder
    from factory.plan import work_of
    from factory.records import Example, read_records
    from factory.training import row_order

    settings = ["--set", f"base={base}"]
    subprocess.run(["factory", "build", domain, "--until", "curate", *options, *settings], cwd=folder, check=True)
    curated = folder / f"runs/{domain}/default/curate"
    plain = base_folder(base, "none")
    examples = read_records(curated / "train.jsonl", Example)
    work = work_of(base, examples, "")
    order = row_order(work.lengths, BATCH, 1.0, 0)
    rows = [{"prompt": examples[row].prompt, "completion": examples[row].completion} for row in order]
    held = [
        {"prompt": row.prompt, "completion": row.completion} for row in read_records(curated / "dev.jsonl", Example)
    ]
    return {
        "domain": domain, "options": options, "settings": settings, "base": str(plain), "rows": rows, "held": held,
        "order": order, "lengths": [work.lengths[row] for row in order], "labelled": [work.labelled[row] for row in order],
        "template": template, "learning_rate": 4e-4, "max_length": 512,
    }  # fmt: skip


def run(side: str, task: dict[str, Any], folder: Path, arguments: argparse.Namespace, label: str) -> dict[str, float]:
    """One side in a process of its own: tokens per second after the first step, and the peak of its memory."""
    paths = folder / f"{label}.task.json", folder / f"{label}.json"
    paths[0].write_text(json.dumps(task, ensure_ascii=False), encoding="utf-8")
    environment = {**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    if side == "factory":
        command, read = factory_command(task, label), lambda: factory_times(folder, task, label)
    elif side == "llamafactory":
        command = llamafactory_command(task, folder / label, arguments.llamafactory)
        environment |= {"DISABLE_VERSION_CHECK": "1", "PYTHONPATH": str(folder / label), "HF_HUB_OFFLINE": "1"}
        read = lambda: llamafactory_times(folder / label)  # noqa: E731
    else:
        command = [sys.executable, str(Path(__file__).resolve()), "--one", side, str(paths[0]), str(paths[1])]
        read = lambda: json.loads(paths[1].read_text())["times"]  # noqa: E731
    with open(folder / f"{label}.log", "w") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{side} failed: see {folder / label}.log")
    times = read()
    first, last = BATCH, BATCH * len(times)
    told = {
        "tokens_per_s": sum(task["lengths"][first:last]) / (times[-1] - times[0]),
        "peak_rss_mb": usage.ru_maxrss / 1024,
    }
    if task.get("keep"):
        adapters = {"factory": folder / f"runs/{task['domain']}/{label}/sft/adapter"}
        told["eval_loss"] = eval_loss(task, adapters.get(side, folder / label), side)
    return told


def factory_command(task: dict[str, Any], label: str) -> list[str]:
    trainer = f"{{max_steps = {task['steps']}, logging_steps = 1}}"
    own = [f"sft.batch={BATCH}", f"sft.lora_r={RANK}", "sft.epochs=1", f"sft.trainer={trainer}"]
    own += [f"sft.learning_rate={task['learning_rate']}", f"sft.max_length={task['max_length']}", "sft.lora_dropout=0"]
    flags = [word for setting in own for word in ("--set", setting)]
    build = ["factory", "build", task["domain"], "--run", label, "--until", "sft", "--force", "sft"]
    return [*build, *task["options"], *task["settings"], *flags]


def factory_times(folder: Path, task: dict[str, Any], label: str) -> list[float]:
    log = folder / f"runs/{task['domain']}/{label}/sft/log.jsonl"
    return [json.loads(line)["seconds"] for line in log.read_text().splitlines()]


def run_trl(side: str, task: dict[str, Any], out: Path) -> None:
    """Plain TRL: `trl-default` as its documentation has QLoRA, `trl-tuned` with what a careful person would set."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    common: dict[str, Any] = {
        "output_dir": str(out.with_suffix("")), "max_steps": task["steps"], "per_device_train_batch_size": BATCH,
        "learning_rate": task["learning_rate"], "lr_scheduler_type": "cosine", "warmup_steps": 0.05,
        "max_length": task["max_length"], "save_strategy": "no", "report_to": [], "use_cpu": True,
        "train_sampling_strategy": "sequential", "dataloader_pin_memory": False,
    }  # fmt: skip
    if side == "trl-default":
        four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(task["base"], quantization_config=four)
    else:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        model = AutoModelForCausalLM.from_pretrained(task["base"], dtype=torch.float32)
        common |= {"bf16": False, "gradient_checkpointing": False}
    lora = LoraConfig(r=RANK, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    rows = Dataset.from_list(task["rows"])
    trainer = SFTTrainer(
        model=model, args=SFTConfig(**common), train_dataset=rows, peft_config=lora, callbacks=[Clock()]
    )
    trainer.train()
    if task.get("keep"):
        trainer.model.save_pretrained(out.with_suffix(""))
    out.write_text(json.dumps({"times": times}))


def llamafactory_command(task: dict[str, Any], out: Path, venv: Path) -> list[str]:
    """LLaMA-Factory's own command on fp32 LoRA; `torchaudio.py` stands in for a package that does not fit this torch."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "torchaudio.py").write_text("")
    rows = [{"instruction": row["prompt"][-1]["content"], "system": row["prompt"][0]["content"] if len(row["prompt"]) > 1 else "",
             "input": "", "output": row["completion"][0]["content"]} for row in task["rows"]]  # fmt: skip
    (out / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    (out / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", "columns": columns}}))
    settings = {
        "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_target": "all", "lora_rank": RANK, "lora_alpha": 32,
        "model_name_or_path": task["base"], "template": task["template"], "dataset": "rows", "dataset_dir": str(out),
        "cutoff_len": task["max_length"], "disable_shuffling": True, "output_dir": str(out), "overwrite_output_dir": True,
        "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "max_steps": task["steps"],
        "learning_rate": task["learning_rate"], "lr_scheduler_type": "cosine", "warmup_ratio": 0.05, "logging_steps": 1,
        "save_strategy": "no" if not task.get("keep") else "steps", "save_steps": 100000, "report_to": "none", "use_cpu": True,
        "bf16": False, "fp16": False, "disable_gradient_checkpointing": True, "overwrite_cache": True, "dataloader_num_workers": 0,
        "preprocessing_num_workers": 1,
    }  # fmt: skip
    (out / "train.json").write_text(json.dumps(settings, indent=1))
    return [str(venv.resolve() / "bin" / "llamafactory-cli"), "train", str(out / "train.json")]


def llamafactory_times(out: Path) -> list[float]:
    """Seconds at each step, from its trainer_log.jsonl (whole seconds) or, finer, the steps' own clock in trainer_state."""
    rows = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    times: dict[int, float] = {}
    for row in rows:
        hours, minutes, seconds = (float(part) for part in row["elapsed_time"].split(":"))
        times.setdefault(row["current_steps"], hours * 3600 + minutes * 60 + seconds)
    return [times[step] for step in sorted(times)]


def eval_loss(task: dict[str, Any], adapter: Path, side: str) -> float:
    """The mean loss over the answers of the held-back rows, of an adapter on the base that it was trained on."""
    import torch

    from factory.models import add_adapter, base_folder, find_base, load_base

    name = next(base for _, base, _, _ in WORKS.values() if base in task["base"])
    quantization = "nf4" if side == "factory" else "none"
    model, tokenizer = load_base(base_folder(find_base(name).name, quantization), quantization)
    model = add_adapter(model, adapter).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in task["held"]:
            asked = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
            whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
            start = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
            ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
            logits = model(input_ids=ids).logits[0, start - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum"))
            count += ids.shape[1] - start
    return total / count


def roof(task: dict[str, Any], steps: int) -> float:
    """Tokens per second if the loss's arithmetic ran at the rate of a bare fp32 product, 1024 x 1024 x 4096, for two seconds."""
    import torch

    from factory.plan import base_config, size_of

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    a, b = torch.randn(1024, 1024), torch.randn(1024, 4096)
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < 2:
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    rate = 2 * 1024 * 1024 * 4096 / statistics.median(times)
    lengths, labelled = task["lengths"][BATCH : BATCH * steps], task["labelled"][BATCH : BATCH * steps]
    size = size_of(base_config(task["base"]), RANK, max(16, max(lengths) // 8 * 8))
    head = size.head_flops * 2 / 3  # forward and back; TRL computes the forward product twice
    return rate * sum(lengths) / (sum(lengths) * size.flops + sum(labelled) * head)


def about() -> dict[str, Any]:
    """The machine and the versions."""
    from importlib.metadata import version

    from factory.hardware import inspect_machine

    packages = ("vertical-factory", "torch", "transformers", "peft", "trl", "bitsandbytes")
    return {"machine": inspect_machine().lines()[0], "packages": {name: version(name) for name in packages}}


def table(result: dict[str, Any]) -> str:
    """Markdown: a row per side, and how many times as fast `factory` is."""
    lines = ["| work | side | tokens/s | factory is | peak memory | loss after an epoch |", "| --- " * 6 + "|"]
    for work in WORKS:
        own = result.get(work, {}).get("factory", {}).get("tokens_per_s")
        for side, row in result.get(work, {}).items():
            ratio = f"{own / row['tokens_per_s']:.1f} x" if own and side not in ("factory", "roof") else ""
            ratio = f"{own / row['tokens_per_s']:.0%} of it" if own and side == "roof" else ratio
            memory = f"{row['peak_rss_mb'] / 1000:.1f} GB" if "peak_rss_mb" in row else ""
            lines.append(
                f"| {work} | {side} | {row['tokens_per_s']:.0f} | {ratio} | {memory} | {row.get('eval_loss', '')} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
