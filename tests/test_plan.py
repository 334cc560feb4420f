"""The plan: sizes counted, choices that follow from memory, other machines, what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny import tiny_model

from factory import hardware
from factory.config import Config
from factory.errors import FactoryError
from factory.export.reading import load_plain
from factory.files import write_json
from factory.fused import fuse
from factory.hardware import Machine, other_machine
from factory.models import catalog, load_base, load_nf4
from factory.plan import GB, Plan, Work, memory_gb, plan_sft, require_fit, work_of
from factory.records import Example
from factory.sizing import Size, base_config, size_of
from factory.training import passes, row_order, row_passes

LAPTOP = Machine("a processor", 4, 16, False)
WORK = Work([100] * 64, [20] * 64, ["fact"] * 64)


def config(base: str, **sft: Any) -> Config:
    plain = Config("toy", "Toy", "en", base)
    return replace(plain, sft=replace(plain.sft, **sft))


@pytest.mark.parametrize("name", catalog())
def test_the_catalog_knows_the_size_of_every_base(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))  # from the catalog alone
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(base_config(name))
    assert sum(weight.numel() for weight in model.parameters()) == catalog()[name].parameters


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "qwen3"])
def test_what_is_kept_for_the_way_back_is_what_a_real_model_keeps(
    tmp_path: Path, architecture: str, dtype: str
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tiny_model(tmp_path / "tiny", architecture, hidden_size=64, intermediate_size=192)
    machine = replace(LAPTOP, native_bf16=dtype == "bfloat16")
    size = size_of(base_config(str(folder)), 4, 64, machine)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear")).train()
    if machine.fuses:
        fuse(model)
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.ones(2, 64, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, -8:] = 0  # padded, as most batches are
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), mixed:
        out = base.model(input_ids=ids, attention_mask=mask, use_cache=False)
    assert sum(kept.values()) / ids.numel() == pytest.approx(size.kept_bytes, rel=0.15)
    assert size.kept_bytes_checkpointed < size.kept_bytes / 3
    assert size.lora == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert out.last_hidden_state.requires_grad


def test_arithmetic_is_counted_as_by_hand(tmp_path: Path) -> None:
    size = size_of(base_config(str(tiny_model(tmp_path / "tiny"))), 4, 16, LAPTOP)
    attention = 4 * 8 * 16 * 4 * 2  # heads, width, length: two products, a multiplication and an addition, two layers
    forward = 2 * (size.linear + size.lora) + attention
    assert 1.9 * forward < size.flops < 3 * forward  # frozen weights take no gradient of their own


def test_a_smaller_memory_halves_the_batch_then_drops_activations_then_refuses() -> None:
    base = "smollm2-135m-instruct"
    size = size_of(base_config(base), 16, 96, LAPTOP)
    sizes = {rows: memory_gb(size, LAPTOP, "nf4", rows * 100, False) for rows in (8, 4, 1)}
    checked = memory_gb(size, LAPTOP, "nf4", 100, True)
    assert sizes[8] > sizes[4] > sizes[1] > checked

    def plan(limit: float) -> Plan:
        return plan_sft(config(base), replace(LAPTOP, memory_gb=limit / 0.9 * GB / 2**30), WORK, measure=False)

    for limit, rows in [(sizes[8], 8), (sizes[4], 4), (sizes[1], 1)]:
        made = plan(limit + 0.01)
        assert (made.batch, made.accumulation, made.checkpointing, made.fits) == (rows, 8 // rows, False, True)
    made = plan((checked + sizes[1]) / 2)
    assert made.checkpointing and made.fits and made.batch * made.accumulation == 8
    assert made.memory_gb <= made.limit_gb
    made = plan(checked / 2)
    assert (made.batch, made.checkpointing, made.fits) == (1, True, False)
    with pytest.raises(FactoryError, match="needs about") as refused:
        require_fit(plan(checked / 2))
    assert "a machine with" in refused.value.hint


def test_an_adapter_on_the_topmost_layers_needs_less_memory_and_arithmetic() -> None:
    base = "smollm2-135m-instruct"
    whole, top = (
        plan_sft(config(base, top_layers=layers, epochs=3.0), LAPTOP, WORK, measure=False) for layers in (0, 10)
    )
    assert not any(line.startswith("adapter") for line in whole.lines())
    assert any("on the topmost 10 of 30 layers (sft.top_layers" in line for line in top.lines())
    kept = sum(WORK.lengths) * 576 * 4 / GB
    assert top.memory_gb < whole.memory_gb and top.memory_gb > kept
    assert whole.flops / 3 < top.flops < whole.flops / 2, "a third of the layers, and once forward through the others"
    assert plan_sft(config(base, top_layers=99, epochs=3.0), LAPTOP, WORK, measure=False) == whole


@pytest.mark.parametrize("batch", [1, 5, 6, 12])
def test_part_batches_keep_the_rows_of_a_step(batch: int) -> None:
    settings = config("smollm2-135m-instruct", batch=batch)
    seen = set()
    for tenths in range(14, 60):
        made = plan_sft(settings, replace(LAPTOP, memory_gb=tenths / 10), WORK, measure=False)
        assert made.batch * made.accumulation == batch
        seen.add(made.batch)
    assert seen >= {1, batch}


def test_rows_shorter_than_a_few_tokens_are_planned() -> None:
    laptop = other_machine("1gb-laptop")
    made = plan_sft(config("smollm2-135m-instruct"), laptop, Work([3] * 8, [1] * 8, ["fact"] * 8), measure=False)
    assert not made.fits and made.instead  # and other bases were tried at that length


def test_threads_are_those_that_training_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert plan_sft(config("smollm2-135m-instruct"), LAPTOP, WORK, measure=False).threads == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert plan_sft(config("smollm2-135m-instruct"), LAPTOP, WORK, measure=False).threads == 4


def test_a_base_without_a_chat_template_is_one_clear_line(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / "chat_template.jinja").unlink()
    row = Example("1", "t", [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}])
    with pytest.raises(FactoryError, match="no chat template"):
        work_of(str(folder), [row], "en")


def test_another_machine_and_base_are_planned_without_a_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    llama = config("llama-3.1-8b-instruct")
    gpu = plan_sft(llama, other_machine("24gb-gpu"), WORK, measure=False)
    assert gpu.fits and gpu.dtype == "bfloat16" and gpu.minutes is None and 6 < gpu.memory_gb < 15
    laptop = plan_sft(llama, other_machine("8gb-laptop"), WORK, measure=False)
    assert not laptop.fits and any("--base" in text for text in laptop.instead)
    whole = plan_sft(
        config("llama-3.1-8b-instruct", quantization="none"), other_machine("16gb-gpu"), WORK, measure=False
    )
    assert not whole.fits and "--set sft.quantization=nf4" in whole.instead
    two = plan_sft(
        config("llama-3.1-8b-instruct", quantization="none"), other_machine("2x16gb-gpu"), WORK, measure=False
    )
    assert two.memory_gb < whole.memory_gb
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("flags", "dtype"), [(set(), "float32"), ({"avx512_bf16"}, "float32"), ({"avx512_bf16", "amx_bf16"}, "bfloat16")]
)
def test_a_processor_trains_in_bf16_with_amx_alone(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], dtype: str
) -> None:
    monkeypatch.setattr(hardware, "_processor", lambda: ("a processor", flags))
    assert hardware.inspect_machine(with_gpu=False).dtype == dtype


@pytest.mark.parametrize("text", ["gpu", "0gb-gpu", "2x8gb-laptop", "24", "0x24gb-gpu", ""])
def test_a_machine_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(FactoryError, match="says no machine"):
        other_machine(text)


def test_this_machine_is_timed_and_priced(tmp_path: Path) -> None:
    base = str(tiny_model(tmp_path / "tiny"))
    made = plan_sft(config(base), LAPTOP, WORK, price_per_hour=2.0)
    assert made.minutes is not None and 0 < made.minutes < 5
    assert made.cost == pytest.approx(made.minutes / 30)
    assert made.rows == 256 and made.steps == 32 and made.tokens == 25600
    assert "4 epochs (by the number of rows)" in made.reasons["work"], "64 rows need passes"
    assert [line.split()[0] for line in made.lines()][:3] == ["machine", "dtype", "quantization"]
    assert all(key in made.reasons for key in ("dtype", "quantization", "batch", "threads", "memory", "time"))


def test_tokens_are_counted_by_the_tokenizer_or_estimated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = Example("1", "t", [{"role": "user", "content": "Bake it"}], [{"role": "assistant", "content": "20 minutes"}])
    exact = work_of(str(tiny_model(tmp_path / "tiny")), [row], "en")
    assert not exact.estimated and exact.lengths[0] > exact.labelled[0] > 1
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "empty"))
    rough = work_of("qwen3-8b", [row], "en")
    assert rough.estimated and rough.lengths[0] > rough.labelled[0] > 1


def test_sizes_are_of_known_bases_only(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="Unknown base model"):
        base_config("nothing-7b")
    assert isinstance(size_of(base_config("smollm2-135m-instruct"), 8, 32, LAPTOP), Size)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "llama"}, "pickles"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}},
            "needs code of its own .model_type 'own'., and code",
        ),
    ],
)
def test_a_folder_of_pickles_or_code_is_no_base(tmp_path: Path, config: dict[str, Any], word: str) -> None:
    write_json(tmp_path / "config.json", config)
    (tmp_path / ("pytorch_model.bin" if word == "pickles" else "model.safetensors")).touch()
    (tmp_path / "own.py").write_text("open('ran', 'w')")
    with pytest.raises(FactoryError, match=word):
        base_config(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_what_a_folder_holds_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model(tmp_path / "tiny")
    given: list[tuple[str, Any, Any]] = []
    for auto in (transformers.AutoConfig, transformers.AutoTokenizer, transformers.AutoModelForCausalLM):
        real = auto.from_pretrained

        def noted(place: Path, name: str = auto.__name__, real: Any = real, **settings: Any) -> Any:
            given.append((name, settings.get("trust_remote_code"), settings.get("use_safetensors")))
            return real(place, **settings)

        monkeypatch.setattr(auto, "from_pretrained", noted)
    base_config(str(folder))
    load_base(folder, "none", replace(LAPTOP, cores=1))
    load_plain(folder, None)
    load_nf4(folder, "float32")
    assert {code for _, code, _ in given} == {False}
    assert [safe for name, _, safe in given if name == "AutoModelForCausalLM"] == [True] * 3


def test_passes_are_by_the_number_of_rows_where_nothing_is_said() -> None:
    assert [passes(0, rows) for rows in (5, 376, 700, 1198, 10**6)] == [4, 3, 2, 1, 1]
    assert passes(2.5, 10) == 2.5


def test_a_task_may_be_seen_more_often_than_the_others() -> None:
    made = config("smollm2-135m-instruct", epochs=1.0, task_epochs={"hard": 3, "easy": 0.5, "left": 0}).sft
    tasks = ["hard"] * 12 + ["easy"] * 40 + ["plain"] * 20 + ["left"] * 4
    order = row_order([10 + row % 7 for row in range(76)], 4, row_passes(made, tasks), seed=1)
    seen = [order.count(row) for row in range(76)]
    assert seen[:12] == [3] * 12 and seen[52:72] == [1] * 20 and seen[72:] == [0] * 4
    assert set(seen[12:52]) == {0, 1} and 14 <= sum(seen[12:52]) <= 26, "half of them, whichever"
    ends = [sum(row < 12 for row in part) for part in (order[: len(order) // 2], order[len(order) // 2 :])]
    assert min(ends) >= 0.4 * sum(ends), "spread over the training: no task comes last alone"
    batches = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert sum(len(set(rows)) == len(rows) for rows in batches) >= len(batches) - 1, "no row twice in one step"
    assert row_order([5] * 9, 4, 2, seed=1) == row_order([5] * 9, 4, [2.0] * 9, seed=1)
    half = row_order([5] * 8, 4, 2.5, seed=1)
    assert sorted(half.count(row) for row in range(8)) == [2] * 4 + [3] * 4
    with pytest.raises(FactoryError, match=r"sft\.task_epochs leaves no row"):
        row_passes(replace(made, task_epochs={"hard": 0}), ["hard"] * 3)
