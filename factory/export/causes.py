"""Why an exported artifact answers otherwise than the trained model: each likely cause is looked for in the artifact itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.export.opened import Artifact
from factory.files import read_json
from factory.generate import Question
from factory.gguf_check import check_gguf
from factory.weights.job import PLAIN, Job

PROBES = 12  # questions whose prompts are compared
ROWS = 256  # of a matrix that are compared
ALIKE = 0.3  # relative distance up to which two matrices are the same one, rounded: 4 bits are at about 0.1


def prompt_cause(job: Job, artifact: Artifact, questions: Sequence[Question]) -> tuple[str, str] | None:
    """What differs in the prompt, as the artifact makes it, from the one that the model was trained on: (cause, words)."""
    step = max(1, len(questions) // PROBES)
    for question in questions[::step]:
        wanted_text = job.tokenizer.apply_chat_template(question.prompt, tokenize=False, add_generation_prompt=True)
        wanted = job.tokenizer(wanted_text, add_special_tokens=False)["input_ids"]
        text = artifact.render(question.prompt)
        if artifact.tokenize(text, special=True) == wanted:
            continue
        begin = job.tokenizer.bos_token or ""
        if text.removeprefix(begin) != wanted_text.removeprefix(begin):
            return "template", f"its chat template writes another prompt: {_parting(text, wanted_text)}"
        return "tokens", _token_difference(job, artifact, text, wanted)
    return None


def _parting(text: str, wanted: str) -> str:
    place = next((n for n, (a, b) in enumerate(zip(text, wanted, strict=False)) if a != b), min(len(text), len(wanted)))
    start = max(0, place - 8)
    return f"{text[start : place + 16]!r} where the model learned {wanted[start : place + 16]!r}"


def _token_difference(job: Job, artifact: Artifact, text: str, wanted: list[int]) -> str:
    special = [word for word in job.tokenizer.get_added_vocab() if word in text]
    for word in sorted(special, key=text.find):
        pieces = artifact.tokenize(word)
        if len(pieces) != 1:
            return f"its special tokens are lost: {word!r} is {len(pieces)} tokens in it, one to the trained model"
    found = artifact.tokenize(text, special=True)
    place = next(
        (n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    words = [job.tokenizer.convert_ids_to_tokens(ids[place : place + 1]) for ids in (found, wanted)]
    return f"its tokenizer cuts the prompt otherwise: token {place} is {words[0]} where the model learned {words[1]}"


def weights_cause(job: Job, base: Path, adapters: Sequence[Path]) -> tuple[str, str] | None:
    """A GGUF that does not hold the weights of this run: another base, or an adapter that was trained elsewhere.

    Raises FactoryError for a damaged file.
    """
    import gguf

    for path in (base, *adapters):
        check_gguf(path)
    known = {tensor.name: tensor for tensor in gguf.GGUFReader(base).tensors}
    embedding = known["token_embd.weight"]
    own = _tensor(job.base_dir, "embed_tokens.weight")
    if own is None:  # an architecture that names it otherwise: nothing to compare
        return None
    if not _alike(gguf.dequantize(embedding.data[:ROWS], embedding.tensor_type), own):
        return "base", "its weights are not those of the base that the model was trained over"
    for path in adapters:
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        if job.adapter and not _same_adapter(tensors, job.adapter):
            return "adapter", "it holds an adapter that was trained elsewhere, not this run's"
    if job.adapter and not adapters and not _merged_here(known, job.base_dir, job.adapter):
        return "adapter", "it is not this run's adapter that was merged into it"
    return None


def _merged_here(known: dict[str, Any], base: Path, adapter: Path) -> bool:
    """Whether the last layer's way down is the base's with this adapter rather than without: nearer to it, however it is rounded."""
    import gguf
    import numpy as np

    last = max((int(name.split(".")[1]) for name in known if name.endswith(".ffn_down.weight")), default=0)
    found = known.get(f"blk.{last}.ffn_down.weight")
    own = _tensor(base, f"layers.{last}.mlp.down_proj.weight")
    a, b = (_tensor(adapter, f"layers.{last}.mlp.down_proj.lora_{part}.weight") for part in "AB")
    settings = read_json(adapter / "adapter_config.json")
    rank = settings["r"]
    if found is None or own is None or a is None or b is None or a.shape[0] != rank:
        return True  # an architecture that names it otherwise: nothing to compare
    scale = settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)
    change = gguf.dequantize(found.data[:ROWS], found.tensor_type) - own
    return bool(np.linalg.norm(change - scale * (b @ a)) < np.linalg.norm(change))


def _same_adapter(tensors: dict[str, Any], adapter: Path) -> bool:
    """Whether the last layer's way down is this adapter's (the first may have none); llama.cpp keeps the order of its columns."""
    import gguf

    last = max((int(name.split(".")[1]) for name in tensors if name.endswith("ffn_down.weight.lora_a")), default=0)
    own = _tensor(adapter, f"layers.{last}.mlp.down_proj.lora_A.weight")
    found = tensors.get(f"blk.{last}.ffn_down.weight.lora_a")
    if found is None or own is None:
        return True  # an architecture that names it otherwise: nothing to compare
    return _alike(gguf.dequantize(found.data[:ROWS], found.tensor_type), own)


def _tensor(folder: Path, end: str) -> Any:
    """The first ROWS rows, in fp32, of the first tensor of a folder's safetensors whose name ends so (None: no such one)."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                if name.endswith(end):
                    return file.get_slice(name)[:ROWS].float().numpy()
    return None


def _alike(found: Any, wanted: Any) -> bool:
    """Whether two matrices are the same one but for rounding."""
    import numpy as np

    return bool(found.shape == wanted.shape and np.linalg.norm(found - wanted) <= ALIKE * np.linalg.norm(wanted))


def rest_cause(job: Job, ends_missed: float) -> tuple[str, str]:
    """What is left when prompt and weights are right."""
    if ends_missed >= 0.5:
        ends = " ".join(job.tokenizer.convert_ids_to_tokens(job.ends))
        return "ends", f"it goes on where the trained model ends with {ends}: the file does not count that as an end"
    if job.order.over == "original":
        return (
            "base weights",
            "it was merged into the base as it was fetched, not into what the adapter was trained over",
        )
    if job.quant and job.quant not in PLAIN:
        return (
            "quantization",
            f"prompt, tokens and weights are right, so {job.quant} rounds too much: take a longer type",
        )
    return "rounding", "prompt, tokens and weights are right: look at the first differences in export.json"
