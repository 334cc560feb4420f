"""The generated app over llama.cpp: the same answers as the factory's engine gives, with the adapter on and off."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ggufs import adapter_gguf, random_adapter, tiny_gguf
from tiny import tiny_model

from factory.domain import Task
from factory.errors import FactoryError
from factory.export import demo
from factory.export.demo import use_engine
from factory.files import read_json, templates, write_json
from factory.generate import Question
from factory.llama import open_llama

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "List the ingredients."}]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The app's engine.py by its own name, as `python app.py` sees it."""
    monkeypatch.syspath_prepend(str(templates("app")))
    import engine

    yield engine
    for name in ("engine", "labels", "llama"):
        sys.modules.pop(name, None)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    base = tiny_model(tmp_path / "base", initializer_range=1.0)
    tiny_gguf(base, folder / "base.gguf")
    random_adapter(base, tmp_path / "adapter", 1)
    adapter_gguf(base, tmp_path / "adapter", folder / "adapter.gguf")
    return folder


def test_it_answers_as_the_factory_does(engines: Any, app: Path) -> None:
    engine = engines.Engine(app, [], 3)
    engine._load()
    assert engine.ready.is_set(), engine.error
    told = [list(engine.stream(MESSAGES, specialist, threading.Event())) for specialist in (True, False)]
    question = Question(MESSAGES, Task("free", "Free", "exact", max_new_tokens=engines.MAX_NEW_TOKENS))
    with open_llama(app / "base.gguf", [app / "adapter.gguf"], context=2048, slots=1) as llama:
        wanted = [llama.answer([question], no_repeat_ngram=3, adapter=adapter)[0] for adapter in (0, None)]
    assert [pieces[-1] for pieces in told] == [(one.text, one.truncated) for one in wanted]
    assert told[0][-1] != told[1][-1] and len(told[0]) > 3  # it comes piece by piece


def test_a_line_separator_inside_an_answer_ends_no_line(engines: Any) -> None:
    import httpx
    from llama import Llama  # type: ignore[import-not-found]

    said = [("一\u2028", None), ("\x85二", "stop")]
    rows = [{"choices": [{"delta": {"content": text}, "finish_reason": why}]} for text, why in said]
    told = "".join(f"data: {json.dumps(row, ensure_ascii=False)}\n\n" for row in rows).encode()
    pieces = [told[start : start + 5] for start in range(0, len(told), 5)]
    llama = Llama.__new__(Llama)  # without a server: what one says stands above
    llama._rules = {}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=iter(pieces)))
    llama._client = httpx.Client(base_url="http://127.0.0.1", transport=transport)
    assert list(llama.stream(MESSAGES, True, threading.Event(), 9))[-1] == ("一\u2028\x85二", False)


def test_labels_are_weighed_as_torch_weighs_them(engines: Any, app: Path) -> None:
    import torch
    from labels import weigh  # type: ignore[import-not-found]
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = engines.Engine(app, [], 0)
    engine._load()
    choices = ["salt", "flour and butter", *"bread oil egg milk rice sugar water pan oven mix bake cook".split()]
    base = app.parent / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), app.parent / "adapter").eval()
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    wanted = weigh(model, tokenizer, torch.as_tensor(prompt), choices, [tokenizer.eos_token_id])
    found = engine.weigh(MESSAGES, choices)
    assert [math.log(share) for share in found] == pytest.approx(
        [math.log(share) for share in wanted], rel=0.02, abs=0.02
    )
    assert engine._length(MESSAGES) == prompt.shape[1]


def test_stop_ends_an_answer(engines: Any, app: Path) -> None:
    engine, stop = engines.Engine(app, [], 0), threading.Event()
    engine._load()
    pieces = engine.stream(MESSAGES, True, stop)
    next(pieces)
    stop.set()
    assert len(list(pieces)) <= 2
    assert list(engine.stream(MESSAGES, True, threading.Event()))  # and the next question is answered


def test_old_turns_are_dropped_and_a_long_question_is_said(engines: Any, app: Path) -> None:
    engine = engines.Engine(app, [], 0)
    engine._load()
    turn = [{"role": "user", "content": "flour " * 2000}, {"role": "assistant", "content": "salt"}]
    assert list(engine.stream([*turn, *turn, *MESSAGES[1:]], True, threading.Event()))
    with pytest.raises(engines.TooLong):
        list(engine.stream([{"role": "user", "content": "flour " * 9000}], True, threading.Event()))


def test_without_both_files_it_is_torch(engines: Any, app: Path) -> None:
    (app / "adapter.gguf").unlink()
    engine = engines.Engine(app, [], 0)
    engine._load()
    assert not engine.ready.is_set() and engine._llama is None and engine.error  # torch found no base here


def test_demo_puts_the_files_there_and_takes_them_away(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = app.parent, []

    def export(order: Any, *_: Any) -> None:
        made.append((order.kind, order.quant))
        folder = run / "export" / "gguf-lora-q8_0"
        write_json(folder / "export.json", {"file": "own.gguf", "base_gguf": str(run / "shared.gguf")})
        (folder / "own.gguf").write_bytes(b"own")
        (run / "shared.gguf").write_bytes(b"shared")

    monkeypatch.setattr(demo, "export", export)
    for _ in range(2):
        use_engine("toy", "default", "llama", app, print)
        assert [(app / name).read_bytes() for name in demo.FILES] == [b"shared", b"own"]
    assert made == [("gguf-lora", "q8_0")]
    note = run / "export" / "gguf-lora-q8_0" / "export.json"
    write_json(note, read_json(note) | {"adapter": "of an earlier training", "model": "sft"})
    use_engine("toy", "default", "llama", app, print)
    assert made == [("gguf-lora", "q8_0")] * 2, "one of another adapter is made anew"
    write_json(note, read_json(note) | {"parity": {"passed": False, "cause": "template", "why": "it is another's"}})
    with pytest.raises(FactoryError, match="does not answer as the trained model does"):
        use_engine("toy", "default", "llama", app, print)
    use_engine("toy", "default", "torch", app, print)
    assert not any((app / name).exists() for name in demo.FILES)
    with pytest.raises(FactoryError, match="Unknown engine 'vllm'"):
        use_engine("toy", "default", "vllm", app, print)
