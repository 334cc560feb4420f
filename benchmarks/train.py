"""Training speed beside other ways of doing the same work, on this machine's processor.

    python benchmarks/train.py                             # A and B; LLaMA-Factory only where --llamafactory names its command
    python benchmarks/train.py --only B --rounds 1 --epoch no

Work A: the legal sample (topic, focus, charge), gemma-3-270m. Work B: the cooking sample, smollm2-135m-instruct. LoRA r=16 on
all linear layers, 8 rows a step, AdamW, the same rows for every side:

- factory: `factory build`;
- trl-default: TRL with QLoRA as its documentation has it (NF4, its own choice of dtype and checkpointing);
- trl-tuned: TRL with what a patient person would set: fp32, no NF4, batches by length, no checkpointing;
- llamafactory: LLaMA-Factory, fp32, no checkpointing, in an environment of its own: python3 -m venv, pip install torch==2.13.0+cpu,
  pip install --no-deps llamafactory "torchdata<=0.11.0", then what it requires but torchvision, torchaudio and gradio, which would
  bring another torch with CUDA (6 GB) or are not needed here; an empty torchaudio.py is put on PYTHONPATH;
- roof: the tokens a second that this machine's fp32 matrix products would allow, counting only what the loss needs.

Throughput is over the same few steps, the median of alternating runs, each in a process of its own; the loss on rows kept back is
after one epoch, for the sides that are quick enough. The slowest side makes the first two of the steps, once. Run it on an idle machine. Writes results/train.json and train.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quality import FACTORY, RESULTS, processor, refresh

WORKS = {"A": ("legal", "gemma-3-270m"), "B": ("cooking", "smollm2-135m-instruct")}
TEMPLATES = {"A": "gemma"}  # LLaMA-Factory's name for it where it cannot read the base's own chat template
SIDES = ("factory", "trl-default", "trl-tuned", "llamafactory")
SLOW, SLOW_STEPS = "trl-default", 2  # a minute a step: once, and only the first of the steps
PATIENT = ("factory", "trl-tuned", "llamafactory")  # these finish an epoch
SETTINGS = {
    "learning_rate": 4e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "per_device_train_batch_size": 8,
    "seed": 0,
}
LENGTH, RANK = 512, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORKS)
    parser.add_argument("--steps", type=int, default=5, help="steps that the throughput is over")
    parser.add_argument("--rounds", type=int, default=3, help="alternating runs")
    parser.add_argument(
        "--epoch",
        choices=("yes", "no", "alone"),
        default="yes",
        help="train an epoch for the loss, too; alone: for it only",
    )
    parser.add_argument("--llamafactory", help="its command, e.g. /tmp/lf/venv/bin/llamafactory-cli")
    parser.add_argument(
        "--profile", action="store_true", help="only where the factory's time goes, by torch's profiler"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)  # a run in a process of its own: a JSON file
    arguments = parser.parse_args()
    if arguments.side:
        run_trl(**json.loads(Path(arguments.side).read_text()))
        return
    path = RESULTS / "train.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for work in [arguments.only] if arguments.only else WORKS:
        with tempfile.TemporaryDirectory() as place:
            rows, kept, few = prepare(work, Path(place), arguments.steps)
            if arguments.profile:
                result.setdefault("profile", {})[work] = profile(few, work)
                keep(result)
                continue
            if arguments.epoch != "alone":
                result |= {work: throughput(work, Path(place), few, arguments)} | facts(arguments)
                keep(result)  # the epochs take longer
            if arguments.epoch != "no":
                add_losses(result[work], work, Path(place), rows, kept, arguments.llamafactory)
                keep(result)
    refresh()


def keep(result: dict[str, Any]) -> None:
    (RESULTS / "train.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "train.md").write_text(table(result), encoding="utf-8")
    print(table(result), flush=True)


def throughput(work: str, place: Path, few: list[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Every side of one work, and the roof: tokens a second and peak memory of its process."""
    sides = [side for side in SIDES if side != "llamafactory" or arguments.llamafactory]
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side in sides:
            if side == SLOW and number:
                continue
            steps = min(SLOW_STEPS, arguments.steps) if side == SLOW else arguments.steps
            told = run_side(side, work, few[: 8 * steps], steps, place / f"{side}-{number}", arguments.llamafactory)
            runs[side].append(told)
            print(f"{work} {side}: {told['tokens_per_s']:.1f} tokens/s, {told['peak_rss_mb']:.0f} MB", flush=True)
    found: dict[str, Any] = {}
    for side, told in runs.items():
        found[side] = {key: round(statistics.median(one[key] for one in told), 1) for key in told[0]}
        found[side] |= {"runs": [round(one["tokens_per_s"], 1) for one in told], "eval_loss": None}
    return found | {"roof": roof(work, few)}


