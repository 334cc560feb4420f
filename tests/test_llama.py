"""llama.cpp as an engine: what it answers is what transformers answers, over the same file's template and tokens."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from ggufs import adapter_gguf, random_adapter, tiny_gguf
from pydantic import create_model
from tiny import tiny_model

from factory.domain import Task
from factory.errors import FactoryError
from factory.generate import Question, answer, label_tries
from factory.gguf_check import _BLOCKS, check_gguf
from factory.llama import Llama, grammar, open_llama, room_for
from factory.progress import Progress
from factory.teacher import Ask, Limits, open_teacher

KIND = Task("kind", "Kind", "choice", choices=("bread", "bread and butter", "butter"), max_new_tokens=40)
LIST = Task("list", "List", "set_f1", choices=("flour", "salt", "butter"), separator="; ", max_new_tokens=24)
FREE = Task("free", "Free", "rouge_l", max_new_tokens=24)
WORDS = [
    "Bake the bread.",
    "List the ingredients: flour, salt, butter.",
    "给我一份面包的食谱。",
    "flour salt butter " * 9,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), initializer_range=1.0)


@pytest.fixture(scope="module")
def gguf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(folder, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def llama(gguf: Path) -> Iterator[Llama]:
    with open_llama(gguf, context=512, slots=2, threads=1) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def questions(task: Task | None) -> list[Question]:
    return [
        Question([{"role": "system", "content": "Be brief."}, {"role": "user", "content": word}], task)
        for word in WORDS
    ]


def whole_letters(text: str) -> str:
    """Without what is left of a letter where the token limit cut it: llama.cpp keeps that back."""
    return text.rstrip("\ufffd")


@pytest.mark.parametrize(
    ("task", "no_repeat"), [(FREE, 0), (FREE, 2), (FREE, 4), (KIND, 0), (LIST, 0)],
    ids=["free", "no run of 2 twice", "no run of 4 twice", "a label", "several labels"],
)  # fmt: skip
def test_it_answers_as_transformers_does(llama: Llama, loaded: tuple[Any, Any], task: Task, no_repeat: int) -> None:
    wanted = answer(*loaded, questions(task), no_repeat_ngram=no_repeat)
    found = llama.answer(questions(task), no_repeat_ngram=no_repeat, logprobs=True)
    assert [(one.tokens, one.truncated) for one in found] == [(one.tokens, one.truncated) for one in wanted]
    assert [whole_letters(one.text) for one in found] == [whole_letters(one.text) for one in wanted]
    assert len({one.text for one in found}) > 1  # else it would prove nothing


def test_the_log_probabilities_are_the_models_own(llama: Llama, loaded: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = loaded
    for question, found in zip(questions(FREE), llama.answer(questions(FREE), logprobs=True), strict=True):
        prompt = tokenizer(llama.render(question.prompt), add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *found.tokens]])).logits[0, len(prompt) - 1 : -1]
        wanted = logits.log_softmax(-1)[range(len(found.tokens)), list(found.tokens)]
        told = torch.tensor(found.logprobs)
        known = ~told.isnan()  # the server tells nothing of a token that is a part of a letter
        assert known.any() and torch.allclose(wanted[known], told[known], atol=0.05)


def test_a_stop_word_ends_an_answer(llama: Llama) -> None:
    whole = llama.answer(questions(FREE))
    word = next(found[0] for one in whole if (found := re.search(r"(?<=.)[A-Za-z]{2}", one.text)))
    stopped = llama.answer(questions(FREE), stop=[word])
    assert any(word in one.text for one in whole)
    assert all(word not in one.text for one in stopped)
    assert any(not one.truncated for one in stopped)


def test_sampling_is_the_seeds(llama: Llama) -> None:
    runs = [[one.text for one in llama.answer(questions(FREE), temperature=1.5, seed=seed)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_adapters_are_switched_on_one_loaded_base(folder: Path, gguf: Path, tmp_path: Path) -> None:
    loaded = [random_adapter(folder, tmp_path / f"{seed}", seed) for seed in (1, 2)]
    files = [adapter_gguf(folder, tmp_path / f"{seed}", tmp_path / f"{seed}.gguf") for seed in (1, 2)]
    with open_llama(gguf, files, context=512, slots=2, threads=1) as llama:
        told = [[one.tokens for one in llama.answer(questions(FREE), adapter=number)] for number in (0, 1, None, 0)]
    with open_llama(gguf, context=512, slots=2, threads=1) as llama:
        base = [one.tokens for one in llama.answer(questions(FREE))]
    assert told[0] == told[3] != told[1] and told[2] == base and base not in (told[0], told[1])
    for peft, tokens in zip(loaded, told[:2], strict=True):
        assert tokens == [one.tokens for one in answer(*peft, questions(FREE))]


def test_the_grammar_is_over_tokens() -> None:
    task = Task("t", "T", "set_f1", choices=("ab", "ac"), separator=",")
    assert grammar(*label_tries(task, lambda text: [*map(ord, text)])).splitlines() == [
        "root ::= r5",
        "r0 ::= <[44]> r1",
        "r1 ::= <[97]> r2",
        "r2 ::= <[98]> r3 | <[99]> r4",
        'r3 ::= r0 | ""',
        'r4 ::= r0 | ""',
        "r5 ::= <[97]> r6",
        "r6 ::= <[98]> r7 | <[99]> r8",
        'r7 ::= r0 | ""',
        'r8 ::= r0 | ""',
    ]


def test_a_question_too_long_is_named(llama: Llama) -> None:
    with pytest.raises(FactoryError, match=r"has \d+ tokens; the model was opened for 512"):
        llama.answer([Question([{"role": "user", "content": "flour " * 600}], FREE)])


def test_room_holds_the_longest_question(llama: Llama) -> None:
    for question in questions(FREE):
        tokens = len(llama.tokenize(llama.render(question.prompt), special=True))
        assert tokens + FREE.max_new_tokens <= room_for([question])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.98])
def test_a_cut_file_is_refused(gguf: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[: int(gguf.stat().st_size * share)])
    with pytest.raises(FactoryError, match="damaged"), open_llama(cut):
        pass


def test_a_missing_file_and_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="does not exist"):
        check_gguf(tmp_path / "none.gguf")
    with pytest.raises(FactoryError, match="damaged"):
        check_gguf(folder / "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        struct.pack("<QIIQQ", 0, 9, 8, 2, 2**63),  # two texts, the first one so long
        struct.pack("<Q17sII", 17, b"general.alignment", 4, 0),
        struct.pack("<QI", 0, 9) + struct.pack("<IQ", 9, 1) * 5000,  # lists in lists
    ],
)
def test_counts_that_cannot_be_are_refused(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + damage)
    with pytest.raises(FactoryError, match="damaged"):
        check_gguf(file)


def test_the_sizes_of_tensors_are_ggufs_own() -> None:
    import gguf

    assert {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()} == _BLOCKS


def test_a_file_is_looked_at_again_once_it_is_another(gguf: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf.read_bytes())
    check_gguf(file)
    file.write_bytes(gguf.read_bytes()[:-4096])
    with pytest.raises(FactoryError, match="damaged"):
        check_gguf(file)


def test_an_adapter_of_another_size_is_refused(gguf: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "wide", hidden_size=64)
    random_adapter(other, tmp_path / "adapter", 1)
    adapter = adapter_gguf(other, tmp_path / "adapter", tmp_path / "adapter.gguf")
    with pytest.raises(FactoryError, match=r"llama\.cpp does not load") as error, open_llama(gguf, [adapter]):
        pass
    assert "only the base" in error.value.hint


def test_a_file_teaches_once_and_is_replayed_without_being_served(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = create_model("Kind", kind=(Literal["bread", "butter"], ...))
    asks = [Ask([{"role": "user", "content": word}], form, max_tokens=64, seed=n) for n, word in enumerate(WORDS)]
    limits, progress = Limits(concurrency=2), Progress(lambda _: None, "answers", len(asks))
    with open_teacher(str(gguf), limits=limits) as teacher:
        told = teacher.all(asks, progress)
        assert teacher.called >= len(asks) and teacher.tokens_in > 0 and teacher.model.startswith("tiny.gguf-")
    assert [answer.kind in ("bread", "butter") for answer in told if answer] and all(told), (
        "the schema binds a random model"
    )
    monkeypatch.setattr("factory.teacher.serve", None)
    with open_teacher(str(gguf), limits=limits) as teacher:
        assert teacher.all(asks, progress) == told and (teacher.called, teacher.told) == (0, len(asks))
