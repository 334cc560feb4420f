"""The general set: balanced, answerable, of no shipped domain; what a specialist forgot is measured and kept."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tiny import tiny_model

from factory import forgetting as module
from factory import gates
from factory.config import Gates
from factory.files import read_json, read_sealed, write_json
from factory.forgetting import LANGUAGES, forgetting, general_rows, items
from factory.gates import of_forgetting
from factory.verdict import in_words

KINDS = ("reading", "arithmetic", "sense", "instruction")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_item_has_one_right_choice_and_its_place_says_nothing(language: str) -> None:
    rows = items(language)
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(KINDS, 20)
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == 80
    for row in rows:
        assert len(set(row["choices"])) == 4 and row["answer"] in row["choices"], row["id"]
        starts = [a for a in row["choices"] for b in row["choices"] if a != b and b.startswith(a)]
        assert not starts, f"{row['id']}: one choice begins another"
    assert Counter(row["choices"].index(row["answer"]) for row in rows) == dict.fromkeys(range(4), 20)
    longest = sum(row["answer"] == max(row["choices"], key=len) for row in rows) / 80
    assert longest < 0.4, "the longest choice is no give-away"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reading_item_names_its_answer_and_rivals_in_the_passage(language: str) -> None:
    for row in items(language):
        if row["kind"] == "reading":
            passage = row["prompt"].rpartition("\n\n")[0].lower()
            words = [choice.lower().removeprefix("a ") for choice in row["choices"]]
            named = [word in passage for word in words]
            assert sum(named) >= 3 and named[row["choices"].index(row["answer"])], row["id"]


def test_no_shipped_domain_holds_a_text_of_the_set() -> None:
    files = [path for path in (ROOT / "domains").rglob("*") if path.suffix in (".md", ".jsonl", ".csv", ".txt")]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for language in LANGUAGES:
        whole = [row["prompt"] for row in items(language)]
        whole += (ROOT / f"factory/general/{language}.txt").read_text(encoding="utf-8").split("\n\n")
        assert not [text for text in whole if len(text) > 20 and text.strip() in texts]


def adapter_over(base: Path, out: Path, spread: float) -> Path:
    """A LoRA adapter with random weights: what it does to the base is damage."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=spread)
    model.save_pretrained(out)
    return out


def files_of_an_adapter(out: Path) -> Path:
    """What tells one adapter from another."""
    out.mkdir()
    (out / "adapter_model.safetensors").write_bytes(b"weights")
    return out


def test_what_was_forgotten_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "base")
    base: dict[str, Any] = {"name": str(folder), "path": str(folder), "stop": []}
    run = tmp_path / "runs" / "toy" / "default"
    same = forgetting(run, base, "none", adapter_over(folder, tmp_path / "same", 0.0), lambda text: None)
    assert same["difference"]["mean"]["difference"] == 0 and same["difference"]["mean"]["n"] == 160
    assert same["perplexity"]["base"] == pytest.approx(same["perplexity"]["specialist"], rel=0.01)
    assert set(same["difference"]) == {f"{language} {kind}" for language in LANGUAGES for kind in KINDS} | {"mean"}

    adapter = adapter_over(folder, tmp_path / "other", 2.0)
    found = forgetting(run, base, "none", adapter, lambda text: None)
    assert found["perplexity"]["specialist"] != pytest.approx(found["perplexity"]["base"], rel=0.01)
    assert found["models"]["base"] == same["models"]["base"] and read_sealed(run / "forgetting.json") == found

    monkeypatch.setattr(module, "load_answering", lambda *_: pytest.fail("it was measured before"))
    assert forgetting(run, base, "none", adapter, lambda text: None) == found


def test_what_was_changed_by_hand_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, run, said = files_of_an_adapter(tmp_path / "adapter"), tmp_path / "runs" / "toy" / "default", []
    base: dict[str, Any] = {"name": "smollm2-135m-instruct", "path": str(tmp_path), "stop": []}
    monkeypatch.setattr(module, "load_answering", lambda *_: (None, None))
    monkeypatch.setattr(module, "answers_of_weights", lambda *_: None)
    monkeypatch.setattr(module, "_answered", lambda *rest: {"en sense": [1.0, 0.0]})
    monkeypatch.setattr(module, "_perplexity", lambda *_: 40.0)
    measured = forgetting(run, base, "none", adapter, said.append)
    path = run / module.FILE
    write_json(path, read_json(path) | {"perplexity": {"base": {"en": 99.0}, "specialist": {"en": 40.0}}})
    assert forgetting(run, base, "none", adapter, said.append) == measured == read_sealed(path)
    assert said == [f"    {path} was changed since, or is of an earlier version: measured again"]
    monkeypatch.setattr(module, "_perplexity", lambda *_: pytest.fail("it was measured before"))
    assert forgetting(run, base, "none", adapter, said.append) == measured


