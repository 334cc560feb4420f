"""Every domain that new-domain can write: the contract holds, it checks itself, and its eval draft stays unseen."""

from __future__ import annotations

import contextlib
import itertools
import json
import py_compile
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from papers import paper, write_papers
from served import served
from test_contract import *  # noqa: F403  every check of the contract, over the domains of the fixture `made` below
from test_contract import Made, make

from factory import rules
from factory.config import load_config
from factory.domain import domain_places, find_domain
from factory.errors import FactoryError
from factory.files import read_json, templates, write_text
from factory.models import find_base
from factory.proposal import EVAL_ITEMS, Proposal, Wish, line, propose
from factory.records import read_rows
from factory.scaffold import _answers, _epochs, _kind, render, target_of, update_domain, write_domain
from factory.text import ngrams, squeeze

OTHER_BASE = {"zh": "qwen3-0.6b", "en": "gemma-3-270m"}
LEAK = 16  # letters in common that are too many
SAMPLE = templates("domain") / "sample"


@dataclass(frozen=True)
class Variant:
    language: str
    base: str
    docs: bool
    package: bool

    @property
    def name(self) -> str:
        words = (
            self.language,
            "other" if self.base else "",
            "docs" if self.docs else "sample",
            "pack" if self.package else "",
        )
        return "_".join(filter(None, words))


