"""The app stage writes a project that runs alone; the page itself is tried in a headless browser."""

from __future__ import annotations

import json
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
from factory.errors import FactoryError
from factory.files import read_json, templates, write_json, write_text
from factory.records import EvalItem, Passage, write_records
from factory.stage import Context
from factory.stages import app

TEA = "Oolong is steeped at 95 degrees. <b>Bold</b>"
NAAN = "Naan is a flat bread from India."
EVIL = '<script>alert("x")</script>'
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Kitchen(Domain):
    def tasks(self) -> list[Task]:
        return [
            Task("cuisine", "Which cuisine?", "exact", "Name the cuisine of {input}."),
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
    """What sft and evaluate leave behind, small."""
    cell = {"score": 70.0, "low": 61.5, "high": 78.5, "n": 40}
    models = {name: {"cuisine": cell, "mean": cell} for name in ("base", "sft", "best")}
    tasks = {"cuisine": {"title": "Which cuisine?", "scorer": "exact", "n": 40}}
    scores = {"models": models, "tasks": tasks, "best": best, "items": 40, "gates": []}
    write_json(run / "evaluate" / "scores.json", scores)
    stop = ["<|im_end|>"]
    write_json(run / "sft" / "base.json", {"name": "tiny", "path": str(base), "license": "MIT", "stop": stop})
    write_json(run / best / "adapter" / "adapter_config.json", {"peft_type": "LORA", "of": best})
    passages = [
        Passage("a#0", "a", TEA, "Tea", meta={"headings": "Tea / Oolong", "page": 3}),
        Passage("b#0", "b", NAAN, "Bread"),
    ]
    write_records(run / "ingest" / "passages.jsonl", passages)
    prompt = [{"role": "user", "content": f"Answer from the text.\n\nText:\n{TEA}\n\nQuestion: {EVIL}"}]
    items = [EvalItem(f"i{n}", "fact", prompt, [f"answer {n}"], "exact", {"state": "draft"}) for n in range(drafts)]
    write_records(run / "ingest" / "eval.jsonl", items)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "LICENSE",
        "factory.json",
    ):
        write_text(folder / name, "{}")
    return folder


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project's modules by their own names, as `python app.py` sees them."""
    monkeypatch.syspath_prepend(str(templates("app")))
    yield
    for name in ("app", "scoreboard", "words", "engine", "search", "review"):
        sys.modules.pop(name, None)


