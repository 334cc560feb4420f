"""What new-domain makes of a name, a folder of documents and what a person wants; each refusal names the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from papers import Words, paper, write_papers

from factory import proposal
from factory.documents import Folder, Skipped, read_folder
from factory.errors import FactoryError
from factory.files import write_text
from factory.proposal import LEAST_EVAL, LEAST_TRAIN, Proposal, Wish, guess_language, identifier, propose
from factory.records import Document

# Names


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("tea", "tea"), ("Tea House", "tea_house"), (" tea - house ", "tea_house"), ("tea__2", "tea_2"), ("茶叶", "cha_ye"),
        ("绿茶 2 号", "lv_cha_2_hao"), ("Café", "cafe"), ("a" * 64, "a" * 64), ("tea\nhouse", "tea_house"),
    ],
)  # fmt: skip
def test_names(name: str, folder: str) -> None:
    assert identifier(name) == folder


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "2tea",
        "../tea",
        "tea/x",
        "tea.x",
        "class",
        "import",
        "чай",
        "お茶",
        "茶+",
        "a" * 65,
        "茶叶" * 20,
        "--",
        "'; x",
        "\n+\n",
    ],
)
def test_no_names(name: str) -> None:
    with pytest.raises(FactoryError) as caught:
        identifier(name)
    assert "gives no name" in caught.value.message and "\n" not in caught.value.message
    assert "tea_house" in caught.value.hint


# Languages

TEXTS = {
    "zh": "根据资料回答问题。茶叶要放在干燥的地方，不要见光。" * 3,
    "en": "The tea is kept in a dry place and out of the light, and it is not to be washed. " * 3,
    "mixed": "根据资料回答问题。茶叶要放在干燥的地方，不要见光。Tea 2024 pandas numpy. " * 3,
    "ja": "お茶は乾いた場所に置いてください。光に当てないようにしましょう。水で洗わないでください。" * 3,
    "ru": "Чай хранят в сухом месте, не на свету, и его не моют водой. " * 3,
    "de": "Der Tee wird trocken gelagert und nicht gewaschen; er bleibt dunkel und kommt nicht mit Wasser zusammen. "
    * 6,
    "ko": "차는 건조한 곳에 두고 빛을 피하며 물로 씻지 않습니다. " * 3,
    "none": "123 456 789",
}


def documents(*languages: str) -> list[Document]:
    return [Document(f"{language}.md", TEXTS[language]) for language in languages]


@pytest.mark.parametrize(
    ("texts", "language"), [(["zh"], "zh"), (["en"], "en"), (["mixed"], "zh"), (["zh", "zh", "en"], "zh")]
)
def test_the_language_is_guessed(texts: list[str], language: str) -> None:
    assert guess_language(documents(*texts)) == language


@pytest.mark.parametrize(
    ("language", "script"),
    [("ja", "Japanese"), ("ru", "Cyrillic"), ("de", "Latin"), ("ko", "Hangul"), ("none", "no letters")],
)
def test_another_language_is_refused(language: str, script: str) -> None:
    with pytest.raises(FactoryError, match=f"neither Chinese nor English.*{script}") as caught:
        guess_language(documents(language))
    assert "--lang" in caught.value.hint


def test_documents_in_another_language_are_left_out(tmp_path: Path) -> None:
    write_papers(tmp_path / "docs", "zh")
    write_text(tmp_path / "docs" / "english.md", TEXTS["en"])
    made = propose(Wish("tea", tmp_path / "docs"))
    assert made.language == "zh" and [skipped.name for skipped in made.skipped] == ["english.md"]
    assert {document.language for document in made.documents} == {"zh"}
    with pytest.raises(FactoryError, match=r"No document in .* is in the domain's language"):
        propose(Wish("tea", write_papers(tmp_path / "en", "en"), language="zh"))


# Wishes


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"language": "fr"}, "Unknown language 'fr'"),
        ({"base": "gema-3-270m"}, "Unknown base model 'gema-3-270m'"),
        ({"base": "smollm2-135m-instruct"}, "knows en; the domain's language is zh"),
        ({"docs": Path("gone")}, "gone does not exist"),
    ],
)
def test_wishes_that_cannot_be_met(tmp_path: Path, wish: dict[str, str], said: str) -> None:
    docs = write_papers(tmp_path / "docs", "zh")
    with pytest.raises(FactoryError, match=said) as caught:
        propose(Wish(**{"name": "tea", "docs": docs, **wish}))  # type: ignore[arg-type]
    assert caught.value.hint


def test_what_is_not_said_comes_from_the_documents(tmp_path: Path) -> None:
    made = propose(Wish("绿茶", write_papers(tmp_path / "docs", "zh")))
    assert (made.name, made.title, made.language, made.base.name) == ("lv_cha", "绿茶", "zh", "gemma-3-270m")
    assert made.license.startswith("未注明")
    made = propose(Wish("tea_house", write_papers(tmp_path / "en", "en")))
    assert (made.title, made.language, made.base.name) == ("Tea house", "en", "smollm2-135m-instruct")
    made = propose(
        Wish("tea", tmp_path / "en", base="gemma-3-270m", title="My\n\x00 tea\ud800\u200b ", license="CC0\n1.0")
    )
    assert (made.title, made.license, made.base.name) == ("My tea", "CC0 1.0", "gemma-3-270m")


# Documents that cannot be used


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)


def refused(docs: Path) -> FactoryError:
    with pytest.raises(FactoryError) as caught:
        propose(Wish("tea", docs))
    assert caught.value.hint and "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_no_documents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refused(tmp_path / "empty").message
    sparse(tmp_path / "films" / "tea.mp4", 10 * 2**30)
    sparse(tmp_path / "films" / "long.txt", 10 * 2**30)
    sparse(tmp_path / "films" / "none.md", 0)
    error = refused(tmp_path / "films")
    assert ".mp4" in error.message and "larger than" in error.message and "empty" in error.message
    assert "PDF with text" in error.hint
    sparse(tmp_path / "one.mp4", 2**30)
    assert ".mp4" in refused(tmp_path / "one.mp4").message


def test_links_lead_nowhere(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "does not exist" in refused(loop).message
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "round").symlink_to(tmp_path / "docs")
    (tmp_path / "docs" / "self.md").symlink_to(tmp_path / "docs" / "self.md")
    (tmp_path / "docs" / "gone.md").symlink_to(tmp_path / "nothing.md")
    assert "holds no document" in refused(tmp_path / "docs").message


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = write_papers(tmp_path / "docs", "zh")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    assert "may not be read" in refused(docs).message


def test_only_scans(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "docs").mkdir()
    Image.new("RGB", (80, 80), "white").save(tmp_path / "docs" / "scan.pdf")
    assert "scan" in refused(tmp_path / "docs").message.lower()


def test_too_little(tmp_path: Path) -> None:
    write_text(tmp_path / "docs" / "a.md", "茶叶要放在干燥的地方。")
    error = refused(tmp_path / "docs")
    assert "too little to train on" in error.message and str(LEAST_TRAIN) in error.message
    write_papers(tmp_path / "few", "zh", 2)
    assert "too little" in refused(tmp_path / "few").message


# What the documents carry


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Proposal:
    return propose(Wish("tea", write_papers(tmp_path_factory.mktemp("docs"), "zh")))


def test_tasks_have_enough_questions_and_the_rest_is_named(carried: Proposal) -> None:
    assert all(task.train >= LEAST_TRAIN and task.eval >= LEAST_EVAL for task in carried.tasks)
    assert all(task.train < LEAST_TRAIN or task.eval < LEAST_EVAL for task in carried.left_out)
    assert len(carried.tasks) >= 7 and not {task.name for task in carried.tasks} & {
        task.name for task in carried.left_out
    }
    held = sum(passage.split == "eval" for passage in carried.passages)
    assert carried.eval_share in proposal.SHARES and 0 < held < len(carried.passages) / 2


def test_a_source_is_asked_for_only_where_the_labels_cover_most(tmp_path: Path) -> None:
    for number in range(4):
        write_text(
            tmp_path / "docs" / f"{number}.md", "\n\n".join(paper("en", 10 * number + part) for part in range(5))
        )
    made = propose(Wish("tea", tmp_path / "docs"))
    assert len(made.sources) == 4 and "source" in {task.name for task in made.tasks}
    write_papers(tmp_path / "docs" / "short", "en", 18)
    more = [write_text(tmp_path / "docs" / "short" / f"x{n}.md", paper("en", 100 + n)) for n in range(12)]
    assert more and propose(Wish("tea", tmp_path / "docs")).sources == []


def test_the_passages_are_those_that_the_domain_will_read(tmp_path: Path) -> None:
    """What is text in one format is markup in the Markdown file that it becomes."""
    docs = write_papers(tmp_path / "docs", "zh")
    write_text(docs / "a.txt", "# 不是标题<!-- 也不是注释 -->\n\n![不是图](x)\n\n" + Words("zh", 999).text(12))
    write_text(docs / "b.markdown", "---\ntitle: 前言\n---\n" + Words("zh", 998).text(12))
    made = propose(Wish("tea", docs))
    proposal.write_data(made.documents, tmp_path / "data")
    read = read_folder(tmp_path / "data", "zh").documents
    again = [piece for document in read for piece in proposal.cut(document, made.eval_share)]
    assert [(piece.id, piece.text, piece.split, piece.title) for piece in again] == [
        (piece.id, piece.text, piece.split, piece.title) for piece in made.passages
    ]
    assert len(read) == 20


def test_file_names_that_no_disk_takes_are_made_shorter(tmp_path: Path) -> None:
    """80 Chinese letters are 240 bytes: with what is put before and after it no file system takes that."""
    ids = [
        "茶" * 83 + ".pdf",
        "茶" * 83 + "叶.pdf",
        "a.md",
        "A.MD",
        "a.pdf",
        "b\udcff:?.txt",
        "x/" + "y" * 255 + "/z.md",
    ]
    named = proposal._named([Document(name, "T" * 20, "t") for name in ids])
    names = [document.id for document in named]
    assert len({name.lower() for name in names}) == len(ids)
    assert names[2:5] == ["a.md", "A_.md", "a.pdf.md"] and names[5] == "b___.txt.md"
    assert all(len(part.encode()) <= 220 for name in names for part in name.split("/"))
    proposal.write_data(named, tmp_path / "data")
    assert sorted(document.id for document in read_folder(tmp_path / "data", "en").documents) == sorted(names)


def test_show_says_what_was_found(carried: Proposal, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    left = [Skipped("a\nb\udcff.mp4", "no document"), Skipped("c.mp4", "no document")]
    proposal.show(replace(carried, skipped=left), Wish("tea", package=True), print)
    told = capsys.readouterr().out
    assert "18 (18 .md)" in told and "2 x no document (first: a b.mp4)" in told
    assert "gemma-3-270m (268 M parameters)" in told and "./tea: " in told and "pyproject.toml" in told
    assert all(f"{task.name:8} {task.title}: {task.train} questions" in told for task in carried.tasks)


# With a person


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Answer typer's prompts, "" with what stands ready; the list of prompts that were shown."""
    import typer

    shown: list[str] = []

    def prompt(text: str, default: str = "", show_default: bool = True) -> str:
        shown.append(f"{text} [{default}]" if show_default else text)
        return answers[len(shown) - 1] or default

    monkeypatch.setattr(typer, "prompt", prompt)
    return shown


def test_enter_takes_what_stands_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = write_papers(tmp_path / "docs", "zh")
    reads: list[Path] = []
    real = proposal.read_folder
    monkeypatch.setattr(proposal, "read_folder", lambda *args, **more: reads.append(args[0]) or real(*args, **more))
    shown = answering(monkeypatch, f" {docs} ", "", "", "")
    wish, folder = proposal.ask_for_missing(Wish("茶叶"))
    assert wish == Wish("茶叶", docs, "zh", "gemma-3-270m", "茶叶") and isinstance(folder, Folder)
    assert [text.split(" ")[0] for text in shown] == ["Folder", "Language", "Title", "Base"]
    assert "[zh]" in shown[1] and "[茶叶]" in shown[2] and "[gemma-3-270m]" in shown[3]
    propose(wish, folder=folder)
    assert reads.count(docs) == 1  # a folder of large PDFs is not read twice


def test_what_the_command_line_says_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = answering(monkeypatch)
    wish = Wish("tea", Path("docs"), "en", "gemma-3-270m", "Tea")
    assert proposal.ask_for_missing(wish) == (wish, None) and shown == []
