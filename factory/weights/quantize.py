"""Quantizing a GGUF by llama.cpp's own routine, which xllamacpp's library carries; which type a tensor gets is llama.cpp's rule."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from factory.errors import FactoryError, need_extra

Q = dict[str, str]
MIXES: dict[str, Q] = {  # the type of most tensors, of those that matter more, and of the head
    "q4_0": {"most": "Q4_0", "more": "Q4_0", "qkv": "Q4_0", "head": "Q6_K"},
    "q4_k_m": {"most": "Q4_K", "more": "Q6_K", "qkv": "Q5_K", "head": "Q6_K"},
    "q5_k_m": {"most": "Q5_K", "more": "Q6_K", "qkv": "Q6_K", "head": "Q6_K"},
    "q6_k": {"most": "Q6_K", "more": "Q6_K", "qkv": "Q6_K", "head": "Q6_K"},
}
SMALLER_BLOCKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows that blocks of 256 do not fill
FILE_TYPES = {"q4_0": "MOSTLY_Q4_0", "q4_k_m": "MOSTLY_Q4_K_M", "q5_k_m": "MOSTLY_Q5_K_M", "q6_k": "MOSTLY_Q6_K"}
AT_ONCE = 1 << 24  # weights unpacked at a time


def quantize_gguf(source: Path, quant: str, out: Path) -> None:
    """Write `source` (f32 or f16) as `out` in a quantization of MIXES; everything but the weights stays as it is."""
    import gguf

    routine = _routine()
    reader = gguf.GGUFReader(source)
    arch = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(out, arch)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[quant]])
    layers = int(reader.fields[f"{arch}.block_count"].contents())
    tied = not any(tensor.name == "output.weight" for tensor in reader.tensors)
    plan = []
    for tensor in reader.tensors:
        shape = [int(width) for width in reversed(tensor.shape)]  # rows, width
        kind = _type_of(tensor.name, shape, quant, layers, tied) or tensor.tensor_type
        plan.append((tensor, kind, shape))
        stored = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, kind, shape in plan:
        writer.write_tensor_data(_packed(routine, tensor, kind, shape))
    writer.close()


def _type_of(name: str, shape: list[int], quant: str, layers: int, tied: bool) -> Any:
    """The type of a tensor in the file; None: as it is."""
    import gguf

    if len(shape) < 2 or not name.endswith(".weight") or "norm" in name:
        return None
    mix = MIXES[quant]
    wanted = mix["most"]
    if name == "output.weight" or (name == "token_embd.weight" and tied):
        wanted = mix["head"]
    elif "attn_qkv" in name:
        wanted = mix["qkv"]
    elif "attn_v." in name or "ffn_down." in name:
        layer = int(name.split(".")[1])
        edge = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        wanted = mix["more"] if edge else mix["most"]
    if shape[-1] % 256:
        wanted = SMALLER_BLOCKS.get(wanted, wanted)
    return None if shape[-1] % 32 else gguf.GGMLQuantizationType[wanted]


def _packed(routine: Any, tensor: Any, kind: Any, shape: list[int]) -> Any:
    """The tensor's bytes in its new type."""
    import gguf

    if kind == tensor.tensor_type:
        return np.ascontiguousarray(tensor.data).view(np.uint8)
    width = shape[-1]
    rows = int(np.prod(shape)) // width
    whole = tensor.data.reshape(rows, width)
    packed = np.empty((rows, int(gguf.quant_shape_to_byte_shape([rows, width], kind)[-1])), dtype=np.uint8)
    for start, count in _pieces(rows, max(1, AT_ONCE // width)):
        plain = np.ascontiguousarray(whole[start : start + count], dtype=np.float32)
        piece = packed[start : start + count]
        routine(int(kind), plain.ctypes.data, piece.ctypes.data, 0, count, width, None)
    return packed.reshape(gguf.quant_shape_to_byte_shape(shape, kind))


def _pieces(rows: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(size, rows - start)) for start in range(0, rows, size))


def _routine() -> Any:
    """llama.cpp's `ggml_quantize_chunk` out of xllamacpp's library."""
    try:
        from xllamacpp import xllamacpp
    except ImportError:
        raise need_extra("xllamacpp (it quantizes)", "gguf") from None
    try:
        routine = ctypes.CDLL(xllamacpp.__file__).ggml_quantize_chunk
    except (OSError, AttributeError):
        raise FactoryError(
            "This machine's xllamacpp does not lend its quantization.", "Use --quant q8_0, which needs it not."
        ) from None
    routine.restype = ctypes.c_size_t
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    routine.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    return routine
