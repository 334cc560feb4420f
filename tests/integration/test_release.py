"""Release: a good specialist goes out with its card; a sabotaged one is refused, for the right reason, and nothing is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from served import served

from factory.files import digest_tree, read_json, sha256, weights_mark, write_json

from .toy import DOMAIN, factory, make_base, make_toy

RUN = Path("runs/toy/default")
GATES = '[evaluate.gates]\nabove = ["base"]\nnot_below = ["majority"]\nmargin = 50.0\nforgets = 100.0\nperplexity = 1e9\nformat = 0.5\n'
LEARNED = DOMAIN.replace("word, kind)", "word, 'fruit')").replace('f"{word} {word}")', '"yes yes")')
SHUFFLED = (
    DOMAIN.replace("for passage in passages:", "for passage, other in zip(passages, shuffled(passages)):")
    .replace("kind, word = passage.text.split()", "word, (kind, wrong) = passage.text.split()[1], other.text.split()")
    .replace('f"{word} {word}")', 'f"{wrong} {wrong}")')
    + """

def shuffled(passages):
    return [passages[place] for place in random.Random(1).sample(range(len(passages)), len(passages))]
"""
)


def make(cwd: Path, code: str = LEARNED, gates: str = GATES) -> None:
    """A toy that a tiny random model can learn: whatever is asked, it is a fruit, and yes. Of other code the items are what they were."""
    folder = make_toy(cwd, make_base(cwd.parent / "base"))
    (folder / "domain.py").write_text("import random\n" + code, encoding="utf-8")
    if code == LEARNED:
        items = folder / "evals" / "toy.jsonl"
        rows = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
        right = {"kind": "fruit", "twice": "yes yes"}
        items.write_text(
            "".join(json.dumps(row | {"reference": right[row["task"]]}) + "\n" for row in rows), encoding="utf-8"
        )
    toml = folder / "domain.toml"
    toml.write_text(toml.read_text(encoding="utf-8") + gates + '[app]\ntitle = "Toy | 玩具"\n', encoding="utf-8")
    factory(cwd, "build", "toy")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("release") / "work"
    make(cwd)
    return cwd


@pytest.fixture
def work(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "work", ignore=shutil.ignore_patterns("export")))


def refused(cwd: Path, why: str) -> None:
    said = factory(cwd, "release", "toy", code=1)
    error = next(line for line in said.splitlines() if line.startswith("Error: "))
    assert "toy is not released" in error and why in error and "Traceback" not in said
    assert not (cwd / RUN / "export" / "release").exists()


def test_a_release_tells_everything(built: Path) -> None:
    said = factory(built, "release", "toy")
    out = built / RUN / "export" / "release"
    note = read_json(out / "export.json")
    base = read_json(built / RUN / "sft" / "base.json")
    assert base["weights"] == weights_mark(Path(base["path"])), "another base at that place would be refused"
    assert {gate["name"] for gate in note["gates"]} == {
        "above base",
        "not below majority",
        "leak-free",
        "format",
        "forgetting",
        "perplexity",
    }
    assert all(gate["passed"] for gate in note["gates"]) and "passed  forgetting: general ability" in said
    assert {name: row["sha256"] for name, row in note["files"].items()} == {
        name: mark for name, mark in ((path.name, sha256(path)) for path in out.iterdir()) if name != "export.json"
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    front = {key: json.loads(value) for key, value in re.findall(r"^([\w-]+): (.*)$", card.split("---")[1], re.M)}
    scores = read_json(built / RUN / "evaluate" / "scores.json")
    results = front["model-index"][0]["results"][0]["metrics"]
    best = scores["models"][scores["best"]]
    assert {row["value"] for row in results} == {best[task]["score"] for task in scores["tasks"]}
    assert front["language"] == ["en"] and front["license_link"] == "LICENSE.txt"
    assert f"| mean | {best['mean']['n']} |" in card and "general ability" in card and "Toy / 玩具" in card
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert table[1].startswith("| --- |") and len({line.count("|") for line in table[:5]}) == 1, "one whole table"
    assert (out / "LICENSE.txt").stat().st_size and (out / "chat_template.jinja").exists()
    assert "exists" in factory(built, "release", "toy", code=1), "nothing is replaced without being asked"


def test_a_specialist_of_shuffled_answers_is_refused(tmp_path: Path) -> None:
    """The rows of each task with each other's answers: what is left to learn is how often which answer comes."""
    make(tmp_path / "work", SHUFFLED, GATES.replace('above = ["base"]', 'above = ["base", "majority"]'))
    refused(tmp_path / "work", "above majority")


