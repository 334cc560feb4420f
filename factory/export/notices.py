"""Licence notices that must go with a model that is handed on."""

from __future__ import annotations

from pathlib import Path

from factory.errors import FactoryError
from factory.files import read_text
from factory.models import find_base, local_folder
from factory.records import read_rows
from factory.weights.job import Job

LEGAL = ("license", "licence", "notice", "use_policy")
GEMMA = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms.\n"
    "Whoever passes this model on passes these terms on, with the use restrictions of their section 3.2\n"
    "(ai.google.dev/gemma/prohibited_use_policy). The model was modified: it was fine-tuned."
)
LLAMA = (
    "{version} is licensed under the {version} Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved.\n"
    "Built with Llama. Use must follow the Acceptable Use Policy (llama.com/llama-downloads). The model was modified: it\n"
    "was fine-tuned."
)
APACHE = "The licence's text: https://www.apache.org/licenses/LICENSE-2.0. The model was modified: it was fine-tuned."


def licence_text(job: Job) -> str:
    """The base's licence with the notice that it asks for, the documents' licences, and the base's own licence files."""
    name, license = Path(job.base["name"]).name, str(job.base["license"])
    lines = [f"{job.title}: a fine-tuned {name}.", f"Licence of {name}: {license}", *_notice(license)]
    documents = sorted({str(row.get("license", "")) for row in _documents(job)} - {""})
    if documents:
        lines.append(f"Licences of the documents that it learned from: {'; '.join(documents)}")
    return "\n\n".join(lines + _own_files(job)) + "\n"


def _notice(license: str) -> list[str]:
    if "gemma" in license.lower():
        return [GEMMA]
    if "llama" in license.lower():
        return [LLAMA.format(version=license.partition(" Community")[0])]
    return [APACHE] if "apache" in license.lower() else []


def _documents(job: Job) -> list[dict[str, object]]:
    path = job.run_dir / "ingest" / "documents.jsonl"
    return [row for _, row in read_rows(path)] if path.exists() else []


def _own_files(job: Job) -> list[str]:
    try:
        folder = local_folder(find_base(job.base["name"]))
    except FactoryError:
        folder = job.base_dir
    return [
        read_text(path) for path in sorted(folder.glob("*")) if path.is_file() and path.name.lower().startswith(LEGAL)
    ]
