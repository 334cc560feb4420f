"""Label likelihoods on a tiny random model: in batches the same as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_model


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_shares_are_the_probabilities_of_the_whole_labels(tmp_path: Path, architecture: str) -> None:
    import torch
    from labels import BATCH, weigh  # type: ignore[import-not-found]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_model(tmp_path, architecture)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer("Bake the bread?", return_tensors="pt")["input_ids"]
    ends = [tokenizer.eos_token_id, tokenizer("salt", add_special_tokens=False)["input_ids"][0]]
    choices = ["salt", "flour and butter", *(f"bread {n}" for n in range(BATCH))]
    shares = weigh(model, tokenizer, prompt, choices, ends)
    weights = []
    for choice in choices:
        row = tokenizer(choice, add_special_tokens=False)["input_ids"]
        ids = torch.cat([prompt, torch.tensor([row])], dim=1)
        with torch.inference_mode():
            told = model(ids).logits[0].double().log_softmax(-1)
        at = prompt.shape[1] - 1
        ending = told[at + len(row), ends].logsumexp(-1)  # whichever token ends an answer
        weights.append(sum(told[at + place, token] for place, token in enumerate(row)) + ending)
    wanted = torch.stack(weights).softmax(-1).tolist()
    assert shares == pytest.approx(wanted, rel=1e-3) and sum(shares) == pytest.approx(1.0)
