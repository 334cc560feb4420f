"""curate: every drop has its reason, a question is seen once, and what is kept back is not learned."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vectors
from tiny import tiny_model

from factory.config import Config, Curate, Sft
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.records import EvalItem, Example, read_records, write_records
from factory.stage import Context
from factory.stages import curate, evaluate

CASE = "被告人罗某趁邻柜客人洗浴之机，用事先偷配的钥匙打开更衣柜，取走手表一块及现金5600元。"


class Court(Domain):
    def tasks(self) -> list[Task]:
        return [
            Task("charge", "罪名", "exact", "根据事实判断罪名。\n事实：{input}\n罪名："),
            Task("free", "Free", "exact"),
            Task("read", "Read", "exact", "读。\n{input}", about="资料：{passage}\n问题：{question}"),
        ]


def row(number: int, text: str, answer: str = "盗窃", task: str = "charge", passage: str = "") -> Example:
    question = Court.tasks(None)[task == "free"].template.format(input=text)  # type: ignore[arg-type]
    provenance = {"passage": passage or f"p{number}"}
    return Example(
        f"r{number}",
        task,
        [{"role": "user", "content": question}],
        [{"role": "assistant", "content": answer}],
        provenance,
    )


def run(
    tmp_path: Path, rows: list[Example], asked: tuple[str, ...] = (), reference: str = "盗窃", **settings: Any
) -> dict[str, Any]:
    config = Config("court", "C", "zh", "x", curate=Curate(**settings))
    items = [EvalItem(f"e{n}", "charge", row(n, text).prompt, [reference], "exact") for n, text in enumerate(asked)]
    write_records(tmp_path / "ingest" / "examples.jsonl", rows)
    write_records(tmp_path / "ingest" / "eval.jsonl", items)
    write_records(tmp_path / "synthesize" / "examples.jsonl", [])
    return curate.run(Context(Court(config, tmp_path), tmp_path, "curate"))


def kept(tmp_path: Path) -> list[str]:
    return sorted(
        example.id
        for name in ("train", "dev")
        for example in read_records(tmp_path / "curate" / f"{name}.jsonl", Example)
    )


def dropped(tmp_path: Path) -> dict[str, str]:
    lines = (tmp_path / "curate" / "dropped.jsonl").read_text(encoding="utf-8").split("\n")
    return {found["id"]: found["reason"] for line in lines if line for found in [json.loads(line)]}


def distinct(number: int, length: int = 40) -> str:
    """A Chinese text that shares next to nothing with those of other numbers."""
    chance = random.Random(number)
    return "".join(chr(chance.randrange(0x4E00, 0x9F00)) for _ in range(length))


def test_every_drop_has_its_reason(tmp_path: Path) -> None:
    rows = [
        row(0, distinct(0)), row(1, distinct(1), answer="  "), row(2, distinct(2) * 9), row(3, "only English " * 9),
        row(4, CASE), row(5, distinct(0) + "！"), row(6, distinct(6)), row(7, distinct(6)[:39] + "乙"),
    ]  # fmt: skip
    told = run(tmp_path, rows, (CASE,), max_chars=200, near_duplicate=0.8)
    assert dropped(tmp_path) == {
        "r1": "too short", "r2": "too long", "r3": "language", "r4": "leak", "r5": "duplicate", "r7": "near-duplicate",
    }  # fmt: skip
    assert kept(tmp_path) == ["r0", "r6"]
    assert told["rows"] == 8 and told["train"] + told["dev"] == 2 and sum(told["dropped"].values()) == 6


def test_leaks_are_found_behind_the_template_and_in_other_tasks(tmp_path: Path) -> None:
    longer = f"经审理查明，2022年春节前某日晚上九时许，在本市城关区的一家浴场内，{CASE}后由民警查获。"
    run(tmp_path, [row(0, longer), row(1, CASE, task="free"), row(2, distinct(2))], (CASE,))
    assert dropped(tmp_path) == {"r0": "leak", "r1": "leak"}


def test_a_rewording_with_the_same_answer_is_a_leak(tmp_path: Path) -> None:
    """The items' references are known to a build, as `factory curate --against` knows them."""
    asked, answer = "怎样给阳台上的多肉植物浇水？", "干透再浇，浇就浇透，夏天减少次数。"
    rows = [
        row(0, "怎样给阳台上的多肉植物来浇水？", answer), row(1, "怎样给阳台上的多肉植物施肥？", "春秋薄肥勤施，每月一次就够了。"),
        row(2, distinct(2), answer),
    ]  # fmt: skip
    run(tmp_path, rows, (asked,), reference=answer)
    assert dropped(tmp_path) == {"r0": "leak"} and kept(tmp_path) == ["r1", "r2"]
    assert details(tmp_path, "leak") == ["asks what eval item e0 asks, with the same answer"]
    context = Context(Court(Config("court", "C", "zh", "x"), tmp_path), tmp_path, "evaluate")
    items = read_records(tmp_path / "ingest" / "eval.jsonl", EvalItem)
    assert evaluate._leaks(context, items, rows) == ["r0"], "the gate looks as closely as curate"


