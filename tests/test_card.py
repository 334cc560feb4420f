"""The model card on a made-up run: where the base comes from, what it learned from, what it cost; in Chinese all of it Chinese."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stages.test_report import TASKS, cell, done, make_run, make_scores
from tiny import tiny_model

from factory.config import Config, Cost
from factory.domain import Domain
from factory.export.card import LISTED, card, sources
from factory.files import read_json, write_json
from factory.models import catalog, local_folder
from factory.records import Document, EvalItem, Example, Preference, write_records
from factory.stage import manifest
from factory.stages import sft
from factory.weights.job import Job, Order
from factory.weights.merge import write_adapter

LATIN = re.compile(r"[A-Za-z][A-Za-z-]{2,}")
NAMES = {
    "LoRA",
    "SFT",
    "DPO",
    "n-gram",
    "PyPI",
    "GGUF",
    "SHA-",
    "LICENSE",
    "txt",
    "Hugging",
    "Face",
    "Linux-",
    "Python",
}
NAMES |= {"Gemma", "terms", "use", "MIT", "GPU", "float", "Penal", "code"}  # its licence's name, a document's


def row(model: str, language: str) -> dict[str, Any]:
    kinds = [f"{language} {kind}" for kind in ("reading", "arithmetic", "sense", "instruction")]
    return {kind: cell(50 if model == "base" else 45) for kind in [*kinds, "mean"]}


def note(run: Path, stage: str, **summary: Any) -> None:
    """Add to what a stage says of itself."""
    done(run / stage, manifest(run, stage)["summary"] | summary)


def make_job(root: Path, language: str = "en", base: str = "smollm2-135m-instruct", cost: float = 0.0) -> Job:
    """A finished run over a catalog's base, as the stages leave it, with a tiny model in its place."""
    run = root / "runs" / "law" / "default"
    make_run(run, make_scores(language) | {"review": {}})
    title = "刑法" if language == "zh" else "Criminal law"
    config = Config("law", title, language, base, description=title, cost=Cost(price_per_hour=cost))
    own = root / "domains" / "law"
    documents = [
        Document("a", "x" * 900, "Penal *code* | 1", language, "CC0-1.0", f"{own}/data/code.md"),
        Document("b", "x" * 400, "b", language, "", "/home/someone/papers/more/b.md"),
        Document("c", "x" * 100, "c", language, "MIT", "/home/someone/papers/c.md"),
        Document("d", "x" * 100, "d", language, "GPL-3.0", "/home/someone/papers/d.md", split="eval"),
    ]
    write_records(run / "ingest" / "documents.jsonl", documents)
    write_records(
        run / "ingest" / "eval.jsonl", [EvalItem("i", "qa", [{"role": "user", "content": "?"}], [""], "exact")]
    )
    write_records(run / "curate" / "train.jsonl", [Example("e", "qa", [], [])])
    write_records(run / "prefer" / "pairs.jsonl", [])
    note(run, "curate", general=0)
    note(run, "sft", dtype="float32")
    note(run, "dpo", pairs=71)
    known = {"name": base, "path": "", "license": catalog()[base].license, "stop": []}
    return Job(Order("law", "release"), "", run, Domain(config, own), "dpo", known, tiny_model(root / "base"), print)


def told(job: Job) -> str:
    language = job.domain.config.language
    found = {
        "models": {model: row(model, language) for model in ("base", "specialist")},
        "difference": {kind: cell(1) | {"difference": -5.0} for kind in row("base", language)},
        "perplexity": {"base": {language: 12.3}, "specialist": {language: 13.4}},
    }
    scores = read_json(job.run_dir / "evaluate" / "scores.json")
    gates = [
        *scores["gates"],
        {
            "name": "forgetting",
            "passed": True,
            "detail": "general ability -5.0 [-9.0, -1.0], the estimate may fall by 10",
        },
        {"name": "latency", "passed": True, "detail": "0.8 s an answer (median of 8, one at a time), at most 2"},
    ]
    return card(job, scores, found, gates)


def use(page: str) -> str:
    return page.partition("## Use\n")[2].partition("## Limits")[0]


