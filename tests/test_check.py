"""check: every finding on a toy domain that has exactly that fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import CODE, ITEMS, TOML, WORDS, Factory, jsonl, make_toy

from factory.check import Finding, check_domain

LICENSED = TOML + 'license = "CC0-1.0"\n\n[app]\nstarters = ["What is kiwi?"]\n'
FRUITS = (
    "apple pear plum peach grape lemon lime mango melon fig date kiwi berry cherry quince papaya guava lychee".split()
)
TOOLS = "hammer saw drill pliers wrench chisel plane file rasp clamp vice anvil awl mallet spade rake hoe axe".split()
MANY = "".join(f"fruit {word}{n}\ntool {tool}{n}\n" for n in range(2) for word, tool in zip(FRUITS, TOOLS, strict=True))
BIG = [
    {"id": f"{task}-{n}", "task": task, "input": f"{word}x{n}", "reference": answer.format(f"{word}x{n}")}
    for n in range(12)
    for task, word, answer in (("kind", "cedar", "fruit"), ("say", "maple", "{0} {0}"))
]


def toy(code: str = CODE, toml: str = LICENSED, words: str = MANY, items: list[dict[str, str]] = BIG) -> Path:
    folder = make_toy(Path.cwd(), code, toml)
    (folder / "data" / "words.txt").write_text(words, encoding="utf-8")
    (folder / "evals" / "items.jsonl").write_text(jsonl(items), encoding="utf-8")
    return folder


def bad() -> list[Finding]:
    return [finding for finding in check_domain("toy") if finding.level != "ok"]


def test_a_healthy_domain_has_only_good_findings_and_nothing_is_written() -> None:
    folder = toy()
    before = sorted(Path.cwd().rglob("*"))
    assert bad() == []
    told = " ".join(str(finding) for finding in check_domain("toy"))
    assert "1 documents" in told and "kind 72, say" not in told and "24 eval items: kind 12, say 12" in told
    after = [path for path in sorted(Path.cwd().rglob("*")) if "__pycache__" not in path.parts]
    assert after == [path for path in before if "__pycache__" not in path.parts] and folder.exists()


def changed(old: str, new: str) -> Callable[[], Path]:
    assert old in CODE
    return lambda: toy(CODE.replace(old, new))


@pytest.mark.parametrize(
    ("make", "level", "told"),
    [
        (lambda: toy(toml=TOML), "warning", "The documents have no licence"),
        (lambda: toy(toml=TOML), "note", "The demo has no questions"),
        (lambda: toy(toml=LICENSED.replace('"en"', '"zh"')), "warning", "knows en, not zh"),
        (lambda: toy(items=BIG[:2] + BIG[3::2]), "note", "Task 'kind' has 1 eval items"),
        (lambda: toy(items=BIG[1::2]), "error", "Task 'kind' has no eval item"),
        (lambda: toy(items=[{**BIG[0], "reference": ""}, *BIG[1:]]), "error", "'reference' is missing"),
        (lambda: toy(items=[*BIG, BIG[0]]), "error", "Two eval items have the id 'kind-0'"),
        (lambda: toy(items=[{**row, "draft": True} for row in BIG]), "note", "24 of 24 eval items are a draft"),  # type: ignore[dict-item]
        (lambda: toy(words="fruit apple\ntool saw\n"), "warning", "Task 'kind' has"),
        (lambda: toy(words=MANY + MANY), "warning", "rows are dropped as duplicate"),
        (lambda: toy(words=MANY.replace("fruit", "stone")), "error", "is none of the choices"),
        (lambda: toy(toml=LICENSED + "\n[sft]\nmax_length = 16\n"), "warning", "would be cut"),
        (lambda: toy(toml=LICENSED + "\n[sft]\nmax_length = 1000000\n"), "error", "more than the base's context"),
        (lambda: toy(toml=LICENSED + "\n[sfd]\n"), "error", "unknown key 'sfd'"),
        (changed('"What is {input}?"', '"What is it?"'), "error", "must hold {input} once"),
        (changed('"Say twice", "rouge_l"', '"Say twice", "rouge"'), "error", "unknown scorer 'rouge'"),
        (changed("yield self.make_example(SAY", "self.make_example(SAY"), "error", "Task 'say' has no training row"),
        (changed("import read_text", "import nothing"), "error", "does not load"),
        (lambda: toy(items=[*BIG[1:], {**BIG[0], "reference": "none", "scorer": "number"}]), "error", "less than full marks"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_what_to_do(make: Callable[[], Path], level: str, told: str) -> None:
    make()
    found = [finding for finding in bad() if told in str(finding)]
    assert found and found[0].level == level, [str(finding) for finding in bad()]
    assert found[0].todo


def test_masked_answers_are_shown() -> None:
    toy(words=MANY + "fruit apples@orchard.example.com\n")
    told = next(str(finding) for finding in bad() if "masked" in str(finding))
    assert "in answers 'apples@orchard.example.com'" in told and "mask_pii = false" in told


def test_a_leak_is_named() -> None:
    sentence = "the heavy iron implement that hangs on the northern wall of the workshop"
    toy(
        CODE.replace("kind, word = passage.text.split()", 'kind, word = passage.text.split(" ", 1)'),
        words=MANY + f"tool {sentence}\n",
        items=[*BIG, {"id": "leak", "task": "kind", "input": f"it: {sentence}", "reference": "tool"}],
    )
    assert any("dropped as leak" in str(finding) for finding in bad())


def test_repeated_documents_and_another_language_are_told() -> None:
    folder = toy(CODE.replace('path.stem, "en"', 'path.stem, "zh"'))
    (folder / "data" / "again.txt").write_text(WORDS, encoding="utf-8")
    (folder / "data" / "more.txt").write_text(WORDS, encoding="utf-8")
    told = " ".join(str(finding) for finding in bad())
    assert "3 documents are not in en" in told and "Documents that repeat another one's text: 1" in told


def test_the_command_ends_with_1_on_an_error_and_speaks_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    toy()
    ended = factory("check", "toy", "--json")
    assert ended.code == 0 and {row["level"] for row in json.loads(ended.out)} == {"ok"}
    toy(items=BIG[1::2])
    ended = factory("check", "toy")
    assert ended.code == 1 and "error" in ended.out and "has no eval item" in ended.out
    assert factory("check", "nothing").code == 1
    assert ITEMS


def test_shipped_domains_have_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cooking", "legal", "livestream"):
        assert [str(finding) for finding in check_domain(name) if finding.level == "error"] == []
