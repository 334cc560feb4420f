"""Every architecture of the catalog: the exported GGUF, and the adapter's over the base's, give transformers' logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exported import PROMPTS, converter, fetched, make_base, make_run, next_logprobs  # noqa: F401
from integration.test_models import ARCHITECTURES

from factory.errors import FactoryError
from factory.export.artifact import export
from factory.files import read_json
from factory.llama import open_llama
from factory.weights.gguf_files import PARTLY
from factory.weights.job import Order


def logprobs(run: Path, ids: list[int], cache: dict[str, Any]) -> Any:
    """The trained model's log-probabilities after `ids`, by transformers and PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if "model" not in cache:
        base = AutoModelForCausalLM.from_pretrained(read_json(run / "sft/base.json")["path"], dtype=torch.float32)
        cache["model"] = PeftModel.from_pretrained(base, str(run / "sft/adapter")).eval()
    with torch.inference_mode():
        return cache["model"](torch.tensor([ids])).logits[0, -1].log_softmax(-1)


@pytest.mark.usefixtures("converter")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gguf_gives_the_logits_of_transformers(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_base(tmp_path / "base", architecture, **ARCHITECTURES[architecture])
    run = make_run(tmp_path, base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    cache: dict[str, Any] = {}
    if architecture in PARTLY:
        with pytest.raises(FactoryError, match="only a part of an adapter"):
            export(Order("toy", "gguf-lora", "f32"), lambda text: None)
    for kind in ("gguf",) if architecture in PARTLY else ("gguf", "gguf-lora"):
        folder = export(Order("toy", kind, "f32"), lambda text: None)
        told = read_json(folder / "export.json")
        file = folder / told["file"]
        files = (Path(told["base_gguf"]), [file]) if kind == "gguf-lora" else (file, [])
        with open_llama(*files, context=256, slots=1, threads=1) as llama:
            for text in PROMPTS:
                words = [{"role": "user", "content": text}]
                prompt = tokenizer.apply_chat_template(words, tokenize=False, add_generation_prompt=True)
                ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
                assert llama.render(words) == prompt
                assert llama.tokenize(prompt, special=True) == ids
                wanted = logprobs(run, ids, cache)
                with cache["model"].disable_adapter():
                    assert float((logprobs(run, ids, cache) - wanted).abs().max()) > 0.1, "the adapter is heard"
                found = next_logprobs(llama, ids, len(wanted))
                assert float((found - wanted).abs().max()) < 1e-2, f"{kind}: {text}"


@pytest.mark.slow
def test_the_embedded_base_cuts_words_as_in_training(tmp_path: Path) -> None:
    """Its tokenizer knows fewer rules than SmolLM2's own, for which the converter would take it."""
    from factory.models import base_folder, load_tokenizer

    base = base_folder("smollm2-135m-instruct", "none", lambda text: None)
    make_run(tmp_path, base)
    folder = export(Order("toy", "gguf-lora", "q8_0"), lambda text: None)
    tokenizer = load_tokenizer(base)
    with open_llama(Path(read_json(folder / "export.json")["base_gguf"]), context=256, slots=1, threads=1) as llama:
        for text in (
            "Steps\n\n1. Heat 250 ml.\n\n2. Stir",
            "2026-11-25 at 07:30",
            "加 25 克糖，第三十条。",
            "\n\n  x = 10\n",
        ):
            assert llama.tokenize(text, special=True) == tokenizer(text, add_special_tokens=False)["input_ids"], text
