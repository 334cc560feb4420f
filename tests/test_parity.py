"""Parity: an honest artifact passes, and each way to spoil one is caught and named."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import toys
from exported import make_run
from ggufs import adapter_gguf, random_adapter, tiny_gguf
from tiny import tiny_model

from factory.errors import FactoryError
from factory.export.artifact import export
from factory.export.budgets import check
from factory.export.causes import rest_cause
from factory.export.order import open_job
from factory.export.parity import check_parity, require_parity
from factory.export.reading import load_plain, read_answers
from factory.files import read_json, weights_mark, write_json, write_text
from factory.generate import Answer, Question, answer
from factory.records import EvalItem, Prediction, read_records, write_records
from factory.weights import merge
from factory.weights.job import Job, Order

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
WORDS = ["mango", "chisel", "kiwi", "axe", "plum", "file", "a very long word 猕猴桃", "saw"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", initializer_range=1.0)


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    """A finished run whose eval items ask for what its own model answers: whatever differs costs points."""
    run = make_run(tmp_path, base)
    code = tmp_path / "domains" / "toy" / "domain.py"
    write_text(code, code.read_text().replace('"Say twice: {input}")', '"Say twice: {input}", max_new_tokens=12)'))
    job = order("merged", "f32")
    model, tokenizer = load_plain(base, job.adapter)
    asked = [(task, word, job.domain.prompt(task, word)) for task in job.domain.active() for word in WORDS]
    told = answer(model, tokenizer, [Question(prompt, task) for task, _, prompt in asked])
    rows = [
        EvalItem(
            f"{task.name}-{word}", task.name, prompt, [one.text, one.text.rstrip("\ufffd")], "exact"
        )  # a cut letter
        for (task, word, prompt), one in zip(asked, told, strict=True)
    ]
    write_records(run / "ingest" / "eval.jsonl", rows)
    kept = [Prediction(row.id, row.task, row.question, row.references, row.references[1], 1.0) for row in rows]
    write_records(run / "evaluate" / "predictions" / "sft.jsonl", kept)
    return run


def order(kind: str, quant: str) -> Job:
    return open_job(Order("toy", kind, quant), (quant,), lambda text: None)


def whole(job: Job, folder: Path, **spoiled: Any) -> dict[str, Any]:
    """The run's model as a GGUF, and what parity finds."""
    merge.merge(job, folder / "merged")
    tiny_gguf(folder / "merged", folder / "whole.gguf", **spoiled)
    return check_parity(job, folder, {"file": "whole.gguf"})


def over_base(run: Path, folder: Path, base: Path, adapter: Path) -> dict[str, Any]:
    """An adapter's GGUF over a base's, and what parity finds."""
    tiny_gguf(base, folder / "base.gguf")
    return check_parity(
        order("gguf-lora", "f32"), folder, {"file": str(adapter), "base_gguf": str(folder / "base.gguf")}
    )


@pytest.mark.usefixtures("run")
def test_an_honest_gguf_passes(tmp_path: Path) -> None:
    found = whole(order("gguf", "f32"), tmp_path)
    assert found["passed"] and "warning" not in found, found
    assert found["mean"] == {"n": 16, "score": 100.0, "trained": 100.0, "identical": 100.0}
    assert found["kept_identical"] >= 50 and found["tasks"]["kind"]["n"] == 8
    assert 0 < found["logprob_difference"] < 0.02
    require_parity(found, tmp_path)


def test_answers_kept_in_a_shorter_type_do_not_count_against_an_artifact_that_answers_the_same(
    run: Path, tmp_path: Path
) -> None:
    file = run / "evaluate" / "predictions" / "sft.jsonl"
    kept = [dataclasses.replace(row, prediction="x", score=0.0) for row in read_records(file, Prediction)]
    write_records(file, kept)
    found = whole(order("gguf", "f32"), tmp_path)
    assert found["passed"] and found["kept_identical"] == 0, found
    assert found["mean"] == {"n": 16, "score": 100.0, "trained": 100.0, "identical": 100.0}


