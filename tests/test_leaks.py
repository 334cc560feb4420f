"""Leaks are found both ways, and there is no false alarm from what everybody writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.leaks import Expected, LeakIndex

CASE = "被告人罗某趁邻柜客人洗浴之机，用事先偷配的钥匙打开更衣柜，取走手表一块及现金5600元。"
LONGER = (
    f"经审理查明，2022年春节前某日晚上，在本市城关区的一家浴场内，{CASE}后由民警从其住处查获并发还，到案后如实供述。"
)
ENGLISH = "Char the tomatoes and green peppers next to the meat for six minutes"


def index(*questions: str, size: int = 16, share: float = 0.4) -> LeakIndex:
    return LeakIndex({f"q{number}": text for number, text in enumerate(questions)}, size, share)


@pytest.mark.parametrize(
    "question", [CASE, CASE.replace("，", " , ").replace("。", ""), f"\n{CASE}！", CASE.replace("5600", "５６００")]
)
def test_the_same_question_is_a_leak(question: str) -> None:
    assert index(CASE).find(question) == "same question as eval item q0"


def test_short_questions_leak_only_when_they_are_the_same() -> None:
    leaks = index("Banana Bread")
    assert leaks.find("banana  bread.") and not leaks.find("Banana Bread Pudding")


def test_one_sentence_inside_a_longer_text_both_ways() -> None:
    assert index(CASE).find(LONGER) == "contains the question of eval item q0"
    assert index(LONGER).find(CASE) == "is a part of the question of eval item q0"
    assert "eval item q1" in index(ENGLISH, LONGER).find(CASE)
    assert "sentences from eval item q0" in index(f"请问：{LONGER}").find(f"求助！{CASE}")


def test_small_change_to_a_long_text_is_still_a_leak() -> None:
    assert "shares" in index(LONGER).find(
        LONGER.replace("5600", "7800").replace("罗某", "李某").replace("2022", "2021")
    )
    assert not index(ENGLISH).find(
        ENGLISH.replace("six", "seven")
    )  # a short one with another number is another question


def test_a_reworded_question_is_a_leak_when_its_answer_is_the_same() -> None:
    leaks = LeakIndex({"e": "怎样给多肉植物浇水？"}, 16, 0.5, {"e": Expected("干透再浇，浇就浇透，夏天减少次数。")})
    assert "same answer" in leaks.find("请问怎样给多肉植物浇水？", "干透再浇，浇就浇透，夏天要减少次数。")
    assert not leaks.find("怎样给多肉植物施肥？", "春秋两季薄肥勤施，每月一次。")


def test_other_case_is_none() -> None:
    assert not index(CASE).find(
        "被告人王某酒后驾驶小型轿车，与对向行驶的电动车相撞，致一人轻伤，血液酒精含量为180毫克。"
    )
    assert not index(CASE, LONGER).find("")


def test_template_and_set_phrases_are_no_leak() -> None:
    template = (
        "公诉机关指控被告人犯罪事实清楚证据确实充分。事实如下：{}。辩护人对公诉机关的指控没有异议，请求从轻处罚。"
    )
    leaks = index(template.format("盗窃电动车一辆价值三千元"), template.format("醉酒驾驶与他人车辆相撞"))
    assert not leaks.find(template.format("伪造印章两枚"))
    assert leaks.find(template.format("盗窃电动车一辆价值三千元"))


def test_items_about_one_text_still_guard_it() -> None:
    leaks = index(CASE, CASE, CASE)
    assert "q0" in leaks.find(CASE) and "q0" in leaks.find(LONGER)


def test_share_is_the_threshold() -> None:
    half = (
        LONGER[: len(LONGER) // 2 + 3]
        + "乙提出异议，称该处财物系其此前寄存于柜内，双方为此争执不下并先后报警求助处理经过如上"
    )
    assert index(LONGER, share=0.2).find(half) and not index(LONGER, share=0.9).find(half)


def test_a_leak_is_seen_through_the_set_phrases_around_it() -> None:
    phrases = "公诉机关指控被告人犯罪事实清楚证据确实充分，辩护人对公诉机关的指控没有异议，请求法庭从轻处罚并适用缓刑。"
    leaks = index(phrases + LONGER, phrases + "醉酒驾驶与他人车辆相撞")
    assert "eval item q0" in leaks.find(
        phrases + "趁邻柜客人洗浴之机，用事先偷配的钥匙打开更衣柜，取走手表一块及现金5600元"
    )


def test_a_label_alone_makes_no_leak() -> None:
    """Two short texts of one make with one long label: a free answer of that length would make them the same question."""
    label = "stealing from a dwelling at night with a picked lock"
    asked, other = "He took the radio from the hall.", "She took the lamp from the shed."
    for known, leak in ((Expected(label, "charge"), True), (Expected(label, "charge", label=True), False)):
        leaks = LeakIndex({"e": asked}, 16, 0.5, {"e": known})
        assert bool(leaks.find(other, label, "charge")) is leak
        assert leaks.find("He took a radio from the hall.", label, "charge"), "but a letter less is the same question"
        assert not leaks.find("He took a radio from the hall.", "fraud", "charge")


def test_each_right_answer_counts() -> None:
    asked, second = "怎样给多肉植物浇水？", "夏天每两周一次，冬天断水，其余时候看叶片是否发皱。"
    only = Expected("干透再浇，浇就浇透，夏天减少次数。")
    for expected, leak in ((only, False), (replace(only, others=(second,)), True)):
        leaks = LeakIndex({"e": asked}, 16, 0.5, {"e": expected})
        assert bool(leaks.find("怎么样给多肉植物浇水？", second)) is leak


def test_another_case_is_known_by_the_answer_of_its_own_task() -> None:
    other = LONGER.replace("5600", "7800").replace("2022", "2021")
    leaks = LeakIndex(
        {"a": LONGER, "b": LONGER}, 16, 0.4, {"a": Expected("盗窃", "charge"), "b": Expected("264", "law")}
    )
    assert not leaks.find(other, "抢劫", "charge") and not leaks.find(other, "263", "law")
    assert "shares" in leaks.find(other, "36", "term"), "a prison term is no charge: it tells nothing apart"
    assert leaks.find(other, "盗窃", "charge") and leaks.find(other)