VARIANTS = [
    Variant(language, OTHER_BASE[language] if other else "", docs, package)
    for language, other, docs, package in itertools.product(("zh", "en"), (False, True), (True, False), (False, True))
    if docs or (SAMPLE / language).is_dir()
]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Chinese: many short documents; English: four long ones, so that the task `source` is there, too."""
    root = tmp_path_factory.mktemp("papers")
    for number in range(4):
        write_text(root / "en" / f"{number}.md", "\n\n".join(paper("en", 10 * number + part) for part in range(5)))
    return {"zh": write_papers(root / "zh", "zh", 18), "en": root / "en"}


@dataclass(frozen=True)
class Written:
    variant: Variant
    cwd: Path
    place: Path  # what new-domain wrote
    inner: Path  # the domain's folder


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.name)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, papers: dict[str, Path]
) -> Written:
    variant: Variant = request.param
    cwd = tmp_path_factory.mktemp("cwd")
    docs = papers[variant.language] if variant.docs else None
    wish = Wish(variant.name, docs, variant.language, variant.base, package=variant.package)
    with contextlib.chdir(cwd):
        place = cwd / write_domain(once(wish), wish)
    inner = place / f"factory_{variant.name}" if variant.package else place
    if variant.package:  # as if it were installed
        (cwd / "domains").mkdir()
        (cwd / "domains" / variant.name).symlink_to(inner)
    return Written(variant, cwd, place, inner)


PROPOSED: dict[tuple[Path | None, str], Proposal] = {}


def once(wish: Wish) -> Proposal:
    """What `propose` makes of a wish, without reading the same documents again."""
    key = (wish.docs, wish.language)
    if key not in PROPOSED:
        PROPOSED[key] = propose(replace(wish, base=""))
    known = PROPOSED[key]
    return replace(
        known, name=wish.name, base=find_base(wish.base or known.base.name),
        title=line(wish.title) or known.title, license=line(wish.license) or known.license,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = find_domain(written.variant.name, written.cwd / "domains")
    return make(replace(found, name=written.variant.name), tmp_path_factory.mktemp(written.variant.name) / "default")


# What is written


def test_all_that_a_build_needs_is_there(written: Written) -> None:
    names = {path.relative_to(written.inner).as_posix() for path in written.inner.rglob("*") if path.is_file()}
    assert {"domain.py", "domain.toml", "README.md", "evals/draft.jsonl", ".factory/answers.json"} <= names
    assert (written.place / "tests" / "test_domain.py").is_file()
    assert (written.place / "pyproject.toml").is_file() == written.variant.package
    assert [path.name for path in written.place.parent.iterdir() if path.name.startswith(".")] == []
    origin = written.inner / ".factory" / "origin"
    kept = {path.relative_to(origin): path.read_text(encoding="utf-8") for path in origin.rglob("*") if path.is_file()}
    assert kept and all((written.place / name).read_text(encoding="utf-8") == text for name, text in kept.items())


def test_its_code_is_short_and_clean(written: Written, tmp_path: Path) -> None:
    code = written.inner / "domain.py"
    assert len(code.read_text(encoding="utf-8").splitlines()) < 60
    for path in (code, written.place / "tests" / "test_domain.py"):
        py_compile.compile(str(path), str(tmp_path / "out.pyc"), doraise=True)
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=200", "--select=E,F,I,B,UP", "--no-cache", str(path)],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_its_settings_say_what_they_are(written: Written) -> None:
    text = (written.inner / "domain.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    assert settings["language"] == written.variant.language and settings["name"] == written.variant.name
    assert settings["base"] == written.variant.base or not written.variant.base
    assert settings["tasks"] and 3 <= len(settings["app"]["starters"]) <= 5
    assert rules.SILENT[written.variant.language] not in settings["app"]["starters"]
    assert all(f'"{task}",  # ' in text for task in settings["tasks"])


def test_its_own_tests_pass(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written.cwd)
    own = runpy.run_path(str(written.place / "tests" / "test_domain.py"))
    tests = [value for name, value in own.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


# The eval draft is never seen by training


def held_texts(made: Made) -> dict[str, str]:
    """The texts that the eval items ask about, without their headings, as letters."""
    found = {}
    for item in made.items:
        task = made.domain.task(item.task)
        text, _ = task.parts(item.question)
        body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        found[item.id] = squeeze(body)
    return found


def shared(made: Made) -> list[str]:
    seen: set[str] = set()
    for example in made.examples:  # all of them, before curate drops anything
        seen |= ngrams(squeeze(example.question), LEAK)
    return [name for name, text in held_texts(made).items() if ngrams(text, LEAK) & seen]


def test_the_draft_shares_no_passage_with_training(made: Made, written: Written) -> None:
    assert all(len(text) >= LEAK for text in held_texts(made).values()) and len(made.items) >= 30
    held = {item.provenance["passage"] for item in made.items}
    split = {passage.id: passage.split for passage in made.passages}
    assert {split[name] for name in held} == {"eval"}
    assert held.isdisjoint(example.provenance["passage"] for example in made.examples)
    if written.variant.docs:  # the sample is people's prose, which may say a thing twice
        assert shared(made) == []


def test_the_draft_is_what_the_same_rules_ask(made: Made, written: Written) -> None:
    held = [passage for passage in made.passages if passage.split == "eval"]
    rows = rules.ask(held, made.domain.active(), EVAL_ITEMS)
    draft = [row for _, row in read_rows(written.inner / "evals" / "draft.jsonl")]
    assert [(row.input, row.answer) for row in rows] == [(row["input"], row["reference"]) for row in draft]
    assert all(row["draft"] is True for row in draft)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_draft_stays_unseen_when_the_files_are_renamed(
    language: str, papers: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wish = Wish("tea", papers[language])
    place = write_domain(once(wish), wish)
    before = make(find_domain("tea"), tmp_path_factory.mktemp("before"))
    for number, path in enumerate(sorted((place / "data").rglob("*.md"), reverse=True)):
        path.rename(place / "data" / f"{number:03} neu.md")
    after = make(find_domain("tea"), tmp_path_factory.mktemp("after"))
    assert {passage.id for passage in before.passages}.isdisjoint(passage.id for passage in after.passages)
    assert shared(after) == [] and held_texts(after) == held_texts(before)
    assert Counter(passage.text for passage in before.passages if passage.split == "eval") == Counter(  # noqa: F405
        passage.text for passage in after.passages if passage.split == "eval"
    )


def test_a_shared_passage_would_be_found(papers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The proof can fail: with no share kept back, training sees every passage of the draft."""
    wish = Wish("tea", papers["zh"])
    place = write_domain(once(wish), wish)
    toml = place / "domain.toml"
    toml.write_text(
        re.sub(r"eval_share = [\d.]+", "eval_share = 0.0", toml.read_text(encoding="utf-8")), encoding="utf-8"
    )
    leaky = make(find_domain("tea"), tmp_path_factory.mktemp("leaky"))
    assert len(shared(leaky)) > 0.9 * len(leaky.items)


def test_a_teacher_has_a_limit_that_goes_into_the_domain(papers: dict[str, Path], tmp_path: Path) -> None:
    said: list[str] = []
    with served() as server:
        wish = Wish("tea", papers["en"], teacher=server.address, most_tokens=900)
        place = write_domain(propose(wish), wish, said.append)
        assert 8 <= len(server.asked) <= 12, "those in flight at the end come through"
    asked = [row for _, row in read_rows(place / "evals" / "draft.jsonl") if row["task"] == "ask"]
    assert any(line.startswith("    toy-teacher: ") and " calls, 0 of them answered" in line for line in said)
    assert (
        f"The eval set has {len(asked)} items of the teacher; more with a higher --most-tokens." in said[-1] and asked
    )
    assert load_config(place / "domain.toml").synthesize.max_tokens == 900


