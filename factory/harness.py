"""The frozen eval set as tasks of EleutherAI's lm-evaluation-harness, so that it can be run, and the scores checked, elsewhere.

A label is decided there as it is here (factory.generate.Constraint): at each token the likelier one among those that still lead
to a label. Only likelihoods of texts are known there, so `label_tree` says which texts those are.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.build import open_run, run_domain, run_settings
from factory.domain import Task
from factory.errors import FactoryError
from factory.files import read_json, read_text, templates, write_json, write_text
from factory.generate import END, Trie, label_tries, stop_ids
from factory.models import load_tokenizer
from factory.predict import MODELS
from factory.records import EvalItem, Prediction, read_records, write_records
from factory.stage import manifest

FACTS = "factory.json"
Tree = dict[str, Any]  # text up to a fork's next token -> the Tree after it, or the label
KINDS = {  # how a task is asked there, and whether its score is the factory's
    "labels": (("likelihoods of its labels, fork by fork; the same score", "标签的似然，逐个分叉；分数相同"), True),
    "whole": (("likelihoods of its whole labels: this tokenizer parts labels inside a letter; nearly the same score", "整个标签的似然：词表在字内部切分标签；分数相近"), False),
    "free": (("a free answer; the same score", "自由回答；分数相同"), True),
    "list": (("a free answer, where the factory holds it to lists of labels; another score", "自由回答，而 factory 只允许标签列表；分数不同"), False),
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """One task as it is written: `labels` decide where there are any, else the answer is free; `kind`: a key of KINDS."""

    task: Task
    items: list[EvalItem]
    kind: str
    labels: Tree


def export_tasks(domain: str, run: str, out: Path, force: bool = False) -> list[str]:
    """Write the folder `out`, whole or not at all; return what to tell."""
    if out.exists() and not (force and (out / FACTS).exists()):
        raise FactoryError(
            f"{out} exists.", "Give another folder with -o; --force replaces one that this command wrote."
        )
    folder, plugin = open_run(domain, run), run_domain(domain, run)
    for stage in ("ingest", "sft"):
        manifest(folder, stage)
    base = read_json(folder / "sft" / "base.json")
    tokenizer = load_tokenizer(Path(base["path"]))
    every = read_records(folder / "ingest" / "eval.jsonl", EvalItem)
    items = [item for item in every if len(turns(item)) == 1]
    by_task: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        by_task[item.task].append(item)
    tasks = [_exported(plugin.task(name), rows, tokenizer, base["stop"]) for name, rows in by_task.items()]
    facts = {
        "domain": domain, "title": plugin.config.title, "run": run, "version": manifest(folder, "ingest")["summary"].get("eval_version", 1),
        "folder": str(plugin.folder.resolve()), "settings": _judging(run_settings(domain, run)), "base": Path(base["name"]).name,
        "until": tokenizer.convert_ids_to_tokens(stop_ids(tokenizer, base["stop"])), "left_out": len(every) - len(items),
        "ngram": plugin.config.evaluate.no_repeat_ngram, "scores": own_scores(folder, items),
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.new."))
    try:
        _write(made, tasks, facts, out.name)
        made.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    left = f", {facts['left_out']} left out: lm-eval asks no conversations" if facts["left_out"] else ""
    other = [one.task.name for one in tasks if not KINDS[one.kind][1]]
    return [
        f"{len(items)} items of {len(tasks)} tasks{left}",
        *([f"Not the factory's score there (README.md says why): {', '.join(other)}"] if other else []),
        f"{out}: group {_group(domain)}; README.md has the command",
    ]


def turns(item: EvalItem) -> list[dict[str, str]]:
    """What is said before the answer, without the system prompt."""
    return [turn for turn in item.prompt if turn["role"] != "system"]


def own_scores(folder: Path, items: Sequence[EvalItem]) -> dict[str, dict[str, float]]:
    """What the factory's evaluation gave base, SFT and DPO for these items, from 0 to 1, by task and "mean"."""
    asked = {item.id for item in items}
    found: dict[str, dict[str, float]] = {}
    for name in MODELS:
        path = folder / "evaluate" / "predictions" / f"{name}.jsonl"
        rows = [row for row in read_records(path, Prediction) if row.id in asked] if path.exists() else []
        by_task: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            by_task[row.task].append(row.score)
        means = {task: sum(scores) / len(scores) for task, scores in by_task.items()}
        if means:
            found[name] = means | {"mean": sum(means.values()) / len(means)}
    return found