@pytest.mark.usefixtures("run")
def test_the_template_of_another_model_is_named(tmp_path: Path) -> None:
    found = whole(order("gguf", "f32"), tmp_path, template=CHATML)
    assert not found["passed"] and found["cause"] == "template" and "<|im_start|>" in found["why"]
    assert found["past"] and found["mean"]["identical"] < 50
    with pytest.raises(FactoryError, match=r"Likely cause, template: its chat template writes another prompt"):
        require_parity(found, tmp_path)


@pytest.mark.usefixtures("run")
def test_dropped_special_tokens_are_named(tmp_path: Path) -> None:
    found = whole(order("gguf", "f32"), tmp_path, plain=("<|user|>", "<|assistant|>"))
    assert not found["passed"] and found["cause"] == "tokens"
    assert "special tokens are lost: '<|user|>' is" in found["why"]


@pytest.mark.parametrize("share", [0.4, 0.97])
def test_a_truncated_file_is_named(run: Path, tmp_path: Path, share: float) -> None:
    job = order("gguf", "f32")
    merge.merge(job, tmp_path / "merged")
    file = tiny_gguf(tmp_path / "merged", tmp_path / "whole.gguf")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    found = check_parity(job, tmp_path, {"file": file.name})
    assert not found["passed"] and found["cause"] == "file" and "cut short" in found["why"]


def test_the_right_adapter_over_the_right_base_passes(run: Path, tmp_path: Path, base: Path) -> None:
    found = over_base(run, tmp_path, base, adapter_gguf(base, run / "sft" / "adapter", tmp_path / "own.gguf"))
    assert found["passed"] and found["mean"]["identical"] == 100, found


def test_an_adapter_trained_elsewhere_is_named(run: Path, tmp_path: Path, base: Path) -> None:
    random_adapter(base, tmp_path / "other", 7)
    found = over_base(run, tmp_path, base, adapter_gguf(base, tmp_path / "other", tmp_path / "other.gguf"))
    assert not found["passed"] and found["cause"] == "adapter" and "trained elsewhere" in found["why"]


def test_another_adapter_merged_into_it_is_named(run: Path, tmp_path: Path, base: Path) -> None:
    job = order("gguf", "f32")
    own = (run / "sft" / "adapter").rename(run / "own")
    random_adapter(base, run / "sft" / "adapter", 7)
    merge.merge(job, tmp_path / "merged")
    shutil.rmtree(run / "sft" / "adapter")
    own.rename(run / "sft" / "adapter")
    tiny_gguf(tmp_path / "merged", tmp_path / "whole.gguf")
    found = check_parity(job, tmp_path, {"file": "whole.gguf"})
    assert not found["passed"] and found["cause"] == "adapter" and "merged into it" in found["why"]


def test_other_weights_at_the_base_s_place_are_refused(run: Path, base: Path) -> None:
    note = read_json(run / "sft" / "base.json")
    write_json(run / "sft" / "base.json", note | {"weights": weights_mark(base)})
    order("gguf", "f32")
    shutil.rmtree(base)
    tiny_model(base, initializer_range=0.7)
    with pytest.raises(FactoryError, match=r"was trained over is gone: the weights in .* are others now"):
        order("gguf", "f32")


def test_an_adapter_of_another_base_is_named(run: Path, tmp_path: Path, base: Path) -> None:
    wide = tiny_model(tmp_path / "wide", hidden_size=64, intermediate_size=96)
    random_adapter(wide, tmp_path / "other", 7)
    found = over_base(run, tmp_path, base, adapter_gguf(wide, tmp_path / "other", tmp_path / "other.gguf"))
    assert not found["passed"] and found["cause"] == "adapter"