@pytest.mark.parametrize("base", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_an_embedded_base_can_be_had_from_where_it_came(tmp_path: Path, base: str) -> None:
    known = catalog()[base]
    page = told(make_job(tmp_path, base=base))
    said = use(page)
    assert all(f"`{package}`" in said for package in known.packages) and f"`{known.sha256}`" in said
    assert f"factory models pull {base}" in said
    assert f'load_base(base_folder("{base}", "nf4"), "nf4")' in said and "rounded to NF4" in said
    assert f'from_pretrained("{known.upstream}")' in said and "may differ from those that were scored" in said
    assert f'from_pretrained("{base}")' not in page, "no hub knows it by that name"
    assert json.loads(re.findall(r"^base_model: (.*)$", page, re.M)[0]) == known.upstream
    assert known.source == "pypi" and not known.id, "nothing is fetched from the hub for that"


def test_a_base_of_the_hub_is_named_with_its_revision(tmp_path: Path) -> None:
    said = use(told(make_job(tmp_path, base="qwen3-0.6b")))
    assert 'from_pretrained("Qwen/Qwen3-0.6B", revision="main")' in said and "not rounded to NF4" in said
    assert "PyPI" not in said


def test_a_base_of_the_hub_is_named_with_the_commit_that_was_fetched(tmp_path: Path) -> None:
    """As huggingface_hub notes it beside the files; a commit that the run noted stays."""
    from huggingface_hub._local_folder import write_download_metadata

    job, fetched, noted = make_job(tmp_path, base="qwen3-0.6b"), "c1899de" + "0" * 33, "9f2b3aa" + "1" * 33
    job.adapter.mkdir()
    write_json(job.adapter / "adapter_config.json", {})
    write_download_metadata(local_folder(catalog()["qwen3-0.6b"]), "config.json", fetched, "etag")
    assert sft._note("qwen3-0.6b", tmp_path)["revision"] == fetched
    for commit in (fetched, noted):
        said = use(told(job))
        assert f"revision `{commit}`" in said and f'revision="{commit}"' in said and "main" not in said
        write_adapter(job, tmp_path / commit)
        assert read_json(tmp_path / commit / "adapter_config.json")["revision"] == commit
        job.base["revision"] = noted
    assert "revision" not in sft._note("gemma-3-270m", tmp_path), "it comes from PyPI"


def test_every_source_has_its_licence_and_what_was_not_learned_is_not_listed(tmp_path: Path) -> None:
    page = told(make_job(tmp_path))
    assert "| Penal \\*code\\* / 1 (`data/code.md`) | CC0-1.0 | 1 | 900 |" in page
    assert "| `more/b.md` | not stated | 1 | 400 |" in page and "| `c.md` | MIT | 1 | 100 |" in page
    assert "GPL-3.0" not in page and "training did not see them: 1." in page
    assert "/home/someone" not in page


@pytest.mark.parametrize(("language", "said"), [("en", "The documents come from `%s`."), ("zh", "资料取自 `%s`。")])
def test_the_address_of_a_source_is_told_with_its_commit(tmp_path: Path, language: str, said: str) -> None:
    job, address = make_job(tmp_path, language), "https://host/papers.git@3f2c1ab"
    assert said.partition("`")[0] not in told(job)
    write_json(job.run_dir / "run.json", {"source": "/home/someone/papers", "address": address})
    assert f"- {said % address}\n" in told(job)


def test_many_sources_are_told_by_folder_and_the_smallest_are_counted(tmp_path: Path) -> None:
    def found(folders: int, files: int) -> dict[str, Any]:
        places = [(folder, file) for folder in range(folders) for file in range(files)]
        return sources(
            [Document(f"{f}/{n}", "x" * (f + n + 1), f"t{n}", "en", "MIT", f"/all/{f}/{n}.md") for f, n in places],
            tmp_path,
        )

    few = found(3, 4)
    assert len(few["listed"]) == 12 and not few["more"]["sources"]
    folders = found(3, 40)
    assert [one["name"] for one in folders["listed"]] == ["`2/`", "`1/`", "`0/`"]
    assert [one["documents"] for one in folders["listed"]] == [40, 40, 40]
    flat = found(1, 50)
    assert len(flat["listed"]) == LISTED and flat["listed"][0]["name"] == "t49 (`49.md`)"
    assert flat["more"] == {"sources": 30, "documents": 30, "letters": sum(range(1, 31)), "licenses": ["MIT"]}


def test_a_file_of_rows_is_one_source(tmp_path: Path) -> None:
    rows = [Document(f"r{n}", "xx", f"row {n}", "en", "MIT", "/all/rows.jsonl") for n in range(100)]
    assert sources(rows, tmp_path)["listed"] == [
        {"name": "`rows.jsonl`", "license": "MIT", "documents": 100, "letters": 200}
    ]


def test_the_teacher_and_general_questions_are_told(tmp_path: Path) -> None:
    job = make_job(tmp_path, cost=0.5)
    plain = told(job)
    assert "teacher" not in plain and "curate.general" not in plain
    rows = [Example(str(n), "qa", [], [], {"kind": "teacher", "teacher": "big-70b"}) for n in range(3)]
    write_records(job.run_dir / "curate" / "train.jsonl", [*rows, Example("own", "qa", [], [], {"kind": "rule"})])
    kinds = ("teacher answer", "own")
    pairs = [Preference(kind, "qa", [], [], [], {"kind": kind, "teacher": "big-70b"}) for kind in kinds]
    write_records(job.run_dir / "prefer" / "pairs.jsonl", pairs)
    note(job.run_dir, "curate", general=40)
    page = told(job)
    assert "- Of these, written by the teacher `big-70b`: 3." in page
    assert "- Beside them, general questions against forgetting (`curate.general`): 40." in page
    assert "- Of these pairs, with the better answer written by the teacher `big-70b`: 1." in page
    assert "the teacher's calls are not counted in" in page


def test_cost_is_that_of_all_parts_in_money_and_energy_only_where_all_was_measured(tmp_path: Path) -> None:
    job = make_job(tmp_path, cost=0.5)
    stages = [path.parent.name for path in job.run_dir.glob("*/manifest.json")]
    made = {stage: manifest(job.run_dir, stage) for stage in stages}
    made["sft"]["summary"]["seconds"] = 7200 - 321.5 * (len(stages) - 1)  # its manifest has the last part alone
    for stage, one in made.items():
        write_json(job.run_dir / stage / "manifest.json", one)
    page = told(job)
    assert "Time of all stages: 120 minutes on Linux-6.1, 2 cores, Python 3.11.7." in page
    assert "Money: $1.00, at $0.5 an hour of this machine." in page
    assert "Energy: not measured." in page
    for stage, one in made.items():
        write_json(job.run_dir / stage / "manifest.json", one | {"joules": 360_000.0})
    assert f"Energy of the processors: {len(stages) / 10:.3f} kWh." in told(job)
    write_json(job.run_dir / "sft" / "manifest.json", made["sft"])
    assert (
        f"Energy: not complete, so no sum is given. It was measured in {len(stages) - 1} of {len(stages)} stages."
        in told(job)
    )
    assert "$" not in told(make_job(tmp_path / "free")), "no price is known"


def test_a_chinese_card_is_chinese(tmp_path: Path) -> None:
    job = make_job(tmp_path, "zh", "gemma-3-270m", cost=0.5)
    note(job.run_dir, "curate", general=40)
    page = told(job)
    front, text = page[4:].split("\n---\n", 1)
    words = re.sub(r"```.*?```|`[^`]*`|\(?https?://\S+", " ", text, flags=re.S)
    assert set(LATIN.findall(words)) <= NAMES
    for said in (
        "高于：基座模型", "通用能力 -5.0 [-9.0, -1.0]，估计值最多可降 10 分", "每次回答 0.8 秒（逐题作答 8 次的中位数），最多 2 秒",
        "阅读（中文）", "困惑度（中文）", "| 平均 |", "未注明", "费用：", "按机器每小时 0.5 美元计", "（`curate.general`）：40 道", *(two[1] for two in TASKS.values()),
    ):  # fmt: skip
        assert said in text, said
    assert "满分 100" in front and "罪名" in front
