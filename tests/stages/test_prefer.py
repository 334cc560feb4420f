"""prefer by llama.cpp: the same wrong answers as transformers gives, so the same pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from exported import converter, fetched, make_base, make_run  # noqa: F401

from factory.domain import load_domain
from factory.files import read_json
from factory.records import Example, Preference, read_records, write_records
from factory.stage import Context
from factory.stages import prefer

WORDS = ["mango", "chisel", "kiwi", "axe", "plum", "file", "猕猴桃", "saw"]


def pairs(run: Path, engine: str) -> list[Preference]:
    domain = load_domain("toy", ["prefer.temperature=0", "evaluate.no_repeat_ngram=0", f"prefer.engine='{engine}'"])
    context = Context(domain, run, "prefer", say=lambda text: None)
    context.out.mkdir(exist_ok=True)
    task = replace(domain.task("say"), max_new_tokens=12)
    rows = [
        Example(word, task.name, domain.prompt(task, word), [{"role": "assistant", "content": f"{word} {word}"}])
        for word in WORDS
    ]
    write_records(run / "curate" / "train.jsonl", rows)
    told = prefer.run(context)
    assert told["asked"] == len(WORDS) and [path.name for path in context.out.iterdir()] == ["pairs.jsonl"]
    return read_records(context.out / "pairs.jsonl", Preference)


@pytest.mark.usefixtures("converter")
def test_llama_makes_the_pairs_that_torch_makes(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    run = make_run(tmp_path, base)
    own, llama = pairs(run, "torch"), pairs(run, "llama")
    assert len(own) == len(WORDS) and read_json(run / "sft" / "base.json")["path"] == str(base)
    same = [one.rejected == other.rejected for one, other in zip(own, llama, strict=True)]
    assert sum(same) >= len(WORDS) - 1, "f16 may turn one answer"
    assert [row.chosen for row in own] == [row.chosen for row in llama]
