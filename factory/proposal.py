"""What a new domain could be: the documents are looked at first, and the tasks proposed are those that they carry."""

from __future__ import annotations

import hashlib
import keyword
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from factory import rules
from factory.addresses import check_address
from factory.documents import Folder, read_folder
from factory.errors import FactoryError
from factory.files import templates
from factory.models import BaseModel, find_base
from factory.readers.base import Skipped
from factory.records import Document, Passage
from factory.structure import cut
from factory.text import language_share

BASES = {"zh": "gemma-3-270m", "en": "smollm2-135m-instruct"}
EXAMPLES, EVAL_ITEMS = 300, 60  # questions, spread evenly over the tasks
SHARES = (0.1, 0.2, 0.3, 0.4)  # of the passages for the eval set: the smallest that carries it
LEAST_TRAIN, LEAST_EVAL = 12, 4  # questions that a task must have to be proposed
ASKED, ASKED_ITEMS = 2, 24  # examples that a teacher is asked for about one passage; its eval items, at most
MOST_SOURCES = 12  # labels of the task `source`
MOST_NAME = 200  # bytes of a file name; file systems take 255
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What a person asks for; an empty text: what the documents suggest."""

    name: str
    docs: Path | None = None
    language: str = ""
    base: str = ""
    title: str = ""
    license: str = ""
    template: Path | None = None
    package: bool = False
    teacher: str = ""  # an address or a .gguf file: see factory synthesize
    model: str = ""  # of the teacher
    most_tokens: int = 0  # that the teacher may use now, and in the builds of a run; 0: no limit


@dataclass(frozen=True)
class Count:
    """How many questions of a task the documents carry."""

    name: str
    title: str
    train: int
    eval: int


@dataclass(frozen=True)
class Proposal:
    """A domain that the documents can carry: all that is to be written."""

    name: str
    title: str
    language: str
    base: BaseModel
    license: str
    documents: list[Document]
    skipped: list[Skipped]
    passages: list[Passage]
    eval_share: float
    tasks: list[Count]
    sources: list[str]
    left_out: list[Count]  # tasks with too few questions


# Names


def identifier(name: str) -> str:
    """A folder and module name: Chinese by its pinyin, anything else in ASCII, words joined by `_`."""
    from pypinyin import lazy_pinyin

    words = "_".join(lazy_pinyin(name.strip())) if re.search(r"[\u4e00-\u9fff]", name) else name
    plain = "".join(char for char in unicodedata.normalize("NFKD", words.lower()) if not unicodedata.combining(char))
    made = re.sub(r"[\s_-]+", "_", plain).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", made) or keyword.iskeyword(made):
        raise FactoryError(
            f"{name!r} gives no name for a domain.", "Use letters, digits and _, a letter first: tea_house"
        )
    return made


# Looking at the documents


def guess_language(documents: Sequence[Document]) -> str:
    """zh or en, by the letters; FactoryError for another language."""
    text = "\n".join(document.text[:4000] for document in documents)
    letters = [char for char in text if char.isalpha()]
    scripts = Counter(unicodedata.name(char, "?").split()[0] for char in letters)
    words = re.findall(r"[a-z]+", text.lower())
    common = sum(word in _ENGLISH for word in words) / max(1, len(words))
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if scripts["CJK"] > 0.3 * len(letters) and kana < 0.1 * len(letters):
        return "zh"
    if scripts["LATIN"] > 0.7 * len(letters) and (common > 0.12 or len(words) < 50):
        return "en"
    script = "Japanese" if kana else scripts.most_common(1)[0][0].title() if scripts else "no"
    raise FactoryError(
        f"The documents seem to be neither Chinese nor English ({script} letters).",
        "These are the languages of the templates; where the guess is wrong, say --lang zh or --lang en.",
    )


_ENGLISH = set("the of and to a in is it for on with as be are or this that you from at by if not can an will".split())


def propose(wish: Wish, say: Say = lambda text: None, folder: Folder | None = None) -> Proposal:
    """Read the documents (unless `folder` holds them) and find what they carry; writes nothing."""
    name = identifier(wish.name)
    check_address(wish.teacher)
    if wish.language not in ("", *BASES):
        raise FactoryError(f"Unknown language '{wish.language}'.", f"One of: {', '.join(BASES)}.")
    folder = folder or _read(wish, say)
    language = wish.language or (guess_language(folder.documents) if wish.docs else "en")
    base = find_base(wish.base or BASES[language])
    if base.languages and not {language, "and many more"} & set(base.languages):
        raise FactoryError(
            f"{base.name} knows {', '.join(base.languages)}; the domain's language is {language}.",
            f"Take --base {BASES[language]}, or see factory models list.",
        )
    documents, others = [], []
    for document in folder.documents:
        if language_share(document.text, language) < 0.2:
            others.append(Skipped(document.id, f"not in the domain's language ({language})"))
        else:
            documents.append(replace(document, language=language))
    if not documents:
        raise FactoryError(
            f"No document in {wish.docs} is in the domain's language ({language}).", "Give another --lang."
        )
    named = _named(documents)
    unknown = "未注明：未经允许请勿传播" if language == "zh" else "not stated: do not pass on without leave"
    known = "CC0-1.0" if wish.docs is None else unknown  # the sample is ours
    return _carried(
        Proposal(
            name, line(wish.title) or _title(wish.name), language, base, line(wish.license) or known,
            named, [*folder.skipped, *others], [], 0, [], [], [],
        ),
        _as_read(named, language), wish,
    )  # fmt: skip


def _named(documents: Sequence[Document]) -> list[Document]:
    """Each under the name of the file that it becomes: handbook.pdf is written as handbook.pdf.md."""
    made: list[Document] = []
    taken: set[str] = set()
    for document in documents:
        stem = document.id[:-3] if document.id.lower().endswith(".md") else document.id
        stem = "/".join(map(_short, stem.split("/")))
        while f"{stem}.md".lower() in taken:
            stem += "_"
        taken.add(f"{stem}.md".lower())
        made.append(replace(document, id=f"{stem}.md"))
    return made


def _short(part: str) -> str:
    """A part of a path that every file system takes, with room for what is put before and after it."""
    part = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\\:*?\"<>|]", "_", part)
    size = part.encode()
    if len(size) <= MOST_NAME:
        return part
    return size[: MOST_NAME - 9].decode(errors="ignore") + "_" + hashlib.sha256(size).hexdigest()[:8]


def write_data(documents: Sequence[Document], folder: Path) -> None:
    """The documents as Markdown files."""
    for document in documents:
        path = folder / document.id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document.text + "\n", encoding="utf-8")


def _as_read(documents: Sequence[Document], language: str) -> list[Document]:
    """The documents as the domain will read them from its data/."""
    with tempfile.TemporaryDirectory() as scratch:
        write_data(documents, Path(scratch))
        return read_folder(Path(scratch), language).documents


def line(text: str) -> str:
    """A text from the command line as one line without letters that no file can hold."""
    kept = ("" if unicodedata.category(char) in ("Cf", "Cs") else char for char in text)
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", "".join(kept)).split())


def _title(name: str) -> str:
    name = line(name)
    return name.strip() if re.search(r"[^\x00-\x7f]", name) else re.sub(r"[_-]+", " ", name).strip().capitalize()


def _read(wish: Wish, say: Say = lambda text: None) -> Folder:
    if wish.docs is None:
        return read_folder(templates("domain") / "sample" / (wish.language or "en"))
    if not wish.docs.exists():
        raise FactoryError(f"{wish.docs} does not exist.", "Give a folder of documents: --docs FOLDER")
    folder = read_folder(wish.docs, say=say)
    if not folder.documents:
        reasons = Counter(skipped.reason for skipped in folder.skipped)
        said = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3)) or "it holds no files"
        raise FactoryError(
            f"{wish.docs} holds no document that can be read: {said}.",
            "Readable are Markdown, text, HTML, Word, PowerPoint, PDF with text, Excel, EPUB, CSV, JSON, Parquet and zip.",
        )
    return folder


def _carried(proposal: Proposal, documents: Sequence[Document], wish: Wish) -> Proposal:
    """The proposal with passages, eval share and tasks: as many tasks as can be, then the smallest share that fills the eval set.

    With a teacher there is the task `ask`, too, whatever the documents are.
    """
    tried = [_with_share(proposal, documents, share) for share in SHARES]
    best = max(tried, key=lambda made: (len(made.tasks), min(EVAL_ITEMS, sum(task.eval for task in made.tasks))))
    held = sum(passage.split == "eval" for passage in best.passages)
    if wish.teacher and min(held, len(best.passages) - held) >= LEAST_EVAL:
        asked = next(task for task in rules.tasks(proposal.language) if task.name == "ask")
        count = Count(asked.name, asked.title, ASKED * (len(best.passages) - held), min(ASKED_ITEMS, ASKED * held))
        best = replace(best, tasks=[*best.tasks, count])
    if not best.tasks:
        letters = sum(len(document.text) for document in proposal.documents)
        raise FactoryError(
            f"{wish.docs} is too little to train on: {letters} letters in {len(proposal.documents)} documents carry no "
            f"{LEAST_TRAIN} questions of any kind.",
            "Add documents: about ten pages of text with headings, lists or tables are a start.",
        )
    return best


def _with_share(proposal: Proposal, documents: Sequence[Document], share: float) -> Proposal:
    passages = [passage for document in documents for passage in cut(document, share)]
    titles = Counter(passage.title for passage in passages)
    sources = sorted(title for title, count in titles.items() if count >= 6)
    most = sum(titles[title] for title in sources) > len(passages) / 2  # else the labels are exceptions
    sources = sources if most and 2 <= len(sources) <= MOST_SOURCES else []
    known = rules.tasks(proposal.language, sources)
    asked = {
        split: Counter(row.task for row in rules.ask([p for p in passages if p.split == split], known, 10**9))
        for split in ("train", "eval")
    }
    counts = [Count(task.name, task.title, asked["train"][task.name], asked["eval"][task.name]) for task in known]
    carried = [count for count in counts if count.train >= LEAST_TRAIN and count.eval >= LEAST_EVAL]
    left_out = [count for count in counts if count not in carried and count.train + count.eval]
    return replace(proposal, passages=passages, eval_share=share, tasks=carried, sources=sources, left_out=left_out)


# With a person


def ask_for_missing(wish: Wish, say: Say = lambda text: None) -> tuple[Wish, Folder | None]:
    """Ask on the terminal for what the command line did not say; Enter takes the answer that stands ready.

    The documents come with it where they had to be read for that.
    """
    import typer

    folder = None
    if wish.docs is None:
        given = typer.prompt("Folder of documents (Enter: a sample to replace later)", default="", show_default=False)
        wish = replace(wish, docs=Path(given.strip()).expanduser() if given.strip() else None)
    if not wish.language:
        folder = _read(wish, say) if wish.docs else None
        ready = guess_language(folder.documents) if folder else "en"
        wish = replace(wish, language=typer.prompt("Language of the documents, zh or en", default=ready).strip())
    if not wish.title:
        wish = replace(wish, title=typer.prompt("Title that people see", default=_title(wish.name)).strip())
    if not wish.base:
        ready = BASES.get(wish.language, BASES["en"])
        wish = replace(wish, base=typer.prompt("Base model (factory models list)", default=ready).strip())
    return wish, folder


def show(proposal: Proposal, wish: Wish, say: Say, dry: bool = False) -> None:
    """What was found and what is proposed, in a dozen lines."""
    kinds = Counter(Path(document.source).suffix.lower() or "no suffix" for document in proposal.documents)
    letters = sum(len(document.text) for document in proposal.documents)
    held = sum(passage.split == "eval" for passage in proposal.passages)
    say(
        f"documents   {len(proposal.documents)} ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}), {letters:,} letters"
    )
    reasons = Counter(skipped.reason for skipped in proposal.skipped)
    for reason, count in reasons.most_common(5):
        first = line(next(skipped.name for skipped in proposal.skipped if skipped.reason == reason))
        say(f"left out    {count} x {reason} (first: {first})")
    say(f"passages    {len(proposal.passages)}, {held} of them kept back to test with")
    say(
        f"language    {proposal.language}; base model {proposal.base.name} ({proposal.base.parameters / 1e6:,.0f} M parameters)"
    )
    for task in proposal.tasks:
        most = "up to " if task.name == "ask" else ""
        say(f"task        {task.name:8} {task.title}: {most}{task.train} questions to train, {most}{task.eval} to test")
    say(
        f"            of these a build takes up to {EXAMPLES} to train and {EVAL_ITEMS} to test, spread evenly over the tasks"
    )
    for task in proposal.left_out:
        say(f"no task     {task.name:8} {task.title}: {task.train} to train and {task.eval} to test; {_why_few(task)}")
    where = f"./{proposal.name}" if wish.package else f"./domains/{proposal.name}"
    files = "domain.toml, domain.py, README.md, data/, evals/, tests/" + (", pyproject.toml" if wish.package else "")
    say(f"{'would write' if dry else 'writes':11} {where}: {files}")


def _why_few(task: Count) -> str:
    """Why a task is not proposed, and what would change it."""
    if task.train + task.eval >= LEAST_TRAIN + LEAST_EVAL:
        return "they stand in too few passages to keep some of these for the test: add documents of this kind"
    return f"{LEAST_TRAIN} and {LEAST_EVAL} are needed: add documents of this kind"
