"""factory export: what each kind of artifact holds, and that it is what the trained model is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jinja2
import pytest
from exported import converter, fetched, make_base, make_run  # noqa: F401
from tags import Tags
from tiny import TEMPLATE
from toys import Factory

from factory.errors import FactoryError
from factory.export.artifact import export
from factory.export.ollama import turns_of
from factory.export.order import open_job
from factory.files import read_json, sha256
from factory.generate import Question
from factory.llama import open_llama
from factory.models import catalog
from factory.weights import convert, quantize
from factory.weights.job import Order

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LAST_TURN = (  # the system's words stand in the last turn, as in Mistral's template
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {% if loop.last and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ m['content'] + '[/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ m['content'] + '</s>' }}{% endif %}{% endfor %}"
)


def silent(text: str) -> None: ...


def made(order: Order) -> tuple[Path, dict[str, Any]]:
    folder = export(order, silent)
    return folder, read_json(folder / "export.json")


def retemplate(run: Path, base: Path, template: str) -> None:
    for folder in (base, run / "sft" / "adapter"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    return make_run(tmp_path, base)


def fields(file: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {key: field.contents() for key, field in GGUFReader(file).fields.items()}


@pytest.mark.usefixtures("converter")
def test_a_gguf_says_what_it_is_and_ends_where_the_model_ends(tmp_path: Path, base: Path) -> None:
    run = make_run(tmp_path, base, stop=("<|user|>",))
    folder, told = made(Order("toy", "gguf"))
    assert folder == run.resolve() / "export" / "gguf-q8_0"
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE.txt", "export.json", "toy-base-q8_0.gguf"]
    assert told["files"]["toy-base-q8_0.gguf"]["sha256"] == sha256(folder / told["file"])
    assert (told["kind"], told["quant"], told["model"], told["stop"]) == (
        "gguf",
        "q8_0",
        "sft",
        ["<|end|>", "<|user|>"],
    )
    found = fields(folder / told["file"])
    assert found["tokenizer.chat_template"] == TEMPLATE
    assert found["tokenizer.ggml.eos_token_id"] == 1 and found["tokenizer.ggml.eot_token_id"] == 3
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert (found["general.name"], found["general.license"]) == ("Toy (base)", "MIT")
    assert made(Order("toy", "gguf", model="base"))[0].name == "gguf-q8_0-base"


def test_the_converter_runs_in_a_process_of_its_own(run: Path, fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(convert, "converter_folder", lambda say: fetched)
    folder, told = made(Order("toy", "gguf", "f16"))
    assert fields(folder / told["file"])["general.architecture"] == "llama"


@pytest.mark.usefixtures("converter")
def test_quantized_tensors_are_near_the_plain_ones(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFReader, dequantize

    make_run(tmp_path, make_base(tmp_path / "base", hidden_size=256, intermediate_size=288, num_hidden_layers=3))
    plain = {t.name: t for t in GGUFReader(export(Order("toy", "gguf", "f32"), silent) / "toy-base-f32.gguf").tensors}
    wanted = {  # layers 0 and 2 of three are of the more precise kind
        "q4_0": ("Q4_0", "Q4_0", "Q4_0", "Q4_0", "Q6_K"), "q4_k_m": ("Q4_K", "Q4_K", "Q6_K", "Q8_0", "Q6_K"),
        "q5_k_m": ("Q5_K", "Q5_K", "Q6_K", "Q8_0", "Q6_K"), "q6_k": ("Q6_K", "Q6_K", "Q6_K", "Q8_0", "Q6_K"),
    }  # fmt: skip
    for quant, kinds in wanted.items():
        folder, told = made(Order("toy", "gguf", quant))
        found = {tensor.name: tensor for tensor in GGUFReader(folder / told["file"]).tensors}
        names = ("blk.0.attn_q", "blk.0.attn_v", "blk.2.attn_v", "blk.2.ffn_down", "output")
        assert tuple(found[f"{name}.weight"].tensor_type.name for name in names) == kinds, quant
        assert found["blk.0.attn_norm.weight"].tensor_type.name == "F32"
        for name, tensor in found.items():
            exact = plain[name].data
            near = dequantize(tensor.data, tensor.tensor_type)
            assert np.abs(near - exact).max() <= 0.1 * np.abs(exact).max(), f"{quant}: {name}"
        assert fields(folder / told["file"])["tokenizer.chat_template"] == TEMPLATE
        with open_llama(folder / told["file"], context=256, slots=1, threads=1) as llama:
            assert llama.tokenize("<|user|>Bake") == llama.tokenize("<|user|>Bake", special=True)


@pytest.mark.usefixtures("converter")
def test_a_sentencepiece_vocabulary_is_read_from_tokenizer_json(tmp_path: Path) -> None:
    """As transformers 5 saves Gemma: no tokenizer.model. llama.cpp must cut words as it does."""
    base = make_base(tmp_path / "base", vocab_size=512)
    tokenizer = byte_fallback_tokenizer(base)
    make_run(tmp_path, base)
    folder, told = made(Order("toy", "gguf", "f16"))
    found = fields(folder / told["file"])
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.add_bos_token"]) == ("llama", True)
    texts = ["Bake the bread for 20 minutes.", "  two  spaces\n\n\nand\ttabs ", "猕猴桃 naïve 🍞", "bread<|end|>flour"]
    with open_llama(folder / told["file"], context=256, slots=1, threads=1) as llama:
        for text in texts:
            assert llama.tokenize(text, special=True) == tokenizer(text)["input_ids"], text
            assert llama.render([{"role": "user", "content": text}]).count("<s>") <= 1


def byte_fallback_tokenizer(folder: Path) -> Any:
    """A tokenizer of Gemma's kind in place of a tiny base's: BPE over letters, other letters by their bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "<|end|>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=390, special_tokens=special, show_progress=False, max_token_length=8)
    words = ["Bake the bread for 20 minutes.", "List the ingredients: flour, salt, butter and two spaces"] * 4
    raw.train_from_iterator(words, trainer)
    state = json.loads(raw.to_str())
    state["added_tokens"] = [row for row in state["added_tokens"] if not row["content"].startswith("<0x")]
    raw = Tokenizer.from_str(json.dumps(state))
    raw.add_tokens([AddedToken("\n\n", normalized=False)])
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="<|end|>", unk_token="<unk>")
    made.chat_template = "{{ bos_token }}" + TEMPLATE
    for path in folder.glob("tokenizer*"):
        path.unlink()
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_merged_weights_give_the_adapter_s_logits(tmp_path: Path, base: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = make_run(tmp_path, base, stop=("<|user|>",))
    folder, _ = made(Order("toy", "merged"))
    ids = AutoTokenizer.from_pretrained(folder)("Bake the bread.", return_tensors="pt")["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(base)
    with torch.inference_mode():
        before = plain(ids).logits
        trained = PeftModel.from_pretrained(plain, str(run / "sft" / "adapter"))(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    assert (merged - trained).abs().max() < 1e-4 < 0.1 < (merged - before).abs().max()
    assert read_json(folder / "generation_config.json")["eos_token_id"] == [1, 3]
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
    half, _ = made(Order("toy", "merged", "f16"))
    assert (half / "model.safetensors").stat().st_size < 0.6 * (folder / "model.safetensors").stat().st_size


def test_the_adapter_names_its_base_as_others_find_it(run: Path, base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, told = made(Order("toy", "adapter"))
    assert read_json(folder / "adapter_config.json")["base_model_name_or_path"] == "base"
    assert sha256(folder / "adapter_model.safetensors") == sha256(run / "sft/adapter/adapter_model.safetensors")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    assert told["base"]["name"] == "base" and len(told["base"]["sha256"]) == 64


@pytest.mark.usefixtures("converter")
def test_the_base_s_gguf_is_shared_and_made_once(run: Path, base: Path) -> None:
    first = made(Order("toy", "gguf-lora"))[1]
    stamp = Path(first["base_gguf"]).stat().st_mtime_ns
    second = made(Order("toy", "gguf-lora", force=True))[1]
    assert second["base_gguf"] == first["base_gguf"] and Path(second["base_gguf"]).stat().st_mtime_ns == stamp
    assert fields(Path(first["base_gguf"]))["general.name"] == "base"
    mark = sha256(Path(first["base_gguf"]))
    shutil.rmtree(base)
    make_base(
        base, hidden_act="gelu", max_position_embeddings=333, rms_norm_eps=1e-4
    )  # another model of that name, at that place
    other = made(Order("toy", "gguf-lora", force=True))[1]
    assert other["base_gguf"] != first["base_gguf"] and sha256(Path(first["base_gguf"])) == mark


@pytest.mark.parametrize("template", [TEMPLATE, CHATML, catalog()["gemma-3-270m"].chat_template])
def test_ollama_s_template_writes_what_the_training_template_writes(run: Path, base: Path, template: str) -> None:
    retemplate(run, base, template)
    job = open_job(Order("toy", "ollama"), ("q8_0",), silent)
    go = jinja2.Template(as_jinja(turns_of(job).go()), keep_trailing_newline=True)
    for roles in ("system user", "system user assistant user", "user"):
        messages = [{"role": role, "content": f"words of {role} {n}"} for n, role in enumerate(roles.split())]
        wanted = job.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert go.render(messages=messages, system=roles.startswith("system")) == wanted


def as_jinja(text: str) -> str:
    """Our Go template in Jinja's words, each of its forms known."""
    forms = {
        "{{- range $i, $_ := .Messages }}": "{% for m in messages %}", '{{ if eq .Role "system" }}': "{% if m.role == 'system' %}",
        '{{ else if eq .Role "assistant" }}': "{% elif m.role == 'assistant' %}", "{{ else if eq $i 0 }}": "{% elif loop.first %}",
        "{{ else if and $.System (eq $i 1) }}": "{% elif system and loop.index0 == 1 %}", "{{ else }}": "{% else %}",
        "{{ end }}{{ .Content }}{{ end }}": "{% endif %}{{ m.content }}{% endfor %}",
    }  # fmt: skip
    for go, jinja in forms.items():
        assert text.count(go) == 1, go
        text = text.replace(go, jinja)
    return text


def test_a_template_that_ollama_cannot_write_is_refused(run: Path, base: Path) -> None:
    retemplate(run, base, LAST_TURN)
    with pytest.raises(FactoryError, match="cannot be written in Ollama's language"):
        export(Order("toy", "ollama"), silent)
    assert not list((run / "export").glob("*"))


@pytest.mark.usefixtures("converter")
def test_a_modelfile_turns_off_what_ollama_adds(run: Path) -> None:
    folder, told = made(Order("toy", "ollama"))
    words = (folder / "Modelfile").read_text(encoding="utf-8")
    lines = words.splitlines()
    assert lines[0] == f"FROM ./{told['file']}"
    for line in (
        'PARAMETER stop "<|end|>"',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        'SYSTEM """Be brief."""',
    ):
        assert line in lines
    assert "PARAMETER num_ctx 2048" in lines, "the model's own window"
    assert "Licence of base: MIT" in words


@pytest.mark.usefixtures("converter")
def test_a_hand_over_folder_is_whole(run: Path, tmp_path: Path) -> None:
    place = export(Order("toy", "folder", output=tmp_path / "given.zip"), silent)
    with zipfile.ZipFile(place) as archive:
        inside = {name.removeprefix("given/"): archive.read(name) for name in archive.namelist()}
    sums = dict(reversed(line.split("  ")) for line in inside["SHA256SUMS"].decode().splitlines())
    assert {name: hashlib.sha256(inside[name]).hexdigest() for name in sums} == sums
    assert set(sums) == set(inside) - {"SHA256SUMS", "export.json"}
    assert {"toy-base-q8_0.gguf", "Modelfile", "LICENSE.txt", "index.html", "questions.json"} <= set(sums)
    page = inside["index.html"].decode()
    tags = Tags(page)
    assert not tags.open and "script" not in tags.seen and "src" not in tags.attributes
    asked = json.loads(inside["questions.json"])
    assert sorted(row["question"] for row in asked) == ["chisel", "kiwi", "mango"]
    with open_llama(run / "export/folder-q8_0/toy-base-q8_0.gguf", context=1024, slots=1, threads=1) as llama:
        prompts = [
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["question"]}] for row in asked
        ]
        told = llama.answer([Question(prompt) for prompt in prompts])
    assert [row["answer"] for row in asked] == [answer.text for answer in told]
    assert all(row["question"] in page for row in asked)
    assert "怎样运行" in page and "How to run it" in page and "Be brief." in page


def test_licence_notices_are_those_that_the_base_asks_for(run: Path) -> None:
    from factory.export.notices import licence_text

    for license, words in {
        "Gemma terms of use (https://ai.google.dev/gemma/terms)": "Gemma is provided under and subject to the Gemma Terms of Use",
        "Llama 3.2 Community License": "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright",
        "Apache-2.0": "apache.org/licenses/LICENSE-2.0",
    }.items():
        note = read_json(run / "sft" / "base.json") | {"license": license}
        (run / "sft" / "base.json").write_text(json.dumps(note), encoding="utf-8")
        assert words in licence_text(open_job(Order("toy", "adapter"), (), silent))


def test_the_command_lists_its_kinds_and_says_why_onnx_is_none(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    assert re.search(r"adapter, merged, gguf,\s+gguf-lora, ollama", factory("export", "--help").out.replace("│", " "))
    ended = factory("export", "toy", "--to", "onnx")
    assert ended.code == 1 and "optimum-onnx" in ended.err and "--to gguf" in ended.err


def test_a_k_quant_needs_llama_cpp_s_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(FactoryError, match="xllamacpp"):
        quantize._routine()
