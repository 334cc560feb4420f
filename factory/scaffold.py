"""new-domain writes a domain that builds at once; update-domain brings later templates into it.

Everything is written into a hidden folder beside the target and moved into place at the end: a failure leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory import __version__, rules
from factory.domain import domain_places, find_domain
from factory.errors import FactoryError
from factory.files import digest_tree, read_json, read_text, templates, write_json, write_text
from factory.proposal import ASKED, ASKED_ITEMS, EVAL_ITEMS, EXAMPLES, Proposal, Say, Wish, write_data
from factory.records import Passage, write_records
from factory.synthesis import KINDS, Wanted, estimate, write
from factory.teacher import Limits, open_teacher

STEPS = 75  # of SFT, at least, where the rows are few
NOTES = ".factory"  # what update-domain needs: the answers, and the files as they were rendered


def target_of(name: str, package: bool) -> Path:
    """Where the domain goes; FactoryError when something is there or the name is taken."""
    target = Path(name) if package else Path("domains") / name
    if target.exists() or target.is_symlink():
        raise FactoryError(f"{target} is there already.", "Choose another name, or remove that folder first.")
    if name in domain_places():
        raise FactoryError(f"A domain '{name}' is installed already.", "Choose another name: see factory domains.")
    return target


# Writing


def write_domain(proposal: Proposal, wish: Wish, say: Say = lambda text: None) -> Path:
    """Write the domain whole or not at all; return its folder (with --package: the project's).

    A teacher, where there is one, writes eval items about passages that training never sees.
    """
    target = target_of(proposal.name, wish.package)
    with _whole(target) as root:
        inner = root / f"factory_{proposal.name}" if wish.package else root
        write_data(proposal.documents, inner / "data")
        items = _draft(proposal, wish, inner / "evals" / "draft.jsonl", say)
        answers = _answers(proposal, items, target, wish)
        _render_all(answers, root, inner)
        if wish.package:
            write_text(inner / "__init__.py", "")
    return target


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder in a hidden one that becomes `target` when the block ends well, and vanishes when it does not."""
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    hidden = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        root = hidden / target.name
        root.mkdir()
        yield root
        root.rename(target)
        hidden.rmdir()
    except BaseException:
        if hidden:
            shutil.rmtree(hidden, ignore_errors=True)
        with suppress(OSError):  # another one's domain came into it
            for folder in made:
                folder.rmdir()
        raise


def _draft(proposal: Proposal, wish: Wish, path: Path, say: Say) -> int:
    """Freeze the questions about the passages that training never sees; return how many."""
    held = [passage for passage in proposal.passages if passage.split == "eval"]
    names = {count.name for count in proposal.tasks}
    known = [task for task in rules.tasks(proposal.language, proposal.sources) if task.name in names]
    rows = [
        {
            "id": f"{row.passage.id}/{row.task}/{row.number}", "task": row.task, "input": row.input, "reference": row.answer,
            "document": row.passage.document, "passage": row.passage.id, "draft": True,
        }
        for row in rules.ask(held, known, EVAL_ITEMS)
    ]  # fmt: skip
    return write_records(path, [*rows, *(_asked(proposal, wish, held, say) if "ask" in names else ())])


def _asked(proposal: Proposal, wish: Wish, held: list[Passage], say: Say) -> Iterator[dict[str, Any]]:
    """Eval items by the teacher: of every kind that is one question and one answer."""
    wanted = Wanted(held, proposal.language, ASKED, ASKED_ITEMS, [kind for kind in KINDS if kind != "talk"])
    with open_teacher(wish.teacher, wish.model, Limits(tokens=wish.most_tokens)) as teacher:
        say(f"    {teacher.model}: {estimate(wanted, teacher)}")
        written = write(wanted, teacher, say)
    if written.stopped:
        count = len(written.accepted)
        say(f"    {written.stopped} The eval set has {count} items of the teacher; more with a higher --most-tokens.")
    for number, draft in enumerate(written.accepted):
        about = rules.ABOUT[proposal.language].format(passage=draft.passage.text, question=draft.question)
        yield {
            "id": f"{draft.passage.id}/ask/{number}", "task": "ask", "input": about, "reference": draft.answer,
            "document": draft.passage.document, "passage": draft.passage.id, "draft": True,
        }  # fmt: skip


def _answers(proposal: Proposal, items: int, target: Path, wish: Wish) -> dict[str, Any]:
    """Everything that the templates need."""
    zh = proposal.language == "zh"
    size = proposal.base.parameters / 1e6
    return {
        "name": proposal.name,
        "kind": _kind(proposal.name),
        "title": proposal.title,
        "description": f"{proposal.title}：根据自己的文档回答问题"
        if zh
        else f"{proposal.title}: answers from its own documents",
        "language": proposal.language,
        "base": proposal.base.name,
        "license": proposal.license,
        "tasks": [{"name": c.name, "title": c.title, "train": c.train, "eval": c.eval} for c in proposal.tasks],
        "sources": proposal.sources,
        "teacher": wish.teacher,
        "model": wish.model,
        "most_tokens": wish.most_tokens,
        "asked": ASKED,
        "examples": EXAMPLES,
        "eval_items": EVAL_ITEMS,
        "eval_share": proposal.eval_share,
        "learning_rate": "8e-4" if zh else "1e-3",
        "epochs": _epochs(sum(count.train for count in proposal.tasks)),
        "subtitle": f"{size:.0f}M 参数的小模型，读 {len(proposal.documents)} 份文档回答问题"
        if zh
        else f"A {size:.0f}M-parameter model that answers from {len(proposal.documents)} documents",
        "disclaimer": "小模型会出错：重要的事请对照原文。"
        if zh
        else "A small model can be wrong: check what matters in the documents.",
        "starters": _starters(proposal),
        "documents": len(proposal.documents),
        "items": items,
        "place": str(target),
        "template": str(wish.template.resolve()) if wish.template else "",
        "package": wish.package,
    }


def _epochs(rows: int) -> float:
    """Passes over the rows that make about 75 steps of 4: 71 rows in one pass left a specialist no better than its base."""
    return float(min(4, max(1, round(STEPS * 4 / max(1, min(rows, EXAMPLES))))))


def _kind(name: str) -> str:
    """The name of the class: none that Python or the template uses."""
    made = "".join(word.capitalize() for word in name.split("_"))
    taken = "None True False Any ClassVar Path Domain Task Document EvalItem Example Passage Scorer Iterable Iterator Mapping Sequence"
    return f"{made}Domain" if made in taken.split() else made


def _starters(proposal: Proposal) -> list[str]:
    """Questions to click on, as a person would ask them: short, and one passage alone answers, so that looking up finds it."""
    train = [passage for passage in proposal.passages if passage.split == "train"]
    known = {task.name: task for task in rules.tasks(proposal.language, proposal.sources)}
    found = [
        row.question
        for row in rules.ask(train, [known[count.name] for count in proposal.tasks], 200)
        if known[row.task].about and row.task != "find" and row.cue and row.answer not in rules.SILENT.values() and len(row.question) < 60
        and sum(row.cue in passage.text for passage in train) == 1
    ]  # fmt: skip
    return found[:5]


def _render_all(answers: dict[str, Any], root: Path, inner: Path) -> None:
    """Every template's file, a second time below .factory/origin, and the answers."""
    for name, text in render(answers).items():
        write_text(root / name, text)
        write_text(inner / NOTES / "origin" / name, text)
    write_json(inner / NOTES / "answers.json", {"version": __version__, "answers": answers})


def render(answers: dict[str, Any]) -> dict[str, str]:
    """The domain's files by name, as the templates of this version give them; every one is looked over."""
    inner = f"factory_{answers['name']}/" if answers["package"] else ""
    own = Path(answers["template"]) if answers["template"] else templates("domain")
    sources = {name: own / name for name in digest_tree(own) if name.endswith(".jinja")} if own.is_dir() else {}
    missing = [name for name in ("domain.py", "domain.toml") if f"{name}.jinja" not in sources]
    if missing:
        raise FactoryError(
            f"{own} holds no template {missing[0]}.jinja.", "Copy templates/domain of the factory and change it."
        )
    files = {(name if name.startswith("tests/") else inner + name): path for name, path in sources.items()}
    if answers["package"]:
        files["pyproject.toml.jinja"] = templates("package") / "pyproject.toml.jinja"
    return {name.removesuffix(".jinja"): _rendered(path, answers) for name, path in files.items()}


def _rendered(path: Path, answers: dict[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined, TemplateSyntaxError

    page = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    page.filters["toml"] = lambda value: json.dumps(value, ensure_ascii=False)
    page.filters["doc"] = lambda text: text.replace("\\", "\\\\").replace('"', '\\"')
    source = read_text(path)
    try:
        made = page.from_string(source).render(answers)
        if path.name.endswith(".py.jinja"):
            compile(made, path.name, "exec")
        if path.name.endswith(".toml.jinja"):
            tomllib.loads(made)
    except TemplateSyntaxError as error:
        raise FactoryError(f"{path}:{error.lineno} is no template: {error.message}.", "Mend that line.") from error
    except Exception as error:  # whatever its expressions, or the file it makes, get wrong
        said = " ".join(str(error).split()).rstrip(".")
        raise FactoryError(f"{path} does not render: {type(error).__name__}: {said}.", "Mend that template.") from error
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
    inner = _made(name)
    notes = inner / NOTES / "answers.json"
    if not notes.exists():
        raise FactoryError(f"{inner} was not made by factory new-domain.", "There is nothing to update it from.")
    answers = _noted(notes)
    root = inner.parent if answers["package"] else inner
    done = []
    for file, new in render(answers).items():
        origin, path = inner / NOTES / "origin" / file, root / file
        base = _text_or(origin)
        text, what = _merged(base, _text_or(path), new)
        if base and not path.exists():
            what = "unchanged"  # taken out: it stays out
        done.append(Updated(file, what))
        if dry:
            continue
        if what != "unchanged":
            write_text(path.with_name(path.name + ".new") if what == "conflict" else path, text)
        if new != base:
            write_text(origin, new)
    if not dry:
        write_json(notes, {"version": __version__, "answers": answers})
    return done


def _made(name: str) -> Path:
    """The folder of a domain; a package's, installed or not, in ./NAME first: what pip copied is not worth editing."""
    here = Path(name) / f"factory_{name}"
    if (here / NOTES).is_dir():
        return here
    return find_domain(name).folder


def _noted(notes: Path) -> dict[str, Any]:
    kept = read_json(notes)
    answers = kept.get("answers") if isinstance(kept, dict) else None
    if not isinstance(answers, dict) or not {"name", "package", "template"} <= set(answers):
        raise FactoryError(f"{notes} is not what new-domain wrote.", "Get it back from your version control.")
    return answers


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
