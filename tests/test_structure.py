"""Blocks of a Markdown text, written and read again as the same; passages that follow them and lose no words."""

from __future__ import annotations

import random
import re

import pytest

from factory import structure
from factory.records import Document
from factory.structure import LEAST, MOST, Block, blocks, cut, sentences
from factory.text import squeeze

LANGUAGES = ("zh", "en")
HARD = [
    "a|b", "*a* _b_ `c`", "2*3*4", "# no heading", "- no entry", "+ none", "1. no step", "12) none", "> no quote", "===", "---",
    "| --- |", "```", "~~~", "<div>", "List<String> x", "&amp; &lt;", "[a](b)", "![a](b)", "\\", "a\\|b", "a \\* b", "<!-- page 9 -->",
    "[x]: http://y", "a *b", "c* d", "http://a_b_c.d", "第一条", "a`b", "<br>", "#", "* * *", "$1.5", ": x", "C#", "[ ] todo",
]  # fmt: skip


def one(text: str) -> Block:
    (block,) = blocks(text)
    return block


def document(text: str, language: str = "zh", **more: str) -> Document:
    return Document("d.md", text, "D", language, "CC0-1.0", "/d.md", **more)


def texts(text: str, language: str = "zh") -> list[str]:
    return [passage.text for passage in cut(document(text, language), 0.1)]


# Blocks


def test_headings() -> None:
    text = "before\n\n# A\n\n### B：\n\nx\n\n## C #\n\ny\n\nD\n===\n\nz\n\n#\n\nw"
    assert [(block.lines[0], block.headings) for block in blocks(text)] == [
        ("before", ()), ("x", ("A", "B")), ("y", ("A", "C")), ("z", ("D",)), ("w", ())
    ]  # fmt: skip
    assert blocks(text)[1].heading == "B" and blocks(text)[0].heading == ""


def test_a_very_long_heading_is_a_paragraph() -> None:
    long = "word " * 30
    assert [(block.kind, block.headings) for block in blocks(f"# A\n\n## {long}\n\nx")] == [("text", ("A",))] * 2


def test_lists() -> None:
    block = one("- 甲\n  - 一\n  - 二\n\n    - 深\n- 乙：\n  1. 三\n- 丙。\n\n  又\n-\n")
    assert (block.kind, block.lines) == ("list", ("甲：一；二；深", "乙：三", "丙。又"))
    assert one("* a\n  * b\n  * c\n* d.\n  * e").lines == ("a: b; c", "d. e")
    assert one("- run\n  ```\n  pip  x\n  ```").lines == ("run: pip x",)


def test_ordered_lists_are_steps_with_their_numbers() -> None:
    first, second = blocks("1. a\n2. b\n\n<!-- page 2 -->\n\n3) c\n4) d")
    assert (first.kind, first.lines, first.start, first.page) == ("steps", ("a", "b"), 1, 0)
    assert (second.lines, second.start, second.page) == (("c", "d"), 3, 2)
    assert second.markdown() == "3. c\n4. d"


def test_tables() -> None:
    block = one("| a \\| b | `c` |\n| --- | :-: |\n| x<br>y | *z* |\n| | |\n| only |")
    assert block.cells == (("a | b", "c"), ("x y", "z"), ("only", "")) and block.lines[1] == "x y | z"
    frame = one("| a note | in a frame |\n| --- | --- |")
    assert (frame.kind, frame.lines) == ("text", ("a note", "in a frame"))
    assert one("|  |  |\n| --- | --- |\n| a | b |\n| c | d |").cells == (("a", "b"), ("c", "d"))


def test_code_keeps_its_indentation() -> None:
    block = one("```python\ndef f():\n\n    return '```'  \n```")
    assert (block.kind, block.lines) == ("code", ("def f():", "    return '```'"))
    assert one("    x = 1\n      y").lines == ("x = 1", "  y") and not blocks("```\n\n```")


def test_quotations() -> None:
    block = one("> one *two*\n> three\n>\n> - four\n>\n> ```\n> five\n> ```")
    assert (block.kind, block.lines) == ("text", ("one two", "three", "four", "five"))


@pytest.mark.parametrize("mark", ["[!Warning]", "[!NOTE]", "[!tip]-"])
def test_the_mark_of_an_admonition_is_no_text(mark: str) -> None:
    assert one(f"> {mark}\n> Mind the *step*.").lines == ("Mind the step.",)
    assert one(f"> {mark} Mind\n>\n> - it").lines == ("Mind", "it")
    assert one(f"{mark} x").lines == (f"{mark} x",)


def test_paragraphs_without_links_pictures_and_comments() -> None:
    block = one("See [the *plan*](http://x) ![no](a.png)<!-- gone --> <b>bold</b>\\\nnext<br/>last")
    assert block.lines == ("See the plan  bold", "next", "last")
    assert not blocks("<!-- a\n\nb -->\n\n---\n\n![x](y)\n\n<script>\nx\n</script>")


