"""What an export is asked for, and what every kind of it works on: the model, its base's folder, its tokenizer's facts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from factory.domain import Domain
from factory.errors import FactoryError
from factory.files import digest, read_json, read_text, weights_mark
from factory.generate import stop_ids
from factory.hardware import inspect_machine
from factory.models import base_folder, fetched_revision, find_base, load_tokenizer, nf4_folder

Say = Callable[[str], None]
QUANTS = {  # bits a weight takes in the file
    "f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q6_k": 6.6, "q5_k_m": 5.7, "q4_k_m": 4.9, "q4_0": 4.6,
}  # fmt: skip
PLAIN = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Order:
    """What a command asks for; an empty `quant` is the kind's own."""

    domain: str
    kind: str
    quant: str = ""
    model: str = "best"
    run: str = "default"
    output: Path | None = None
    over: str = "trained"
    force: bool = False
    zip: bool = False


@dataclass(frozen=True)
class Job:
    """One export, its inputs found and looked over."""

    order: Order
    quant: str
    run_dir: Path
    domain: Domain
    model: str  # base, sft or dpo
    base: dict[str, Any]  # the run's sft/base.json
    base_dir: Path  # the weights that it merges into, with tokenizer and configuration
    say: Say

    @property
    def adapter(self) -> Path | None:
        return self.run_dir / self.model / "adapter" if self.model != "base" else None

    @property
    def name(self) -> str:
        """What the exported model's file is called, without its end."""
        parts = [self.domain.config.name, Path(self.base["name"]).name] + (["base"] if self.model == "base" else [])
        return "-".join([*parts, self.quant]).lower()

    @property
    def title(self) -> str:
        return self.domain.config.app.title or self.domain.config.title

    @property
    def revision(self) -> str:
        """The hub's commit of the base; where an older run did not note it, that of what lies here now."""
        return str(self.base.get("revision") or fetched_revision(find_base(self.base["name"])))

    @property
    def words(self) -> dict[str, str]:
        """What a GGUF says of itself; the base alone says nothing of a domain."""
        base = Path(self.base["name"]).name
        words = {"general.name": base, "general.license": self.base["license"]}
        if self.adapter:
            name = self.domain.config.name
            words |= {"general.name": f"{self.title} ({base})", "general.finetune": name}
            words["general.description"] = self.domain.config.description
        return words

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.base_dir)

    @property
    def template(self) -> str:
        """The chat template that the model was trained with."""
        for folder in (self.adapter, self.base_dir):
            if folder and (folder / "chat_template.jinja").exists():
                return read_text(folder / "chat_template.jinja")
        return str(self.tokenizer.chat_template)

    @property
    def ends(self) -> list[int]:
        """Ids of the tokens that end an answer; the tokenizer's own end first."""
        own = self.tokenizer.eos_token_id
        return sorted(stop_ids(self.tokenizer, self.base["stop"]), key=lambda token: token != own)

    @cached_property
    def base_mark(self) -> str:
        """The digest of the base's weights."""
        return weights_mark(self.base_dir)

    def facts(self) -> dict[str, Any]:
        """What export.json says of where the artifact comes from."""
        return {
            "domain": self.domain.config.name,
            "run": self.order.run,
            "model": self.model,
            "base": {
                "name": Path(self.base["name"]).name,
                "license": self.base["license"],
                "weights": self._which(),
                "path": str(self.base_dir),
                "sha256": self.base_mark,
            },
            "adapter": weights_mark(self.adapter) if self.adapter else "",
            "template": digest(self.template),
            "stop": self.tokenizer.convert_ids_to_tokens(self.ends),
        }

    def _which(self) -> str:
        if self.order.over == "original":
            return "the base as it was fetched"
        rounded = self.domain.config.sft.quantization == "nf4"
        return "the base rounded to NF4, unpacked: what the adapter was trained over" if rounded else "the base"

    def parameters(self) -> int:
        """How many weights the base has, from its files' headers."""
        try:
            return sum(_count(path) for path in self.base_dir.glob("*.safetensors"))
        except (ValueError, struct.error) as error:
            raise FactoryError(f"A file of the base in {self.base_dir} is damaged: {error}.", "Put it back.") from error


def base_weights(base: dict[str, Any], quantization: str, over: str, say: Say) -> Path:
    """The folder of the weights that the adapter was trained over, or of the base as it was fetched."""
    recorded = Path(base["path"])
    try:
        if over == "original":
            return base_folder(base["name"], "none", say)
        if quantization == "nf4" and inspect_machine().gpu:  # there it was rounded in memory
            base_folder(base["name"], "none", say)
            return nf4_folder(find_base(base["name"]), say)
        if (recorded / "config.json").exists() and any(recorded.glob("*.safetensors")):
            if base.get("weights") not in (None, weights_mark(recorded)):
                raise FactoryError(f"the weights in {recorded} are others now.")
            return recorded
        return base_folder(base["name"], quantization, say)
    except FactoryError as error:
        raise FactoryError(
            f"The base {base['name']} that the adapter was trained over is gone: {error.message}",
            "Put it back at that place, or build the run again with another base.",
        ) from error


def check_adapter(adapter: Path) -> None:
    """FactoryError when the adapter is missing, damaged, or of a kind that cannot be exported."""
    weights = adapter / "adapter_model.safetensors"
    if not weights.exists() or not (adapter / "adapter_config.json").exists():
        raise FactoryError(f"No adapter in {adapter}.", "Run the build again.")
    try:
        _count(weights)
    except (ValueError, struct.error) as error:
        raise FactoryError(
            f"The adapter {weights} is damaged: {error}.",
            f"Make it again: factory build {adapter.parents[2].name} --force {adapter.parent.name}",
        ) from error
    settings = read_json(adapter / "adapter_config.json")
    odd = [key for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if settings.get(key)]
    if settings.get("peft_type") != "LORA" or odd or settings.get("bias", "none") != "none":
        what = ", ".join(odd) or f"{settings.get('peft_type')}, bias {settings.get('bias')}"
        raise FactoryError(f"{adapter} is no plain LoRA adapter ({what}).", "Only those that 'factory build' makes.")


def _count(path: Path) -> int:
    """The number of weights in a safetensors file; ValueError when its size is not what its header says."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        size = path.stat().st_size
        if length > size:
            raise ValueError("it is no safetensors file")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    if 8 + length + max((row["data_offsets"][1] for row in header.values()), default=0) != size:
        raise ValueError("it is shorter or longer than its header says")
    total = 0
    for row in header.values():
        count = 1
        for width in row["shape"]:
            count *= width
        total += count
    return total