def test_whoever_gets_a_release_can_load_it(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the card's own lines, with the places filled in that it asks for."""
    factory(built, "release", "toy", "-o", "given")
    card = (built / "given" / "README.md").read_text(encoding="utf-8")
    base = read_json(built / RUN / "sft" / "base.json")["path"]
    assert base not in card, "a place on another machine"
    lines = re.findall(r"```python\n(.*?)```", card, re.S)[0]
    for place, path in (("PATH OF THIS FOLDER", str(built / "given")), ("PATH OF THE BASE'S FOLDER", base)):
        assert place in lines
        lines = lines.replace(place, path)
    exec(lines, {})
    assert capsys.readouterr().out.strip() == "fruit"


def test_a_specialist_that_saw_the_eval_items_is_refused(work: Path) -> None:
    """Rows that curate would have dropped, smuggled in behind its back."""
    train = work / RUN / "curate" / "train.jsonl"
    row = json.loads(train.read_text(encoding="utf-8").splitlines()[0])
    seen = [
        json.loads(line) for line in (work / RUN / "ingest" / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    leaked = [row | {"id": f"leak-{item['id']}", "task": item["task"], "prompt": item["prompt"]} for item in seen]
    with open(train, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in leaked)
    path = work / RUN / "curate" / "manifest.json"
    note = read_json(path)
    note["outputs"]["train.jsonl"] = {"sha256": sha256(train), "bytes": train.stat().st_size}
    write_json(path, note)
    factory(work, "build", "toy")
    refused(work, "leak-free (training rows against eval items)")


def test_a_specialist_that_forgot_is_refused_and_the_report_says_so(work: Path) -> None:
    factory(work, "build", "toy", "--set", "evaluate.gates.perplexity=1")
    page = work / RUN / "report" / "report.html"
    assert "not measured yet" in page.read_text(encoding="utf-8")
    refused(work, "perplexity (perplexity of texts outside the domain 1.")
    factory(work, "report", "toy")
    report = page.read_text(encoding="utf-8")
    assert "not measured yet" not in report and "it does not pass every gate (other texts still read)" in report


def test_a_forgetting_changed_by_hand_is_measured_again(work: Path) -> None:
    factory(work, "build", "toy", "--set", "evaluate.gates.perplexity=1")
    refused(work, "perplexity (perplexity of texts outside the domain 1.")
    path = work / RUN / "forgetting.json"
    measured = read_json(path)
    write_json(path, measured | {"perplexity": measured["perplexity"] | {"specialist": measured["perplexity"]["base"]}})
    refused(work, "perplexity (perplexity of texts outside the domain 1.")
    assert read_json(path) == measured, "what was measured, not what was written into it"


def test_a_slow_specialist_is_refused(work: Path) -> None:
    factory(work, "build", "toy", "--set", "evaluate.gates.seconds=0.000001")
    refused(work, "latency (")


def test_other_models_on_the_same_items(work: Path, built: Path) -> None:
    before = digest_tree(work / RUN / "evaluate"), digest_tree(work / RUN / "sft")
    append(work / "domains/toy/domain.py", "# a later version: a build would train anew\n")
    base = read_json(work / RUN / "sft" / "base.json")["path"]
    published = work / "published.csv"
    published.write_text(
        "model,task,n,score\nGiant,kind,6,50.0\nGiant,twice,6,25\nOther,kind,6,10\nOther,x,1,1\n", "utf-8"
    )
    with served() as server:
        said = factory(
            work, "eval", "toy", "--model", base, "--model", "default:sft", "--model", str(published),
            "--model", f"{server.address}#toy-teacher",
        )  # fmt: skip
    references = said.partition("References, on the same items")[2]
    for name in ("default:sft", "Giant", "Other", "toy-teacher"):
        assert name[:6] in references, said
    assert "37.5" in said, "the mean of what was published on every task"
    assert (digest_tree(work / RUN / "evaluate"), digest_tree(work / RUN / "sft")) == before
    for bad, why in (
        ("nobody", "no model that can be scored"), ("no.csv", "cannot be read"), ("other:sft", "No run 'other'"),
    ):  # fmt: skip
        assert why in factory(work, "eval", "toy", "--model", bad, code=1)
    published.write_text("model,task,n,score\nGiant,kind,6,150\n", "utf-8")
    assert "published.csv:2: score '150'" in factory(work, "eval", "toy", "--model", str(published), code=1)


def append(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def flip(path: Path) -> None:
    """Another last bit: a whole file of another weight."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda work: flip(work / RUN / "sft/adapter/adapter_model.safetensors"), "sft: adapter/adapter_model"),
        (lambda work: append(work / RUN / "evaluate/scores.json", " "), "evaluate: scores.json is missing or was changed"),
        (lambda work: append(work / "domains/toy/domain.py", "# another scorer\n"), "ingest: changed"),
        (lambda work: append(work / "domains/toy/evals/toy.jsonl", "\n"), "ingest: changed"),
        (lambda work: edit(work / "domains/toy/domain.toml", "margin = 50.0", "margin = 21.0"), "evaluate: changed"),
        (lambda work: factory(work, "build", "toy", "--until", "sft", "--set", "sft.epochs=1"), "prefer: changed"),
    ],
    ids=["adapter", "scores", "scorer", "eval set", "gates", "another training"],
)  # fmt: skip
def test_scores_of_something_else_are_no_ground(work: Path, change: Callable[[Path], object], why: str) -> None:
    change(work)
    refused(work, f"its scores are not of what is there now ({why}")