def test_the_template_alone_is_neither_leak_nor_duplicate(tmp_path: Path) -> None:
    run(tmp_path, [row(0, "偷车"), row(1, "打人"), row(2, "放火")], ("醉驾",))
    assert dropped(tmp_path) == {} and kept(tmp_path) == ["r0", "r1", "r2"]


def test_the_same_question_in_two_tasks_is_no_duplicate(tmp_path: Path) -> None:
    run(tmp_path, [row(0, CASE), row(1, CASE, task="free")])
    assert kept(tmp_path) == ["r0", "r1"]


def test_text_is_normalised(tmp_path: Path) -> None:
    run(tmp_path, [row(0, "偷了ＡＢ１２\r\n号车\u200b")])
    (example,) = read_records(tmp_path / "curate" / "train.jsonl", Example)
    assert "偷了AB12\n号车\n" in example.question


def test_no_rows_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(
        FactoryError, match="No rows are left after curate: 2 rows: 0 kept; 1 leak, 1 too short"
    ) as caught:
        run(tmp_path, [row(0, CASE), row(1, distinct(1), answer="")], (CASE,))
    assert "[curate]" in caught.value.hint and not (tmp_path / "curate" / "train.jsonl").exists()
    assert str(tmp_path / "curate" / "dropped.jsonl") in caught.value.hint
    assert dropped(tmp_path) == {"r0": "leak", "r1": "too short"}


def test_dev_rows_are_apart_bounded_and_the_same_every_time(tmp_path: Path) -> None:
    rows = [row(number, distinct(number), passage=f"p{number // 2}") for number in range(100)]
    told = run(tmp_path, rows, dev_share=0.2)
    first = (tmp_path / "curate" / "dev.jsonl").read_bytes()
    train, dev = (read_records(tmp_path / "curate" / f"{name}.jsonl", Example) for name in ("train", "dev"))
    assert len(train) + len(dev) == 100 and 20 <= len(dev) <= 21 and told["dev"] == len(dev)
    assert not {e.provenance["passage"] for e in train} & {e.provenance["passage"] for e in dev}
    run(tmp_path, list(reversed(rows)), dev_share=0.2)
    again = {example.id for example in read_records(tmp_path / "curate" / "dev.jsonl", Example)}
    assert again == {example.id for example in dev} and first
    assert run(tmp_path, rows, dev_share=0.2, dev_most=4)["dev"] in (4, 5)
    assert run(tmp_path, rows, dev_share=0.0)["dev"] == 0


def test_a_unit_that_would_fill_most_of_the_dev_rows_is_learned(tmp_path: Path) -> None:
    """A teacher's forty rows on one passage, sixty others: none of the forty is kept back, whatever its hash."""
    rows = [row(number, distinct(number), passage=f"p{max(0, number - 39)}") for number in range(100)]
    for seed in range(4):
        told = run(
            tmp_path,
            [
                dataclasses.replace(
                    one,
                    id=f"{seed}-{one.id}",
                    provenance={"passage": f"{seed}{one.provenance['passage']}", "document": "the only one"},
                )
                for one in rows
            ],
            dev_share=0.2,
        )
        dev = read_records(tmp_path / "curate" / "dev.jsonl", Example)
        assert told["dev"] == len(dev) == 20
        assert f"{seed}p0" not in {example.provenance["passage"] for example in dev}


def test_personal_data_is_masked_and_counted(tmp_path: Path) -> None:
    told = run(tmp_path, [row(0, "张某报案，电话13800138000，邮箱zhang@example.com")])
    (example,) = read_records(tmp_path / "curate" / "train.jsonl", Example)
    assert "电话[PHONE]，邮箱[EMAIL]" in example.question and told["masked"] == {"email": 1, "phone": 1}
    told = run(tmp_path, [row(0, "电话13800138000")], mask_pii=False)
    (example,) = read_records(tmp_path / "curate" / "train.jsonl", Example)
    assert "13800138000" in example.question and told["masked"] == {}


def test_broken_and_repeating_text_is_dropped(tmp_path: Path) -> None:
    rows = [
        row(0, "锟斤拷锟斤拷烫烫"),
        row(1, distinct(1)),
        row(2, "买东西退货", answer="好的，可以退货的。" * 30),
        row(3, "价格â€™是多少"),
    ]
    run(tmp_path, rows)
    assert dropped(tmp_path) == {"r0": "broken text", "r2": "repetition", "r3": "broken text"}


def test_one_row_goes_to_training(tmp_path: Path) -> None:
    assert run(tmp_path, [row(0, CASE)], dev_share=0.5)["train"] == 1


def reading(number: int, passage: str, question: str) -> Example:
    prompt = [{"role": "user", "content": f"读。\n资料：{passage}\n问题：{question}"}]
    return Example(f"r{number}", "read", prompt, [{"role": "assistant", "content": "答案"}], {"passage": passage[:9]})


