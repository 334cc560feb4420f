"""The guide's pages: both languages say the same, links lead somewhere, and every command on them is one that exists."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from factory.cli import app

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(path.name for path in GUIDE.glob("*.md") if path.name != "README.md")
ENGLISH = [name for name in PAGES if not name.endswith(".zh-CN.md")]
OTHERS = [
    "README.md",
    "README.zh-CN.md",
    "docs/domains.md",
    "docs/domains.zh-CN.md",
    "templates/domain/README.md.jinja",
]
WITH_COMMANDS = [*(f"docs/guide/{name}" for name in ["README.md", *PAGES]), *OTHERS]
LANGUAGE_OPTIONS = ("--title", "--lang", "--base")  # whose values differ from language to language


def chinese(name: str) -> str:
    return name.replace(".md", ".zh-CN.md")


def blocks(text: str, *kinds: str) -> list[str]:
    """The fenced blocks of these kinds."""
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if kind in kinds]


def commands(text: str, *kinds: str) -> Iterator[list[str]]:
    """The words of each `factory ...` line in fenced blocks, alone or in brackets."""
    for block in blocks(text, *kinds):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"^(?:\(.*&& )?(factory .*?)\)?$", line):
                yield shlex.split(found[1], comments=True)


def mentioned(text: str) -> Iterator[list[str]]:
    """Commands inside a sentence, such as `factory build NAME`; templates' values as one word."""
    for found in re.findall(r"`(factory [a-z][^`]*)`", re.sub(r"\{\{.*?\}\}", "NAME", text)):
        yield shlex.split(found)


def parse(words: list[str], whole: bool) -> None:
    """Fails unless command and options exist; `whole`: and all that the command must have is there."""
    command = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, f"no such command: {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(command.name, list(rest), resilient_parsing=True)
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert given <= known, f"{' '.join(words)}: no such option {given - known}"
    assert not (whole and context.args), f"{' '.join(words)}: too many words {context.args}"
    missing = [p.name for p in command.params if whole and p.required and context.params.get(p.name or "") is None]
    assert not missing, f"{' '.join(words)}: {missing} missing"


def alike(words: list[str]) -> list[str]:
    """A command without what may differ from language to language."""
    kept: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word == "--title" or before == "--title":
            continue
        kept.append("*" if before in LANGUAGE_OPTIONS else word)
    return kept


def test_both_languages_have_the_same_pages_and_the_index_names_all() -> None:
    assert sorted([*ENGLISH, *map(chinese, ENGLISH)]) == PAGES
    index = (GUIDE / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((.*?)\)", index)) == PAGES


@pytest.mark.parametrize("name", ENGLISH)
def test_both_languages_run_the_same_commands(name: str) -> None:
    texts = [(GUIDE / page).read_text(encoding="utf-8") for page in (name, chinese(name))]
    english, other = ([alike(words) for words in commands(text, "bash")] for text in texts)
    assert english and english == other
    assert [len(blocks(text, "bash")) for text in texts] == [len(blocks(texts[0], "bash"))] * 2
    assert [text.count("\n## ") for text in texts] == [texts[0].count("\n## ")] * 2


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_links_lead_somewhere(name: str) -> None:
    text = (GUIDE / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links and [link for link in links if not (GUIDE / link).exists()] == []
    if name != "README.md":
        assert links[0] == (name.replace(".zh-CN", "") if ".zh-CN" in name else chinese(name)), "the other language"
        own = [link for link in links[1:] if "guide" not in link and link != "README.md" and not link.startswith("..")]
        assert all((".zh-CN" in link) == (".zh-CN" in name) for link in own), "links stay in the language"


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_on_a_page_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for words in commands(text, "bash", "text", ""):
        parse(words, whole=True)
    for words in mentioned(text):
        parse(words, whole=False)


def test_a_command_that_does_not_exist_is_found() -> None:
    for line in ("factory teach x", "factory build x --sett a=1", "factory build", "factory models pull a b"):
        with pytest.raises(AssertionError):
            parse(line.split(), whole=True)


@pytest.mark.parametrize("name", PAGES)
def test_code_on_a_page_is_python(name: str) -> None:
    for block in blocks((GUIDE / name).read_text(encoding="utf-8"), "python"):
        ast.parse("async def _():\n" + textwrap.indent(textwrap.dedent(block), "    "))