def test_more_damage_is_refused_where_less_passes(tmp_path: Path) -> None:
    """Two adapters, the second of twice the weights; the limit lies between what they did to other texts."""
    folder = tiny_model(tmp_path / "base", initializer_range=0.3)
    base: dict[str, Any] = {"name": str(folder), "path": str(folder), "stop": []}
    ratios, measured = [], []
    for spread in (0.2, 0.4):
        adapter = adapter_over(folder, tmp_path / str(spread), spread)
        found = forgetting(tmp_path / "runs/toy" / str(spread), base, "none", adapter, lambda text: None)
        measured.append(found)
        ratios.append(
            max(found["perplexity"]["specialist"][name] / found["perplexity"]["base"][name] for name in LANGUAGES)
        )
    assert 1 < ratios[0] < ratios[1], ratios
    limits = Gates(forgets=100, perplexity=sum(ratios) / 2)
    assert [[gate["passed"] for gate in of_forgetting(found, limits)] for found in measured] == [
        [True, True],
        [True, False],
    ]
    lost = measured[1]["difference"]["mean"]["difference"]
    least = Gates(forgets=max(0.0, -lost - 0.1), perplexity=1e9)
    assert [gate["passed"] for gate in of_forgetting(measured[1], least)] == [lost >= 0, True]


def test_the_gate_says_that_the_estimate_decides() -> None:
    """The interval reaches below the limit, and the gate is passed."""
    row = {"difference": -8.0, "low": -15.0, "high": -1.0}
    found = {"difference": {"mean": row}, "perplexity": {"base": {"en": 40.0}, "specialist": {"en": 40.0}}}
    gate = of_forgetting(found, Gates(forgets=10))[0]
    assert gate["passed"] and gate["detail"] == "general ability -8.0 [-15.0, -1.0], the estimate may fall by 10"
    assert in_words(gate["detail"], zh=True) == "通用能力 -8.0 [-15.0, -1.0]，估计值最多可降 10 分"


def test_gates_not_measured_yet_are_named(tmp_path: Path) -> None:
    adapter = files_of_an_adapter(tmp_path / "adapter")
    limits = Gates(seconds=2.0)
    assert [(gate["name"], gate["passed"]) for gate in gates.kept(tmp_path, adapter, limits)] == [
        ("forgetting", None), ("perplexity", None), ("latency", None),
    ]  # fmt: skip
    made = [{"name": "forgetting", "passed": True, "detail": "kept"}]
    gates.keep(tmp_path, adapter, limits, made)
    assert gates.kept(tmp_path, adapter, limits) == made
    assert gates.kept(tmp_path, adapter, Gates(seconds=1.0))[0]["passed"] is None, "other limits"
    path = tmp_path / gates.FILE
    write_json(path, read_json(path) | {"gates": [made[0] | {"detail": "by hand"}]})
    assert gates.kept(tmp_path, adapter, limits)[0]["passed"] is None, "changed by hand"


@pytest.mark.parametrize("language", LANGUAGES)
def test_general_rows_are_whole_and_share_no_question_with_the_set(language: str) -> None:
    text = (ROOT / f"factory/general/replay-{language}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(KINDS, 40)
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == 160
    assert all(row["answer"].strip() for row in rows)
    long = 12 if language == "zh" else 28
    frozen = [item["prompt"].rpartition("Question:")[0] or item["prompt"] for item in items(language)]
    runs = {text[start : start + long] for text in frozen for start in range(len(text) - long + 1)}
    assert not [row["id"] for row in rows if any(run in row["prompt"] for run in runs)]
    assert not {row["prompt"] for row in rows} & {item["prompt"] for item in items(language)}


def test_general_rows_are_of_the_base_s_languages_and_the_same_every_time() -> None:
    rows = general_rows("smollm2-135m-instruct", 50, 0)
    assert rows == general_rows("smollm2-135m-instruct", 50, 0) and len(rows) == 50
    assert {row.provenance["source"] for row in rows} == {"replay-en.jsonl"}
    assert {row.provenance["source"] for row in general_rows("gemma-3-270m", 50, 0)} == {
        "replay-en.jsonl",
        "replay-zh.jsonl",
    }
    assert len(general_rows("smollm2-135m-instruct", 1000, 0)) == 160
    assert general_rows("gemma-3-270m", 0, 0) == []