def _exported(task: Task, items: list[EvalItem], tokenizer: Any, stop: Sequence[str]) -> Exported:
    if not task.choices or task.separator:
        return Exported(task, items, "list" if task.choices else "free", {})
    prompt = tokenizer.apply_chat_template(items[0].prompt, tokenize=False, add_generation_prompt=True)
    if tree := label_tree(tokenizer, task, prompt, stop_ids(tokenizer, stop)):
        return Exported(task, items, "labels", tree)
    return Exported(task, items, "whole", {label: label for label in task.choices})


def label_tree(tokenizer: Any, task: Task, prompt: str, ends: Sequence[int]) -> Tree:
    """The texts that decide among a task's labels; empty where a text's tokens are not those that the factory decodes.

    A label that another one begins with ends with each of the tokens `ends`.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    before, decided = encode(prompt), dict[str, list[int]]()

    def text_of(tokens: list[int]) -> str:
        text = str(tokenizer.decode(tokens))
        decided[text] = tokens
        return text

    def grown(node: Trie, tokens: list[int]) -> Any:
        while len(node) == 1 and END not in node:
            [(token, node)] = node.items()
            tokens = [*tokens, token]
        label = tokenizer.decode(tokens).strip()
        if list(node) == [END]:
            return label
        forks = {text_of([*tokens, token]): grown(after, [*tokens, token]) for token, after in node.items() if token != END}  # fmt: skip
        return forks | ({text_of([*tokens, end]): label for end in ends} if END in node else {})

    tree = grown(label_tries(task, encode)[0], [])
    if isinstance(tree, str):
        return {tree: tree}
    return tree if all(encode(prompt + text) == before + tokens for text, tokens in decided.items()) else {}


def _judging(settings: Sequence[str]) -> list[str]:
    """The settings that a domain's scorers may read; the others are nobody's business where the folder goes."""
    return [one for one in settings if re.split("[.=]", one)[0].strip() in ("options", "tasks", "language")]


def _group(domain: str) -> str:
    return f"factory_{domain}"


def _write(made: Path, tasks: Sequence[Exported], facts: dict[str, Any], place: str) -> None:
    from jinja2 import Environment, StrictUndefined

    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    group = _group(facts["domain"])

    def write(file: str, template: str, /, **values: Any) -> None:
        source = read_text(templates("harness") / f"{template}.jinja")
        write_text(made / file, page.from_string(source).render(**facts, **values))

    for one in tasks:
        name = one.task.name
        write_records(made / f"{name}.jsonl", [_row(item) for item in one.items])
        free = {"until": facts["until"], "max_gen_toks": one.task.max_new_tokens, "do_sample": False}
        own = {"no_repeat_ngram_size": facts["ngram"]} if one.kind == "free" and facts["ngram"] else {}
        write(f"{name}.yaml", "task.yaml", name=f"{group}_{name}", task=one.task, labels=one.labels, asked=free | own)
        write(f"{name}.chat.yaml", "task.yaml", name=f"{group}_chat_{name}", task=one.task, labels={}, asked=free)
    for end in ("", "_chat"):
        names = [f"{group}{end}_{one.task.name}" for one in tasks]
        write(f"{group}{end}.yaml", "group.yaml", group=group + end, tasks=names)
    shutil.copyfile(templates("harness") / "utils.py", made / "utils.py")
    rows = [{"name": one.task.name, "n": len(one.items), "how": KINDS[one.kind][0]} for one in tasks]
    write("README.md", "README.md", group=group, tasks=rows, place=place)
    write_json(made / FACTS, facts | {"labels": {one.task.name: one.labels for one in tasks if one.labels}})


def _row(item: EvalItem) -> dict[str, Any]:
    system = "\n\n".join(turn["content"] for turn in item.prompt if turn["role"] == "system")
    kept = {key: value for key, value in asdict(item).items() if key not in ("prompt", "provenance")}
    return kept | {"system": system, "question": item.question}
