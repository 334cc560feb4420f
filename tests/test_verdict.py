"""The report's verdict: honest, in one sentence, and in both languages."""

from __future__ import annotations

import re

import pytest
from stages.test_report import make_scores

from factory.verdict import DETAILS, SENTENCES, about_references, gates, in_words, money, name, side, signed, size, tell


def test_every_sentence_has_both_languages() -> None:
    for pair in SENTENCES.values():
        assert sorted(re.findall(r"{\w+}", pair[0])) == sorted(re.findall(r"{\w+}", pair[1]))
    for words in DETAILS.values():
        assert re.search(r"[\u4e00-\u9fff]", words)


def test_verdict_says_better_and_which_adapter() -> None:
    told = tell(make_scores(), {}, zh=False)
    assert told["verdict"] == (
        "The specialist is better than its base: on average +27.9 points (95% interval +22.9 to +32.9); it passes every gate."
    )
    assert told["tone"] == "good"
    assert told["facts"] == ["It is clearly above the n-gram baseline (+7.9) and the majority answer (+50.7)."]
    assert told["more"] == [
        "DPO helped on the dev rows: SFT 67.5, SFT + DPO 69.9.",
        "On the eval set DPO changed nothing clearly: +2.4 points (95% interval −2.6 to +7.4).",
        "Handed on: the SFT + DPO adapter, chosen by its score on 60 dev rows kept back from training, "
        "not on the eval set.",
    ]


@pytest.mark.parametrize(
    ("better", "words", "tone"), [(3.0, "is not shown to be better", "bad"), (-9.0, "is worse than its base", "bad")]
)
def test_verdict_is_honest_when_not_better(better: float, words: str, tone: str) -> None:
    told = tell(make_scores(better=better), {}, zh=False)
    assert words in told["verdict"] and told["verdict"].endswith("; it does not pass every gate (above Base model).")
    assert told["tone"] == tone and not told["passed"]
    assert "Charge, Statute article, Open questions" in told["facts"][1]


def test_a_cheap_baseline_that_is_not_beaten_is_named() -> None:
    scores = make_scores()
    for row in scores["differences"]:
        if row["worse"] == "ngram":
            row |= {"difference": -8.0, "low": -12.0, "high": -4.0}
    told = tell(scores, {}, zh=True)
    assert "明显低于：n-gram 基线（−8.0）。" in told["facts"]
    assert told["tone"] == "mixed"


def test_leak_is_said_first() -> None:
    told = tell(make_scores() | {"leak_free": False}, {}, zh=False)
    assert told["verdict"].startswith("These scores cannot be trusted") and told["tone"] == "bad"


def test_no_dpo_gives_the_reason() -> None:
    facts = tell(make_scores(dpo=False), {"skipped": "left out: only 3 pairs."}, zh=False)["more"]
    assert facts == ["DPO was left out: only 3 pairs.", "Handed on: the SFT adapter, the only one trained."]


def test_dpo_that_did_not_help() -> None:
    facts = tell(make_scores() | {"best": "sft"}, {}, zh=False)["more"]
    assert facts[0] == "DPO did not help on the dev rows: SFT 67.5, SFT + DPO 69.9."


def test_no_dev_rows_means_no_choice() -> None:
    facts = tell(make_scores() | {"best": "sft", "chosen_on": {}}, {}, zh=False)["more"]
    assert facts == ["Handed on: the SFT adapter; without dev rows there was nothing to choose on."]


def test_gates_are_told_in_the_page_s_language() -> None:
    scores = make_scores()
    scores["gates"] += [{"name": "not below round1", "passed": False, "detail": "-1.0 [-7.0, +5.0], margin 5"},
                        {"name": "a new one", "passed": True, "detail": "as it stands"}]  # fmt: skip
    assert [gate["title"] for gate in gates(scores, False)] == ["Above: Base model", "No eval text in the training rows", "Not below: Round 1", "a new one"]  # fmt: skip
    chinese = gates(scores, True)
    assert [gate["title"] for gate in chinese[:3]] == ["高于：基座模型", "训练数据中没有评测内容", "不低于：第 1 轮"]
    assert chinese[2]["detail"] == "-1.0 [-7.0, +5.0]，余量 5" and chinese[3]["detail"] == "as it stands"
    assert tell(scores, {}, zh=True)["verdict"].endswith("；有门槛没有通过（不低于第 1 轮）。")


def test_gates_that_are_not_measured_yet_are_said() -> None:
    scores = make_scores()
    scores["gates"].append({"name": "forgetting", "passed": None, "detail": "not measured yet: factory release"})
    told = tell(scores, {}, zh=False)
    assert (
        told["verdict"].endswith("; it passes every gate measured so far (not yet measured: general ability kept).")
        and told["passed"]
    )
    assert tell(scores, {}, zh=True)["verdict"].endswith("；已测的门槛全部通过（还没有测：保住通用能力）。")
    assert gates(scores, True)[-1] == {"title": "保住通用能力", "detail": "还没有测，发布时测", "passed": None}


def test_an_interval_clear_of_zero_is_not_enough_where_chance_gives_as_much() -> None:
    row = {"difference": -25.0, "low": -42.5, "high": -2.5}
    assert side(row | {"p": 0.14}) == "unclear" and side(row | {"p": 0.04}) == side(row) == "below"


def test_what_others_said_is_put_into_chinese() -> None:
    assert (
        in_words("not scored, margin 5", True) == "没有评测，余量 5" and in_words("not scored", False) == "not scored"
    )
    assert in_words("X 1, 2 cores, 24 GB memory, no GPU", True) == "X 1，2 核，24 GB 内存，无 GPU"
    assert (
        in_words("X, 16 cores, 128 GB memory, 2 x GPU H100, 80 GB", True)
        == "X，16 核，128 GB 内存，2 x GPU H100，80 GB"
    )


def test_references_are_told_by_the_side_of_their_interval() -> None:
    rows = {
        n: {"difference": d, "low": d - 5, "high": d + 5}
        for n, d in (("a", 9.0), ("b", 1.0), ("c", -9.0), ("d", 8.0), ("e", 7.0))
    }
    told = about_references(rows, False)
    assert told[0] == "On the same items it is clearly better than a (+9.0), d (+8.0) and e (+7.0)."
    assert (
        "neither clearly better nor clearly worse than b (+1.0)" in told[1] and "clearly worse than c (−9.0)" in told[2]
    )
    assert (
        about_references(rows, True)[0] == "同一套题上明显好于：a（+9.0）、d（+8.0）、e（+7.0）。"
        and about_references({}, True) == []
    )


def test_small_words() -> None:
    assert [signed(value) for value in (1.25, -3.0, -0.01)] == ["+1.2", "−3.0", "0.0"]
    assert side({"low": 0.0, "high": 2.0}) == "unclear" and side({"low": -2.0, "high": -1.0}) == "below"
    assert [size(n) for n in (134_515_008, 1.54e9, 9.996e8, 494e6, 3.9e10, 68_000, 950)] == [
        "135M",
        "1.5B",
        "1B",
        "494M",
        "39B",
        "68K",
        "950",
    ]
    assert [money(dollars) for dollars in (36.591, 1.0, 0.0331, 0.00012, 0.00001)] == [
        "36.59",
        "1.00",
        "0.033",
        "0.00012",
        "1.0e-05",
    ]
    assert (name("round2", True), name("sft", False), name("other", True)) == ("第 2 轮", "SFT adapter", "other")
