"""factory new-domain and update-domain as a person types them: what is written, what is refused, and that nothing is left."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from papers import Words, write_papers
from PIL import Image
from served import served
from toys import Ended, Factory

from factory.files import write_text
from factory.records import read_rows

from .toy import environment


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Factory:
    return Factory(monkeypatch, capsys)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write_papers(tmp_path / "my docs", "zh", 16)


def tree(root: Path) -> dict[str, tuple[int, int] | None]:
    """Every file with its size and time of change, and every folder; the test's home is not looked at."""
    found: dict[str, tuple[int, int] | None] = {}
    for path in root.rglob("*"):
        if path.relative_to(root).parts[0] != ".home":
            about = os.lstat(path)
            real = path.is_dir() and not path.is_symlink()
            found[path.relative_to(root).as_posix()] = None if real else (about.st_size, about.st_mtime_ns)
    return found


def refused(ended: Ended, said: str, hint: str = "") -> None:
    lines = ended.err.splitlines()
    assert ended.code == 1 and len(lines) == 2, ended
    assert lines[0].startswith("Error: ") and said in lines[0], ended.err
    assert lines[1].startswith("  ") and len(lines[1].strip()) > 10 and hint in lines[1], ended.err
    assert "Traceback" not in ended.err + ended.out


# What it does


def test_a_folder_becomes_a_domain_that_is_fit_to_build(factory: Factory, docs: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    dry = factory("new-domain", "绿茶 2", "--docs", docs, "--dry")
    assert dry.code == 0 and "would write ./domains/lv_cha_2" in dry.out and tree(tmp_path) == before
    made = factory("new-domain", "绿茶 2", "--docs", docs, "--yes")
    assert made.code == 0 and "factory build lv_cha_2" in made.out, made.err
    assert made.out.startswith(dry.out[: dry.out.index("would write")])  # --dry says what is then done
    assert {path: what for path, what in tree(tmp_path).items() if path in before} == before
    assert sorted(path.name for path in (tmp_path / "domains").iterdir()) == ["lv_cha_2"]
    assert "绿茶 2" in factory("domains").out
    checked = factory("check", "lv_cha_2")
    assert checked.code == 0 and "error" not in checked.out
    built = factory("build", "lv_cha_2", "--until", "curate")
    assert built.code == 0 and "16 documents" in built.out
    refused(
        factory("new-domain", "绿茶 2", "--docs", docs, "--yes"), "domains/lv_cha_2 is there already", "Choose another"
    )


def test_one_file_and_a_long_path(
    factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*["ein sehr langer Name mit Leerzeichen und 中文 " * 2] * 9)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(docs.rglob("*.md")))
    write_text(deep / "all in one.md", text)
    made = factory("new-domain", "one", "--docs", "all in one.md", "--yes", "--title", "Alles")
    assert made.code == 0 and (deep / "domains/one/data/all in one.md").exists(), made.err
    assert factory("check", "one").code == 0


def test_without_documents_the_sample_is_taken(factory: Factory, tmp_path: Path) -> None:
    for language in ("zh", "en"):
        made = factory("new-domain", f"tea_{language}", "--lang", language, "--yes")
        assert made.code == 0, made.err
        assert factory("check", f"tea_{language}").code == 0
        assert f'language = "{language}"' in (tmp_path / f"domains/tea_{language}/domain.toml").read_text(
            encoding="utf-8"
        )


def test_update_from_the_command_line(factory: Factory, docs: Path, tmp_path: Path) -> None:
    factory("new-domain", "tea", "--docs", docs, "--yes")
    ended = factory("update-domain", "tea")
    assert ended.code == 0 and {line.split()[0] for line in ended.out.splitlines()} == {"unchanged"}
    origin = tmp_path / "domains/tea/.factory/origin/README.md"
    origin.write_text("what an older version wrote\n", encoding="utf-8")
    (tmp_path / "domains/tea/README.md").write_text("what a person made of it\n", encoding="utf-8")
    before = tree(tmp_path)
    dry = factory("update-domain", "tea", "--dry")
    assert "conflict   README.md: yours is kept, the new one is README.md.new" in dry.out and tree(tmp_path) == before
    assert factory("update-domain", "tea").out == dry.out
    assert (tmp_path / "domains/tea/README.md.new").exists()
    assert "conflict" not in factory("update-domain", "tea").out
    refused(factory("update-domain", "legal"), "was not made by factory new-domain")
    refused(factory("update-domain", "taa"), "Unknown domain 'taa'", "'tea'")


