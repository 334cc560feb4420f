"""A toy domain and a quick way to run `factory` in a process of its own.

Importing torch, peft and trl takes longer than everything a tiny model does with them, so most commands run in children
of one fork server that has imported them once and computed nothing. Each child is a process like any other: it has its
own folder, environment and output, and SIGKILL ends it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

SEALED = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
    "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip
PRELOADED = [
    "torch", "transformers", "peft", "trl", "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "datasets", "sklearn.linear_model",
    "sklearn.model_selection", "sklearn.feature_extraction.text", "rensa", "transformers.models.llama", "factory.cli",
]  # fmt: skip
STAGES = ["ingest", "synthesize", "curate", "sft", "prefer", "dpo", "evaluate", "report", "app"]

WORDS = {
    "fruit": "apple pear plum grape melon cherry banana peach lemon olive mango kiwi fig",
    "tool": "hammer saw drill wrench pliers chisel ladder shovel rake axe file clamp vise",
}
HELD = 3  # words of each kind that only the eval set knows

DOMAIN = """
from factory.domain import Domain, Task, passage_of
from factory.files import read_text
from factory.records import Document

KIND = Task("kind", "Kind", "choice", "What is {input}?", ("fruit", "tool"), max_new_tokens=8)
TWICE = Task("twice", "Twice", "rouge_l", "Say twice: {input}", max_new_tokens=12)


class Toy(Domain):
    def tasks(self):
        return [KIND, TWICE]

    def documents(self, source):
        for path in sorted((source or self.folder / "data").glob("*.txt")):
            yield Document(path.name, read_text(path), path.stem, "en", "CC0-1.0", path.name)

    def passages(self, document):
        for number, line in enumerate(document.text.splitlines()):
            yield passage_of(document, line, number)

    def examples(self, passages):
        for passage in passages:
            kind, word = passage.text.split()
            yield self.make_example(KIND, passage, word, kind)
            yield self.make_example(TWICE, passage, word, f"{word} {word}")
"""

TOML = """
name = "toy"
title = "Toy"
language = "en"
base = "{base}"
system_prompt = "Be brief."

[curate]
dev_share = 0.1

[sft]
quantization = "none"
learning_rate = 1e-2
epochs = 4
batch = 8
lora_r = 8
lora_dropout = 0.1
save_steps = 4

[prefer]
max_prompts = 24
temperature = 1.0
min_pairs = 4

[dpo]
learning_rate = 5e-3
batch = 2
save_steps = 2

[rounds]
learning_rate = 2e-4
epochs = 8
replay = 3

[evaluate]
resamples = 200
"""


def make_base(folder: Path) -> Path:
    """A tiny Llama whose weights are large enough that a few steps move its answers."""
    from tiny import tiny_model

    return tiny_model(folder, initializer_range=0.1)


def make_toy(cwd: Path, base: Path) -> Path:
    """Write ./domains/toy below `cwd`; 40 examples, 12 eval items; return its folder."""
    folder = cwd / "domains" / "toy"
    (folder / "data").mkdir(parents=True)
    (folder / "evals").mkdir()
    (folder / "domain.toml").write_text(TOML.format(base=base), encoding="utf-8")
    (folder / "domain.py").write_text(DOMAIN, encoding="utf-8")
    lines, items = [], []
    for kind, words in WORDS.items():
        lines += [f"{kind} {word}" for word in words.split()[HELD:]]
        for word in words.split()[:HELD]:
            items.append({"id": f"kind-{word}", "task": "kind", "input": word, "reference": kind})
            items.append({"id": f"twice-{word}", "task": "twice", "input": word, "reference": f"{word} {word}"})
    (folder / "data" / "words.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "evals" / "toy.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return folder


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The sealed environment: nothing of this machine's home, no hub."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PIP_", "FACTORY_", "PYTHON"))
    }
    return kept | SEALED | {"HOME": str(home), "FACTORY_HOME": str(home / "factory")} | dict(extra or {})


@dataclass(frozen=True)
class Done:
    """How a command ended; `text` is its standard output and error together."""

    code: int
    text: str
    seconds: float


class Command:
    """`factory ARGUMENTS` in a process of its own, started at once.

    `kill_at` is part of a path: the process is killed with SIGKILL when it opens such a file for writing or moves one into place.
    """

    def __init__(self, cwd: Path, *arguments: str, kill_at: str = "", extra: Mapping[str, str] | None = None) -> None:
        self.log = cwd.parent / f"{cwd.name}.{time.monotonic_ns()}.log"
        self.started = time.monotonic()
        os.environ.update(SEALED)  # the fork server inherits them at its first start
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(PRELOADED)
        env = environment(cwd.parent, extra)
        self.process = server.Process(target=_child, args=(list(arguments), str(cwd), env, str(self.log), kill_at))
        self.process.start()

    def kill_when(self, ready: Any, timeout: float = 60) -> Done:
        """SIGKILL as soon as `ready()` is true; fails when the process ends before."""
        while not ready():
            assert self.process.is_alive(), f"ended before it could be killed:\n{self.wait().text}"
            assert time.monotonic() - self.started < timeout, self.log.read_text(encoding="utf-8")
            time.sleep(0.001)
        self.process.kill()
        return self.wait()

    def wait(self, timeout: float = 120) -> Done:
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        text = self.log.read_text(encoding="utf-8")
        return Done(self.process.exitcode or 0, text, time.monotonic() - self.started)


def factory(
    cwd: Path, *arguments: str, code: int = 0, kill_at: str = "", extra: Mapping[str, str] | None = None
) -> str:
    """Run a command to its end, expect its exit status, return its output."""
    done = Command(cwd, *arguments, kill_at=kill_at, extra=extra).wait()
    assert done.code == (-signal.SIGKILL if kill_at else code), done.text
    return done.text


def factory_script(cwd: Path, *arguments: str) -> Done:
    """The installed `factory` script itself, started as a shell would."""
    started = time.monotonic()
    script = Path(sys.executable).parent / "factory"
    done = subprocess.run(
        [str(script), *arguments], cwd=cwd, env=environment(cwd.parent), text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, time.monotonic() - started)


def actions(text: str) -> dict[str, str]:
    """What a build did (`[3/8] sft: skipped, ...`), or what `--dry` says it would do, by stage."""
    found = {}
    for line in text.splitlines():
        words = line.replace(":", " ").replace(",", " ").split()
        if line.startswith("[") and len(words) > 2:
            found[words[1]] = words[2].replace("skipped", "skip")
        elif len(words) > 1 and words[0] in STAGES and not line.startswith(" "):
            found[words[0]] = words[1]
    return found


def adapter(run: Path, stage: str) -> dict[str, Any]:
    """The LoRA weights that a stage left, by name."""
    from safetensors.torch import load_file

    return dict(load_file(run / stage / "adapter" / "adapter_model.safetensors"))


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below `root`."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _child(arguments: Sequence[str], cwd: str, env: Mapping[str, str], log: str, kill_at: str) -> None:
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["factory", *arguments]
    if kill_at:
        sys.addaudithook(lambda event, args: _die_at(kill_at, event, args))
    from factory.cli import main

    main()


def _die_at(part: str, event: str, args: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    path = str(args[0]) if writes else str(args[1]) if event == "os.rename" else ""
    if part in path:
        os.kill(os.getpid(), signal.SIGKILL)
