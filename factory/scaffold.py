"""new-domain writes a domain that builds at once; update-domain brings later templates into it.

Everything is written into a hidden folder beside the target and moved into place at the end: a failure leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory import __version__, rules
from factory.documents import read_folder
from factory.domain import find_domains
from factory.errors import FactoryError
from factory.files import digest_tree, read_json, read_text, templates, write_json, write_text
from factory.proposal import EVAL_ITEMS, EXAMPLES, Proposal, Wish
from factory.records import write_records
from factory.structure import cut

NOTES = ".factory"  # what update-domain needs: the answers, and the files as they were rendered


def target_of(name: str, package: bool) -> Path:
    """Where the domain goes; FactoryError when something is there or the name is taken."""
    target = Path(name) if package else Path("domains") / name
    if target.exists():
        raise FactoryError(f"{target} is there already.", "Choose another name, or remove that folder first.")
    if name in find_domains():
        raise FactoryError(f"A domain '{name}' is installed already.", "Choose another name: see factory domains.")
    return target


# Writing


def write_domain(proposal: Proposal, wish: Wish) -> Path:
    """Write the domain whole or not at all; return its folder (with --package: the project's)."""
    target = target_of(proposal.name, wish.package)
    with _whole(target) as root:
        inner = root / f"factory_{proposal.name}" if wish.package else root
        _write_data(proposal, inner / "data")
        items = _draft(proposal, inner / "data", inner / "evals" / "draft.jsonl")
        answers = _answers(proposal, items, target, wish)
        _render_all(answers, root, inner)
        if wish.package:
            write_text(inner / "__init__.py", "")
    return target


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A hidden folder that becomes `target` when the block ends well, and vanishes when it does not."""
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield root
        root.chmod(0o755)
        root.rename(target)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        for folder in made:
            folder.rmdir()
        raise


def _write_data(proposal: Proposal, folder: Path) -> None:
    """The documents as Markdown, under their own names: handbook.pdf becomes handbook.pdf.md."""
    taken: set[str] = set()
    for document in proposal.documents:
        stem = document.id[:-3] if document.id.lower().endswith(".md") else document.id
        while (name := f"{stem}.md").lower() in taken:
            stem += "_"
        taken.add(name.lower())
        write_text(folder / name, document.text + "\n")


def _draft(proposal: Proposal, data: Path, path: Path) -> int:
    """Freeze the questions about the passages that training never sees, as a build will read them; return how many."""
    documents = read_folder(data, proposal.language).documents
    held = [
        passage for document in documents for passage in cut(document, proposal.eval_share) if passage.split == "eval"
    ]
    names = {count.name for count in proposal.tasks}
    known = [task for task in rules.tasks(proposal.language, proposal.sources) if task.name in names]
    rows = [
        {
            "id": f"{row.passage.id}/{row.task}/{row.number}", "task": row.task, "input": row.input, "reference": row.answer,
            "document": row.passage.document, "passage": row.passage.id, "draft": True,
        }
        for row in rules.ask(held, known, EVAL_ITEMS)
    ]  # fmt: skip
    return write_records(path, rows)


def _answers(proposal: Proposal, items: int, target: Path, wish: Wish) -> dict[str, Any]:
    """Everything that the templates need."""
    zh = proposal.language == "zh"
    size = proposal.base.parameters / 1e6
    train = [passage for passage in proposal.passages if passage.split == "train"]
    known = {task.name: task for task in rules.tasks(proposal.language, proposal.sources)}
    asked = rules.ask(train, [known[count.name] for count in proposal.tasks], 60)
    starters = [
        row.question for row in asked if known[row.task].about and row.task != "step" and len(row.question) < 60
    ]
    return {
        "name": proposal.name,
        "kind": "".join(word.capitalize() for word in proposal.name.split("_")),
        "title": proposal.title,
        "description": f"{proposal.title}：根据自己的文档回答问题"
        if zh
        else f"{proposal.title}: answers from its own documents",
        "language": proposal.language,
        "base": proposal.base.name,
        "license": proposal.license,
        "tasks": [{"name": c.name, "title": c.title, "train": c.train, "eval": c.eval} for c in proposal.tasks],
        "sources": proposal.sources,
        "examples": EXAMPLES,
        "eval_items": EVAL_ITEMS,
        "eval_share": proposal.eval_share,
        "learning_rate": "8e-4" if zh else "1e-3",
        "epochs": 1.0,
        "subtitle": f"{size:.0f}M 参数的小模型，读 {len(proposal.documents)} 份文档回答问题"
        if zh
        else f"A {size:.0f}M-parameter model that answers from {len(proposal.documents)} documents",
        "disclaimer": "小模型会出错：重要的事请对照原文。"
        if zh
        else "A small model can be wrong: check what matters in the documents.",
        "starters": starters[:5],
        "documents": len(proposal.documents),
        "items": items,
        "place": str(target),
        "template": str(wish.template or ""),
        "package": wish.package,
    }


def _render_all(answers: dict[str, Any], root: Path, inner: Path) -> None:
    """Every template's file, a second time below .factory/origin, and the answers."""
    for name, text in render(answers).items():
        write_text(root / name, text)
        write_text(inner / NOTES / "origin" / name, text)
    write_json(inner / NOTES / "answers.json", {"version": __version__, "answers": answers})


def render(answers: dict[str, Any]) -> dict[str, str]:
    """The domain's files by name, as the templates of this version give them."""
    from jinja2 import Environment, StrictUndefined, TemplateError

    page = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    page.filters["toml"] = lambda value: json.dumps(value, ensure_ascii=False)
    inner = f"factory_{answers['name']}/" if answers["package"] else ""
    own = Path(answers["template"]) if answers["template"] else templates("domain")
    sources = {name: own / name for name in digest_tree(own) if name.endswith(".jinja")}
    if not sources:
        raise FactoryError(
            f"{own} holds no templates (*.jinja).", "Copy templates/domain of the factory and change it."
        )
    files = {(name if name.startswith("tests/") else inner + name): path for name, path in sources.items()}
    if answers["package"]:
        files["pyproject.toml.jinja"] = templates("package") / "pyproject.toml.jinja"
    made = {}
    for name, path in files.items():
        try:
            made[name.removesuffix(".jinja")] = page.from_string(read_text(path)).render(answers)
        except TemplateError as error:
            raise FactoryError(f"{path} does not render: {error}.", "Mend that template.") from error
    return made


# Updating


@dataclass(frozen=True)
class Updated:
    """What became of one file: unchanged, updated, merged, or conflict (the new one lies beside it)."""

    name: str
    what: str


def update_domain(name: str, dry: bool = False) -> list[Updated]:
    """Bring the templates of this version into a domain, and keep what was edited in it.

    A file that was not edited is replaced; an edited one is merged three ways (with what new-domain wrote as the base);
    where both changed the same lines, the edited file stays and the new one is written beside it as NAME.new.
    """
    found = find_domains()
    if name not in found:
        raise FactoryError(f"Unknown domain '{name}'.", "See factory domains.")
    inner = found[name].folder
    notes = inner / NOTES / "answers.json"
    if not notes.exists():
        raise FactoryError(f"{inner} was not made by factory new-domain.", "There is nothing to update it from.")
    answers = read_json(notes)["answers"]
    root = inner.parent if answers["package"] else inner
    done = []
    for file, new in render(answers).items():
        base, path = _text_or(inner / NOTES / "origin" / file), root / file
        text, what = _merged(base, _text_or(path) if path.exists() else base, new)
        done.append(Updated(file, what))
        if dry or what == "unchanged":
            continue
        write_text(path.with_name(path.name + ".new") if what == "conflict" else path, text)
        write_text(inner / NOTES / "origin" / file, new)
    if not dry:
        write_json(notes, {"version": __version__, "answers": answers})
    return done


def _text_or(path: Path) -> str:
    return read_text(path) if path.exists() else ""


def _merged(base: str, yours: str, new: str) -> tuple[str, str]:
    """The text to write and what happened."""
    from merge3 import Merge3

    if new in (base, yours):
        return yours, "unchanged"
    if yours == base:
        return new, "updated"
    merge = Merge3(base.splitlines(True), yours.splitlines(True), new.splitlines(True))
    if any(group[0] == "conflict" for group in merge.merge_groups()):
        return new, "conflict"
    return "".join(merge.merge_lines()), "merged"
