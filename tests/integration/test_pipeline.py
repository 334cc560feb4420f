"""A toy domain from words to app with a tiny random base: every stage, every way to ask for less, every command on a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .toy import STAGES, WORDS, actions, adapter, factory, factory_script, make_base, make_toy, tree

RUN = Path("runs/toy/default")
TASKS = {"kind", "twice", "mean"}
LENIENT = """
    def scorers(self):
        return {"choice": lambda prediction, references: 1.0, "rouge_l": lambda prediction, references: 1.0}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy domain and a finished run, made by the installed script."""
    cwd = tmp_path_factory.mktemp("pipeline") / "work"
    make_toy(cwd, make_base(cwd.parent / "base"))
    done = factory_script(cwd, "build", "toy")
    assert done.code == 0, done.text
    assert actions(done.text) == dict.fromkeys(STAGES, "run")
    assert "factory demo toy" in done.text
    return cwd


@pytest.fixture
def work(built: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    return Path(shutil.copytree(built, tmp_path / "work"))


def manifest(cwd: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cwd / RUN / stage / "manifest.json").read_text(encoding="utf-8"))
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_manifest_tells_what_made_it(built: Path) -> None:
    for stage in STAGES:
        found = manifest(built, stage)
        assert found["seed"] == 0
        assert len(found["fingerprint"]) == 64
        assert {"torch", "transformers", "peft", "trl", "vertical-factory"} <= set(found["packages"])
        assert found["outputs"], stage
        assert all(len(file["sha256"]) == 64 for file in found["outputs"].values())
        assert not (built / RUN / stage / "started.json").exists()
    summary = manifest(built, "ingest")["summary"]
    assert summary["examples"] == {"kind": 20, "twice": 20}
    assert summary["eval_items"] == {"kind": 6, "twice": 6}
    assert not list((built / RUN).rglob("checkpoint*")), "checkpoints are dropped at the end"


def test_training_learns_and_moves_every_parameter(built: Path, work: Path) -> None:
    still = ["--run", "still", "--until", "sft", "--set", "sft.learning_rate=1e-9", "--set", "sft.trial=0"]
    assert "the adapter changes nothing" in factory(work, "build", "toy", *still, code=1)
    before, sft, dpo = adapter(work / "runs/toy/still", "sft"), adapter(built / RUN, "sft"), adapter(built / RUN, "dpo")
    assert len(sft) == 2 * 7 * 2, "A and B of seven projections in two layers"
    assert sft.keys() == before.keys() == dpo.keys()
    assert [name for name in sft if (sft[name] - before[name]).abs().max() < 1e-4] == []
    assert [name for name in dpo if (dpo[name] - sft[name]).abs().max() < 1e-5] == []
    for stage, most in (("sft", 0.97), ("dpo", 0.97)):
        told = manifest(built, stage)["summary"]
        assert told["final_loss"] < most * told["first_loss"], stage
        assert told["trainable_parameters"] == sum(weight.numel() for weight in sft.values())


def test_a_second_build_skips_everything(built: Path) -> None:
    before = tree(built / RUN)
    done = factory_script(built, "build", "toy")
    assert done.code == 0, done.text
    assert actions(done.text) == dict.fromkeys(STAGES, "skip")
    assert {name: mark for name, mark in tree(built / RUN).items() if name not in (".lock", "run.json")} == {
        name: mark for name, mark in before.items() if name not in (".lock", "run.json")
    }
    print(f"second build: {done.seconds:.1f} s")
    assert done.seconds < 15


def test_a_setting_reruns_its_stage_and_what_is_after_it(work: Path) -> None:
    text = factory(work, "build", "toy", "--set", "dpo.beta=0.3")
    assert actions(text) == dict.fromkeys(STAGES[:5], "skip") | dict.fromkeys(STAGES[5:], "run")
    assert "changed: dpo.beta" in text
    assert manifest(work, "dpo")["inputs"]["dpo.beta"] == 0.3
    status = factory(work, "status", "toy")
    assert "run:" not in status, "status goes by the settings that the run was built with"
    again = actions(factory(work, "eval", "toy"))
    assert again == dict.fromkeys(STAGES[:7], "skip"), "so do the other commands on a run"


def test_an_eval_file_reruns_what_reads_it(work: Path) -> None:
    path = work / "domains/toy/evals/toy.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8").replace(
            '"twice-apple", "task": "twice", "input": "apple"', '"twice-apples", "task": "twice", "input": "apples"'
        ),
        encoding="utf-8",
    )
    dry = factory(work, "build", "toy", "--dry")
    assert actions(dry)["ingest"] == "run"
    assert "evals toy.jsonl" in dry
    text = factory(work, "build", "toy")
    done = actions(text)
    assert {stage for stage in STAGES if done[stage] == "run"} >= {"ingest", "curate", "evaluate", "report"}
    assert {done[stage] for stage in ("sft", "prefer", "dpo")} == {"skip"}, "no training row changed"
    assert "base: 11 of 12 answers are known from an earlier build" in text, "only the new question is asked"
    assert "twice-apples" in {row["id"] for row in rows(work / RUN / "evaluate/predictions/sft.jsonl")}


def test_a_training_file_reruns_everything(work: Path) -> None:
    path = work / "domains/toy/data/words.txt"
    path.write_text(path.read_text(encoding="utf-8") + "\nfruit quince", encoding="utf-8")
    assert actions(factory(work, "build", "toy", "--dry")) == {"ingest": "run"} | dict.fromkeys(STAGES[1:], "maybe")
    assert "changed: data" in factory(work, "build", "toy", "--dry")


def test_a_damaged_output_is_made_again(work: Path) -> None:
    (work / RUN / "evaluate/scores.json").unlink()
    text = factory(work, "build", "toy")
    assert actions(text) == dict.fromkeys(STAGES, "skip") | {"evaluate": "run"}, (
        "the same scores come out: the rest stands"
    )
    assert "scores.json is missing or was changed" in text


def test_dry_writes_nothing(built: Path, tmp_path: Path) -> None:
    before = tree(built)
    said = actions(factory(built, "build", "toy", "--dry", "--force", "prefer", "--set", "dpo.beta=0.2"))
    assert said == dict.fromkeys(STAGES[:4], "skip") | dict.fromkeys(STAGES[4:6], "run") | dict.fromkeys(
        STAGES[6:], "maybe"
    )
    assert tree(built) == before
    empty = tmp_path / "empty"
    make_toy(empty, built.parent / "base")
    before = tree(empty)
    assert actions(factory(empty, "build", "toy", "--dry")) == dict.fromkeys(STAGES, "run")
    assert tree(empty) == before
    assert not (empty / "runs").exists()


def test_status_shows_what_is_done(built: Path) -> None:
    text = factory(built, "status", "toy")
    for stage in STAGES:
        line = next(line for line in text.splitlines() if f" {stage} " in line)
        assert " done " in line


def test_eval_prints_the_scoreboard(built: Path) -> None:
    text = factory(built, "eval", "toy")
    assert actions(text) == dict.fromkeys(STAGES[:7], "skip")
    assert "12 eval items" in text
    for word in ("base", "sft", "dpo", "ngram", "majority", "kind", "twice", "mean"):
        assert word in text


def test_report_as_json(built: Path) -> None:
    found = json.loads(factory(built, "report", "toy", "--json"))
    assert found.keys() == {"models"}
    assert found["models"].keys() == {"base", "sft", "dpo", "best", "ngram", "majority"}
    for scores in found["models"].values():
        assert scores.keys() == TASKS
        for cell in scores.values():
            assert cell.keys() >= {"score", "low", "high", "n"}
            assert 0 <= cell["low"] <= cell["score"] <= cell["high"] <= 100
        assert (scores["kind"]["n"], scores["twice"]["n"], scores["mean"]["n"]) == (6, 6, 12)
    assert "report.html" in factory(built, "report", "toy")


@pytest.mark.parametrize("model", ["base", "best"])
def test_predict_answers_as_evaluate_did(built: Path, tmp_path: Path, model: str) -> None:
    items = rows(built / "domains/toy/evals/toy.jsonl")
    questions = [{"task": item["task"], "input": item["input"], "answer": item["reference"], "extra": {"n": number}}
                 for number, item in enumerate(items)]  # fmt: skip
    questions.insert(5, {"prompt": "Say something about \u6c34\u679c.", "id": "free"})
    talk = [{"role": "user", "content": "What is apple?"}, {"role": "assistant", "content": "fruit"}]
    questions.insert(2, {"messages": talk, "keep": None})
    questions.append({"task": "kind", "messages": talk})
    file, out = tmp_path / "rows.jsonl", tmp_path / "deep" / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    assert "15 answers" in factory(built, "predict", "toy", str(file), "-o", str(out), "--model", model)
    answered = rows(out)
    assert [{key: value for key, value in row.items() if key != "prediction"} for row in answered] == questions
    assert {row["prediction"] for row in answered if row.get("task") == "kind"} <= set(WORDS)
    best = json.loads((built / RUN / "evaluate/scores.json").read_text(encoding="utf-8"))["best"]
    name = best if model == "best" else model
    known = {row["id"]: row["prediction"] for row in rows(built / RUN / f"evaluate/predictions/{name}.jsonl")}
    ours = {f"{row['task']}-{row['input']}": row["prediction"] for row in answered if "input" in row}
    assert ours == known


def test_predict_names_what_is_wrong_and_writes_nothing(built: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    for text, told in (
        ('{"prompt": "x"}\n{"text": "x"}\n', "rows.jsonl:2: no prompt, messages, or task and input"),
        ('{"task": "kin", "input": "x"}\n', "Did you mean 'kind'?"),
        ("\n", "has no rows"),
        ("{broken\n", "rows.jsonl:1 is not JSON"),
    ):
        file.write_text(text, encoding="utf-8")
        assert told in factory(built, "predict", "toy", str(file), "-o", str(out), code=1)
        assert not out.exists()


def test_no_pair_leaves_dpo_out_and_the_report_says_so(work: Path, tmp_path: Path) -> None:
    """A scorer that finds every answer right makes no pair; a changed scorer is a reason to judge again."""
    code = work / "domains/toy/domain.py"
    code.write_text(code.read_text(encoding="utf-8") + LENIENT, encoding="utf-8")
    text = factory(work, "build", "toy")
    done = actions(text)
    assert {stage for stage in STAGES if done[stage] == "run"} >= {"ingest", "prefer", "dpo", "evaluate", "report"}
    assert {done["curate"], done["sft"]} == {"skip"}
    assert "questions asked, 0 pairs" in text
    assert "left out: 0 pairs" in text
    assert not (work / RUN / "dpo/adapter").exists()
    assert "DPO was left out" in (work / RUN / "report/report.html").read_text(encoding="utf-8")
    models = json.loads(factory(work, "report", "toy", "--json"))["models"]
    assert models.keys() == {"base", "sft", "best", "ngram", "majority"}
    assert models["base"]["mean"]["score"] == 100, "scored by the new scorer"
    assert models["best"] == models["sft"]
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "x"}\n', encoding="utf-8")
    told = factory(work, "predict", "toy", str(file), "-o", str(tmp_path / "out.jsonl"), "--model", "dpo", code=1)
    assert "no DPO adapter" in told


def test_a_plan_before_any_build_writes_nothing(built: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(built / "domains", work / "domains")
    before = tree(work)
    plan = json.loads(factory(work, "plan", "toy", "--price-per-hour", "3", "--json"))
    assert plan["fits"] and plan["rows"] == 144 and plan["steps"] == 18 and plan["minutes"] > 0 and plan["cost"] > 0
    told = factory(work, "plan", "toy", "--machine", "24gb-gpu", "--base", "llama-3.1-8b-instruct")
    assert "would fit" not in told and "GPU of 24 GB" in told
    told = factory(work, "plan", "toy", "--machine", "8gb-laptop", "--base", "llama-3.1-8b-instruct")
    assert "does not fit" in told and "a machine with" in told
    assert tree(work) == before


def test_the_build_keeps_what_was_planned_and_what_it_took(built: Path) -> None:
    summary = manifest(built, "sft")["summary"]
    assert summary["plan"]["batch"] == 8 and summary["plan"]["minutes"] > 0
    assert 0.2 < summary["peak_memory_gb"] < 8


def test_half_batches_twice_give_the_same_loss(work: Path) -> None:
    whole = [row["loss"] for row in rows(work / RUN / "sft" / "log.jsonl")]
    halves = ["sft.lora_dropout=0", "sft.trainer.per_device_train_batch_size=4", "sft.trainer.gradient_accumulation_steps=2"]  # fmt: skip
    losses = []
    for settings in (halves[:1], halves):
        flags = [word for setting in settings for word in ("--set", setting)]
        factory(work, "build", "toy", "--until", "sft", *flags)
        losses.append([row["loss"] for row in rows(work / RUN / "sft" / "log.jsonl")])
    assert losses[0] != whole  # without dropout
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)


def test_a_plan_for_another_base_keeps_what_the_run_was_built_with(work: Path) -> None:
    factory(work, "build", "toy", "--until", "curate", "--set", "sft.epochs=7")
    told = json.loads(
        factory(work, "plan", "toy", "--base", "smollm2-135m-instruct", "--machine", "64gb-cpu", "--json")
    )
    assert told["rows"] == 36 * 7 and told["base"] == "smollm2-135m-instruct"


def test_training_follows_the_plan_and_refuses_what_does_not_fit(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from factory import plan
    from factory.build import Order, build_run
    from factory.errors import FactoryError
    from factory.hardware import Machine
    from factory.stages import sft

    monkeypatch.chdir(work)
    steps = manifest(work, "sft")["summary"]["steps"]
    monkeypatch.setattr(sft, "inspect_machine", lambda: Machine("a small one", 1, 64, False))
    monkeypatch.setattr(
        plan, "memory_gb", lambda *given: 1.0 if given[3] <= 120 else 100.0
    )  # four rows of some 30 tokens
    build_run(Order("toy", until="sft", settings=["sft.lora_dropout=0"]), lambda _: None)
    told = manifest(work, "sft")["summary"]
    assert told["plan"]["batch"] < 8 and told["steps"] == steps
    monkeypatch.setattr(plan, "memory_gb", lambda *_: 100.0)
    with pytest.raises(FactoryError, match=r"needs about 100\.0 GB"):
        build_run(Order("toy", until="sft", settings=["sft.lora_dropout=0.2"]), lambda _: None)
    assert not (work / RUN / "sft" / "manifest.json").exists()
