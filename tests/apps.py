"""The generated app on a tiny random model, and a browser to look at it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from factory.config import App, Config
from factory.domain import Domain, Task
from factory.files import read_text, write_json, write_text
from factory.records import Document, EvalItem, Passage, write_records
from factory.stage import Context
from factory.stages import app

TABLE = "| Tea | Degrees |\n| --- | --- |\n| Oolong | <b>95</b> |"
TEA = f"Oolong is steeped at 95 degrees. <b>Bold</b>\n\n{TABLE}"
NAAN = "Naan is a flat bread from India."
EVIL = '<script>alert("x")</script>'
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENVIRONMENT = ("FACTORY_APP_PASSWORD", "FACTORY_APP_REVIEWER_PASSWORD")


class Kitchen(Domain):
    def tasks(self) -> list[Task]:
        return [
            Task("cuisine", "Which cuisine?", "exact", "Name the cuisine of {input}."),
            Task(
                "course",
                "Which course?",
                "exact",
                "{input}\nWhich course?",
                choices=("starter", "main dish", "dessert"),
            ),
            Task("tags", "Tags", "labels", "{input}\nWhich tags?", choices=("hot", "cold"), separator=", "),
            Task("free", "Free", "exact"),
        ]


class Library(Domain):
    """Answers from documents, and its eval set is a draft."""

    def tasks(self) -> list[Task]:
        reading = "Answer from the text.\n\n{input}"
        about = "Text:\n{passage}\n\nQuestion: {question}"
        return [
            Task("pitch", "Write a pitch", "exact", "Praise it.\n\n{input}", about="{passage}"),
            Task("fact", "Facts", "exact", reading, about=about),
            Task("define", "Terms", "exact", reading, about=about),
        ]


def make_context(run: Path, kind: type[Domain] = Kitchen, **settings: Any) -> Context:
    look = App(title="Kitchen", disclaimer="Only a test.", color="rose", starters=["What is naan?"])
    config = Config(**{"name": "kitchen", "title": "K", "language": "en", "base": "x", "app": look, **settings})
    context = Context(kind(config, run), run, "app")
    context.out.mkdir(parents=True, exist_ok=True)
    return context


def make_run(run: Path, base: Path, best: str = "sft", drafts: int = 0) -> None:
    """What the stages before leave behind, small."""
    cell = {"score": 70.0, "low": 61.5, "high": 78.5, "n": 40}
    models = {name: {"cuisine": cell, "mean": cell} for name in ("base", "sft", "best")}
    tasks = {"cuisine": {"title": "Which cuisine?", "scorer": "exact", "n": 40}}
    scores = {"models": models, "tasks": tasks, "best": best, "items": 40, "gates": []}
    write_json(run / "evaluate" / "scores.json", scores)
    stop = ["<|im_end|>"]
    write_json(run / "sft" / "base.json", {"name": "tiny", "path": str(base), "license": "MIT", "stop": stop})
    write_json(run / best / "adapter" / "adapter_config.json", {"peft_type": "LORA", "of": best})
    write_text(
        run / "report" / "report.html", "<!doctype html><html lang=en><title>R</title><h1>The report</h1></html>"
    )
    write_records(run / "ingest" / "documents.jsonl", [Document("a", TEA, license="MIT")])
    passages = [
        Passage("a#0", "a", TEA, "Tea", meta={"headings": "Tea / Oolong", "page": 3}),
        Passage("b#0", "b", NAAN, "Bread"),
    ]
    write_records(run / "ingest" / "passages.jsonl", passages)
    prompt = [{"role": "user", "content": f"Answer from the text.\n\nText:\n{TEA}\n\nQuestion: {EVIL}"}]
    items = [EvalItem(f"i{n}", "fact", prompt, [f"answer {n}"], "exact", {"state": "draft"}) for n in range(drafts)]
    write_records(run / "ingest" / "eval.jsonl", items)


def make_tiny(base: Path, adapter: Path, layers: int = 2) -> None:
    """A random Llama of a few layers with a tokenizer trained on a few words, and a LoRA adapter of rank 2."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(["what is naan? a flat bread from India"] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(base)
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(adapter)


def make_app(folder: Path, kind: type[Domain] = Kitchen, layers: int = 2, **settings: Any) -> Path:
    """The app stage's folder on the tiny model; many layers make it slow."""
    run = folder / "run"
    make_tiny(folder / "base", run / "sft" / "adapter", layers)
    config = read_text(run / "sft" / "adapter" / "adapter_config.json")
    make_run(run, folder / "base", drafts=3 if kind is Library else 0)
    write_text(run / "sft" / "adapter" / "adapter_config.json", config)
    context = make_context(run, kind, **settings)
    app.run(context)
    return context.out


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """`python app.py` as a user would start it; the wanted port is taken. Gives its address."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), *arguments]
    known = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    with socket.socket() as taken, (folder / "app.log").open("w") as log:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        server = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env={**known, **environment}
        )
        watchdog = threading.Timer(240, server.kill)
        watchdog.start()
        try:
            assert server.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())
            assert found and int(found[1]) > port
            yield found[0]
        finally:
            watchdog.cancel()
            server.kill()
            server.wait()


@contextmanager
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("no /usr/bin/chromium")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*switches, "--disable-sync"])
        yield chromium
        chromium.close()


@contextmanager
def opened(address: str, width: int = 390) -> Iterator[Any]:
    """The page, by default on a phone's screen; it may ask nothing of other places, open no dialog and be no wider."""
    with browser() as chromium:
        page = chromium.new_context(viewport={"width": width, "height": 844}).new_page()
        outside: list[str] = []
        dialogs: list[str] = []
        page.on(
            "request",
            lambda request: outside.append(request.url) if not request.url.startswith((address, "data:")) else 0,
        )
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.wait_for_selector("#status .ready", timeout=90_000)
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not outside and not dialogs