# What it refuses


def sparse(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(10 * 2**30)
    return path


def scan(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 60), "white").save(path)


@pytest.mark.parametrize("asking", [False, True], ids=["--yes", "with a person"])
@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("2tea", "'2tea' gives no name", "tea_house"),
        ("../tea", "'../tea' gives no name", "tea_house"),
        ("class", "'class' gives no name", "tea_house"),
        ("legal", "'legal' is installed already", "factory domains"),
        ("tea --docs gone", "gone does not exist", "--docs"),
        ("tea --docs empty", "it holds no files", "Markdown"),
        ("tea --docs films", ".mp4", "Markdown"),
        ("tea --docs films/tea.mp4", ".mp4", "Markdown"),
        ("tea --docs scans", "scan", "PDF with text"),
        ("tea --docs loop", "loop does not exist", "--docs"),
        ("tea --docs links", "a link", "Markdown"),
        ("tea --docs little", "too little to train on", "Add documents"),
        ("tea --docs german", "neither Chinese nor English", "--lang"),
        ("tea --docs russian", "neither Chinese nor English", "--lang"),
        ("tea --docs japanese", "neither Chinese nor English", "--lang"),
        ("tea --lang fr --docs docs", "Unknown language 'fr'", "zh, en"),
        ("tea --base gema --docs docs", "Unknown base model 'gema'", ""),
        ("tea --base smollm2-135m-instruct --docs docs", "the domain's language is zh", "--base gemma-3-270m"),
        ("tea --docs docs --from empty", "holds no template domain.py.jinja", "templates/domain"),
        ("tea --docs docs --from gone", "holds no template domain.py.jinja", "templates/domain"),
        ("tea --docs docs --from own", "own/README.md.jinja:2 is no template", "Mend"),
        ("taken --package --docs taken", "taken is there already", "Choose another"),
        ("old --docs domains/old/data", "domains/old is there already", "Choose another"),
    ],
)
def test_refusals(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str, hint: str, asking: bool
) -> None:
    (tmp_path / "empty").mkdir()
    sparse(tmp_path / "films" / "tea.mp4")
    scan(tmp_path / "scans" / "1.pdf")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "again.md").symlink_to(tmp_path / "links" / "again.md")
    (tmp_path / "links" / "up").symlink_to(tmp_path)
    write_text(tmp_path / "little" / "a.md", "茶叶要放在干燥的地方，不要见光。")
    write_text(
        tmp_path / "german" / "a.md",
        "Der Tee wird trocken gelagert und bleibt dunkel; er kommt nie mit Wasser zusammen. " * 8,
    )
    write_text(tmp_path / "russian" / "a.md", "Чай хранят в сухом месте, не на свету. " * 8)
    write_text(tmp_path / "japanese" / "a.md", "お茶は乾いた場所に置いてください。光に当てないようにしましょう。" * 8)
    if "--docs docs" in line:
        write_papers(tmp_path / "docs", "zh", 16)
    write_text(tmp_path / "taken" / "a.md", "x")
    write_text(tmp_path / "domains" / "old" / "data" / "a.md", "x")
    write_text(tmp_path / "own" / "domain.py.jinja", "")
    write_text(tmp_path / "own" / "domain.toml.jinja", "")
    write_text(tmp_path / "own" / "README.md.jinja", "one\n{% else %}\n")
    before = tree(tmp_path)
    words = ["--title", "Tea", *([] if "--lang" in line or not asking else ["--lang", ""])]
    if asking:
        typed(monkeypatch, "\n" * 9)
    ended = factory("new-domain", *line.split(), *words, *([] if asking else ["--yes"]))
    if asking:  # the prompt's lines are on standard output
        assert ended.err.startswith("Error: "), ended
    refused(ended, said, hint)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("package", [False, True])
