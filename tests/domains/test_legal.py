"""The legal domain's rules on texts shaped like its sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factory.domains.legal import rules

from factory.documents import left_out
from factory.domain import load_domain
from factory.errors import FactoryError
from factory.records import Example

STATUTE = """# 中华人民共和国刑法

<!-- INFO END -->

## 第五章　侵犯财产罪

第一百零三条 组织、策划、实施分裂国家、破坏国家统一的，对首要分子或者罪行重大的，处无期徒刑或者十年以上有期徒刑。

煽动分裂国家、破坏国家统一的，处五年以下有期徒刑、拘役、管制或者剥夺政治权利。

第一百一十四条 放火、决水、爆炸以及投放毒害性物质，尚未造成严重后果的，处三年以上十年以下有期徒刑。

第二百六十四条 盗窃公私财物，数额较大的，或者多次盗窃的，处三年以下有期徒刑，并处或者单处罚金。
"""
CASE = "事实:某县人民检察院指控，2014年3月25日9时许，被告人张某撬锁进入李某家中，窃得现金三千元。公诉机关认为，犯罪事实清楚，证据确实、充分，应当追究其刑事责任。"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "刑法.md").write_text(STATUTE, encoding="utf-8")
    rows = [
        {"task": "3-1", "index": 1, "input": CASE + "\r\n罪名:盗窃。", "answer": "法条:刑法第264条"},
        {"task": "3-4", "index": 2, "input": CASE + "\r\n罪名:盗窃。法条:刑法第264条", "answer": "刑期:8个月"},
        {"task": "3-4", "index": 3, "input": CASE + "\r\n罪名:没有这个罪名。法条:刑法第264条", "answer": "刑期:8个月"},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def examples(source: Path, *overrides: str) -> list[Example]:
    domain = load_domain("legal", ["options.add_sample=false", *overrides])
    passages = [passage for document in domain.documents(source) for passage in domain.passages(document)]
    return list(domain.examples(passages))


def test_rows_that_name_a_charge_and_the_criminal_law_teach_the_charge_task(source: Path) -> None:
    charges = [(row.question, row.answer) for row in examples(source) if row.task == "charge"]
    asked = [question.split("\n")[1].removeprefix("事实：") for question, _ in charges]
    assert [answer for _, answer in charges].count(
        "盗窃"
    ) == 3  # two cases and article 264; an unknown charge is left out
    assert ("盗窃公私财物，数额较大的，或者多次盗窃", "盗窃") in zip(
        asked, [answer for _, answer in charges], strict=True
    )
    assert [answer for _, answer in charges if "分裂国家" in answer] == ["分裂国家", "煽动分裂国家"]
    assert not any("放火" in answer for _, answer in charges)  # one paragraph for many charges teaches none of them
    assert not any("264" in question or "处三年" in question for question, _ in charges)
    assert len({row.id for row in examples(source)}) == len(examples(source))


def test_tasks_that_were_not_asked_for_get_no_examples_from_statutes(source: Path) -> None:
    assert {
        row.task for row in examples(source, "tasks=['topic']") if row.provenance["source"].endswith(".md")
    } == set()
    recited = [row for row in examples(source, "tasks=['recital']") if row.task == "recital"]
    assert recited[-1].answer.startswith("盗窃公私财物")


def test_set_phrases_of_an_indictment_are_left_out_of_the_facts() -> None:
    kept = rules.shorten("charge", CASE, 200)
    assert kept.startswith("张某撬锁进入李某家中，窃得现金三千元。")
    assert not any(phrase in kept for phrase in ("检察院", "2014年", "证据", "刑事责任"))
    assert rules.shorten("focus", CASE, 200).startswith("某县人民检察院指控")
    assert rules.shorten("focus", "一" * 500, 100) == "一" * 167 + "…" + "一" * 167
    assert rules.shorten("articles", "一" * 500, 100) == "一" * 50 + "…" + "一" * 50


@pytest.mark.parametrize(
    ("text", "charges"),
    [
        ("打人。\r\n罪名:故意伤害;开设赌场。法条:刑法第234条", "故意伤害;开设赌场"),
        ("打人。\r\n罪名:故意伤害", "故意伤害"),
        ("打人。", ""),
    ],
)
def test_named_charge(text: str, charges: str) -> None:
    assert rules.named_charge(text) == ("打人。", charges)


def test_an_unknown_task_is_named_with_its_file_and_line(source: Path) -> None:
    with (source / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"task": "9-9", "input": CASE, "answer": "盗窃"}) + "\n")
    with pytest.raises(FactoryError, match=r"train\.jsonl:4: domain 'legal' has no task '9-9'"):
        examples(source)


def test_a_row_or_file_that_teaches_nothing_is_named_and_one_file_is_a_source(source: Path) -> None:
    with (source / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"task": "3-3", "index": 9, "input": CASE, "answer": "罪名:"}) + "\n")
    (source / "说明.md").write_text("怎样使用这些文件。", encoding="utf-8")
    (source / "案例.docx").write_bytes(b"PK")
    domain = load_domain("legal", ["options.add_sample=false"])
    with left_out() as skipped:
        names = [document.id for document in domain.documents(source)]
    assert names == ["source/train/1", "source/train/2", "source/train/3", "刑法.md"]
    assert {one.name: one.reason.split(":")[0] for one in skipped} == {
        "source/train/9": "no input, or no answer that can be read",
        "说明.md": "no statute",
        "案例.docx": ".docx",
    }
    assert [document.id for document in domain.documents(source / "train.jsonl")] == names[:3]


def test_an_answer_that_is_a_number_is_named(source: Path) -> None:
    (source / "train.jsonl").write_text(json.dumps({"task": "term", "input": CASE, "answer": 12}), encoding="utf-8")
    with pytest.raises(FactoryError, match=r"train\.jsonl:1 lacks task, input or answer as text"):
        examples(source)


def test_one_label_must_be_named_alone_and_several_by_the_longest_name() -> None:
    one = rules.one_of(("侵权", "公司法"))
    assert (one("类别：侵权。", ["侵权"]), one("侵权、公司法", ["侵权"]), one("", ["侵权"])) == (1.0, 0.0, 0.0)
    several = rules.named(("组织卖淫", "协助组织卖淫", "盗窃"))
    assert several("[罪名]协助组织卖淫<eoa>", ["协助组织卖淫"]) == 1.0
    assert rules.named(("组织卖淫", "协助组织卖淫"), nested=True)("协助组织卖淫", ["协助组织卖淫"]) == pytest.approx(
        2 / 3
    )
    assert several("盗窃;组织卖淫", ["盗窃"]) == pytest.approx(2 / 3) and several("抢劫", ["盗窃"]) == 0.0
    assert several("盗窃和抢劫", ["盗窃;抢劫"]) == 1.0, "a reference's own name counts though no list has it"


@pytest.mark.parametrize(
    ("scorer", "prediction", "reference", "wanted"),
    [
        ("articles", "刑法第236条、刑法第264条", "刑法第264条", 2 / 3),
        ("articles", "第二百六十四条第二款", "刑法第264条", 1.0),
        ("articles", "第264条，罚金2000元", "刑法第264条", 1.0),  # one number a part
        ("articles", "不知道", "刑法第264条", 0.0),
        ("term", "十二个月", "12个月", 1.0),
        ("term", "有期徒刑一年", "12个月", 1.0),
        ("term", "2年6个月", "6个月", 1.0),  # months before years, as there
        ("term", "8", "8个月", 0.0),
        ("term", "7个月", "15个月", 1 - 0.6931472 / 5.3752784),
        ("entities", "受害人:甲\n时间:今年", "受害人:甲\n时间:今年", 1.0),
        ("entities", "受害人：甲某，地点:无", "受害人:甲某", 4 / 7),  # up to the line's end
        ("entities", "受害人:甲某 地点:无", "受害人:甲某", 1.0),
        ("entities", "受害人:甲\n时间:明年\n地点:县里", "受害人:甲\n时间:今年", 2 * (1 + 0.5) / 5),
        ("entities", "没有", "受害人:甲", 0.0),
    ],
)
def test_scorers_follow_lawbench(scorer: str, prediction: str, reference: str, wanted: float) -> None:
    score = load_domain("legal").scorer(scorer)
    assert score(prediction, [reference], "") == pytest.approx(wanted, abs=1e-6)


def test_where_a_charge_stands_is_looked_up_in_the_law(source: Path) -> None:
    rows = [row for row in examples(source, "tasks=['articles', 'term']") if row.task == "articles"]
    assert [row.answer for row in rows] == ["264"] * 3
    assert [row.question.count("刑法：盗窃264、265\n条号：") for row in rows] == [1, 1, 0], (
        "one names no charge there is"
    )
    assert all("法条" not in row.question.split("刑法：")[0].split("\n", 1)[1] for row in rows)
    assert rules.article_number("第一百三十三条之一") == "133之一"


def test_the_longest_charge_counts_and_each_keeps_its_place() -> None:
    places = {"组织卖淫": ["358"], "协助组织卖淫": ["358"], "盗窃": ["264", "265", "264"]}
    told = rules.with_statute("盗窃案。罪名：协助组织卖淫罪、盗窃罪", places)
    assert told == "盗窃案。罪名：协助组织卖淫罪、盗窃罪\n刑法：协助组织卖淫358；盗窃264、265"
    assert rules.with_statute("盗窃。", places) == "盗窃。", "what happened names no charge"
