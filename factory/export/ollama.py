"""An Ollama folder: the GGUF and a Modelfile with the chat template in Ollama's own language, checked against the original."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.export.notices import licence_text
from factory.files import write_text
from factory.weights.gguf_files import write_gguf
from factory.weights.job import Job
from factory.weights.merge import settings_of

WINDOW = 4096  # tokens: Ollama's own default; more costs memory
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Turns:
    """What a chat template writes before a message, by what stands before it, and at the end."""

    system: str  # before a system message, which can only be the first
    first: str  # before the user's words that begin a conversation
    after_system: str  # before the user's words that follow a system message
    user: str  # before the user's words that follow an answer
    assistant: str
    end: str  # after the last words of the user: here the answer begins

    def render(self, messages: Messages) -> str:
        text, last = "", ""
        for message in messages:
            role = message["role"]
            before = {"": self.first, "system": self.after_system}.get(last, self.user)
            text += {"system": self.system, "assistant": self.assistant}.get(role, before) + message["content"]
            last = role
        return text + self.end

    def go(self) -> str:
        """The same as a Go template over Ollama's .Messages."""
        return (
            "{{- range $i, $_ := .Messages }}"
            f'{{{{ if eq .Role "system" }}}}{self.system}'
            f'{{{{ else if eq .Role "assistant" }}}}{self.assistant}'
            f"{{{{ else if eq $i 0 }}}}{self.first}"
            f"{{{{ else if and $.System (eq $i 1) }}}}{self.after_system}"
            f"{{{{ else }}}}{self.user}"
            f"{{{{ end }}}}{{{{ .Content }}}}{{{{ end }}}}{self.end}"
        )


def write_ollama(job: Job, out: Path) -> dict[str, Any]:
    """The folder for `ollama create NAME -f Modelfile`."""
    turns = turns_of(job)
    made = write_gguf(job, out)
    write_text(out / "Modelfile", modelfile(job, turns, made["file"]))
    return made


def modelfile(job: Job, turns: Turns, model: str) -> str:
    """The Modelfile; Ollama's own penalty for repetition and its chance are off, as they were when the model was scored."""
    window = min(int(settings_of(job.base_dir).get("max_position_embeddings", WINDOW)), WINDOW)
    lines = [f"FROM ./{model}", f'TEMPLATE """{turns.go()}"""']
    system, licence = job.domain.config.system_prompt, licence_text(job).strip()
    if '"""' in system + licence:
        raise FactoryError("The system prompt or licence holds signs that a Modelfile cannot quote.", "Use --to gguf.")
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f'PARAMETER stop "{token}"' for token in job.tokenizer.convert_ids_to_tokens(job.ends)]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1", f"PARAMETER num_ctx {window}"]
    lines.append(f'LICENSE """{licence}"""')
    return "\n".join(lines) + "\n"


def turns_of(job: Job) -> Turns:
    """The chat template as turns; FactoryError when it is more than that."""
    turns = _probe(job)
    for messages in _conversations(bool(job.domain.config.system_prompt)):
        if turns is None or turns.render(messages) != _render(job, messages):
            raise FactoryError(
                f"The chat template of {Path(job.base['name']).name} cannot be written in Ollama's language:"
                f" a conversation of {len(messages)} messages would come out otherwise.",
                "Use --to gguf with llama.cpp or LM Studio: they read the template inside the file.",
            )
    assert turns is not None
    parts = "".join(asdict(turns).values())
    if '"""' in parts or "{{" in parts:
        raise FactoryError("The chat template holds signs that a Modelfile cannot quote.", "Use --to gguf.")
    return turns


def _probe(job: Job) -> Turns | None:
    """What stands between marked messages; None when a mark is lost."""
    marks = ["qzsysqz", "qzoneqz", "qztwoqz", "qzthreeqz"]
    roles = ["system", "user", "assistant", "user"]
    asked = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    system = bool(job.domain.config.system_prompt)
    rest = _render(job, asked if system else asked[1:])
    between = []
    for mark in marks if system else marks[1:]:
        before, found, rest = rest.partition(mark)
        if not found:
            return None
        between.append(before)
    first = _render(job, asked[1:2]).partition(marks[1])[0]
    if not system:
        between = ["", *between]
    return Turns(between[0], first, between[1], between[3], between[2], rest)


def _render(job: Job, messages: Messages) -> str:
    """The training template's text, without the beginning token where the tokenizer adds it anyway."""
    text: str = job.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    bos = job.tokenizer.bos_token or ""
    added = bool(bos) and job.tokenizer("a")["input_ids"][0] == job.tokenizer.bos_token_id
    return text.removeprefix(bos) if added else text


def _conversations(system: bool) -> list[Messages]:
    words = {"system": "Be brief.", "user": "How long does it bake?", "assistant": "20 minutes."}
    talks = ["user", "user assistant user", "user assistant user assistant user"]
    return [
        [{"role": role, "content": words[role]} for role in (["system"] if system else []) + talk.split()]
        for talk in talks
    ]
