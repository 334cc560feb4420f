"""The livestream domain: forbidden words, sheets, scores, and another folder of sheets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from factory.documents import left_out
from factory.domain import load_domain
from factory.domains.livestream import sheets
from factory.domains.livestream.adwords import ad_words
from factory.errors import FactoryError

DATA = ROOT / "domains" / "livestream" / "data"
SHEET = """# 手剥松子

一句话：开口大，手一剥就开。

- 品类：坚果
- 直播价：59.9 元（日常价 79 元）
- 规格：500 克

## 卖点

- 开口率高，不用工具
- 独立充氮，打开还是脆的

## 注意

- 坚果过敏的人不要吃
"""
RECIPE = "# Toast\n\n## Ingredients\n\n- bread\n- butter\n\n## Directions\n\n1. Toast the bread.\n2. Butter it.\n"
SCRIPT = "今天给大家带来手剥松子，开口率高，不用工具就能剥，一大包 500 克，里面独立充氮，打开还是脆的，追剧的时候来一把。直播价 59.9 元，坚果过敏的朋友就别拍了。"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("这是全网第一的最好的锅", ["全网第一", "最好"]),
        ("最近第一次用，先洗一遍，最后三件", []),
        ("第一步加水，最多可装 3 升，最低可调到 40 度", []),
        ("我们家销量第一名，百分百有效", ["销量第一", "百分百"]),
        ("最先进的工艺，最受欢迎", ["最先进", "最受欢迎"]),
        ("国家级、国家级！", ["国家级"]),
        ("这锅排第一，质量第一", ["第一"]),
        ("", []),
    ],
)
def test_forbidden_words_are_told_from_their_neighbours(text: str, found: list[str]) -> None:
    assert ad_words(text) == found


def test_no_sheet_and_no_script_of_the_sample_holds_a_forbidden_word() -> None:
    rows = [json.loads(line) for line in (DATA / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [row["reference"] for row in rows if row["task"] in ("script", "answer")]
    told += [path.read_text(encoding="utf-8") for path in DATA.glob("products/*.md")]
    assert len(told) >= 64 + 48 + 192
    assert [text for text in told if ad_words(text)] == []


def test_the_sample_finds_what_its_finder_finds() -> None:
    for line in (DATA / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["task"] == "adwords":
            wanted = [] if row["reference"] == sheets.NO_WORDS else row["reference"].split("\n")
            assert sorted(ad_words(row["input"])) == sorted(wanted), row["input"]


def test_a_script_is_scored_by_its_facts() -> None:
    def score(text: str) -> float:
        return sheets.score_script(text, [SCRIPT], f"写口播。\n\n{SHEET}")

    assert score(SCRIPT) == 1
    assert score(SCRIPT.replace("59.9", "49.9")) == 0  # a price that the sheet does not have
    assert score(SCRIPT.replace("直播价 59.9 元", "今天很便宜")) == 0.75
    assert score(SCRIPT.replace("手剥松子", "这款坚果")) == 0.75
    assert score(SCRIPT.replace("打开还是脆的", "全网第一")) == 0
    assert score("手剥松子，59.9 元，开口率高。") == 0  # too short
    assert score(SHEET * 2) == 0  # the sheet read out
    assert score("") == 0


def test_answers_with_made_up_numbers_score_nothing() -> None:
    asked = f"{SHEET}\n\n观众：多重"
    assert sheets.score_answer("500 克", ["一包 500 克。"], asked) > 0.5
    assert sheets.score_answer("一包 600 克。", ["一包 500 克。"], asked) == 0


@pytest.mark.parametrize(
    ("text", "score"), [(sheets.SILENT, 1), ("资料没有提到这个", 1), ("可以的，孕妇能吃", 0), ("", 0)]
)
def test_declining(text: str, score: float) -> None:
    assert sheets.score_declines(text, [sheets.SILENT]) == score


def test_a_viewer_cannot_tell_from_the_wording_whether_the_sheet_answers() -> None:
    tasks = {task.name: task for task in sheets.TASKS}
    assert tasks["answer"].template == tasks["decline"].template
    assert tasks["answer"].about == tasks["decline"].about


def test_the_right_product_is_among_the_four_and_its_kind_only_once(tmp_path: Path) -> None:
    target = sheets.parse(SHEET)
    assert target
    others = [
        sheets.Sheet(f"商品{n}", f"第{n}种", {"品类": "坚果" if n < 3 else f"类{n}", "直播价": "1 元"}, ())
        for n in range(9)
    ]
    text = sheets.pick_input("想吃坚果", target, [target, *others])
    names = [line[2:].split("：")[0] for line in text.splitlines() if line.startswith("- ")]
    assert len(set(names)) == 4 and "手剥松子" in names and not {"商品0", "商品1", "商品2"} & set(names)
    assert text == sheets.pick_input("想吃坚果", target, [*reversed(others), target])


def test_a_folder_of_other_sheets_is_asked_by_rule_and_by_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    domain = load_domain("livestream")
    source = tmp_path / "sheets"
    source.mkdir()
    for path in sorted(DATA.glob("products/*.md"))[:12]:
        shutil.copy(path, source / path.name)
    (source / "notes.md").write_text("# 会议纪要\n\n这不是商品资料。", encoding="utf-8")
    documents = list(domain.documents(source))
    assert len(documents) == 12 and {document.split for document in documents} == {"train", "eval"}
    passages = [passage for document in documents for passage in domain.passages(document)]
    seen = [passage for passage in passages if passage.split == "train"]
    tasks = {example.task for example in domain.examples(seen)}
    assert {"script", "answer", "pick", "decline"} <= tasks
    for example in domain.examples(seen):
        judge = domain.scorer(domain.task(example.task).scorer)
        assert judge(example.answer, [example.answer], example.question) == 1, example
    row = {"product": Path(seen[0].document).stem, "task": "answer", "input": "好吃吗", "reference": "好吃。"}
    (source / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    mine = [example for example in domain.examples(seen) if example.provenance["passage"] == seen[0].id]
    assert [example.answer for example in mine] == ["好吃。"]
    (source / "rows.jsonl").write_text('{"product": 3}', encoding="utf-8")
    with pytest.raises(FactoryError, match=r"rows\.jsonl:1 is no row"):
        list(domain.examples(seen))


@pytest.mark.parametrize(("domain", "good"), [("livestream", SHEET), ("cooking", RECIPE)])
def test_a_file_that_is_passed_over_is_named(tmp_path: Path, domain: str, good: str) -> None:
    (tmp_path / "about.md").write_text("# About us\n\nA page of words.\n", encoding="utf-8")
    (tmp_path / "good.md").write_text(good, encoding="utf-8")
    with left_out() as skipped:
        assert [document.id for document in load_domain(domain).documents(tmp_path)] == ["good.md"]
    assert [one.name for one in skipped] == ["about.md"]


def test_a_text_that_is_no_sheet() -> None:
    assert sheets.parse("# 标题\n\n没有价格") is None
    assert sheets.parse("- 直播价：9 元") is None
