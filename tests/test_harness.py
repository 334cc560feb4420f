"""factory eval-export: the folder asks what the factory asks, and decides among labels as its decoding does."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from exported import make_base, make_run
from toys import CODE, Factory, jsonl

from factory.domain import Task, load_domain
from factory.errors import FactoryError
from factory.files import read_json, write_json
from factory.generate import Question, answer, stop_ids
from factory.harness import export_tasks, label_tree
from factory.models import load_answering, load_tokenizer
from factory.records import EvalItem, read_rows, write_records

LABELS = ("fruit", "fruit salad", "fruit tart", "tool", "toolbox", "dish")
LABELLED = Task("kind", "Kind", "choice", "What is {input}?", LABELS, max_new_tokens=12)
WORDS = "mango chisel kiwi saw fig tart plum drill pear lemon axe vise".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    """A run over the tiny base: labels of which some begin with others, free answers, and one conversation."""
    folder = make_run(tmp_path, base)
    with open(tmp_path / "domains" / "toy" / "domain.toml", "a") as file:
        file.write("[evaluate]\nno_repeat_ngram = 3\n")
    code = CODE.replace('("fruit", "tool"), max_new_tokens=8', f"{LABELS!r}, max_new_tokens=12")
    code += "\n    def scorers(self):\n        return {'first': lambda prediction, references: float(prediction[:1] == references[0][:1])}\n"
    (tmp_path / "domains" / "toy" / "domain.py").write_text(code, encoding="utf-8")
    domain = load_domain("toy")
    kind, say = domain.tasks()
    items = [EvalItem(f"kind-{w}", "kind", domain.prompt(kind, w), ["fruit"], "choice") for w in WORDS]
    items += [
        EvalItem(f"say-{w}", "say", domain.prompt(say, f"{w}\u2028 {{{{x}}}}"), [f"{w} {w}", w], "first") for w in WORDS
    ]
    talk = [*domain.prompt(say, "a"), {"role": "assistant", "content": "a a"}, {"role": "user", "content": "again"}]
    items.append(EvalItem("talk", "say", talk, ["a a"], "rouge_l"))
    write_records(folder / "ingest" / "eval.jsonl", items)
    write_json(folder / "ingest" / "manifest.json", {"summary": {"eval_version": 3}})
    return folder


def utils_of(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def test_the_folder_holds_the_exact_prompts_and_the_domains_scorers(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = export_tasks("toy", "default", out)
    assert told == ["24 items of 2 tasks, 1 left out: lm-eval asks no conversations", f"{out}: group factory_toy; README.md has the command"]  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "README.md", "factory.json", "utils.py", "factory_toy.yaml", "factory_toy_chat.yaml", "kind.jsonl", "kind.yaml", "kind.chat.yaml",
        "say.jsonl", "say.yaml", "say.chat.yaml",
    }  # fmt: skip
    items = {row["id"]: row for row in rows_of(run / "ingest" / "eval.jsonl")}
    utils = utils_of(out)
    for task in ("kind", "say"):
        docs = utils.items(task, version=3)["test"]
        assert docs["id"] == [name for name in items if name.startswith(task)], "in the factory's order"
        for doc in docs:
            asked = [
                {"role": "system", "content": doc["system"]},
                {"role": "user", "content": doc["question"]},
            ]
            assert asked == items[doc["id"]]["prompt"] and doc["references"] == items[doc["id"]]["references"]
    assert utils.said(docs[0], ["  my own\n"]) == {"score": 1.0} and utils.said(docs[0], ["no"]) == {"score": 0.0}
    assert "no_repeat_ngram_size" in (out / "say.yaml").read_text("utf-8")
    assert "no_repeat_ngram_size" not in (out / "say.chat.yaml").read_text("utf-8")


def test_of_the_settings_those_that_judge_go_with_it(run: Path, tmp_path: Path) -> None:
    judging = ["options.loud=true", 'tasks=["kind", "say"]', "language = 'en'"]
    write_json(run / "run.json", {"settings": [*judging, "sft.trainer.hub_token=sk-secret", "base=/home/me/base"]})
    export_tasks("toy", "default", tmp_path / "out")
    assert read_json(tmp_path / "out" / "factory.json")["settings"] == judging
    assert utils_of(tmp_path / "out")._domain().config.options == {"loud": True}


def test_the_yaml_says_what_it_should(run: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        pass

    Loader.add_constructor("!function", lambda loader, node: f"!{node.value}")
    export_tasks("toy", "default", tmp_path / "out")
    kind, say, chat, group = (
        yaml.load((tmp_path / "out" / name).read_text("utf-8"), Loader)
        for name in ("kind.yaml", "say.yaml", "kind.chat.yaml", "factory_toy.yaml")
    )
    assert (kind["task"], kind["output_type"], kind["process_results"]) == ("factory_toy_kind", "multiple_choice", "!utils.chosen")  # fmt: skip
    assert (kind["description"], kind["doc_to_text"], kind["target_delimiter"]) == ("system", "question", "")
    assert say["generation_kwargs"] == {"until": ["<|end|>"], "max_gen_toks": 64, "do_sample": False, "no_repeat_ngram_size": 3}  # fmt: skip
    assert (chat["task"], chat["output_type"]) == ("factory_toy_chat_kind", "generate_until")
    assert group["task"] == ["factory_toy_kind", "factory_toy_say"] and group["metadata"] == {"version": 3}
    assert group["aggregate_metric_list"] == [{"metric": "score", "aggregation": "mean", "weight_by_size": False, "filter_list": "none"}]  # fmt: skip


def likelihoods(model: Any, tokenizer: Any, prompt: str, texts: list[str]) -> dict[str, float]:
    """What lm-eval asks of a model: the sum of a text's log-probabilities after the prompt."""
    import torch

    found = {}
    for text in texts:
        before, whole = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, prompt + text))
        with torch.inference_mode():
            logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        found[text] = sum(float(logs[place - 1, whole[place]]) for place in range(len(before), len(whole)))
    return found