def test_another_base_below_the_adapter_is_named(run: Path, tmp_path: Path, base: Path) -> None:
    other = tiny_model(tmp_path / "other_base", initializer_range=0.4)
    found = over_base(run, tmp_path, other, adapter_gguf(base, run / "sft" / "adapter", tmp_path / "own.gguf"))
    assert not found["passed"] and found["cause"] == "base"


@pytest.mark.usefixtures("run")
def test_a_type_that_rounds_too_much_is_named(tmp_path: Path) -> None:
    found = whole(order("gguf", "q4_0"), tmp_path, quant="Q4_0")
    assert not found["passed"] and found["cause"] == "quantization" and "q4_0 rounds too much" in found["why"]
    first = found["first_difference"]
    assert first["answers"] >= 1 and first["examples"][0]["export"] != first["examples"][0]["trained"]


@pytest.mark.usefixtures("run")
def test_wide_limits_let_it_pass(tmp_path: Path) -> None:
    toml = tmp_path / "domains" / "toy" / "domain.toml"
    toml.write_text(toml.read_text() + "\n[export]\nparity_points_small = 100\nparity_items = 2\n", encoding="utf-8")
    found = whole(order("gguf", "q4_0"), tmp_path, quant="Q4_0")
    assert found["passed"] and found["items"] == 4


@pytest.mark.usefixtures("run")
def test_ends_and_base_weights_are_causes_of_their_own() -> None:
    job = order("gguf", "f16")
    assert rest_cause(job, 0.8) == ("ends", "it goes on where the trained model ends with <|end|>: the file does not count that as an end")  # fmt: skip
    over = open_job(Order("toy", "gguf", "f16", over="original"), ("f16",), lambda text: None)
    assert rest_cause(over, 0.0)[0] == "base weights" and rest_cause(job, 0.0)[0] == "rounding"


@pytest.mark.parametrize(("kind", "quant"), [("merged", "f32"), ("adapter", "")])
def test_what_transformers_reads_is_checked_too(run: Path, kind: str, quant: str) -> None:
    found = read_json(export(Order("toy", kind, quant), lambda text: None, check) / "export.json")["parity"]
    assert found["passed"] and found["mean"]["identical"] == 100 and found["logprob_difference"] < 1e-3, found


def test_a_failed_export_is_kept_marked_and_exits_1(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = merge.copy_tokenizer

    def spoiled(job: Job, out: Path) -> None:
        original(job, out)
        write_text(out / "chat_template.jinja", CHATML)

    monkeypatch.setattr(merge, "copy_tokenizer", spoiled)
    ended = toys.Factory(monkeypatch, capsys)("export", "toy", "--to", "merged", "--quant", "f32")
    assert ended.code == 1 and len(ended.err.strip().splitlines()) == 2
    assert "Likely cause, template" in ended.err and "Traceback" not in ended.err
    found = json.loads((run / "export" / "merged-f32" / "export.json").read_text())["parity"]
    assert found["passed"] is False and found["cause"] == "template"


def test_nothing_to_compare_with_is_said(run: Path, tmp_path: Path) -> None:
    (run / "evaluate" / "predictions" / "sft.jsonl").unlink()
    with pytest.raises(FactoryError, match="Nothing to compare the export with") as error:
        check_parity(order("merged", "f32"), tmp_path, {})
    assert error.value.hint == "Run: factory eval toy"


def test_reading_finds_where_greedy_decoding_would_part(run: Path, base: Path) -> None:
    job = order("merged", "f32")
    model, tokenizer = load_plain(base, job.adapter)
    question = Question(job.domain.prompt(None, "Bake the bread."), job.domain.task("say"))
    (own,) = answer(model, tokenizer, [question])
    changed = [*own.tokens]
    changed[2] = (changed[2] + 1) % len(tokenizer)
    read = read_answers(model, tokenizer, [question] * 2, [own, Answer("", own.truncated, tuple(changed))])
    assert read[0].parts_at is None and read[1].parts_at == 2
    assert read[1].choices[:3] == own.tokens[:3] and all(value <= 0 for value in read[0].logprobs)