def test_where_nothing_can_be_written(
    factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool
) -> None:
    """root may write everywhere: a file stands where the folder should be, and the system says that it is read-only."""
    words = ["new-domain", "tea", "--docs", str(docs), "--yes", *(["--package"] if package else [])]
    if not package:
        write_text(tmp_path / "domains", "a file")
        before = tree(tmp_path)
        refused(factory(*words), "omains", "path")
        assert tree(tmp_path) == before
        (tmp_path / "domains").unlink()
    before = tree(tmp_path)

    def read_only(*arguments: object, **more: object) -> None:
        raise OSError(30, "Read-only file system", "tea")

    monkeypatch.setattr("factory.scaffold.tempfile.mkdtemp", read_only)
    refused(factory(*words), "Read-only file system: tea", "may you write there")
    after = tree(tmp_path)
    assert after == before


@pytest.mark.parametrize("where", ["write_data", "write_records", "write_text", "write_json"])
def test_ctrl_c_while_it_is_written(
    factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupted(*arguments: object) -> None:
        assert list((tmp_path / "domains").glob(".tea.*"))
        raise KeyboardInterrupt

    before = tree(tmp_path)
    monkeypatch.setattr(f"factory.scaffold.{where}", interrupted)
    ended = factory("new-domain", "tea", "--docs", docs, "--yes")
    assert ended.code == 130 and "Traceback" not in ended.err and tree(tmp_path) == before


# With a person


class Keyboard(io.StringIO):
    """Lines as a person types them; after them Ctrl-C, or the end of the input."""

    def __init__(self, text: str, end: type[BaseException]) -> None:
        super().__init__(text)
        self.end = end

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        if found := super().readline():
            return found
        raise self.end


def typed(monkeypatch: pytest.MonkeyPatch, text: str, end: type[BaseException] = EOFError) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard(text, end))


def test_enter_five_times(factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, f"{docs}\n\n\n\n\n")
    ended = factory("new-domain", "绿茶")
    assert ended.code == 0 and "Write it?" in ended.out, ended.err
    toml = (tmp_path / "domains/lv_cha/domain.toml").read_text(encoding="utf-8")
    assert 'title = "绿茶"' in toml and 'base = "gemma-3-270m"' in toml
    typed(monkeypatch, f"{docs}\nzh\n红茶\nqwen3-0.6b\ny\n")
    assert factory("new-domain", "red").code == 0
    toml = (tmp_path / "domains/red/domain.toml").read_text(encoding="utf-8")
    assert 'title = "红茶"' in toml and 'base = "qwen3-0.6b"' in toml