def test_project_is_complete(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", base, best="dpo")
    context = make_context(tmp_path / "run")
    told = app.run(context)
    out = context.out
    assert told["note"].endswith("open it with: factory demo kitchen")
    for name in ("app.py", "engine.py", "requirements.txt", "style.css", "base/LICENSE", "base/chat_template.jinja"):
        assert (out / name).is_file(), name
    assert not (out / "base" / "factory.json").exists()
    assert read_json(out / "adapter" / "adapter_config.json")["of"] == "dpo"
    assert set(read_json(out / "scoreboard.json")) == {"models", "tasks", "best", "items", "review"}
    settings = read_json(out / "app.json")
    assert settings["tasks"][0] == {
        "name": "cuisine", "title": "Which cuisine?", "template": "Name the cuisine of {input}.", "about": ""
    }  # fmt: skip
    assert settings["stop"] == ["<|im_end|>"] and settings["base"] == "tiny" and settings["best"] == "dpo"
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert readme.startswith('---\ntitle: "Kitchen"\n') and "\n# Kitchen\n" in readme


def test_base_is_hard_linked_and_can_be_linked_again(tmp_path: Path, base: Path) -> None:
    app.link_base(base, tmp_path / "out")
    app.link_base(base, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(base / "model.safetensors")


def test_base_is_copied_where_links_fail(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr("os.link", refuse)
    app.link_base(base, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").samefile(base / "model.safetensors")


def test_missing_base_and_adapter_say_what_to_do(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(FactoryError, match="is gone") as caught:
        app.run(make_context(tmp_path / "run"))
    assert "Run the build again" in caught.value.hint
    make_run(tmp_path / "other", base)
    (tmp_path / "other" / "sft" / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(FactoryError, match="No adapter"):
        app.run(make_context(tmp_path / "other"))


def test_fingerprint_watches_tasks_and_templates(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert app.STAGE.watches is not None
    assert set(app.STAGE.watches(context)) == {"app template", "tasks"}


def test_project_never_imports_the_factory() -> None:
    for path in templates("app").glob("*.py"):
        assert not re.search(r"^\s*(from|import) factory", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_words_are_the_same_in_both_languages(load: None) -> None:
    from words import WORDS  # type: ignore[import-not-found]

    assert set(WORDS["en"]) == set(WORDS["zh"])
    for key, text in WORDS["en"].items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", WORDS["zh"][key])), key


def test_scoreboard_escapes_every_name(load: None) -> None:
    from scoreboard import scoreboard  # type: ignore[import-not-found]
    from words import WORDS

    cell = {"score": 70.0, "low": 61.5, "high": 120.0, "n": 40}
    models = {EVIL: {EVIL: cell, "mean": cell}, "base": {}, "best": {EVIL: cell}}
    page = scoreboard({"models": models, "tasks": {EVIL: {"title": EVIL}}, "best": EVIL, "items": 40}, WORDS["en"])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "70.0 (61.5" in page and "n = 40" in page and 'x2="100.00"' in page
    assert page.count('class="bar') == 2  # the picture's frame and one bar: "best" is no row of its own


def test_kinds_of_question(load: None) -> None:
    from app import kinds  # type: ignore[import-not-found]

    context = make_context(Path("run"), Library)
    tasks = app.settings(context.config, context.domain.active(), "sft", {"name": "x", "stop": []})["tasks"]
    assert list(kinds(tasks, True)) == ["fact", "pitch"]  # define is asked in the same words as fact
    assert list(kinds(tasks, False)) == []  # without documents there is nothing to look up


def test_decisions_are_kept_whole_and_read_again(load: None, tmp_path: Path) -> None:
    from review import Reviews  # type: ignore[import-not-found]

    items = [{"id": name, "task": "T", "question": "q", "reference": "r"} for name in ("a", "b", "c")]
    write_json(tmp_path / "items.json", items)
    kept = tmp_path / "evals" / "reviews.json"
    reviews = Reviews(tmp_path / "items.json", kept)
    reviews.decide(0, "approved", "r ")
    reviews.decide(1, "approved", " better ")
    again = Reviews(tmp_path / "items.json", kept)
    assert again.first_open() == 2 and again.count("approved") == 2
    assert "reference" not in again.decisions["a"] and again.decisions["b"]["reference"] == "better"
    assert [path.name for path in kept.parent.iterdir()] == ["reviews.json"]


def test_the_nearest_passage_in_both_languages(load: None, tmp_path: Path) -> None:
    from search import Passages  # type: ignore[import-not-found]

    rows = [
        {"text": text, "where": where}
        for text, where in (("乌龙茶用沸水冲泡。", "茶"), ("洗碗先刮残渣。", "碗"), (NAAN, "Bread"))
    ]
    write_records(tmp_path / "passages.jsonl", rows)
    passages = Passages(tmp_path / "passages.jsonl")
    for question, where in {"乌龙茶怎么泡": "茶", "怎么洗碗？": "碗", "NAAN?": "Bread"}.items():
        found = passages.nearest(question)
        assert found is not None and found["where"] == where
    assert passages.nearest("xylophone") is None and passages.nearest("") is None
    assert Passages(tmp_path / "none.jsonl").nearest("naan") is None


# In the browser


def test_the_notice_of_loading_ends_with_the_loading(load: None) -> None:
    import importlib
    import threading
    from types import SimpleNamespace

    page = importlib.import_module("app")
    demo = page.Demo.__new__(page.Demo)
    demo.words = importlib.import_module("words").WORDS["en"]
    demo.engine = SimpleNamespace(ready=threading.Event(), error="")
    line, _, told = demo.status()
    assert "loading" in line and told != ""  # left as it is
    demo.engine.ready.set()
    line, _, told = demo.status()
    assert "ready" in line and told == ""


def make_tiny(base: Path, adapter: Path) -> None:
    """A random Llama of 2 layers with a tokenizer trained on a few words, and a LoRA adapter of rank 2."""
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
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(base)
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(adapter)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(tmp_path: Path, kind: type[Domain], *arguments: str) -> Iterator[str]:
    """The generated app on the tiny model, started by `python app.py` as a user would; the wanted port is taken."""
    run = tmp_path / "run"
    make_tiny(tmp_path / "base", run / "sft" / "adapter")
    config = (run / "sft" / "adapter" / "adapter_config.json").read_text(encoding="utf-8")
    make_run(run, tmp_path / "base", drafts=3 if kind is Library else 0)
    write_text(run / "sft" / "adapter" / "adapter_config.json", config)
    context = make_context(run, kind)
    app.run(context)
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        command = [sys.executable, "app.py", "--port", str(port), *arguments]
        server = subprocess.Popen(command, cwd=context.out, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(120, server.kill)
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
def opened(address: str) -> Iterator[Any]:
    """The page on a phone's screen; it may ask nothing of other places and open no dialog."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("no /usr/bin/chromium")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*switches, "--disable-sync"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
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
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not outside and not dialogs
        browser.close()


@pytest.mark.browser
def test_page_in_a_browser(tmp_path: Path) -> None:
    with served(tmp_path, Kitchen) as address, opened(address) as page:
        expect = pytest.importorskip("playwright.sync_api").expect
        ask_and_compare(page, expect)
        look_at_scores(page, expect)
        expect(page.get_by_role("tab", name="Review")).to_have_count(0)
        assert page.request.post(f"{address}/gradio_api/upload").status == 403
        assert page.request.get(f"{address}/gradio_api/file=app.json").status in (403, 404)


@pytest.mark.browser
def test_looking_up_and_reviewing_in_a_browser(tmp_path: Path) -> None:
    kept = tmp_path / "evals" / "reviews.json"
    with served(tmp_path, Library, "--reviews", str(kept)) as address, opened(address) as page:
        expect = pytest.importorskip("playwright.sync_api").expect
        look_up(page, expect)
        review(page, expect)
    decided = read_json(kept)
    assert {name: row["verdict"] for name, row in decided.items()} == {
        "i0": "approved",
        "i1": "rejected",
        "i2": "approved",
    }
    assert "reference" not in decided["i0"] and decided["i2"]["reference"] == "a better answer"


def look_up(page: Any, expect: Any) -> None:
    """The answer names the passage that it was read from; a question that no passage meets is refused."""
    box, send = page.locator("#question textarea"), page.locator("#question button")
    box.fill("xylophone zebra")
    box.press("Enter")
    expect(page.locator("#notice")).to_contain_text("No passage")
    box.fill("how hot for oolong?")
    box.press("Enter")
    expect(page.locator("#source")).to_contain_text("Tea › Oolong › p. 3")
    expect(page.locator("#source")).to_contain_text(TEA)  # as text, never as markup
    expect(send).to_have_text("Send", timeout=60_000)
    expect(page.locator("#specialist")).to_contain_text("how hot for oolong?")


def review(page: Any, expect: Any) -> None:
    page.get_by_role("tab", name="Review").click()
    expect(page.locator("#review-item")).to_contain_text("1 / 3")
    expect(page.locator("#review-item")).to_contain_text(EVIL)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#review-item")).to_contain_text("2 / 3")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#review-item")).to_contain_text("3 / 3")
    page.locator("#review-answer textarea").fill("a better answer")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#review-item")).to_contain_text("1 / 3")
    expect(page.locator("#review-item")).to_contain_text("2 approved, 1 rejected")


def ask_and_compare(page: Any, expect: Any) -> None:
    box = page.locator("#question textarea")
    send = page.locator("#question button")
    box.press("Enter")
    expect(page.locator("#notice")).to_contain_text("Please type a question first.")
    box.fill(EVIL)
    box.press("Enter")
    expect(page.locator("#specialist")).to_contain_text(EVIL)
    expect(send).to_have_text("Send", timeout=60_000)
    page.locator("#compare input").check()
    box.fill("naan " * 1000)
    box.press("Enter")
    expect(page.locator("#notice")).to_contain_text("4000")
    if send.inner_text() == "Stop":
        send.click()
    expect(send).to_have_text("Send", timeout=60_000)
    expect(page.locator("#notice")).to_contain_text("4000")  # whatever became of the answer, the cut stays told
    page.locator("#starters button").first.click()
    expect(page.locator("#base")).to_contain_text("What is naan?")
    expect(page.locator("#base")).to_contain_text("not asked")
    expect(send).to_have_text("Send", timeout=60_000)
    for column in ("#specialist", "#base"):  # the last words may arrive after the button
        expect(page.locator(f"{column} .message.bot").last).not_to_have_text("…")
    assert answers(page, "#specialist")[-1] != answers(page, "#base")[-1]
    expect(page.locator("#disclaimer")).to_be_in_viewport()


def answers(page: Any, column: str) -> list[str]:
    texts: list[str] = page.locator(f"{column} .message.bot").all_inner_texts()
    return texts


def look_at_scores(page: Any, expect: Any) -> None:
    page.get_by_role("tab", name="Scoreboard").click()
    expect(page.locator("#scores svg").first).to_be_visible()
    expect(page.locator("#scores table")).to_contain_text("n = 40")
    expect(page.locator("#disclaimer")).to_be_in_viewport()


def test_settings_are_plain_json(tmp_path: Path, base: Path) -> None:
    make_run(tmp_path / "run", base)
    context = make_context(tmp_path / "run", language="zh", title="厨房", app=App())
    app.run(context)
    text = (context.out / "app.json").read_text(encoding="utf-8")
    assert json.loads(text)["title"] == "厨房" and "厨房" in text