def add_losses(
    found: dict[str, Any], work: str, place: Path, rows: list[Any], kept: list[Any], command: str | None
) -> None:
    """To the sides that finish an epoch: the loss on the rows kept back after it."""
    for side in PATIENT:
        if side in found:
            run_side(side, work, rows, 0, place / f"{side}-epoch", command)
            found[side]["eval_loss"] = loss_of(work, side, place / f"{side}-epoch", kept)
            print(f"{work} {side}: loss {found[side]['eval_loss']}", flush=True)


def prepare(work: str, place: Path, steps: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The rows to train, those kept back, and those of the first steps, in the factory's order."""
    from factory.config import Sft
    from factory.models import base_folder
    from factory.plan import work_of
    from factory.records import Example, read_records
    from factory.training import row_order

    domain, base = WORKS[work]
    base_folder(base, "nf4", print)
    factory(place, domain, "rows", "--until", "curate")
    folder = place / "runs" / domain / "rows" / "curate"
    rows, kept = (read_records(folder / f"{name}.jsonl", Example) for name in ("train", "dev"))
    order = row_order(work_of(base, rows, "zh" if work == "A" else "en").lengths, Sft.batch, 1.0, seed=0)
    return rows, kept, [rows[row] for row in order[: steps * Sft.batch]]


def factory(place: Path, domain: str, run: str, *options: str) -> None:
    settings = [
        f"sft.{key}={value}"
        for key, value in (
            ("epochs", 1.0),
            ("task_epochs", "{}"),
            ("learning_rate", 4e-4),
            ("max_length", LENGTH),
            ("trainer.logging_steps", 1),
        )
    ]
    words = [word for one in settings for word in ("--set", one)]
    subprocess.run(
        [FACTORY, "build", domain, "--run", run, *words, *options],
        cwd=place, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def run_side(side: str, work: str, rows: list[Any], steps: int, out: Path, command: str | None) -> dict[str, float]:
    """Train `rows` (of the factory: the first `steps` steps of its own order; 0: an epoch) in a process of its own."""
    domain, base = WORKS[work]
    before = time.monotonic()
    if side == "factory":
        options = [
            "--until",
            "sft",
            *(["--set", f"sft.trainer.max_steps={steps}", "--set", "sft.trial=0"] if steps else []),
        ]
        peak = child(lambda: factory(out.parent, domain, out.name, *options))
        told = json.loads((out.parent / "runs" / domain / out.name / "sft" / "manifest.json").read_text())["summary"]
        tokens, seconds = told["tokens"], told["seconds"]
    elif side == "llamafactory":
        assert command
        peak = child(lambda: run_llamafactory(command, work, rows, steps, out))
        tokens = counted(base, rows)
        seconds = json.loads((out / "train_results.json").read_text())["train_runtime"]
    else:
        order = out.with_suffix(".json")
        order.write_text(
            json.dumps({"side": side, "work": work, "rows": [plain(row) for row in rows], "out": str(out)})
        )
        peak = child(lambda: subprocess.run([sys.executable, __file__, "--side", str(order)], check=True))
        tokens, seconds = counted(base, rows), json.loads((out / "told.json").read_text())["train_runtime"]
    return {
        "tokens_per_s": tokens / seconds, "peak_rss_mb": peak / 1024, "seconds": seconds, "wall": time.monotonic() - before
    }  # fmt: skip


def child(work: Any) -> int:
    """Do it in a forked process; the largest resident size of it and of what it starts, in KiB."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("a side failed: see above")
    return usage.ru_maxrss


def plain(row: Any) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": row.completion}


def counted(base: str, rows: list[Any]) -> int:
    """Tokens of the rows, no padding."""
    from factory.plan import work_of

    return sum(min(LENGTH, length) for length in work_of(base, rows, "en").lengths)


def run_trl(side: str, work: str, rows: list[dict[str, Any]], out: str) -> None:
    """TRL alone, as its documentation has it or tuned by hand."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    from factory.models import find_base, local_folder

    tuned: dict[str, Any] = {}
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model: dict[str, Any] = {"quantization_config": quantized}
    if side == "trl-tuned":
        tuned = {"bf16": False, "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
        model = {"dtype": torch.float32}
    config = SFTConfig(
        output_dir=out, num_train_epochs=1, max_length=LENGTH, report_to=[], disable_tqdm=True, use_cpu=True,
        save_strategy="no", model_init_kwargs=model, **SETTINGS, **tuned,
    )  # fmt: skip
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    folder = str(local_folder(find_base(WORKS[work][1])))
    trainer = SFTTrainer(model=folder, args=config, train_dataset=Dataset.from_list(rows), peft_config=lora)
    told = trainer.train()
    trainer.model.save_pretrained(out)
    (Path(out) / "told.json").write_text(json.dumps(told.metrics))


def run_llamafactory(command: str, work: str, rows: list[Any], steps: int, out: Path) -> None:
    """LLaMA-Factory on the same rows, its settings as its CPU users give them."""
    from factory.models import find_base, local_folder

    out.mkdir(parents=True)
    written = [
        {
            "instruction": row.prompt[-1]["content"], "input": "", "output": row.completion[0]["content"],
            "system": row.prompt[0]["content"] if row.prompt[0]["role"] == "system" else "",
        }
        for row in rows
    ]  # fmt: skip
    (out / "rows.json").write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    (out / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", "columns": columns}}))
    settings = {
        "model_name_or_path": str(local_folder(find_base(WORKS[work][1]))), "template": TEMPLATES.get(work), "stage": "sft", "do_train": True, "finetuning_type": "lora",
        "lora_rank": RANK, "lora_alpha": 2 * RANK, "lora_target": "all", "dataset": "rows", "dataset_dir": str(out), "cutoff_len": LENGTH,
        "output_dir": str(out), "num_train_epochs": 1, "bf16": False, "fp16": False, "use_cpu": True, "report_to": "none",
        "save_strategy": "no", "disable_gradient_checkpointing": True, **SETTINGS,
    }  # fmt: skip
    if steps:
        settings["max_steps"] = steps
    file = out / "settings.yaml"  # JSON is YAML, too
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    stub = out / "stub"
    stub.mkdir()
    (stub / "torchaudio.py").touch()
    known = {**os.environ, "PYTHONPATH": str(stub), "DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1"}
    with open(out / "log", "w") as log:
        done = subprocess.run([command, "train", str(file)], env=known, stdout=log, stderr=log)
    if done.returncode:
        raise SystemExit((out / "log").read_text()[-2000:])


def loss_of(work: str, side: str, out: Path, kept: list[Any]) -> float:
    """Mean loss of the answers' tokens of the rows kept back, over the base that the adapter was trained on."""
    import torch
    from peft import PeftModel

    from factory.hardware import inspect_machine
    from factory.models import base_folder, load_base

    domain, base = WORKS[work]
    quantization = "nf4" if side == "factory" else "none"
    model, tokenizer = load_base(base_folder(base, quantization, print), quantization, inspect_machine())
    adapter = out.parent / "runs" / domain / out.name / "sft" / "adapter" if side == "factory" else out
    model = PeftModel.from_pretrained(model.float(), adapter).eval()
    total, tokens = 0.0, 0
    for row in kept:
        asked = tokenizer.apply_chat_template(row.prompt, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(row.prompt + row.completion, tokenize=False)
        ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"][:LENGTH]])
        start = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
        with torch.inference_mode():
            logits = model(ids).logits[0, start - 1 : -1].float()
        total += torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum").item()
        tokens += ids.shape[1] - start
    return round(total / tokens, 4)


def roof(work: str, rows: list[Any]) -> dict[str, Any]:
    """Tokens a second at this machine's rate of fp32 matrix products, for the arithmetic that the loss needs."""
    import torch

    from factory.hardware import inspect_machine
    from factory.plan import work_of
    from factory.sizing import base_config, size_of

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    rate = 2 * 2048**3 / min(times)
    base = WORKS[work][1]
    known = work_of(base, rows, "en")
    size = size_of(base_config(base), RANK, round(statistics.mean(known.lengths)), inspect_machine())
    needed = sum(known.lengths) * size.flops + sum(known.labelled) * size.head_flops
    return {"tokens_per_s": round(sum(known.lengths) * rate / needed, 1), "gflops": round(rate / 1e9, 1), "peak_rss_mb": None, "eval_loss": None}  # fmt: skip


KINDS = {  # of torch's operators, by a part of their names; the first that fits
    "matrix products": ("mm", "linear", "matmul"),
    "attention": ("attention",),
    "copies and casts": ("copy", "clone", "cat", "contiguous", "fill", "zero", "empty"),
    "optimizer": ("adam", "foreach", "norm_", "lerp", "addc"),
    "loss": ("softmax", "logsumexp", "nll", "gather", "scatter"),
}


def profile(few: list[Any], work: str) -> dict[str, float]:
    """Shares of the processor's time, of 100, over the steps that the throughput is over, but the first."""
    from collections import Counter

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from torch.profiler import ProfilerActivity
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from factory.fused import fuse, fuse_head
    from factory.hardware import inspect_machine
    from factory.models import base_folder, load_base

    told = torch.profiler.profile(activities=[ProfilerActivity.CPU])

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                told.start()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            told.stop()

    machine, base = inspect_machine(), WORKS[work][1]
    fuse_head()
    model, tokenizer = load_base(base_folder(base, "nf4", print), "nf4", machine)
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, max_length=LENGTH, report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no",
            bf16=machine.native_bf16, gradient_checkpointing=False, train_sampling_strategy="sequential", **SETTINGS,
        )  # fmt: skip
        lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        data = Dataset.from_list([plain(row) for row in few])
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora)
        if machine.fuses:
            fuse(trainer.model)
        trainer.add_callback(Callback())
        trainer.train()
    spent: Counter[str] = Counter()
    for event in told.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "")
        spent[kind or ("element by element, norms" if name.startswith("aten::") else "Python and the rest")] += (
            event.self_cpu_time_total
        )
    return {kind: round(100 * time / spent.total(), 1) for kind, time in spent.most_common()}


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "trl", "bitsandbytes")
    packages = {name: version(name) for name in names}
    if arguments.llamafactory:
        python = Path(arguments.llamafactory).with_name("python")
        asked = "from importlib.metadata import version as v; print(v('llamafactory'))"
        packages["llamafactory"] = subprocess.check_output([python, "-c", asked], text=True).strip()
    from factory.hardware import inspect_machine

    machine = inspect_machine()
    return {
        "machine": {"processor": processor(), "cores": machine.cores, "memory_gb": machine.memory_gb, "dtype": machine.dtype},
        "packages": packages, "steps": arguments.steps, "rounds": arguments.rounds,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = [
        "| work | side | tokens/s | factory is | peak memory | loss on rows kept back, one epoch |",
        "| --- " * 6 + "|",
    ]
    for work in (work for work in WORKS if work in result):
        ours = result[work]["factory"]["tokens_per_s"]
        for side, row in result[work].items():
            ratio = f"{ours / row['tokens_per_s']:.2f} times" if side != "factory" else "–"
            memory = f"{row['peak_rss_mb'] / 1000:.1f} GB" if row["peak_rss_mb"] else "–"
            loss = f"{row['eval_loss']:.3f}" if row["eval_loss"] else "–"
            lines.append(f"| {work} | {side} | {row['tokens_per_s']:.0f} | {ratio} | {memory} | {loss} |")
    for work, shares in result.get("profile", {}).items():
        lines += [
            "",
            f"Where the factory's time goes in {work}: {', '.join(f'{kind} {share:.0f}%' for kind, share in shares.items())}.",
        ]
    machine, versions = (
        result["machine"],
        ", ".join(f"{name} {version}" for name, version in result["packages"].items()),
    )
    about = "; ".join(f"{work}: {domain} sample, {base}" for work, (domain, base) in WORKS.items() if work in result)
    lines += [
        "",
        f"{about}. {result['steps']} steps of 8 rows, the median of {result['rounds']} alternating runs ({SLOW}: its first {SLOW_STEPS} steps, once); {machine['processor']}, {machine['cores']} cores, "
        f"no GPU, {machine['dtype']}. {versions}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
