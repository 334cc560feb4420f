"""Difficulty against the plain computation, one row at a time; measured rows are not measured again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_model

from factory import difficulty
from factory.config import Sft
from factory.difficulty import measure, signals
from factory.models import load_base
from factory.records import Example

SETTINGS = Sft(quantization="none", max_length=64)


def example(number: int, question: str, answer: str) -> Example:
    prompt = [{"role": "system", "content": "S"}, {"role": "user", "content": question}]
    return Example(f"r{number}", "t", prompt, [{"role": "assistant", "content": answer}])


ROWS = [
    example(0, "What is apple?", "fruit"),
    example(1, "List the ingredients.", "flour, salt, butter, and a good deal of water"),
    example(2, "x " * 90, "y " * 80),
    example(3, "水果是什么？", "苹果"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"), initializer_range=0.2)


def plain(model: Any, tokenizer: Any, text: str, answer: str) -> float:
    """Mean loss of the answer's tokens behind a text."""
    import torch

    head, said = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, answer + "<|end|>"))
    ids = torch.tensor([head + said])
    labels = torch.tensor([[-100] * len(head) + said])
    with torch.no_grad():
        return float(model(input_ids=ids, labels=labels).loss)


def test_losses_are_those_of_the_answer_after_its_question_and_alone(base: Path) -> None:
    model, tokenizer = load_base(base, "none")
    found = measure(model, tokenizer, ROWS, 64)
    for number in (0, 1, 3):
        question, answer = ROWS[number].question, ROWS[number].answer
        asked = plain(model, tokenizer, f"<|system|>S<|end|><|user|>{question}<|end|><|assistant|>", answer)
        alone = plain(model, tokenizer, "<|user|><|end|><|assistant|>", answer)
        assert found[number] == pytest.approx((asked, alone), rel=1e-4)
    assert all(math.isfinite(loss) for pair in found for loss in pair), "a row past the limit, too"


def test_small_batches_measure_the_same(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_base(base, "none")
    whole = measure(model, tokenizer, ROWS, 64)
    monkeypatch.setattr(difficulty, "POSITIONS", 1)
    single = measure(model, tokenizer, ROWS, 64)
    assert [pair for row in single for pair in row] == pytest.approx([pair for row in whole for pair in row], rel=1e-4)


def test_rows_are_measured_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = signals(ROWS[:2], str(base), SETTINGS, print)
    measured: list[str] = []
    real = difficulty.measure

    def spied(model: Any, tokenizer: Any, rows: list[Example], most: int) -> Any:
        measured.extend(row.id for row in rows)
        return real(model, tokenizer, rows, most)

    monkeypatch.setattr(difficulty, "measure", spied)
    again = signals(ROWS, str(base), SETTINGS, print)
    assert sorted(measured) == ["r2", "r3"]
    assert again[:2] == first and [signal.id for signal in again] == ["r0", "r1", "r2", "r3"]
    one = again[0]
    assert one.difficulty == pytest.approx(one.loss / one.loss_alone, abs=1e-3)
    assert one.perplexity == pytest.approx(math.exp(one.loss), rel=1e-3)
