"""The adapter and the merged weights, as transformers and PEFT read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.files import read_json, write_json, write_text
from factory.models import WEIGHTS, add_adapter, find_base, local_folder, quiet_libraries
from factory.weights.job import Job

DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def write_adapter(job: Job, out: Path) -> dict[str, Any]:
    """The adapter in PEFT's layout; its configuration names the base as others can find it."""
    assert job.adapter is not None
    shutil.copytree(job.adapter, out, dirs_exist_ok=True)
    base = find_base(job.base["name"])
    settings = read_json(out / "adapter_config.json")
    settings["base_model_name_or_path"] = base.id or Path(base.name).name
    if base.id:
        settings["revision"] = job.revision
    write_json(out / "adapter_config.json", settings)
    return {}


def write_merged(job: Job, out: Path) -> dict[str, Any]:
    """The whole model as safetensors beside tokenizer and template."""
    merge(job, out, DTYPES[job.quant])
    return {}


def merge(job: Job, out: Path, dtype: str = "float32") -> None:
    """Merge the adapter into the base in fp32 and save the whole model in `dtype`, ready for use."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    out.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(job.base_dir, dtype=torch.float32, **WEIGHTS)
    if job.adapter:
        try:
            model = add_adapter(model, job.adapter).merge_and_unload(safe_merge=True)
        except (RuntimeError, ValueError) as error:  # PEFT: sizes that differ, modules that are not there
            raise FactoryError(
                f"The adapter {job.adapter} does not fit the base {job.base_dir}: {str(error).splitlines()[0]}",
                "It was trained over another base. Run the build again.",
            ) from error
    model.to(getattr(torch, dtype)).save_pretrained(out)
    copy_tokenizer(job, out)


def copy_tokenizer(job: Job, out: Path) -> None:
    """The base's tokenizer files as they stand, the template it was trained with, and where an answer ends."""
    files = [path for path in job.base_dir.iterdir() if path.suffix in (".json", ".jinja", ".model", ".txt")]
    files += [path for path in [spm_model(job)] if path]
    for path in files:
        beside = path.name == "factory.json" or path.name.endswith(".index.json")  # of these weights' own folder
        if not beside and not (out / path.name).exists():
            shutil.copyfile(path, out / path.name)
    write_text(out / "chat_template.jinja", job.template)
    generation = read_json(out / "generation_config.json") if (out / "generation_config.json").exists() else {}
    write_json(out / "generation_config.json", generation | {"eos_token_id": job.ends, "do_sample": False})


def spm_model(job: Job) -> Path | None:
    """The SentencePiece file of the base as it was fetched: saving with transformers 5 leaves it out."""
    try:
        path = local_folder(find_base(job.base["name"])) / "tokenizer.model"
    except FactoryError:
        return None
    return path if path.exists() else None


def settings_of(folder: Path) -> dict[str, Any]:
    """A model folder's config.json."""
    settings: dict[str, Any] = read_json(folder / "config.json")
    return settings
