"""Runs of a tiny model to export, and llama.cpp's converter, started quicker: in a fork that has the libraries already."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toys
from tiny import tiny_model

from factory.errors import FactoryError
from factory.files import write_json
from factory.models import home
from factory.weights import convert

PROMPTS = ["What is mango?", "Bake the bread for 20 minutes.", "Say twice: kiwi 猕猴桃"]


@pytest.fixture(scope="session")
def fetched() -> Path:
    """The converter in the home of whoever tests: it is fetched once, before the test is sealed."""
    try:
        return convert.converter_folder(lambda text: None)
    except FactoryError as error:
        pytest.skip(f"no converter: {error.message}")


@pytest.fixture
def converter(fetched: Path, sealed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter in the sealed home, run in a fork."""
    place = home() / "tools" / fetched.name
    place.parent.mkdir(parents=True)
    place.symlink_to(fetched)
    monkeypatch.setattr(convert, "_start", _forked)


def _forked(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["torch", "transformers", "safetensors.torch"])
    errors = folder / "errors.txt"
    child = forks.Process(target=_convert, args=(command[1:], environment, str(folder), str(errors)))
    child.start()
    child.join()
    return subprocess.CompletedProcess(command, child.exitcode or 0, "", errors.read_text(encoding="utf-8"))


def _convert(words: list[str], environment: dict[str, str], folder: str, errors: str) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    sys.stderr = open(errors, "w", encoding="utf-8", buffering=1)
    for name in [name for name in sys.modules if name.split(".")[0] in ("gguf", "conversion", "convert_hf_to_gguf")]:
        del sys.modules[name]
    sys.path.insert(0, environment["PYTHONPATH"])
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        raise SystemExit(1 if end.code else 0) from None


def make_run(root: Path, base: Path, *, answers: bool = False, stop: tuple[str, ...] = ()) -> Path:
    """A finished run of the toy domain over `base` with a random adapter, as the stages leave it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    toys.make_toy(root, toml=toys.TOML.replace("smollm2-135m-instruct", str(base)) + "[sft]\nquantization = 'none'\n")
    run = root / "runs" / "toy" / "default"
    adapter = run / "sft" / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(model, lora)
    model.save_pretrained(adapter)
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    write_json(run / "sft" / "base.json", {"name": str(base), "path": str(base), "license": "MIT", "stop": list(stop)})
    write_json(run / "sft" / "manifest.json", {"outputs": {}})
    rows = [
        {**{key: item[key] for key in ("id", "task")}, "question": item["input"], "references": [item["reference"]],
         "prediction": item["reference"], "score": 1.0, "truncated": False}
        for item in toys.ITEMS
    ]  # fmt: skip
    write_json(run / "evaluate" / "manifest.json", {"outputs": {}})
    scores = {
        "best": "sft",
        "tasks": {"kind": {"title": "Kind"}},
        "models": {"sft": {"kind": {"score": 100.0, "n": 2}}},
    }
    write_json(run / "evaluate" / "scores.json", scores)
    (run / "evaluate" / "predictions").mkdir()
    (run / "evaluate" / "predictions" / "sft.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return run


def make_base(folder: Path, architecture: str = "llama", **changes: Any) -> Path:
    """A tiny base whose logits differ enough from each other to tell a wrong conversion."""
    more = {"vocab_size": 512} if architecture == "qwen2" else {}  # its tokenizer class brings a token of its own
    return tiny_model(folder, architecture, initializer_range=0.1, **more, **changes)


def next_logprobs(llama: Any, ids: list[int], size: int) -> Any:
    """llama.cpp's log-probabilities of every token after `ids`, by token id.

    The server tells them once it has written a whole letter, so it is made to write one; they are those before that.
    """
    import torch

    letter = [[llama.tokenize("a")[-1], 1000.0]]
    asked = {"prompt": ids, "n_predict": 1, "n_probs": size, "temperature": 0, "logit_bias": letter}
    told = llama._post("/completion", asked)
    found = torch.full((size,), float("nan"))
    for row in told["completion_probabilities"][0]["top_logprobs"]:
        found[row["id"]] = row["logprob"]
    return found
