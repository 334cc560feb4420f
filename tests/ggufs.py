"""The tiny model (tests/tiny.py, architecture llama) as a GGUF, and adapters over it, written with no converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def tiny_gguf(folder: Path, out: Path, *, template: str = "", plain: tuple[str, ...] = (), quant: str = "F32") -> Path:
    """Write a tiny llama's folder as `out`; `template`: another one; `plain`: tokens that are not marked as special."""
    import gguf
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens) | {word for word in words if word.startswith("<|")}
    kinds = [gguf.TokenType.CONTROL if word in special - set(plain) else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges(_merges(folder))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template or tokenizer.chat_template)
    for name, weight in load_file(folder / "model.safetensors").items():
        data = _ordered(name, weight.float().numpy(), config)
        if data.ndim == 1 or quant == "F32":
            writer.add_tensor(_name(name), data)
        else:
            kind = gguf.GGMLQuantizationType[quant]
            writer.add_tensor(_name(name), gguf.quantize(data, kind), raw_dtype=kind)
    _write(writer)
    return out


def random_adapter(folder: Path, out: Path, seed: int) -> tuple[Any, Any]:
    """A random adapter over the tiny model, saved in PEFT's layout; the model with it on, and its tokenizer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(folder)
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False))
    for name, weight in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    peft.save_pretrained(out)
    return peft, AutoTokenizer.from_pretrained(folder)


def adapter_gguf(folder: Path, adapter: Path, out: Path) -> Path:
    """An adapter in PEFT's layout (r 4, alpha 8) over the tiny model's folder as a GGUF."""
    import gguf
    from safetensors.torch import load_file
    from transformers import AutoConfig

    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 8.0)
    for name, weight in load_file(adapter / "adapter_model.safetensors").items():
        plain, _, side = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        data = weight.float().numpy()
        if side == "lora_B":
            data = _ordered(f"{plain}.weight", data, AutoConfig.from_pretrained(folder))
        writer.add_tensor(f"{_name(plain + '.weight')}.{side.lower()}", data)
    _write(writer)
    return out


def _name(name: str) -> str:
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}  # fmt: skip
    if name in outer:
        return outer[name]
    _, _, number, rest = name.split(".", 3)
    return f"blk.{number}.{NAMES[rest.removesuffix('.weight')]}.weight"


def _ordered(name: str, data: Any, config: Any) -> Any:
    """llama.cpp turns pairs of neighbours where transformers turns halves: rows of q and k change places."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((heads[part] for part in heads if f".{part}." in name), 0)
    if not count:
        return np.ascontiguousarray(data)
    shape = (count, 2, data.shape[0] // count // 2, data.shape[1])
    return np.ascontiguousarray(data.reshape(shape).swapaxes(1, 2).reshape(data.shape))


def _merges(folder: Path) -> list[str]:
    import json

    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
