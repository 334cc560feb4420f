"""What the exports of a run need, told from export.json: the order, what fits, the picture, and the report that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ggufs import tiny_gguf
from stages.test_report import build, context, make_scores
from tags import Tags
from tiny import tiny_model

from factory.budgets import exports, fits, marks, picture
from factory.errors import FactoryError
from factory.export.measure import measure
from factory.files import weights_mark, write_json
from factory.pictures import ticks
from factory.stage import run_stages
from factory.stages.report import STAGE


def note(run: Path, name: str, mb: float, score: float, passed: bool = True, **more: Any) -> None:
    rate = {"load_s": 0.2, "first_token_ms": 120.4, "prompt_tps": 400.0, "gen_tps": 41.2, "peak_mb": mb * 1.5}
    write_json(
        run / "export" / name / "export.json",
        {
            "kind": "gguf",
            "budget": {"bytes": mb * 1e6, "peak_mb": mb * 1.5, "threads": {"1": rate, "2": rate | {"gen_tps": 77.7}}},
            "parity": {"passed": passed, "mean": {"n": 154, "score": score, "trained": 66.5, "identical": 96.1}},
            **more,
        },
    )


def test_exports_are_told_smallest_first(tmp_path: Path) -> None:
    note(tmp_path, "gguf-q8_0", 145, 66.4)
    note(tmp_path, "gguf-q4_0", 92, 61.0)
    note(tmp_path, "merged-f16", 270, 66.5, budget={})
    note(tmp_path, "unread", 1, 0, parity={"passed": False, "items": 0})
    rows = exports(tmp_path)
    assert [row["name"] for row in rows] == ["gguf-q4_0", "gguf-q8_0"] and rows[0]["fits_gb"] == 1


def test_an_export_of_an_earlier_adapter_is_not_told(tmp_path: Path) -> None:
    adapter = tmp_path / "sft" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"first")
    note(tmp_path, "gguf-q8_0", 145, 66.4, model="sft", adapter=weights_mark(adapter))
    before = marks(tmp_path)
    assert len(exports(tmp_path)) == 1
    (adapter / "adapter_model.safetensors").write_bytes(b"second")
    assert exports(tmp_path) == [] and marks(tmp_path) != before


@pytest.mark.parametrize(("mb", "gb"), [(200, 1), (500, 1), (501, 2), (1900, 4), (7900, 16), (33000, None)])
def test_half_of_the_memory_must_hold_the_peak(mb: float, gb: int | None) -> None:
    assert fits(mb) == gb


def test_the_picture_lies_inside_its_axes(tmp_path: Path) -> None:
    note(tmp_path, "gguf-q8_0", 145, 66.4)
    note(tmp_path, "gguf-q4_0", 92, 61.0, passed=False)
    found = picture(exports(tmp_path), ticks)
    assert found and all(0 <= point["x"] <= 1 and 0 <= point["y"] <= 1 for point in found["points"])
    assert found["points"][0]["y"] < found["points"][1]["y"] < found["trained"]
    untuned = {"passed": True, "mean": {"n": 154, "score": 10.0, "trained": 10.0, "identical": 96.1}}
    note(tmp_path, "gguf-q4_0-base", 90, 10.0, model="base", parity=untuned)
    beside = picture(exports(tmp_path), ticks)
    assert beside and max(point["y"] for point in beside["points"]) < beside["trained"], "the line is the specialist's"
    assert picture([], ticks) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_shows_exports_once_there_are_some(tmp_path: Path, language: str) -> None:
    run, heading = tmp_path / "r1", {"en": "Exported files", "zh": "导出文件"}[language]
    assert heading not in build(run, make_scores(language), language=language)
    assert run_stages([STAGE], context(run, language))[0].action == "skip" and marks(run) == {}
    note(run, "gguf-q8_0", 145, 66.4)
    note(run, "gguf-q4_0", 92, 51.0, passed=False)
    assert run_stages([STAGE], context(run, language))[0].action == "run"
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert Tags(page).open == [] and heading in page and "41 / 78" in page and "218 MB" in page
    assert {"en": "a phone with 1 GB", "zh": "1 GB 内存的手机"}[language] in page
    assert page.count("<circle") == 2 and page.count('class="bad"') == 1 and "✗" in page


def test_a_file_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tiny_gguf(tiny_model(tmp_path / "tiny"), tmp_path / "tiny.gguf")
    prompts = [[{"role": "user", "content": "Bake the bread."}]]
    held = bytearray(b"x" * 600_000_000)  # by the process that starts it: no part of the file's need
    found = measure([file], prompts, 12, 1)
    assert {"load_s", "first_token_ms", "prompt_tps", "gen_tps", "peak_mb"} <= set(found)
    assert found["gen_tps"] > 0 and 20 < found["peak_mb"] < 300 < len(held)
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(FactoryError, match=r"tiny\.gguf could not be measured"):
        measure([file], prompts, 12, 1)