def test_questions_about_one_passage_are_no_duplicates_and_its_wording_is_no_leak(tmp_path: Path) -> None:
    text, other, held = (distinct(number, 200) for number in range(3))
    rows = [
        reading(0, text, "第一步怎么做？"), reading(1, text, "第二步怎么做？"), reading(2, text + "！", "第一步怎么做？"),
        reading(3, other, "第一步怎么做？"), reading(4, text + "乙", "第一步怎么做？"), reading(5, held, "别的问题"),
        reading(6, distinct(3, 80) + held, "再问一个"),
    ]  # fmt: skip
    asked = [reading(n, held, question).prompt for n, question in enumerate(("第一步怎么做？", "第二步怎么做？"))]
    items = [EvalItem(f"e{n}", "read", prompt, ["答案"], "exact") for n, prompt in enumerate(asked)]
    write_records(tmp_path / "ingest" / "examples.jsonl", rows)
    write_records(tmp_path / "ingest" / "eval.jsonl", items)
    write_records(tmp_path / "synthesize" / "examples.jsonl", [])
    curate.run(Context(Court(Config("court", "C", "zh", "x"), tmp_path), tmp_path, "curate"))
    assert dropped(tmp_path) == {"r2": "duplicate", "r4": "near-duplicate", "r5": "leak", "r6": "leak"}
    assert kept(tmp_path) == ["r0", "r1", "r3"]


def details(tmp_path: Path, reason: str) -> list[str]:
    lines = (tmp_path / "curate" / "dropped.jsonl").read_text(encoding="utf-8").split("\n")
    return [found["detail"] for line in lines if line for found in [json.loads(line)] if found["reason"] == reason]


def test_a_share_of_each_task_is_kept_and_the_dev_rows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    rows = [row(number, distinct(number), task="free" if number < 20 else "charge") for number in range(100)]
    whole = run(tmp_path, rows, dev_share=0.1)
    dev = (tmp_path / "curate" / "dev.jsonl").read_bytes()
    before = whole["per_task"]
    for by in ("random", "coverage"):
        told = run(tmp_path, rows, dev_share=0.1, keep=0.25, keep_by=by)
        assert (tmp_path / "curate" / "dev.jsonl").read_bytes() == dev
        assert told["per_task"] == {task: round(count / 4) for task, count in before.items()}
        assert told["dropped"] == {"not selected": whole["train"] - told["train"]}
        assert f"{told['dropped']['not selected']} not selected; 25.0% selected by {by}" in told["note"]
        assert len(details(tmp_path, "not selected")) == told["dropped"]["not selected"]
        assert not (tmp_path / "curate" / "signals.jsonl").exists()


def test_difficulty_is_measured_with_the_base_and_kept(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    rows = [row(number, distinct(number)) for number in range(10)]
    config = Config(
        "court",
        "C",
        "zh",
        str(base),
        curate=Curate(keep=0.5, keep_by="difficulty", dev_share=0.0),
        sft=Sft(quantization="none"),
    )
    write_records(tmp_path / "ingest" / "examples.jsonl", rows)
    write_records(tmp_path / "ingest" / "eval.jsonl", [])
    write_records(tmp_path / "synthesize" / "examples.jsonl", [])
    context = Context(Court(config, tmp_path), tmp_path, "curate")
    told = curate.run(context)
    found = [json.loads(line) for line in (tmp_path / "curate" / "signals.jsonl").read_text("utf-8").splitlines()]
    assert told["train"] == 5 and len(found) == 10
    assert found[0].keys() == {"id", "task", "loss", "loss_alone", "difficulty", "perplexity"}
    assert all(detail.startswith("difficulty ") for detail in details(tmp_path, "not selected"))
    assert curate.STAGE.watches(context), "the base decides which rows are kept"
    assert run(tmp_path, rows)["train"] == 10


def test_same_meaning_is_dropped_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch, lambda texts: np.ones((len(texts), 1), dtype=np.float32))
    told = run(
        tmp_path, [row(0, distinct(0)), row(1, distinct(1)), row(2, distinct(2), answer="抢劫")], same_meaning=0.9
    )
    assert dropped(tmp_path) == {"r1": "same-meaning"} and told["dropped"] == {"same-meaning": 1}


def test_general_questions_are_laid_beside_the_rows(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    rows = [row(n, distinct(n)) for n in range(20)]
    for share, wanted in ((0.0, 0), (0.5, 10), (10.0, 200)):
        config = Config("court", "C", "zh", str(base), curate=Curate(dev_share=0.0, general=share))
        write_records(tmp_path / "ingest" / "examples.jsonl", rows)
        write_records(tmp_path / "ingest" / "eval.jsonl", [])
        write_records(tmp_path / "synthesize" / "examples.jsonl", [])
        told = curate.run(Context(Court(config, tmp_path), tmp_path, "curate", say=lambda text: None))
        found = read_records(tmp_path / "curate" / "general.jsonl", Example)
        assert len(found) == told["general"] == wanted
        assert ("general questions beside them" in told["note"]) == bool(wanted)
        assert not {example.task for example in read_records(tmp_path / "curate" / "train.jsonl", Example)} & {
            "general"
        }
