"""The page of `factory data`: it agrees with the run's files, no text becomes markup, both languages, empty parts."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import Served, served
from tags import Tags

from factory.build import Order, run_domain
from factory.config import Curate
from factory.datafacts import BARS, histogram, read, sources
from factory.datapage import KINDS, REASONS, SENTENCES, counted, data_page, gather, percent, render, why
from factory.datarows import DROPPED, KEPT, OTHER
from factory.domain import load_domain
from factory.files import read_json
from factory.leaks import Expected
from factory.records import Document, Example, read_records, write_records
from factory.sieve import Row, Sieve

EVIL = "<script>alert(1)</script>"

DOMAIN = """
from factory.domain import Domain, Task, passage_of
from factory.files import read_text
from factory.records import Document

FAQ = Task("faq", "FAQ <b>x</b>", "rouge_l")
ASK = Task("ask", "Ask", "rouge_l", about="Passage:\\n{passage}\\n\\nQuestion: {question}")


class Shop(Domain):
    def tasks(self):
        return [FAQ, ASK]

    def documents(self, source):
        for path in sorted((self.folder / "data").glob("*.txt")):
            split = "eval" if path.stem == "held" else "train"
            yield Document(path.name, read_text(path), path.stem + " <script>alert(1)</script>", "en", "CC0-1.0", str(path), split)

    def passages(self, document):
        for number, block in enumerate(filter(None, document.text.split("\\n\\n"))):
            yield passage_of(document, block.strip(), number, page=number + 1, headings="Prices / Tea <i>")

    def examples(self, passages):
        for passage in passages:
            for number, line in enumerate(passage.text.splitlines()):
                question, arrow, answer = line.partition(" => ")
                if arrow:
                    yield self.make_example(FAQ, passage, question, answer, number)
"""

TOML = """
name = "shop"
title = "Tea {evil}"
description = "Prices & teas {evil}"
language = "{language}"
base = "smollm2-135m-instruct"

[synthesize]
teacher = "{teacher}"
floor = 0
kinds = ["fact", "decline"]

[curate]
dev_share = 0.2
mask_pii = {masks}
"""

GOOD = """
What does a cup of <script>alert(1)</script> green tea cost? => Two euros and ten cents.
Where does the oolong of the house come from? => From the hills of Anxi county.
How long may black tea stand in the pot? => Three minutes, never more than five.
Which cake goes well with white tea? => The plain sponge cake with a little lemon.
When is the shop closed all day? => On Mondays and on public holidays.
Whom may I write to about a parcel? => Write to anna.smith@example.org or call 020 7946 0958 in London.
""".strip()
DIRTY = """
Where does the oolong of the house come from? => From the hills of Anxi county.
How long may the black tea stand in the pot? => Three minutes, never more than five.
What does the large tin of jasmine tea weigh in all? => Half a kilogram with the lid.
茶叶应该怎样保存才不会受潮变味呢？ => 放在阴凉干燥的地方，密封保存。
What is the name of the first flush? => \ufffd\ufffd\ufffd spring \ufffd
""".strip()
BARE = "The cellar holds a great many chests. Ask for the key at bob.stone@example.org. " * 4
EVAL = {
    "id": "tin/1",
    "task": "faq",
    "input": "What does the large tin of jasmine tea weigh in all?",
    "reference": "Half a kilogram",
}

Shop = Callable[..., Path]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Writes ./domains/shop; by default with rows of every kind, without a teacher."""

    def make(
        language: str = "en", texts: tuple[str, ...] = (GOOD, DIRTY, BARE), teacher: str = "", masks: bool = True
    ) -> Path:
        folder = tmp_path / "domains" / "shop"
        for name in ("data", "evals"):
            (folder / name).mkdir(parents=True)
        (folder / "domain.py").write_text(DOMAIN, encoding="utf-8")
        toml = TOML.format(evil=EVIL, language=language, teacher=teacher, masks=str(masks).lower())
        (folder / "domain.toml").write_text(toml, encoding="utf-8")
        (folder / "evals" / "shop.jsonl").write_text(json.dumps(EVAL) + "\n", encoding="utf-8")
        for number, text in enumerate(texts):
            (folder / "data" / f"doc{number}.txt").write_text(text, encoding="utf-8")
        (folder / "data" / "held.txt").write_text("What is kept back? => This very line.", encoding="utf-8")
        return folder

    return make


