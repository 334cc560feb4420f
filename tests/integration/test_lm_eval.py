"""lm-evaluation-harness itself runs an exported eval set and comes to the factory's scores, item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exported import make_base, make_run
from test_harness import CODE, LABELS, WORDS

from factory.domain import load_domain
from factory.export.artifact import export
from factory.files import write_json
from factory.generate import Question, answer
from factory.harness import export_tasks
from factory.models import load_answering
from factory.records import EvalItem, write_records
from factory.weights.job import Order

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'vertical-factory[lm-eval]'")


def test_lm_eval_gives_the_same_answers_and_the_same_scores(tmp_path: Path) -> None:
    """The references are the factory's own answers to every second item: a score of 1 there means the same answer."""
    from lm_eval.tasks import TaskManager

    base = make_base(tmp_path / "base")
    run = make_run(tmp_path, base)
    code = CODE.replace('("fruit", "tool"), max_new_tokens=8', f"{LABELS!r}, max_new_tokens=12")
    (tmp_path / "domains" / "toy" / "domain.py").write_text(code.replace('"rouge_l"', '"exact"'), encoding="utf-8")
    with open(tmp_path / "domains" / "toy" / "domain.toml", "a") as file:
        file.write("[evaluate]\nno_repeat_ngram = 3\n")
    domain = load_domain("toy")
    asked = [(task, word, domain.prompt(task, word)) for task in domain.tasks() for word in WORDS]
    model, tokenizer = load_answering(base, "none", run / "sft" / "adapter")
    rules: dict[str, Any] = {"no_repeat_ngram": domain.config.evaluate.no_repeat_ngram}
    said = answer(model, tokenizer, [Question(prompt, task) for task, _, prompt in asked], **rules)
    assert len({found.text for found in said}) > 8
    items = [
        EvalItem(f"{task.name}-{word}", task.name, prompt, [found.text if n % 2 else f"not {found.text}"], "exact")
        for n, ((task, word, prompt), found) in enumerate(zip(asked, said, strict=True))
    ]
    write_records(run / "ingest" / "eval.jsonl", items)
    write_json(run / "ingest" / "manifest.json", {"summary": {}})
    export_tasks("toy", "default", tmp_path / "tasks")
    export(Order("toy", "merged", output=tmp_path / "merged"), lambda line: None)

    found = lm_eval.simple_evaluate(
        model="hf", model_args=f"pretrained={tmp_path / 'merged'},dtype=float32,add_bos_token=False", device="cpu",
        tasks=["factory_toy"], task_manager=TaskManager(include_path=str(tmp_path / "tasks")), batch_size=8,
        apply_chat_template=True, log_samples=True, bootstrap_iters=0,
    )  # fmt: skip
    for task in domain.tasks():
        samples = found["samples"][f"factory_toy_{task.name}"]
        assert [row["score"] for row in samples] == [0.0, 1.0] * (len(WORDS) // 2), task.name
        text = tokenizer.apply_chat_template(asked[0][2], tokenize=False, add_generation_prompt=True)
        assert task.name != "kind" or samples[0]["arguments"]["gen_args_0"]["arg_0"] == text
    assert found["groups"]["factory_toy"]["score,none"] == 0.5