def test_likelihoods_lead_to_the_label_that_the_factory_decodes(run: Path, base: Path, tmp_path: Path) -> None:
    export_tasks("toy", "default", tmp_path / "out")
    utils = utils_of(tmp_path / "out")
    model, tokenizer = load_answering(base, "none", None)
    domain = load_domain("toy")
    docs = list(utils.items("kind")["test"])
    prompts = [domain.prompt(domain.tasks()[0], word) for word in WORDS]
    decoded = [found.text for found in answer(model, tokenizer, [Question(p, domain.tasks()[0]) for p in prompts])]
    assert len(set(decoded)) > 2, "a test that can fail needs several answers"
    whole = []
    for doc, prompt, said in zip(docs, prompts, decoded, strict=True):
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        likely = likelihoods(model, tokenizer, text, [*utils.choices(doc), *LABELS])
        results = [(likely[choice], False) for choice in utils.choices(doc)]
        assert utils.chosen({**doc, "references": [said]}, results) == {"score": 1.0}
        assert utils.chosen({**doc, "references": ["none of them"]}, results) == {"score": 0.0}
        whole.append(max(LABELS, key=likely.__getitem__) == said)
    assert not all(whole), "the likelihood of whole labels, as is usual there, would say something else"


def test_a_fork_is_told_by_texts_and_an_end_by_the_token_that_ends(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    ends = stop_ids(tokenizer, [])
    tree = label_tree(tokenizer, Task("t", "T", "choice", choices=("tool", "toolbox")), "<|user|>x<|end|><|assistant|>", ends)  # fmt: skip
    assert tree["tool<|end|>"] == "tool" and len(tree) == 2 and "toolbox" in tree.values()
    alone = label_tree(tokenizer, Task("t", "T", "choice", choices=("tool",)), "<|user|>x<|end|><|assistant|>", ends)
    assert alone == {"tool": "tool"}


def test_labels_that_part_inside_a_letter_are_told_as_whole(base: Path) -> None:
    tokenizer = load_tokenizer(base)  # of bytes: 果 and 水 begin with the same one
    task = Task("t", "T", "choice", choices=("果", "水"))
    assert label_tree(tokenizer, task, "<|assistant|>", stop_ids(tokenizer, [])) == {}


def test_nothing_is_replaced_or_half_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    assert factory("eval-export", "toy", "-o", "out").code == 0
    (tmp_path / "out" / "mine.txt").write_text("kept")
    (tmp_path / "other").mkdir()
    assert factory("eval-export", "toy", "-o", "other", "--force").code == 1, "--force is for what it wrote itself"
    again = factory("eval-export", "toy", "-o", "out")
    assert again.code == 1 and "out exists" in again.err and (tmp_path / "out" / "mine.txt").exists()
    monkeypatch.setattr("factory.harness.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_tasks("toy", "default", Path("out"), force=True)
    assert (tmp_path / "out" / "mine.txt").exists() and not list(tmp_path.glob(".out*"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    export_tasks("toy", "default", Path("out"), force=True)
    assert not (tmp_path / "out" / "mine.txt").exists()
    (run / "sft" / "manifest.json").unlink()
    with pytest.raises(FactoryError, match="No finished 'sft'"):
        export_tasks("toy", "default", Path("third"))


def test_the_readme_shows_the_factorys_scores(run: Path, tmp_path: Path) -> None:
    folder = run / "evaluate" / "predictions"
    rows = rows_of(run / "ingest" / "eval.jsonl")
    said = {"question": "", "references": [], "prediction": "", "truncated": False}
    for name, right in (("base", 3), ("sft", 9)):
        scored = [{"id": row["id"], "task": row["task"], "score": float(n % 12 < right), **said} for n, row in enumerate(rows)]  # fmt: skip
        (folder / f"{name}.jsonl").write_text(jsonl(scored), encoding="utf-8")
    export_tasks("toy", "default", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert (
        "| task | items | asked as | base | sft |\n| --- | --- | --- | --- | --- |\n| `factory_toy_kind` | 12 |" in page
    )
    assert page.count("| 0.2500 | 0.7500 |") == 6, "two tasks and their mean, in both languages"
    made: Mapping[str, Any] = read_json(tmp_path / "out" / "factory.json")
    assert made["scores"]["sft"] == {"kind": 0.75, "say": 0.75, "mean": 0.75} and json.dumps(made)
