"""What the sieve finds among cases that were written before it, and leaves alone: recall and precision, both languages."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from factory.cleaning import Wish, clean_file
from factory.config import Curate
from factory.duplicates import Duplicates
from factory.leaks import Expected
from factory.pii import find, mask
from factory.sieve import Row, Sieve, languages_of

CASES = Path(__file__).parent / "cases"
SETS = [CASES, CASES / "held", CASES / "final"]
GOOD = 0.95


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module", params=SETS, ids=lambda folder: folder.name)
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(label, what the sieve says) of every row."""
    out = tmp_path_factory.mktemp("sieve")
    clean_file(
        Wish(request.param / "rows.jsonl", out / "kept.jsonl", request.param / "eval.jsonl", out / "dropped.jsonl"),
        print,
    )
    said = {row["id"]: row["reason"].removeprefix("near-") for row in read(out / "dropped.jsonl")}
    return [(row["label"], said.get(row["id"], "keep")) for row in read(request.param / "rows.jsonl")]


@pytest.mark.parametrize("what", ["leak", "duplicate"])
def test_leaks_and_duplicates(verdicts: list[tuple[str, str]], what: str) -> None:
    count = Counter((label == what, said == what) for label, said in verdicts)
    recall = count[True, True] / (count[True, True] + count[True, False])
    precision = count[True, True] / (count[True, True] + count[False, True])
    print(f"{what}: recall {recall:.3f}, precision {precision:.3f} of {count[True, True] + count[True, False]}")
    assert recall >= GOOD and precision >= GOOD


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_personal_data(folder: Path, language: str) -> None:
    count: Counter[tuple[bool, bool]] = Counter()
    for row in read(folder / "pii.jsonl"):
        if row["language"] == language:
            masked, _ = mask(row["text"], language)
            hidden = bool(row["pii"]) and not any(
                part in masked for part in (row["pii"], row["pii"][:6], row["pii"][-4:])
            )
            count[bool(row["pii"]), hidden if row["pii"] else masked != row["text"]] += 1
    recall = count[True, True] / 60
    precision = count[True, True] / (count[True, True] + count[False, True])
    print(f"{language}: recall {recall:.3f}, precision {precision:.3f}")
    assert sum(count.values()) == 120 and recall >= GOOD and precision >= GOOD


def test_kinds_and_places_of_personal_data() -> None:
    text = "联系人电话13800138000，邮箱a.b@example.com。"
    assert [(found.kind, text[found.start : found.end]) for found in find(text, "zh")] == [
        ("phone", "13800138000"), ("email", "a.b@example.com"),
    ]  # fmt: skip
    assert mask(text, "zh") == ("联系人电话[PHONE]，邮箱[EMAIL]。", ["phone", "email"])
    assert mask("第1234条 没有个人信息", "zh") == ("第1234条 没有个人信息", [])


def test_an_expected_answer_tells_a_reworded_leak_from_another_question() -> None:
    items = {"e1": "Is it safe to reheat cooked rice the next day?"}
    answers = {"e1": Expected("Yes, if it was cooled within two hours and kept in the fridge.")}
    sieve = Sieve(Curate(), items, answers)
    asked = "Is it safe to reheat cooked rice on the next day?"
    assert sieve.reason(Row("a", asked, "Yes, if it was cooled within two hours and kept in a fridge."))[0] == "leak"
    assert sieve.reason(Row("b", asked.replace("safe", "unsafe"), "Not when it was cooled soon."))[0] == ""
    assert sieve.dropped == {"leak": 1}


def test_languages_are_those_of_the_eval_items() -> None:
    assert languages_of(["什么是合同？"] * 9 + ["What is it?"]) == ("en", "zh")
    assert languages_of(["什么是合同？"] * 40 + ["What is it?"]) == ("zh",)
    assert languages_of([]) == ()
    sieve = Sieve(Curate(), {}, languages=("zh",))
    assert sieve.reason(Row("a", "Что такое договор?", "Соглашение сторон."))[0] == "language"
    assert sieve.reason(Row("b", "合同法 contract 是什么？", "是规定合同的法律。"))[0] == ""


def test_a_word_that_question_and_answer_both_change_makes_another_question() -> None:
    seen = Duplicates(0.8)
    crime = "为境外的机构、组织、人员窃取、刺探、收买、非法提供{}秘密"
    assert seen.find("a", crime.format("军事"), "为境外窃取、刺探、收买、非法提供军事秘密") == ("", "")
    assert seen.find("b", crime.format("商业"), "为境外窃取、刺探、收买、非法提供商业秘密") == ("", "")
    assert (
        seen.find("c", crime.format("军事") + "的", "为境外窃取、刺探、收买、非法提供军事秘密罪")[0] == "near-duplicate"
    )
