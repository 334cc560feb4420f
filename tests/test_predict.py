"""predict and eval with a GGUF file, a base with an adapter over it, or an export's folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from exported import make_run
from ggufs import adapter_gguf, tiny_gguf
from tiny import tiny_model
from toys import Factory

from factory import scoring
from factory.build import run_domain
from factory.errors import FactoryError
from factory.export.engines import engine_line
from factory.files import write_json
from factory.models import weights_parameters
from factory.predict import gguf_files
from factory.records import EvalItem, eval_digest, write_records
from factory.references import kept
from factory.scoring import find_model, score_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", initializer_range=1.0)


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    return make_run(tmp_path, base)


def predicted(factory: Factory, model: str, tmp_path: Path) -> list[dict[str, str]]:
    rows = [{"task": "kind", "input": "mango"}, {"prompt": "Bake the bread.", "id": "b"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = factory("predict", "toy", "rows.jsonl", "-o", "out.jsonl", "--model", model)
    assert ended.code == 0 and "2 answers in out.jsonl" in ended.out, ended.err
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_predict_takes_a_gguf_and_adapters_over_it(
    tmp_path: Path, run: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    tiny_gguf(base, tmp_path / "base.gguf")
    adapter_gguf(base, run / "sft" / "adapter", tmp_path / "own.gguf")
    folder = run / "export" / "gguf-lora"
    write_json(folder / "export.json", {"file": "a.gguf", "base_gguf": str(tmp_path / "base.gguf")})
    adapter_gguf(base, run / "sft" / "adapter", folder / "a.gguf")
    plain = predicted(factory, "base.gguf", tmp_path)
    assert plain[0]["prediction"] in ("fruit", "tool") and plain[1]["id"] == "b"
    own = predicted(factory, "base.gguf+own.gguf", tmp_path)
    assert own == predicted(factory, str(folder), tmp_path) != plain
    trained = predicted(factory, "sft", tmp_path)  # by transformers: a random model's long answer parts somewhere
    assert [row["prediction"][:16] for row in trained] == [row["prediction"][:16] for row in own]


def test_predict_with_a_gguf_loads_only_what_it_needs(tmp_path: Path, run: Path, base: Path) -> None:
    slow = {
        "torch", "transformers", "datasets", "gradio", "trl", "peft", "sklearn", "numpy", "gguf", "httpx", "openai", "yaml",
        "jinja2", "factory.plan", "factory.training", "factory.statistics", "factory.readers.pdf",
    }  # fmt: skip
    tiny_gguf(base, tmp_path / "base.gguf")
    (tmp_path / "rows.jsonl").write_text('{"task": "kind", "input": "mango"}\n')
    command = ["factory", "predict", "toy", "rows.jsonl", "-o", "out.jsonl", "--model", "base.gguf"]
    code = (
        f"import sys\nfrom factory.cli import app\nsys.argv = {command!r}\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        f"print('SLOW:', sorted({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "1 answers in out.jsonl" in done.stdout and done.stdout.strip().endswith("SLOW: []"), (
        done.stdout + done.stderr
    )


def test_what_is_no_model_is_said(tmp_path: Path, run: Path) -> None:
    for model, word in (
        ("beste", "Unknown model 'beste'"),
        ("none.gguf", "does not exist"),
        (str(run), "Unknown model"),
    ):
        with pytest.raises(FactoryError, match=word):
            gguf_files(model)


def test_a_folder_of_pickles_is_not_scored(tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "other"
    write_json(folder / "config.json", {"model_type": "llama"})
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(FactoryError, match="pickles"):
        find_model(run, run_domain("toy", "default"), str(folder))


def test_a_gguf_is_scored_once(tmp_path: Path, run: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tiny_gguf(base, tmp_path / "base.gguf"))
    prompt = [{"role": "user", "content": "What is mango?"}]
    items = [EvalItem(f"kind-{word}", "kind", prompt, [word], "choice") for word in ("fruit", "tool")]
    write_records(run / "ingest" / "eval.jsonl", items)
    [found] = score_model("toy", "default", file, print)
    assert found.cells["mean"]["score"] == 50 and found.cells["kind"]["n"] == 2
    assert sorted(found.scores["kind"]) == [0, 1] and (found.name, found.kind, found.tuned) == ("base", "gguf", False)
    assert found.parameters == weights_parameters(base) > 10_000 and found.digest

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be answered twice")

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "open_llama", refuse)
        assert replace(score_model("toy", "default", file, print)[0], when=found.when) == found
        write_records(run / "ingest" / "eval.jsonl", [EvalItem("new", "say", prompt, ["x"], "exact")])
        with pytest.raises(AssertionError, match="answered twice"):
            score_model("toy", "default", file, print)
    [again] = score_model("toy", "default", file, print)
    assert again.cells["say"]["n"] == 1 and again.standard != found.standard


def test_what_is_tuned_is_no_rung_of_the_ladder(tmp_path: Path, run: Path, base: Path) -> None:
    prompt = [{"role": "user", "content": "What is mango?"}]
    write_records(run / "ingest" / "eval.jsonl", [EvalItem("1", "kind", prompt, ["fruit"], "choice")])
    tiny_gguf(base, tmp_path / "base.gguf")
    adapter_gguf(base, run / "sft" / "adapter", tmp_path / "own.gguf")
    export = run / "export" / "gguf-f16"
    write_json(export / "export.json", {"file": "m.gguf", "model": "sft"})
    tiny_gguf(base, export / "m.gguf")
    plugin = run_domain("toy", "default")
    tuned = {
        model: find_model(run, plugin, model).tuned
        for model in (
            "base.gguf",
            "base.gguf+own.gguf",
            str(export),
            str(export / "m.gguf"),
            str(base),
            "default:sft",
            "default:base",
        )
    }
    assert list(tuned.values()) == [False, True, True, True, False, True, False], tuned


def test_references_are_kept_shown_and_forgotten(
    tmp_path: Path, run: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    prompt = [{"role": "user", "content": "What is mango?"}]
    items = [EvalItem(f"kind-{word}", "kind", prompt, [word], "choice") for word in ("fruit", "tool")]
    write_records(run / "ingest" / "eval.jsonl", items)
    cell = {"kind": {"score": 50.0, "low": 9.5, "high": 90.5, "n": 2}}
    scores = {
        "items": 2,
        "eval_digest": eval_digest(items),
        "differences": [],
        "gates": [],
        "tasks": {"kind": {}},
        "best": "sft",
    }
    models = {name: cell | {"mean": cell["kind"]} for name in ("base", "sft")}
    write_json(run / "evaluate" / "scores.json", scores | {"models": models})
    monkeypatch.setattr("factory.build.build_run", lambda order, say: run)
    tiny_gguf(base, tmp_path / "rival.gguf")
    (tmp_path / "told.csv").write_text("model,task,score,n,parameters\nGPT-4,k-1,60,50,\nseven,kind,40,50,7e9\n")
    shown = factory("eval", "toy", "--model", "rival.gguf", "--model", "told.csv", "--model", "sft")
    assert shown.code == 0 and "sft is on the scoreboard" in shown.out, shown.err
    assert all(text in shown.out for text in ("References", "rival", "GPT-4", "7,000M"))
    found = {one.name: one for one in kept(run)}
    assert list(found) == ["rival", "GPT-4", "seven"] and found["GPT-4"].scores == {} and found["GPT-4"].parameters == 0
    assert found["GPT-4"].kind == "published" and found["GPT-4"].cells["kind"]["score"] == 60
    tiny_gguf(tiny_model(tmp_path / "wider", hidden_size=64, intermediate_size=64), tmp_path / "rival.gguf")
    assert "rival: another model had this name before" in factory("eval", "toy", "--model", "rival.gguf").out
    ended = factory("eval", "toy", "--forget", "rivl")
    assert ended.code == 1 and "no reference 'rivl'" in ended.err and "'rival'" in ended.err
    gone = factory("eval", "toy", "--forget", "rival", "--forget", "seven")
    assert gone.code == 0 and "GPT-4" in gone.out and "rival" not in gone.out
    write_json(run / "evaluate" / "scores.json", scores | {"models": models, "eval_digest": "another"})
    stale = factory("report", "toy").out
    assert "References" not in stale and "stale   GPT-4" in stale and "told.csv" in stale


def test_published_scores_that_are_no_figures_are_named(tmp_path: Path, run: Path) -> None:
    write_records(run / "ingest" / "eval.jsonl", [EvalItem("1", "kind", [], ["fruit"], "choice")])
    for row, said in (
        ("m,kind,60,50,many", "parameters 'many'"),
        ("m,kind,160,50,", "score '160'"),
        ("m,kind,60,0,", "n '0'"),
    ):
        (tmp_path / "told.csv").write_text(f"model,task,score,n,parameters\n{row}\n")
        with pytest.raises(FactoryError, match=f"told.csv:2: .*{said}"):
            score_model("toy", "default", "told.csv", print)


def test_a_plan_names_the_engine_that_is_faster_here(tmp_path: Path, run: Path, base: Path) -> None:
    assert engine_line("toy", "default") == ""
    prompt = [{"role": "user", "content": "What is mango?"}]
    write_records(
        run / "ingest" / "eval.jsonl", [EvalItem(f"{n}", "kind", prompt, ["fruit"], "choice") for n in range(9)]
    )
    folder = run / "export" / "gguf-q8_0"
    tiny_gguf(base, folder / "a.gguf")
    note = {"kind": "gguf", "file": "a.gguf"}
    write_json(folder / "export.json", note | {"parity": {"passed": False}})
    assert engine_line("toy", "default") == ""
    write_json(folder / "export.json", note | {"model": "base", "parity": {"passed": True}})
    assert engine_line("toy", "default") == "", "the base alone is no specialist"
    write_json(folder / "export.json", note | {"parity": {"passed": True}})
    line = engine_line("toy", "default")
    assert (
        found := re.search(
            r"^engine +(\S+) \(tokens/s here, 8 answers at once: llama.cpp (\d+), transformers (\d+)\)", line
        )
    )
    assert (int(found[2]) >= int(found[3])) == (found[1] == "llama.cpp")
    assert (str(folder.relative_to(tmp_path)) in line) == (found[1] == "llama.cpp")