def quiet(text: str) -> None: ...


def values() -> dict[str, Any]:
    return gather(run_domain("shop", "default"), Path("runs/shop/default"))


def plain(page: str) -> str:
    """The text that a reader sees, spaces made one."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).split())


def jsonl(stage: str, name: str) -> list[dict[str, Any]]:
    lines = (Path("runs/shop/default") / stage / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_counts_agree_with_the_files(shop: Shop) -> None:
    shop()
    page, told = data_page(Order("shop"), quiet)
    assert page == Path("runs/shop/default/data.html") and page.is_file()
    found = values()
    train, dev = (jsonl("curate", name) for name in ("train", "dev"))
    flow = found["flow"]
    assert (flow["documents"], flow["documents_eval"]) == (4, 1)
    assert (flow["passages"], flow["passages_eval"]) == (len(jsonl("ingest", "passages")), 1)
    assert flow["by_rule"] == flow["rows"] == len(jsonl("ingest", "examples")) == 11
    assert (flow["train"], flow["dev"]) == (len(train), len(dev))
    assert flow["dropped"] == dict.fromkeys(("broken text", "duplicate", "language", "leak", "near-duplicate"), 1)
    assert flow["train"] + flow["dev"] + sum(flow["dropped"].values()) == flow["rows"]
    faq = found["tasks"][0]
    assert (faq["train"], faq["dev"], faq["dropped"], faq["items"], faq["share"]) == (len(train), len(dev), 5, 1, 1)
    assert found["questions"]["n"] == sum(bar["count"] for bar in found["questions"]["bars"]) == 6
    assert sum(found["languages"].values()) == 6 and found["languages"]["en"] == 6
    assert found["personal"] == read_json(page.parent / "curate" / "manifest.json")["summary"]["masked"]
    assert found["personal"] == {"email": 1, "phone": 1}
    assert found["coverage"]["bare"] == 2 and found["coverage"]["per_passage"]["n"] == 3
    assert [(one["made"], one["letters"]) for one in found["coverage"]["shown"]] == [
        (5, len(DIRTY)),
        (0, len(BARE.strip())),
    ]
    assert told == " ".join(found["told"]["lines"]) and f"{len(train)} rows go to training" in told
    assert "5 of 11 (45.5%) were dropped" in told and "found in 1 of 11 rows, and taken out" in told
    assert (
        "2 of the 3 passages that training may see (66.7%) carry no row." in told and found["told"]["tone"] == "mixed"
    )


def test_in_a_round_the_rows_are_those_that_came_into_curate(shop: Shop) -> None:
    """Of the eleven by rule two come along, one of them is dropped; an expert's is no row by rule."""
    shop()
    data_page(Order("shop"), quiet)
    curate = Path("runs/shop/default/curate")
    train = read_records(curate / "train.jsonl", Example)
    write_records(
        curate / "train.jsonl", [train[0], dataclasses.replace(train[1], id="expert/1", provenance={"kind": "expert"})]
    )
    write_records(curate / "dev.jsonl", [])
    write_records(curate / "dropped.jsonl", jsonl("curate", "dropped")[:1])
    flow = values()["flow"]
    assert (flow["rows"], flow["kept"], sum(flow["dropped"].values())) == (3, 2, 1)
    assert (flow["by_rule"], flow["by_teacher"], flow["by_others"]) == (2, 0, 1)
    page = plain(render(values()))
    assert "By experts, or of earlier rounds 1 33.3%" in page and "1 of 3 (33.3%) were dropped" in page


def test_files_without_a_document_are_shown(shop: Shop) -> None:
    shop()
    data_page(Order("shop"), quiet)
    assert values()["unread"] == {"n": 0, "listed": [], "more": 0}
    rows = [{"name": f"{n}<b>.pdf", "reason": "scanned"} for n in range(22)]
    write_records(Path("runs/shop/default/ingest/skipped.jsonl"), rows)
    page = render(values())
    assert "22 files, or parts of them, could not be read." in plain(page)
    assert "0&lt;b&gt;.pdf" in page
    assert "+ 2 more: ingest/skipped.jsonl" in plain(page) and page.count("scanned") == 20