def test_no_is_no(factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(tmp_path)
    typed(monkeypatch, f"{docs}\n\n\n\nn\n")
    ended = factory("new-domain", "tea")
    assert ended.code == 0 and "Next:" not in ended.out and tree(tmp_path) == before


def test_a_pipe_is_not_asked(factory: Factory, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    ended = factory("new-domain", "tea", "--docs", docs)
    assert ended.code == 0 and "Write it?" not in ended.out, ended.err


@pytest.mark.parametrize("end", [KeyboardInterrupt, EOFError])
@pytest.mark.parametrize("answers", range(5))
def test_a_person_who_goes_away(
    factory: Factory,
    docs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: int,
    end: type[BaseException],
) -> None:
    before = tree(tmp_path)
    typed(monkeypatch, "".join([f"{docs}\n", "\n", "\n", "\n"][:answers]), end)
    ended = factory("new-domain", "tea")
    assert ended.code == 1 and "Traceback" not in ended.err + ended.out and "Written" not in ended.out
    asked = ["Folder of documents", "Language", "Title", "Base model", "Write it?"]
    assert asked[answers] in ended.out and not any(text in ended.out for text in asked[answers + 1 :])
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [("gone\n", "gone does not exist"), ("{docs}\nfr\n\n\n", "Unknown language 'fr'"), ("{docs}\n\n\nqwen\n", "Unknown base model 'qwen'")],
)  # fmt: skip
def test_a_wrong_answer(
    factory: Factory, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    before = tree(tmp_path)
    typed(monkeypatch, text.format(docs=docs))
    refused(factory("new-domain", "tea"), said)
    assert tree(tmp_path) == before


# As a package


@pytest.mark.slow
def test_a_package_is_installed_and_found_from_any_folder(factory: Factory, docs: Path, tmp_path: Path) -> None:
    write_text(docs / "b c" / "d 'e' \"f\".txt", Words("zh", 77).text(20))
    title = 'Tee "2" \\ """ \n[x]'
    made = factory("new-domain", "tea_house", "--docs", docs, "--package", "--yes", "--title", title)
    assert made.code == 0 and "pip install ./tea_house" in made.out, made.err
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, "./tea_house"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    env = environment(tmp_path, {"PYTHONPATH": str(target)})

    def run(*words: str) -> str:
        ended = subprocess.run(
            [Path(sys.executable).parent / "factory", *words], cwd=elsewhere, env=env, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert "tea_house" in run("domains") and "factory-tea-house" in run("domains")
    assert "error" not in run("check", "tea_house")
    assert "17 documents" in run("build", "tea_house", "--until", "curate")
    inner = tmp_path / "tea_house" / "factory_tea_house"
    written = {path.relative_to(inner) for path in inner.rglob("data/**/*.md")}
    assert len(written) == 17 and all((target / "factory_tea_house" / path).exists() for path in written)
    assert {"unchanged"} == {line.split()[0] for line in factory("update-domain", "tea_house").out.splitlines()}


# With a teacher


def test_a_teacher_writes_examples_and_eval_items(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / ".home"))
    docs = write_papers(tmp_path / "docs", "en", 16)
    with served() as teacher:
        made = factory("new-domain", "tea", "--docs", docs, "--yes", "--teacher", teacher.address)
        assert made.code == 0 and "task        ask" in made.out, made.err
        rows = [
            json.loads(line)
            for line in (tmp_path / "domains/tea/evals/draft.jsonl").read_text("utf-8").split("\n")
            if line
        ]
        asked = [row for row in rows if row["task"] == "ask"]
        assert asked and all(row["draft"] and "Question: " in row["input"] for row in asked)
        before = len(teacher.asked)
        checked = factory("check", "tea")
        assert checked.code == 0 and "The teacher writes them in the build" in checked.out, checked.out
        assert len(teacher.asked) == before  # a check costs nothing
        refused(factory("build", "tea", "--until", "curate"), "below the floor of 30", "synthesize.floor")
        built = factory("build", "tea", "--until", "curate", "--set", "synthesize.floor=0")
        assert built.code == 0 and "examples by toy-teacher" in built.out, built.err
        run = tmp_path / "runs/tea/default"
        split = {row["id"]: row["split"] for _, row in read_rows(run / "ingest/passages.jsonl")}
        written = [row["provenance"]["passage"] for _, row in read_rows(run / "synthesize/examples.jsonl")]
        assert written and "eval" in split.values() and {split[name] for name in written} == {"train"}
        train = (tmp_path / "runs/tea/default/curate/train.jsonl").read_text("utf-8")
        assert '"task": "ask"' in train and '"teacher": "toy-teacher"' in train
        held = {row["passage"] for row in asked}
        assert not held & {json.loads(line)["provenance"]["passage"] for line in train.split("\n") if line}
    again = factory(
        "build", "tea", "--until", "curate", "--force", "synthesize", "--set", "synthesize.floor=0"
    )  # the teacher is gone: what it said is kept
    assert again.code == 0 and "examples by toy-teacher" in again.out, again.err


def test_no_teacher_answers(factory: Factory, docs: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    refused(
        factory("new-domain", "tea", "--docs", docs, "--yes", "--teacher", "http://127.0.0.1:9/v1"),
        "No teacher answers",
        "--model",
    )
    refused(factory("new-domain", "tea", "--docs", docs, "--yes", "--teacher", "gpt"), "is no teacher", "/v1")
    assert tree(tmp_path) == before