def test_html_in_markdown_is_read() -> None:
    text = '<p align="center">\nHello &amp; <b>bye</b><!-- no -->\n</p>\n\n<details><summary>More</summary>\n\ninside\n\n</details>'
    assert [block.lines for block in blocks(text)] == [("Hello &  bye",), ("More",), ("inside",)]


def test_pages() -> None:
    found = blocks("a\n<!-- page 2 -->\nb\n\n<!-- page 3 --> c\n\n<!-- page 12 -->\n\n<!-- page 13 -->\n\n# H\n\nd")
    assert [(block.lines, block.page) for block in found] == [(("a",), 0), (("b",), 2), (("c",), 3), (("d",), 13)]


@pytest.mark.parametrize("line", HARD)
def test_a_block_is_read_again_as_the_same(line: str) -> None:
    for kind in ("text", "list", "steps", "code"):
        for lines in ((line,), ("first", line), (line, "last"), ("a *b", line, "c* d")):
            block = Block(kind, lines, start=7 if kind == "steps" else 1)
            assert blocks(block.markdown()) == [block]
    cells = (("head", line), (line, "x"), ("", line))
    table = Block("table", tuple(" | ".join(row) for row in cells), cells=cells)
    assert blocks(table.markdown()) == [table]


def test_only_what_must_be_is_escaped() -> None:
    plain = ("snake_case and 5 * 3 = 15 [1], a < b & c.", "第3条（见附件）：*")
    assert Block("text", plain).markdown() == "\n".join(plain)


@pytest.mark.parametrize("heading", ["C#", "a # b", "C #", "*a*", "2*3*4", "<T>", "1. x", "- y", "# z", "a\\"])
def test_the_heading_of_a_passage_is_read_again(heading: str) -> None:
    made = structure._text([Block("text", ("x",), (heading,))])
    assert [(block.lines, block.heading) for block in blocks(made)] == [(("x",), heading)]


# Passages


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+|[\u4e00-\u9fff]", text)