def test_duplicates_and_leaks_show_what_they_repeat(shop: Shop) -> None:
    shop()
    data_page(Order("shop"), quiet)
    shown = values()["shown"]
    assert shown["duplicate"][0]["other"]["answer"] == "From the hills of Anxi county."
    assert shown["near-duplicate"][0]["other"]["question"] == "How long may black tea stand in the pot?"
    leak = shown["leak"][0]["other"]
    assert leak["item"] and (leak["question"], leak["answer"]) == (EVAL["input"], EVAL["reference"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_is_whole_and_nothing_becomes_markup(shop: Shop, language: str) -> None:
    shop(language)
    if language == "zh":
        shop_rows_in_any_language()
    page = data_page(Order("shop"), quiet)[0].read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.open == []
    assert not {"script", "img", "iframe", "link", "object", "a", "b x", "i"} & set(tags.seen)
    assert EVIL not in page and page.count("&lt;script&gt;") > 10 and "Tea &lt;i&gt;" in page
    assert not [name for name in tags.attributes if name.startswith("on") or name in ("src", "href")]
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert tags.attributes["lang"] == ["zh-CN" if language == "zh" else "en"]
    assert "example.org" not in page and "7946" not in page  # neither in rows nor in passages
    manifest = read_json(Path("runs/shop/default/curate/manifest.json"))
    for text in (manifest["fingerprint"], *(known["sha256"] for known in manifest["outputs"].values())):
        assert text in page


def shop_rows_in_any_language() -> None:
    path = Path("domains/shop/domain.toml")
    path.write_text(path.read_text(encoding="utf-8") + "language_share = 0.0\n", encoding="utf-8")


def test_every_label_has_both_languages(shop: Shop) -> None:
    shop("zh")
    shop_rows_in_any_language()
    page = data_page(Order("shop"), quiet)[0].read_text(encoding="utf-8")
    text = plain(page)
    assert "条用于训练" in text and "近似重复" in text
    assert not re.search(r"\b(Rows|Dropped|Training|Passages|Documents|Languages|median|characters|page|Why)\b", text)
    for pair in SENTENCES.values():
        assert set(re.findall(r"{\w+}", pair[0])) == set(re.findall(r"{\w+}", pair[1]))


def test_nothing_dropped_and_no_teacher(shop: Shop) -> None:
    shop(texts=("What is tea? => A drink made of leaves.\nWho picks it? => People in the hills.",))
    page, told = data_page(Order("shop"), quiet)
    text = plain(page.read_text(encoding="utf-8"))
    assert "none of the 2 was dropped" in told and "No personal data was found." in told
    assert "Every one of the 1 passages" in told
    assert "No teacher was asked" in text and "no row repeats or contains a question of the eval set" in text
    assert "Passages that carry no row" not in text and "refused examples" not in text


def test_personal_data_that_stays_is_told_and_not_shown(shop: Shop) -> None:
    shop(masks=False)
    page, told = data_page(Order("shop"), quiet)
    assert "masking is off for this domain: e-mail address (1), phone number (1)" in told
    assert "anna.smith@example.org" in str(jsonl("curate", "train") + jsonl("curate", "dev"))
    assert "anna.smith" not in page.read_text(encoding="utf-8")


@pytest.fixture
def teacher() -> Any:
    with served() as server:
        yield server


def test_a_teachers_examples_and_refusals(shop: Shop, teacher: Served) -> None:
    prose = "Rize tea <script>alert(1)</script>\nRize tea is picked three times in the year.\n\nSencha\nSencha is steamed at once."
    doubled = "Assam\nIt grows beside the great river.\n\nAssam\nIt grows beside the great river."
    shop(texts=(GOOD, prose, doubled), teacher=teacher.address)
    page, told = data_page(Order("shop"), quiet)
    found, text = values(), plain(page.read_text(encoding="utf-8"))
    flow = found["flow"]
    assert flow["by_teacher"] == len(jsonl("synthesize", "examples")) > 0
    assert sum(flow["refused"].values()) == len(jsonl("synthesize", "refused")) > 0
    assert f"A teacher wrote {flow['by_teacher']} examples; {sum(flow['refused'].values())} others were refused" in told
    assert set(flow["refused"]) <= set(REASONS) and all(len(rows) <= DROPPED for rows in found["unused"].values())
    quoted = [row for row in found["samples"] if row["quote"]]
    assert quoted and all(row["teacher"] == "toy-teacher" and row["page"] for row in quoted)
    asked = next(row for row in quoted if row["form"] == "fact")
    assert asked["asked"].startswith("What holds for") and "Passage:" in asked["question"]
    assert "toy-teacher" in text and "page 1" in text and "The teacher's refused examples" in plain(html.unescape(text))


def test_samples_take_the_tasks_in_turn_and_the_page_is_always_the_same(shop: Shop, teacher: Served) -> None:
    words = "cups pots lids trays spoons kettles sieves tins sacks scales stoves lamps ladders brooms".split()
    lines = "\n".join(f"{word.title()}, where? => {word.upper() * 3}." for word in words)
    shop(texts=(lines, "Rize\nIt is picked three times.", "Sencha\nIt is steamed at once."), teacher=teacher.address)
    page = data_page(Order("shop"), quiet)[0]
    first, found = page.read_text(encoding="utf-8"), values()["samples"]
    assert len(found) == KEPT and {row["task"] for row in found} == {"faq", "ask"}
    assert {row["id"] for row in found} <= {row["id"] for row in jsonl("curate", "train") + jsonl("curate", "dev")}
    data_page(Order("shop"), quiet)
    assert page.read_text(encoding="utf-8") == first == render(values())


def test_the_command_prints_the_paragraph_and_the_path(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    from factory.cli_data import data

    shop()
    data("shop")
    out = capsys.readouterr().out
    assert "rows go to training" in out and out.endswith("Data: runs/shop/default/data.html\n")


def test_sources_lose_the_folder_that_they_share(shop: Shop) -> None:
    shop()
    data_page(Order("shop"), quiet)
    held = read(Path("runs/shop/default"))
    assert [one["source"] for one in sources(held)["listed"]] == ["doc0.txt", "doc1.txt", "doc2.txt", "held.txt"]
    web = dataclasses.replace(held, documents=[Document("a", "", source="https://example.org/a"), Document("b", "")])
    assert [one["source"] for one in sources(web)["listed"]] == ["", "https://example.org/a"]


def test_every_detail_of_the_sieve_is_told_in_chinese() -> None:
    long = "The keeper of the tea house must open both doors before nine and light the great stove with dry wood, "
    items = {"i/1": "What does the large tin weigh?", "i/2": long + "then he sweeps the steps of the yard."}
    sieve = Sieve(
        Curate(min_chars=3, max_chars=400), items, {"i/1": Expected("Half a kilogram"), "i/2": Expected("Yes")}, ("en",)
    )
    rows = [
        Row("r/1", "What does the large tin weigh?", "Half."),
        Row("r/2", "Please tell me now: What does the large tin weigh? Thanks to you.", "Half."),
        Row("r/3", long + "and then nobody has to wait outside.", "Fine then."),
        Row("r/4", "Where is the key of the house?", "Below the mat."), Row("r/5", "Where is the key of the house?", "Below the mat."),
        Row("r/6", "Where is the key of this house?", "Below the mat."), Row("r/7", "Is it?", "no"), Row("r/8", "", "Yes it is."),
        Row("r/9", "Is it long?", "word " * 200), Row("r/10", "茶叶怎样保存才好呢", "密封保存在阴凉处"), Row("r/11", "Is it so?", "\ufffd\ufffd yes"),
        Row("r/12", "Is it so, then?", "again and over again " * 12),
    ]  # fmt: skip
    for row in rows:
        reason, detail = sieve.reason(row)
        if reason:
            assert reason in REASONS, row
            assert reason == "broken text" or re.search(r"[\u4e00-\u9fff]", why(detail, True)), detail
            assert detail.startswith(("of ", "not ")) or why(detail, False) == detail
        if reason in ("leak", "duplicate", "near-duplicate"):
            named = OTHER.search(detail)
            assert named and (named["item"] or named["row"]) in ("i/1", "i/2", "r/4")
    assert set(sieve.dropped) == {
        "leak", "duplicate", "near-duplicate", "too short", "too long", "language", "broken text", "repetition"
    }  # fmt: skip


@pytest.mark.parametrize(
    "detail",
    [
        "is a part of the question of eval item a b", "shares 61% of its text with eval item a b",
        "has 50% of its sentences from eval item a b", "asks what eval item a b asks, with the same answer",
        "means what eval item a b asks (cosine 0.958)",
    ],
)  # fmt: skip
def test_the_eval_item_of_a_leak_is_named(detail: str) -> None:
    named = OTHER.search(detail)
    assert named and named["item"] == "a b" and "评测题 a b " in why(detail, True).replace("相同", " ") + " "


@pytest.mark.parametrize(
    ("values", "zero", "bars"),
    [
        ([0] * 99 + [50], True, [(0, 0, 99), (1, 1, 1)]),
        ([16, 27], False, [(n, n, int(n in (16, 27))) for n in range(16, 28)]),
        ([1, 2, 2], False, [(1, 1, 1), (2, 2, 2)]),
        ([0] + [5] * 9 + [30] * 10, True, [(0, 0, 1), (1, 5, 9), (6, 10, 0), (11, 15, 0), (16, 20, 0), (21, 25, 0), (26, 30, 10)]),
    ],
)  # fmt: skip
def test_histogram(values: list[int], zero: bool, bars: list[tuple[int, int, int]]) -> None:
    found = histogram(values, zero)
    assert found and [(bar["low"], bar["high"], bar["count"]) for bar in found["bars"]] == bars


@pytest.mark.parametrize("values", [[0], [7] * 5, [3, 1000, 100_000], list(range(500)), [*([10] * 99), 10_000]])
@pytest.mark.parametrize("zero", [False, True])
def test_histogram_counts_every_value_once(values: list[int], zero: bool) -> None:
    found = histogram(values, zero)
    assert found and sum(bar["count"] for bar in found["bars"]) == len(values) and len(found["bars"]) <= BARS + 1
    assert found["open"] == (max(values) > found["bars"][-1]["high"]) and found["longest"] == max(values)
    assert histogram([]) is None


def test_rows_that_were_not_selected_are_no_fault(shop: Shop) -> None:
    words = "cups pots lids trays spoons kettles sieves tins sacks scales".split()
    folder = shop(texts=("\n".join(f"{word.title()}, where? => {word.upper() * 3}." for word in words),))
    toml = folder / "domain.toml"
    toml.write_text(toml.read_text(encoding="utf-8") + "keep = 0.3\n", encoding="utf-8")
    page, told = data_page(Order("shop"), quiet)
    found = values()
    assert found["flow"]["unselected"] == 7 and found["flow"]["dropped"] == {} and found["told"]["tone"] == "good"
    assert "7 rows more were not selected" in told and len(found["shown"]["not selected"]) == DROPPED
    assert "not selected" in plain(page.read_text(encoding="utf-8"))
    assert why("difficulty 0.9, cosine 0.812 with the nearest kept row", True) == "难度 0.9，与最近的保留数据余弦 0.812"
    named = OTHER.search("means what doc 1#0/faq/2 asks (cosine 0.960)")
    assert named and named["row"] == "doc 1#0/faq/2"


def test_small_words() -> None:
    assert [percent(*pair) for pair in ((0, 9), (1, 3), (9, 9), (1, 9999), (9999, 10000), (0, 0))] == [
        "0%", "33.3%", "100%", "< 0.1%", "> 99.9%", "0%"
    ]  # fmt: skip
    assert counted({"phone": 1200, "odd": 1}, KINDS, False) == "phone number (1,200), odd (1)"
    assert counted({"phone": 2, "email": 1}, KINDS, True) == "电话号码 2、电子邮箱 1"


def test_a_domain_that_names_no_passage_is_told_so(shop: Shop) -> None:
    """Provenance is a domain's own: what is missing is left blank."""
    shop(texts=("What is tea? => A drink made of leaves.",))
    data_page(Order("shop"), quiet)
    held = read(Path("runs/shop/default"))
    row = held.train[0]
    blank = dataclasses.replace(held, train=[Example(row.id, row.task, row.prompt, row.completion)])
    from factory.datafacts import coverage
    from factory.datarows import samples

    known = {task.name: task for task in load_domain("shop").tasks()}
    assert coverage(blank)["bare"] == 1 and samples(blank, known)[0]["document"] == ""
