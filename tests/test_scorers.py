"""Scorers on Chinese, English and the edges."""

from __future__ import annotations

import math

import pytest

from factory.errors import FactoryError
from factory.scorers import (
    BUILT_IN,
    choice,
    exact,
    find,
    labels,
    log_distance,
    normalize,
    number,
    numbers,
    rouge_l,
    set_f1,
    token_f1,
)
from factory.scorers import tokens as words


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("reference", ["12 minutes", "盗窃", "盗窃；抢劫", "- flour\n- salt", "18个月", "ＡＢＣ 3"])
def test_a_reference_is_worth_one_and_nothing_is_worth_none(name: str, reference: str) -> None:
    if (name in ("number", "log_distance") and not numbers(reference)) or (name == "choice" and "\n" in reference):
        pytest.skip("no reference of this kind")
    assert BUILT_IN[name](reference, [reference]) == pytest.approx(1.0)
    assert BUILT_IN[name](reference, ["something else 9999 秒", reference]) == pytest.approx(1.0)
    for empty in ("", " \n", "。"):
        assert BUILT_IN[name](empty, [reference]) == 0.0


def test_normalize() -> None:
    assert normalize(" Ｍａｉｎ\u3000 Course。") == "main course"
    assert normalize("“盗窃”。") == "盗窃"
    assert words("Don't 盗窃, 12!") == ["don", "t", "盗", "窃", "12"]


def test_exact() -> None:
    assert exact("婚姻家庭。", ["婚姻家庭"]) == 1.0
    assert exact("Main", ["dessert", "main"]) == 1.0
    assert exact("婚姻", ["婚姻家庭"]) == 0.0


def test_choice_reads_the_first_line_with_text() -> None:
    assert choice("\n  劳动纠纷\n因为公司拖欠工资", ["劳动纠纷"]) == 1.0
    assert choice("劳动纠纷、侵权", ["劳动纠纷"]) == 0.0
    assert choice("侵权\n劳动纠纷", ["劳动纠纷"]) == 0.0


def test_set_f1_two_labels() -> None:
    assert set_f1("抢劫;盗窃", ["盗窃；抢劫"]) == 1.0
    assert set_f1("盗窃", ["盗窃;抢劫"]) == pytest.approx(2 / 3)
    assert set_f1("盗窃;盗窃;盗窃", ["盗窃"]) == 1.0
    assert set_f1("诈骗", ["盗窃", "诈骗;盗窃"]) == pytest.approx(2 / 3)
    assert set_f1("盗窃;诈骗;抢劫;放火", ["盗窃"]) == pytest.approx(2 / 5)


def test_labels_know_bullets_and_numbers() -> None:
    assert labels("- Flour\n* salt.\n1. eggs\n2、葱\n• \n") == ["flour", "salt", "eggs", "葱"]


def test_rouge_l_by_hand() -> None:
    assert rouge_l("the cat sat", ["the cat sat on the mat"]) == pytest.approx(2 * 3 / 9)
    assert rouge_l("mat the on", ["the cat sat on the mat"]) == pytest.approx(2 * 2 / 9)
    assert rouge_l("甲乙丙", ["甲丙"]) == pytest.approx(4 / 5)
    assert rouge_l("完全不同", ["别的"]) == 0.0


def test_token_f1_ignores_order_and_counts_repetition() -> None:
    assert token_f1("b a", ["a b"]) == 1.0
    assert token_f1("a a a", ["a b"]) == pytest.approx(2 / 5)


def test_numbers() -> None:
    assert numbers("1/2 cup, 3.5 g, １２分钟") == [0.5, 3.5, 12.0]
    assert numbers("1½ cups, 2 1/4 tsp, 11/2") == [1.5, 2.25, 5.5]
    assert numbers("½") == [0.5] and numbers("1/0") == [1.0] and numbers("none") == []


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("11 minutes", "10-12 minutes", 1), ("about 10", "10–12 minutes", 1), ("13 minutes", "10 to 12 minutes", 1),
        ("13.3 minutes", "10-12 minutes", 0), ("8.9 minutes", "10-12 minutes", 0), ("9 minutes", "10-12 minutes", 1),
        ("10 hours", "10 minutes", 0), ("10分钟", "10 minutes", 1), ("１０ 分", "10分钟", 1), ("10 秒", "10分钟", 0),
        ("2 hrs", "2 hours", 1), ("2小时", "2 小时", 1), ("350 F", "350°F", 1), ("350°C", "350°F", 0),
        ("180度", "180℃", 1), ("180 °C", "180 degrees C", 1), ("ten", "10 minutes", 0), ("10", "ten", 0),
        ("30 minutes or 2 hours", "30 minutes", 1), ("3 hours", "3 months", 0), ("3个月", "3 months", 1),
        ("60 minutes", "1 hour", 1), ("1小时30分钟", "90 minutes", 1), ("1 hour and 30 mins", "1 1/2 hours", 1),
        ("1½ hours", "90 minutes", 1), ("20 hours", "1 hour 30 minutes", 0), ("177°C", "350°F", 1), ("350°F", "180℃", 1),
        ("90 seconds", "1-2 minutes", 1), ("10 minutes", "350°F", 0),
    ],
)  # fmt: skip
def test_number_with_ranges_and_units(prediction: str, reference: str, score: float) -> None:
    assert number(prediction, [reference]) == score


def test_number_takes_the_best_reference() -> None:
    assert number("5 minutes", ["1 hour", "5 minutes"]) == 1.0
    assert number("5 minutes", []) == 0.0


@pytest.mark.parametrize(("months", "wanted"), [(12, 12), (6, 12), (24, 12), (0, 36), (215, 0)])
def test_log_distance_is_lawbench_s(months: int, wanted: int) -> None:
    """LawBench 3-4: the mean of |ln(answer + 1) - ln(prediction + 1)|, ln 216 for no answer; over ln 216."""
    distance = abs(math.log(wanted + 1) - math.log(months + 1))
    published = (math.log(216) - distance) / math.log(216)
    assert log_distance(f"刑期:{months}个月", [f"{wanted}个月"]) == pytest.approx(published)


def test_log_distance_never_leaves_zero_to_one() -> None:
    assert log_distance("100000", ["0"]) == 0.0
    assert log_distance("不知道", ["12"]) == 0.0
    assert log_distance("12", ["死刑"]) == 0.0


def test_find_prefers_the_domain_s_own_and_suggests() -> None:
    def own(prediction: str, references: object) -> float:
        return 0.25

    assert find("exact", {"exact": own}) is own and find("exact", {}) is exact
    with pytest.raises(FactoryError, match="items:3: unknown scorer 'exakt'") as caught:
        find("exakt", {}, "items:3")
    assert caught.value.hint == "Did you mean 'exact'?"