# Whole or not at all


@pytest.fixture(scope="module")
def proposal(papers: dict[str, Path]) -> Proposal:
    return once(Wish("tea", papers["zh"]))


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if ".home" not in path.parts}


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), FactoryError("x")])
@pytest.mark.parametrize("where", ["write_data", "write_records", "render", "write_json"])
def test_a_failure_leaves_nothing(
    proposal: Proposal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool, error: BaseException, where: str
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        assert any(path.name.startswith(".tea.") for path in tmp_path.rglob(".tea.*"))  # the hidden folder is there
        raise error

    monkeypatch.setattr(f"factory.scaffold.{where}", fail)
    with pytest.raises(BaseException) as caught:
        write_domain(proposal, Wish("tea", package=package))
    assert caught.value is error or isinstance(caught.value, KeyboardInterrupt)
    assert tree(tmp_path) == set()


def test_a_failure_keeps_what_was_there(proposal: Proposal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "domains" / "other.txt", "x")
    monkeypatch.setattr("factory.scaffold.render", lambda answers: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_domain(proposal, Wish("tea"))
    assert tree(tmp_path) == {"domains", "domains/other.txt"}


def test_what_comes_in_between_is_kept(proposal: Proposal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(answers: object) -> None:
        write_text(tmp_path / "domains" / "other" / "x.txt", "of another process")
        raise KeyboardInterrupt

    monkeypatch.setattr("factory.scaffold.render", fail)
    with pytest.raises(KeyboardInterrupt):
        write_domain(proposal, Wish("tea"))
    assert tree(tmp_path) == {"domains", "domains/other", "domains/other/x.txt"}


def test_a_half_written_domain_is_no_domain(
    proposal: Proposal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command that runs meanwhile, or after a kill -9, finds no `.tea.x1`."""
    before = set(domain_places())

    def look(*arguments: object) -> None:
        assert list(tmp_path.rglob("domain.toml"))
        assert set(domain_places()) == before

    monkeypatch.setattr("factory.scaffold.write_json", look)
    write_domain(proposal, Wish("tea"))
    assert set(domain_places()) == {*before, "tea"}


def test_nothing_is_written_over(proposal: Proposal, tmp_path: Path) -> None:
    (tmp_path / "tea").symlink_to(tmp_path / "gone")
    write_text(tmp_path / "domains" / "tea" / "mine.txt", "x")
    for package in (False, True):
        with pytest.raises(FactoryError, match="is there already"):
            write_domain(proposal, Wish("tea", package=package))
    with pytest.raises(FactoryError, match="'legal' is installed already"):
        target_of("legal", True)
    assert tree(tmp_path) == {"tea", "domains", "domains/tea", "domains/tea/mine.txt"}


# What people call things


EVIL = [
    'Tea """ + __import__("os").system("touch pwned") + """',
    'Tea"""\nraise SystemExit("pwned")\n"""',
    "Tea \\",
    'Tea\\"""',
    '"',
    "{{ 7 * 7 }} {% raise %} #}",
    "C:\\new\\table\\x41 \\N{DASH} \\u0041",
    'a" \n[sft]\nepochs = 99\n#',
    "'''茶\t叶\x7f\x00\x85\u2028'''",
]


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("title", EVIL)
def test_a_title_is_never_code(papers: dict[str, Path], tmp_path: Path, title: str, package: bool) -> None:
    wish = Wish("tea", papers["zh"], title=title, license=title, package=package)
    place = write_domain(once(wish), wish)
    inner = place / "factory_tea" if package else place
    settings = tomllib.loads((inner / "domain.toml").read_text(encoding="utf-8"))
    shown = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", title).split())
    assert settings["title"] == settings["license"] == shown and settings["sft"]["epochs"] == 1.0
    code = (inner / "domain.py").read_text(encoding="utf-8")
    scope = runpy.run_path(str(inner / "domain.py"))
    assert scope["__doc__"].startswith(f"{shown}: ") and "class Tea(Domain):" in code
    assert not list(tmp_path.rglob("pwned"))
    if package:
        project = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["name"] == "factory-tea" and project["description"].startswith(shown)
        assert project["entry-points"]["factory.domains"] == {"tea": "factory_tea.domain:Tea"}


@pytest.mark.parametrize(
    "name", ["domain", "task", "none", "true", "any", "class_var", "passage", "document", "eval_item", "path"]
)
def test_a_name_never_hides_what_the_code_uses(name: str, papers: dict[str, Path]) -> None:
    assert _kind("tea_house") == "TeaHouse" and _kind(name).endswith("Domain")
    wish = Wish("tea", papers["zh"])
    answers = {**_answers(once(wish), 80, Path("domains/tea"), wish), "name": name, "kind": _kind(name)}
    scope: dict[str, object] = {"__name__": "x"}
    exec(compile(render(answers)["domain.py"], "domain.py", "exec"), scope)
    assert _kind(name) in scope


# Own templates


@pytest.fixture
def own(tmp_path: Path) -> Path:
    shutil.copytree(templates("domain"), tmp_path / "own", ignore=shutil.ignore_patterns("sample"))
    return tmp_path / "own"


def test_own_templates_are_taken(own: Path, papers: dict[str, Path], tmp_path: Path) -> None:
    write_text(own / "notes" / "CONTACT.md.jinja", "Ask {{ title }}\n")
    write_text(own / "plain.txt", "no template")
    wish = Wish("tea", papers["zh"], title="茶", template=Path("own"))
    place = write_domain(once(wish), wish)
    assert (place / "notes" / "CONTACT.md").read_text() == "Ask 茶\n" and not (place / "plain.txt").exists()
    assert read_json(place / ".factory" / "answers.json")["answers"]["template"] == str(own)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("README.md.jinja", "{% if %}\n", "README.md.jinja:1 is no template"),
        ("README.md.jinja", "one\n{{ title\n", "README.md.jinja:2 is no template"),
        ("README.md.jinja", "{{ titel }}", "README.md.jinja does not render: UndefinedError: 'titel' is undefined"),
        ("README.md.jinja", "{{ 1 / 0 }}", "README.md.jinja does not render: ZeroDivisionError"),
        ("README.md.jinja", "{% include 'x' %}", "README.md.jinja does not render"),
        ("domain.py.jinja", "class {{ kind }}(:\n", "domain.py.jinja does not render: SyntaxError"),
        ("domain.toml.jinja", "name = {{ name }}\n", "domain.toml.jinja does not render: TOMLDecodeError"),
        ("domain.py.jinja", None, "holds no template domain.py.jinja"),
        ("domain.toml.jinja", None, "holds no template domain.toml.jinja"),
        ("README.md.jinja", b"\xff\xfe{", "README.md.jinja is not UTF-8"),
    ],
)
def test_broken_templates_are_named_in_one_line(
    own: Path, papers: dict[str, Path], tmp_path: Path, name: str, text: str | bytes | None, said: str
) -> None:
    if text is None:
        (own / name).unlink()
    else:
        (own / name).write_bytes(text.encode() if isinstance(text, str) else text)
    wish = Wish("tea", papers["zh"], template=own)
    with pytest.raises(FactoryError) as caught:
        write_domain(once(wish), wish)
    assert said in caught.value.message and caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    assert not (tmp_path / "domains").exists()


def test_a_folder_without_templates(papers: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    write_text(tmp_path / "file.jinja", "x")
    for where in ("none", "gone", "file.jinja"):
        wish = Wish("tea", papers["zh"], template=Path(where))
        with pytest.raises(FactoryError, match=r"holds no template domain.py.jinja"):
            write_domain(once(wish), wish)


# Updating


@pytest.fixture(params=[False, True], ids=["domain", "package"])
def old(request: pytest.FixtureRequest, own: Path, papers: dict[str, Path]) -> Path:
    """A domain made from `own` templates, which then change: the project's folder."""
    write_text(own / "notes.txt.jinja", "".join(f"line {number}\n" for number in range(1, 10)))
    wish = Wish("tea", papers["zh"], title="茶", template=own, package=request.param)
    return write_domain(once(wish), wish)


def inside(old: Path) -> Path:
    return old / "factory_tea" if (old / "factory_tea").exists() else old


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def became(dry: bool = False) -> dict[str, str]:
    return {Path(updated.name).name: updated.what for updated in update_domain("tea", dry)}


def snapshot(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_nothing_new_changes_nothing(old: Path) -> None:
    before = snapshot(old)
    assert set(became().values()) == {"unchanged"} and snapshot(old) == before


def test_what_was_not_edited_is_replaced(old: Path, own: Path) -> None:
    change(own / "notes.txt.jinja", "line 2", "line two of {{ title }}")
    write_text(own / "more.txt.jinja", "new\n")
    done = became()
    assert done["notes.txt"] == done["more.txt"] == "updated" and done["domain.py"] == "unchanged"
    assert "line two of 茶\n" in (inside(old) / "notes.txt").read_text() and (inside(old) / "more.txt").exists()
    assert set(became().values()) == {"unchanged"}


def test_what_was_edited_is_merged(old: Path, own: Path) -> None:
    change(inside(old) / "notes.txt", "line 8", "line 8, mine")
    change(own / "notes.txt.jinja", "line 2", "line two")
    assert became()["notes.txt"] == "merged"
    text = (inside(old) / "notes.txt").read_text()
    assert "line two\n" in text and "line 8, mine\n" in text
    assert became()["notes.txt"] == "unchanged"
    change(own / "notes.txt.jinja", "line 5", "line five")  # the next one has the merged template as its base
    assert became()["notes.txt"] == "merged"
    assert "line five\n" in (inside(old) / "notes.txt").read_text()


def test_a_conflict_keeps_yours_and_lays_the_new_one_beside_it(old: Path, own: Path) -> None:
    change(inside(old) / "notes.txt", "line 2", "line 2, mine")
    change(own / "notes.txt.jinja", "line 2", "line two")
    assert became()["notes.txt"] == "conflict"
    assert "line 2, mine\n" in (inside(old) / "notes.txt").read_text()
    beside = inside(old) / "notes.txt.new"
    assert "line two\n" in beside.read_text() and "<<<<" not in beside.read_text()
    beside.replace(inside(old) / "notes.txt")  # resolved
    before = snapshot(old)
    assert set(became().values()) == {"unchanged"} and snapshot(old) == before


def test_a_conflict_that_was_resolved_by_hand_is_quiet(old: Path, own: Path) -> None:
    change(inside(old) / "notes.txt", "line 2", "line 2, mine")
    change(own / "notes.txt.jinja", "line 2", "line two")
    became()
    change(inside(old) / "notes.txt", "line 2, mine", "line two, mine")
    (inside(old) / "notes.txt.new").unlink()
    assert set(became().values()) == {"unchanged"} and not (inside(old) / "notes.txt.new").exists()


def test_dry_changes_nothing(old: Path, own: Path) -> None:
    change(inside(old) / "notes.txt", "line 2", "line 2, mine")
    change(inside(old) / "domain.toml", "batch = 4", "batch = 2")
    change(own / "notes.txt.jinja", "line 2", "line two")
    change(own / "domain.toml.jinja", 'color = "teal"', 'color = "rose"')
    before = snapshot(old)
    dry = became(dry=True)
    assert (dry["notes.txt"], dry["domain.toml"]) == ("conflict", "merged") and snapshot(old) == before
    assert became() == dry


def test_what_was_taken_out_stays_out_and_what_is_already_so_is_noted(old: Path, own: Path) -> None:
    (inside(old) / "notes.txt").unlink()
    change(own / "notes.txt.jinja", "line 2", "line two")
    change(own / "domain.toml.jinja", "batch = 4", "batch = 8")
    change(inside(old) / "domain.toml", "batch = 4", "batch = 8")  # by hand, before the update
    assert set(became().values()) == {"unchanged"} and not (inside(old) / "notes.txt").exists()
    change(own / "domain.toml.jinja", "batch = 8", "batch = 16")
    assert became()["domain.toml"] == "updated"  # it counts as not edited


def test_what_was_not_made_here_is_refused(old: Path) -> None:
    with pytest.raises(FactoryError, match="was not made by factory new-domain") as caught:
        update_domain("legal")
    assert caught.value.hint
    with pytest.raises(FactoryError, match="Unknown domain 'taa'"):
        update_domain("taa")
    notes = inside(old) / ".factory" / "answers.json"
    for spoilt in ("[]", '{"answers": 3}', '{"answers": {}}'):
        notes.write_text(spoilt)
        with pytest.raises(FactoryError, match="is not what new-domain wrote"):
            update_domain("tea")


def test_the_answers_say_which_version_wrote_them(old: Path) -> None:
    from factory import __version__

    kept = json.loads((inside(old) / ".factory" / "answers.json").read_text())
    assert kept["version"] == __version__ and kept["answers"]["title"] == "茶"


def test_few_rows_are_passed_over_more_often() -> None:
    assert [_epochs(rows) for rows in (0, 71, 150, 290, 5000)] == [4, 4, 2, 1, 1]
