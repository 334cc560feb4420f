"""Bad input is one line that says what, one that says what to do, exit status 1, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import CODE, ITEMS, Factory, jsonl, make_toy

from factory import __version__
from factory.files import write_json, write_text
from factory.records import read_rows


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make_toy(tmp_path)


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Factory:
    return Factory(monkeypatch, capsys)


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


EVAL = "evals/items.jsonl"


def refuse(factory: Factory, line: str, said: str, hint: str) -> None:
    """The command fails as a command should."""
    ended = factory(*line.split())
    lines = ended.err.splitlines()
    assert ended.code == 1 and len(lines) == 2, ended
    assert lines[0].startswith("Error: ") and said in lines[0], ended.err
    assert lines[1].startswith("  ") and hint in lines[1], ended.err
    assert "Traceback" not in ended.err + ended.out


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("build tyo", "Unknown domain 'tyo'", "'toy'"),
        ("eval tyo", "Unknown domain 'tyo'", "'toy'"),
        ("report tyo", "Unknown domain 'tyo'", "'toy'"),
        ("status tyo", "Unknown domain 'tyo'", "'toy'"),
        ("predict tyo rows.jsonl -o out.jsonl", "Unknown domain 'tyo'", "'toy'"),
        ("demo tyo", "Unknown domain 'tyo'", "'toy'"),
        ("build toy --set sft.epoch=1", "unknown key 'sft.epoch'", "'epochs'"),
        ("build toy --set sft.epochs=many", "'sft.epochs' must be float", "docs/config.md"),
        ("build toy --set sft.epochs", "is not key=value", "--set"),
        ("build toy --set sft.epochs=-1", "out of range", "Between"),
        ("build toy --set base=smollm2-135m", "Unknown base model 'smollm2-135m'", "'smollm2-135m-instruct'"),
        ("models info gema-3-270m", "Unknown base model", "'gemma-3-270m'"),
        ("models pull gema-3-270m", "Unknown base model", "'gemma-3-270m'"),
        ("build toy --task knd", "has no task 'knd'", "'kind'"),
        ("build toy --until curat", "Unknown stage 'curat'", "'curate'"),
        ("build toy --force ingst", "Unknown stage 'ingst'", "'ingest'"),
        ("build toy --run ../up", "is no name for a run", "letters"),
        ("build toy --source gone", "Source gone does not exist", "--source PATH"),
        ("build toy --source empty", "Source empty is empty", "documents"),
        ("build toy --source https://host/repo.git", "names no commit", "@COMMIT"),
        ("report toy", "No run 'default'", "factory build toy"),
        ("predict toy rows.jsonl -o out.jsonl --model bset", "Unknown model 'bset'", "'best'"),
        ("demo toy", "No run 'default'", "factory build toy"),
    ],
)
def test_bad_words(factory: Factory, toy: Path, tmp_path: Path, line: str, said: str, hint: str) -> None:
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    refuse(factory, line, said, hint)
    assert files(tmp_path) == before


def spoil(toy: Path, name: str, text: str | bytes) -> None:
    (toy / name).write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("damage", "said", "hint"),
    [
        (lambda toy: spoil(toy, "data/words.txt", "fruit 苹果".encode("gb18030")), "words.txt is not UTF-8", "iconv"),
        (lambda toy: spoil(toy, EVAL, jsonl(ITEMS) + "{broken\n"), "items.jsonl:4 is not JSON", "One JSON"),
        (lambda toy: spoil(toy, EVAL, jsonl([ITEMS[0]] * 2)), "Two eval items have the id 'kind-1'", "unique"),
        (lambda toy: spoil(toy, EVAL, jsonl([{**ITEMS[0], "scorer": "exakt"}])), "unknown scorer", "'exact'"),
        (lambda toy: spoil(toy, EVAL, ""), "The eval set is empty", "evals"),
        (lambda toy: spoil(toy, "domain.toml", "name = \n"), "domain.toml is not TOML", "Mend"),
        (lambda toy: spoil(toy, "domain.py", CODE + "\n1 / 0\n"), "domain.py does not load: ZeroDivisionError", "Mend"),
    ],
    ids=["not UTF-8", "broken JSON", "duplicate id", "unknown scorer", "empty eval", "broken TOML", "broken code"],
)  # fmt: skip
def test_bad_files(
    factory: Factory, toy: Path, tmp_path: Path, damage: Callable[[Path], None], said: str, hint: str
) -> None:
    damage(toy)
    refuse(factory, "build toy --until curate", said, hint)
    written = {path.name for path in files(tmp_path / "runs")}
    assert written <= {".lock", "run.json", "started.json"}


def test_a_broken_domain_is_listed_with_its_reason(factory: Factory, toy: Path) -> None:
    spoil(toy, "domain.py", CODE + "\n1 / 0\n")
    told = factory("domains").out
    assert "cooking" in told and "Cannot be used: toy: " in told and "ZeroDivisionError" in told


def test_nothing_left_after_curate(factory: Factory, toy: Path, tmp_path: Path) -> None:
    refuse(factory, "build toy --until curate --set curate.min_chars=500", "No rows are left after curate", "[curate]")
    assert {path.name for path in files(tmp_path / "runs/toy/default/curate")} == {"started.json", "dropped.jsonl"}


def test_build_dry_status_and_again(factory: Factory, toy: Path, tmp_path: Path) -> None:
    dry = factory("build", "toy", "--dry")
    assert dry.code == 0 and [line.split()[:2] for line in dry.out.splitlines()[:3]] == [
        ["ingest", "run"],
        ["synthesize", "run"],
        ["curate", "run"],
    ]
    assert "not built yet" in dry.out and not (tmp_path / "runs").exists()
    built = factory("build", "toy", "--until", "curate")
    assert built.code == 0 and "6 passages, 12 examples, 3 eval items" in built.out
    dry = factory("build", "toy", "--until", "curate", "--dry", "--set", "curate.min_chars=2")
    assert dry.out.splitlines() == [
        "ingest     skip    nothing it reads has changed", "synthesize skip    nothing it reads has changed",
        "curate     run     changed: curate.min_chars",
    ]  # fmt: skip
    assert "skipped, nothing it reads has changed" in factory("build", "toy", "--until", "curate").out
    factory("build", "toy", "--until", "curate", "--set", "curate.min_chars=2")
    again = factory("build", "toy", "--until", "curate", "--dry").out.splitlines()[2]
    assert again == "curate     run     changed: curate.min_chars"  # --dry says what build would do
    status = factory("status", "toy")
    assert status.code == 0 and "12 examples" in status.out and "not built yet" in status.out
    assert "changed" not in status.out  # with the settings that it was built with, all is done


def test_a_run_remembers_its_source_and_tasks(factory: Factory, toy: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "mine" / "a.txt", "fruit fig\nfruit date\ntool axe\n")
    assert (
        "3 passages, 3 examples"
        in factory("build", "toy", "--until", "curate", "--source", "mine", "--task", "k-1").out
    )
    again = factory("build", "toy", "--until", "curate")
    assert again.out.count("skipped") == 3 and str(tmp_path / "mine") in again.out
    assert "6 passages, 6 examples" in factory("build", "toy", "--until", "curate", "--source", "sample").out


def test_reports_name_the_command_that_is_missing(factory: Factory, toy: Path) -> None:
    factory("build", "toy", "--until", "ingest")
    refuse(factory, "report toy", "No finished 'evaluate'", "factory build toy --until evaluate")
    refuse(factory, "report toy --run defult", "No run 'defult'", "'default'")
    refuse(factory, "demo toy", "No finished 'app'", "factory build toy --until app")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('{"prompt": "ok"}\n{"prompt": \n', "rows.jsonl:2 is not JSON"),
        ('{"prompt": "ok"}\n{"prompt": 3}\n', "rows.jsonl:2: no prompt, messages, or task and input"),
        ('{"prompt": "ok"}\n\n{"task": "knd", "input": "fig"}\n', "has no task 'knd'"),
        ('{"messages": [{"role": "user"}]}\n', "rows.jsonl:1: a message needs role and content"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}\n', "rows.jsonl:1: the messages ask nothing"),
        ("[1]\n", "rows.jsonl:1 is not a JSON object"),
        ("\n", "has no rows"),
        ('{"prompt": "all is well"}\n', "No finished 'sft'"),
    ],
)
def test_predict_with_bad_rows(factory: Factory, toy: Path, tmp_path: Path, rows: str, said: str) -> None:
    factory("build", "toy", "--until", "ingest")
    write_text(tmp_path / "rows.jsonl", rows)
    refuse(factory, "predict toy rows.jsonl -o out.jsonl", said, "")
    refuse(factory, "predict toy none.jsonl -o out.jsonl", "Cannot read none.jsonl", "path")
    assert not (tmp_path / "out.jsonl").exists()


def test_report_as_json_is_json_alone(factory: Factory, toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy" / "default" / "evaluate"
    write_json(folder / "manifest.json", {})
    write_json(folder / "scores.json", {"models": {"base": {"mean": {"score": 1.0}}}})
    assert json.loads(factory("report", "toy", "--json").out) == {"models": {"base": {"mean": {"score": 1.0}}}}


def test_debug_shows_the_traceback(factory: Factory, toy: Path) -> None:
    with pytest.raises(Exception, match="Unknown domain"):
        factory("build", "tyo", "--debug")


def test_lists(factory: Factory, toy: Path) -> None:
    assert factory("--version").out == f"{__version__}\n"
    assert all(name in factory("domains").out for name in ("toy", "cooking", "legal"))
    assert "gemma-3-270m" in factory("models", "list").out
    assert "Apache-2.0" in factory("models", "info", "smollm2-135m-instruct").out


def test_rows_with_an_unknown_option_are_a_usage_error(factory: Factory, toy: Path) -> None:
    assert factory("build", "toy", "--sorce", "x").code == 2
    assert not list(Path().glob("runs")) and list(read_rows(toy / "evals" / "items.jsonl"))
    for port in ("65536", "-1"):
        assert factory("demo", "toy", "--port", port).code == 2


def test_interrupted_build_says_that_it_goes_on(factory: Factory, toy: Path) -> None:
    (toy / "domain.py").write_text(
        CODE.replace("for passage in passages:", "raise KeyboardInterrupt\n        for passage in passages:")
    )
    ended = factory("build", "toy", "--until", "ingest")
    assert ended.code == 130 and "goes on from here" in ended.err and "Traceback" not in ended.err