def sentence(rng: random.Random, language: str, length: int) -> str:
    if language == "zh":
        return "".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(length)) + rng.choice("。！？；")
    made = " ".join(f"w{rng.randrange(10**6)}" for _ in range(max(1, length // 6)))
    return made.capitalize() + rng.choice([". ", "! ", "? "])


def paragraph(rng: random.Random, language: str) -> str:
    return "".join(sentence(rng, language, rng.choice([8, 30, 90])) for _ in range(rng.choice([1, 3, 12])))


def section(rng: random.Random, language: str) -> str:
    entries = [sentence(rng, language, rng.choice([5, 20, 200])).strip() for _ in range(rng.choice([2, 9, 40]))]
    rows = [f"| {entry} | {sentence(rng, language, 9).strip()} | {number} |" for number, entry in enumerate(entries)]
    return rng.choice([
        paragraph(rng, language), sentence(rng, language, 3000), "\n".join(entries),
        "\n".join(f"- {entry}" for entry in entries), "\n".join(f"{n}. {entry}" for n, entry in enumerate(entries, 1)),
        "\n".join([f"| Name{rng.randrange(99)} | 名称 | Number |", "| --- | --- | --- |", *rows]),
        "\n".join(["```", *entries, "```"]), "> " + paragraph(rng, language),
    ])  # fmt: skip


def made_up(seed: int, language: str) -> str:
    rng = random.Random(seed)
    parts = []
    for number in range(rng.randrange(3, 9)):
        parts.append(f"{'#' * rng.randrange(1, 4)} Heading {number} {sentence(rng, language, 15).strip()}")
        parts += [section(rng, language) for _ in range(rng.randrange(1, 4))]
    return "\n\n".join(parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_is_lost_and_passages_keep_their_size(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEAST, language, 1)  # nothing is dropped as too short
    for seed in range(30):
        text = made_up(seed, language)
        made = texts(text, language)
        assert all(len(passage) <= MOST[language] and passage.startswith("# Heading ") for passage in made)
        left = {word for passage in made for word in words(passage)}
        wanted = {word for block in blocks(text) for line in block.lines for word in words(line)}
        assert wanted <= left and wanted
        assert len(made) < 4 * len(text) / MOST[language] + 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_passages_are_dropped(language: str) -> None:
    for seed in range(10):
        assert all(LEAST[language] <= len(text) <= MOST[language] for text in texts(made_up(seed, language), language))
    assert (
        not texts("短。")
        and len(texts("长" * 30)) == 1
        and not texts("x" * 79, "en")
        and len(texts("x" * 80, "en")) == 1
    )


def test_every_passage_begins_with_its_heading() -> None:
    first, second, third = cut(document(f"# 甲\n\n{'一' * 200}\n\n## 乙\n\n{'二' * 300}\n\n{'三' * 300}\n\n"), 0)
    assert (first.text[:4], second.text[:4], third.text[:4]) == ("# 甲\n", "# 乙\n", "# 乙\n")
    assert (first.meta["headings"], third.meta["headings"]) == ("甲", "甲 / 乙")


def test_small_sections_share_a_passage_below_their_headings() -> None:
    assert texts("# 甲\n\n一一。\n\n- 二二\n- 三三\n\n## 乙\n\n四四四四四四四四四四四四四四。") == [
        "# 甲\n\n一一。\n\n- 二二\n- 三三\n\n# 乙\n\n四四四四四四四四四四四四四四。"
    ]


def test_long_steps_keep_their_numbers() -> None:
    steps = [f"{number} 号步骤" + "做" * 60 for number in range(1, 21)]
    steps[0] = f"1 号步骤。{'慢' * 190}，{'慢' * 700}"
    found = [
        block
        for text in texts("# 步骤\n\n" + "\n".join(f"{n}. {step}" for n, step in enumerate(steps, 1)))
        for block in blocks(text)
    ]
    numbered = [(block.start + index, line) for block in found for index, line in enumerate(block.lines)]
    assert {number for number, _ in numbered} == set(range(1, 21))
    assert all(line.startswith(f"{number} 号") or (number == 1 and "慢" in line) for number, line in numbered)


def test_neighbouring_lists_of_steps_stay_apart() -> None:
    text = "# 甲\n\n1. 一\n2. 二\n\n<!-- page 2 -->\n\n3. 三\n\n<!-- page 3 -->\n\n1. 四四四四四四四四四四四四四四四\n2. 五"
    (made,) = texts(text)
    assert [(block.start, len(block.lines)) for block in blocks(made)] == [(1, 3), (1, 2)]


def test_long_tables_keep_their_head_and_a_long_row_becomes_lines() -> None:
    rows = [("甲", "值" * 900), *((f"行{number}", "数" * 50) for number in range(20))]
    made = texts("\n".join(["| 名称 | 内容 |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]))
    assert made[0].startswith("名称：甲\n\n内容：值值") and "".join(made).count("值") == 900
    tables = [block for text in made for block in blocks(text) if block.kind == "table"]
    assert len(tables) > 2 and all(block.cells[0] == ("名称", "内容") for block in tables)
    assert [row[0] for block in tables for row in block.cells[1:]] == [f"行{number}" for number in range(20)]


def test_a_long_sentence_is_not_cut_within_a_word() -> None:
    long = " ".join(f"word{number}" for number in range(400))
    assert " ".join(texts(long, "en")).split() == long.split()


@pytest.mark.parametrize("text", ["一。二！”三；四", 'A b. C "d." E? 1.5 x. 2 y\nz', "no end", "e.g. this. That"])
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


def test_sentences() -> None:
    assert sentences("他说：“好。”然后走了。完") == ["他说：“好。”", "然后走了。", "完"]
    assert sentences("It costs 3.5 euros. Pay e.g. now! Yes") == ["It costs 3.5 euros. ", "Pay e.g. now! ", "Yes"]
    assert sentences(" \n ") == []


# The split


def many() -> str:
    return "\n\n".join(f"# 第{number}节\n\n{'内容' * 80}{number}" for number in range(600))


def test_about_the_share_is_for_evaluation_and_never_less_with_a_larger_share() -> None:
    before: set[str] = set()
    for share in (0.0, 0.1, 0.3, 1.0):
        passages = list(cut(document(many()), share))
        chosen = {passage.id for passage in passages if passage.split == "eval"}
        assert len(passages) == 600 and abs(len(chosen) / 600 - share) <= 0.04 and before <= chosen
        before = chosen


def test_the_split_follows_the_text_and_not_the_file() -> None:
    text = many()
    one, other = list(cut(document(text), 0.3)), list(cut(Document("x/y.md", text, "E", "zh"), 0.3))
    assert [passage.split for passage in one] == [passage.split for passage in other] and one == list(
        cut(document(text), 0.3)
    )
    spaced = {
        squeeze(passage.text): passage.split for passage in cut(document(text.replace("内容内容", "内容，内容")), 0.3)
    }
    assert (
        all(spaced.get(squeeze(passage.text), passage.split) == passage.split for passage in one) and len(spaced) == 600
    )
    alone = {
        passage.text: passage.split
        for part in text.split("\n\n# ")[1:50]
        for passage in cut(document(f"# {part}"), 0.3)
    }
    assert alone.items() <= {passage.text: passage.split for passage in one}.items()


def test_eval_documents_stay_eval() -> None:
    assert {passage.split for passage in cut(document(many(), split="eval"), 0.0)} == {"eval"}


def test_what_a_passage_says_of_its_document() -> None:
    source = Document(
        "a.md",
        f"<!-- page 3 -->\n\n# 甲\n\n{'字' * 300}\n\n<!-- page 4 -->\n\n{'词' * 300}",
        "T",
        "zh",
        "MIT",
        "/a",
        meta={"k": 1},
    )
    first, second = cut(source, 0.0)
    assert (first.id, second.id, first.document) == ("a.md#0", "a.md#1", "a.md")
    assert (first.title, first.language, first.license, first.source) == ("T", "zh", "MIT", "/a")
    assert first.meta == {"k": 1, "headings": "甲", "page": 3} and second.meta["page"] == 4
