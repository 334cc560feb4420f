"""The report on a made-up run folder: what it says, in both languages, and that no text becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tags import Tags

from factory.config import Config
from factory.domain import Domain
from factory.files import read_json, write_json
from factory.records import write_records
from factory.stage import Context, run_stages
from factory.stages.report import ANSWERS, SENTENCES, STAGE, answers, curve, side, signed, tell, ticks

EVIL = "<script>alert(1)</script>"
TASKS = {"charge": ("Charge", "罪名"), "article": ("Statute article", "法条"), "qa": ("Open questions", "开放问答")}
MEANS = {"base": 41.0, "sft": 66.5, "dpo": 68.9, "ngram": 61.0, "majority": 18.2}


def cell(score: float, n: int = 60) -> dict[str, Any]:
    return {"score": score, "low": max(0.0, score - 6.1), "high": min(100.0, score + 5.8), "n": n}


def make_scores(language: str = "en", dpo: bool = True, better: float = 27.9) -> dict[str, Any]:
    names = [name for name in MEANS if dpo or name != "dpo"]
    models = {
        name: {"mean": cell(MEANS[name], 180)} | {task: cell(MEANS[name] + 7 * i) for i, task in enumerate(TASKS)}
        for name in names
    }
    best = "dpo" if dpo else "sft"
    models["best"] = models[best]
    moved = {"base": better, "ngram": 7.9, "majority": 50.7} | ({"sft": 2.4} if dpo else {})
    return {
        "items": 180, "eval_version": 1, "rounds": [], "eval_digest": "ab" * 32, "leak_free": True, "models": models, "best": best,
        "tasks": {task: {"title": two[language == "zh"], "scorer": "exact", "n": 60} for task, two in TASKS.items()},
        "chosen_on": {name: {"score": MEANS[name] + 1, "n": 60} for name in names if name in ("sft", "dpo")},
        "differences": [
            {"better": "best", "worse": worse, "task": task, "difference": d, "low": d - 5, "high": d + 5}
            for worse, d in moved.items() for task in (*TASKS, "mean")
        ],
        "gates": [
            {"name": "above base", "passed": better > 5, "detail": f"{better:+.1f}"},
            {"name": "leak-free", "passed": True, "detail": "training rows against eval items"},
        ],
    }  # fmt: skip


def prediction(model: str, task: str, number: int) -> dict[str, Any]:
    score = (number * len(model)) % 3 / 2
    said = ["theft", "盗窃罪", f"{EVIL}\n  kept   spaces", "", "long words " * 60][(number + len(model)) % 5]
    return {
        "id": f"{task}-{number:03}", "task": task, "question": f"Case {number}: <b>who</b> took it? {EVIL}",
        "references": ["theft", "larceny"][: 1 + number % 2], "prediction": said, "score": score,
        "truncated": number % 7 == 0,
    }  # fmt: skip


def done(folder: Path, summary: dict[str, Any]) -> None:
    machine = {"platform": "Linux-6.1", "cpus": 2, "python": "3.11.7"}
    write_json(
        folder / "manifest.json",
        {"summary": summary, "outputs": {"summary": summary}, "seconds": 321.5, "packages": {"torch": "2.13.0"},
         "machine": machine, "finished": "2026-11-23T10:00:00+0000"},
    )  # fmt: skip


def make_run(run: Path, scores: dict[str, Any]) -> None:
    """A finished run up to evaluate; no DPO when the scores have none."""
    write_json(run / "evaluate" / "scores.json", scores)
    for model in scores["models"]:
        rows = [prediction(model, task, number) for task in scores["tasks"] for number in range(30)]
        write_records(run / "evaluate" / "predictions" / f"{model}.jsonl", rows)
    dropped = {"near-duplicate": 14, "leak": 3, "too long": 2}
    rows = [
        {"reason": reason, "task": "charge", "question": f"Q{i} {EVIL}", "answer": f"A{i}", "detail": "like row 7"}
        for reason, count in dropped.items() for i in range(count)
    ]  # fmt: skip
    write_records(run / "curate" / "dropped.jsonl", rows)
    log = [{"step": i, "loss": 3 / (1 + i / 9) + i % 3 / 9, "tokens": i, "seconds": i} for i in range(1, 61)]
    write_records(run / "sft" / "log.jsonl", log)
    counts = {"charge": 300, "qa": 100}
    done(run / "curate", {"rows": 459, "train": 400, "dev": 40, "dropped": dropped, "per_task": counts})
    done(run / "sft", {"steps": 60, "tokens": 90210, "seconds": 300.0, "base": "gemma-3-270m", "quantization": "nf4",
                       "trainable_parameters": 3796992, "final_loss": 0.4})  # fmt: skip
    done(run / "prefer", {"asked": 240, "wrong": 80, "pairs": 71})
    done(run / "evaluate", {"best": scores["best"]})
    if "dpo" not in scores["models"]:
        done(run / "dpo", {"skipped": f"left out: 3 pairs, fewer than 8 {EVIL}"})
        return
    write_records(run / "dpo" / "log.jsonl", [row | {"rewards/accuracies": 0.5 + i / 200} for i, row in enumerate(log)])
    done(run / "dpo", {"steps": 60, "tokens": 5000, "seconds": 40.0})


def context(run: Path, language: str = "en", title: str = "Criminal law") -> Context:
    config = Config("law", title, language, "gemma-3-270m", description=f"Charges & articles {EVIL}", seed=7)
    return Context(Domain(config, run), run, "report", say=lambda text: None)


def build(run: Path, scores: dict[str, Any], **told: str) -> str:
    make_run(run, scores)
    run_stages([STAGE], context(run, **told))
    return (run / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("dpo", [True, False])
def test_page_is_whole_and_nothing_becomes_markup(tmp_path: Path, language: str, dpo: bool) -> None:
    page = build(tmp_path / "r1", make_scores(language, dpo), language=language, title=f"刑法 {EVIL}")
    tags = Tags(page)
    assert tags.open == []
    assert not {"script", "img", "iframe", "link", "object"} & set(tags.seen)
    assert EVIL not in page and "<b>who" not in page
    assert page.count("&lt;script&gt;") > 30
    assert not [name for name in tags.attributes if name.startswith("on") or name in ("src", "href")]
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert re.search(r"\n  kept   spaces", page)
    assert tags.attributes["lang"] == ["zh-CN" if language == "zh" else "en"]
    for text in ("ab" * 32, "gemma-3-270m", "nf4", "3,796,992", "torch 2.13.0", "Linux-6.1", ">7<"):
        assert text in page


def test_every_label_has_both_languages(tmp_path: Path) -> None:
    page = build(tmp_path / "r1", make_scores("zh"), language="zh", title="刑法")
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S)
    assert not re.search(r"\b(Base|Specialist|Scores|Gates|Question|Handed|interval|points|step)\b", text)
    for pair in SENTENCES.values():
        assert sorted(re.findall(r"{\w+}", pair[0])) == sorted(re.findall(r"{\w+}", pair[1]))


def judged(why: str = "", n: int = 40, kappa: bool = True) -> dict[str, Any]:
    found = {"kappa": 0.62, "low": 0.41, "high": 0.79} if kappa else None
    rate = {"share": 80.0, "low": 65.2, "high": 89.5, "n": n}
    votes = {"n": n, "questions": n, "agreement": rate, "kappa": found} if n else {"n": 0}
    return {
        "judge": f"qwen {EVIL}", "best": "dpo", "votes": votes, "belief": {"believed": not why, "why": why, "needed": 20},
        "items": {"n": 180, "wins": 90, "ties": 60, "losses": 29, "same": 12, "unanswered": 1},
        "share": {"charge": cell(68.0), "mean": cell(67.0, 179)}, "bias": {"share": 12.5, "low": 8.1, "high": 18.8, "n": 167},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "why", "n", "kappa", "said"),
    [
        ("en", "", 40, True, "✓ believed kappa's lower end is above 0.4"),
        ("en", "few", 0, False, "✗ not believed only 0 votes of experts to compare it with: nobody should believe it yet; 20 more are needed"),
        ("zh", "few", 7, True, "✗ 不可信 可供对照的专家投票只有 7 张：现在谁也不该相信它；还需要 20 张"),
        ("zh", "one-sided", 40, False, "✗ 不可信 所有投票和结论都相同"),
        ("en", "low", 40, True, "✗ not believed kappa is not above 0.4"), ("zh", "wide", 40, True, "大约再有 20 张投票"),
    ],
)  # fmt: skip
def test_a_judge_is_shown_with_whether_to_believe_it_first(
    tmp_path: Path, language: str, why: str, n: int, kappa: bool, said: str
) -> None:
    run = tmp_path / "r1"
    write_json(run / "evaluate" / "judge.json", judged(why, n, kappa))
    page = build(run, make_scores(language), language=language)
    assert Tags(page).open == [] and EVIL not in page
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).replace("&#39;", "'").split())
    assert said in text
    places = [text.index(part) for part in (said, *(["0.62 [0.41, 0.79]"] if n and kappa else []), "12.5% [8.1, 18.8]", "90 · 60 · 29", "67.0")]  # fmt: skip
    assert places[:4] == sorted(places[:4])
    if language == "zh":
        assert not re.search(r"\b(kappa|believed|votes|Position|Wins)\b", text)


def test_the_report_is_made_anew_once_a_judge_was_asked(tmp_path: Path) -> None:
    run = tmp_path / "r1"
    assert "judge" not in re.sub(r"<style>.*?</style>", "", build(run, make_scores()), flags=re.S)
    assert run_stages([STAGE], context(run))[0].action == "skip"
    write_json(run / "evaluate" / "judge.json", judged())
    [decision] = run_stages([STAGE], context(run))
    assert decision.action == "run" and "judge" in decision.reason


def test_summary_and_json_agree(tmp_path: Path) -> None:
    scores = make_scores()
    build(tmp_path / "r1", scores)
    known = read_json(tmp_path / "r1" / "report" / "report.json")
    summary = read_json(tmp_path / "r1" / "report" / "manifest.json")["summary"]
    assert known == {"models": scores["models"], "best": "dpo", "verdict": summary["verdict"]}
    assert summary["note"] == f"report: {tmp_path / 'r1' / 'report' / 'report.html'}"


def test_verdict_says_better_and_which_adapter() -> None:
    told = tell(make_scores(), {}, zh=False)
    assert told["verdict"] == (
        "The specialist is better than its base: on average +27.9 points (95% interval +22.9 to +32.9). "
        "It is clearly above the n-gram baseline (+7.9) and the majority answer (+50.7)."
    )
    assert told["tone"] == "good"
    assert told["facts"] == [
        "DPO helped on the dev rows: SFT 67.5, SFT + DPO 69.9.",
        "On the eval set DPO changed nothing clearly: +2.4 points (95% interval −2.6 to +7.4).",
        "Handed on: the SFT + DPO adapter, chosen by its score on 60 dev rows kept back from training, "
        "not on the eval set.",
    ]


@pytest.mark.parametrize(
    ("better", "words", "tone"), [(3.0, "is not shown to be better", "bad"), (-9.0, "is worse than its base", "bad")]
)
def test_verdict_is_honest_when_not_better(better: float, words: str, tone: str) -> None:
    told = tell(make_scores(better=better), {}, zh=False)
    assert words in told["verdict"]
    assert told["tone"] == tone and not told["passed"]
    assert "Charge, Statute article, Open questions" in told["facts"][0]


def test_a_cheap_baseline_that_is_not_beaten_is_named() -> None:
    scores = make_scores()
    for row in scores["differences"]:
        if row["worse"] == "ngram":
            row |= {"difference": -8.0, "low": -12.0, "high": -4.0}
    told = tell(scores, {}, zh=True)
    assert "明显低于：n-gram 基线（−8.0）" in told["verdict"]
    assert told["tone"] == "mixed"


def test_leak_is_said_first(tmp_path: Path) -> None:
    page = build(tmp_path / "r1", make_scores() | {"leak_free": False})
    assert "cannot be trusted" in page and 'class="verdict bad"' in page


def test_no_dpo_gives_the_reason() -> None:
    facts = tell(make_scores(dpo=False), {"skipped": "left out: only 3 pairs."}, zh=False)["facts"]
    assert facts == ["DPO was left out: only 3 pairs.", "Handed on: the SFT adapter, the only one trained."]


def test_dpo_that_did_not_help() -> None:
    facts = tell(make_scores() | {"best": "sft"}, {}, zh=False)["facts"]
    assert facts[0] == "DPO did not help on the dev rows: SFT 67.5, SFT + DPO 69.9."


def test_no_dev_rows_means_no_choice() -> None:
    facts = tell(make_scores() | {"best": "sft", "chosen_on": {}}, {}, zh=False)["facts"]
    assert facts == ["Handed on: the SFT adapter; without dev rows there was nothing to choose on."]


def test_answers_are_spread_over_tasks_and_do_not_depend_on_order(tmp_path: Path) -> None:
    scores = make_scores()
    make_run(tmp_path, scores)
    folder = tmp_path / "evaluate" / "predictions"
    first = answers(folder, scores)
    rows = [json.loads(line) for line in (folder / "dpo.jsonl").read_text(encoding="utf-8").splitlines()]
    write_records(folder / "dpo.jsonl", reversed(rows))
    assert answers(folder, scores) == first
    assert len(first) == ANSWERS and [row["task"] for row in first] == ["charge"] * 7 + ["article"] * 7 + ["qa"] * 6
    assert all(row["base"]["id"] == row["id"] for row in first)


def test_same_run_gives_the_same_page(tmp_path: Path) -> None:
    first = build(tmp_path / "r1", make_scores())
    run_stages([STAGE], context(tmp_path / "r1"), force=["report"])
    assert (tmp_path / "r1" / "report" / "report.html").read_text(encoding="utf-8") == first


def test_curve_leaves_out_what_is_no_number_and_stays_on_the_axes() -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3}]
    rows.append({"step": 4, "loss": 1.0})
    found = curve(rows, "loss")
    assert found and len(found["raw"]) == 2
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in found["raw"])
    assert curve(rows[2:3], "loss") is None and curve([{"step": 1, "loss": 0.0}], "loss")
    many = curve([{"step": i, "loss": 1.0} for i in range(5000)], "loss")
    assert many and len(many["raw"]) <= 400


def test_the_dev_loss_stands_beside_the_curve_on_the_same_axes(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": n, "loss": 4.0 - n / 10} for n in range(1, 21)]
    rows += [{"step": 10, "dev_loss": 3.0}, {"step": 20, "dev_loss": 5.0}, {"step": 15, "dev_loss": float("nan")}]
    found = curve(rows, "loss", "dev_loss")
    assert found and found["best"] == {"step": 10, "loss": 3.0} and found["y"][-1] >= 5.0
    assert found["dev"] == [
        pytest.approx((10 / found["x"][-1], 3.0 / found["y"][-1])),
        pytest.approx((20 / found["x"][-1], 5.0 / found["y"][-1])),
    ]
    x, y = found["raw"][9]
    assert (x, y) == pytest.approx((10 / found["x"][-1], 3.0 / found["y"][-1])), (
        "loss and dev loss of 3 lie on one height"
    )
    plain = curve(rows[:20], "loss", "dev_loss")
    assert plain and plain["dev"] == [] and plain["best"] is None
    assert 'class="dev"' not in build(tmp_path / "r1", make_scores())
    make_run(tmp_path / "r2", make_scores())
    write_records(tmp_path / "r2" / "sft" / "log.jsonl", rows)
    run_stages([STAGE], context(tmp_path / "r2"))
    page = (tmp_path / "r2" / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="dev"') == 2 and "lowest 3.000 at step 10" in page


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 60), (-0.3, 0.7), (0, 0), (0, 3.37), (0, 12345), (0, 1e-4)])
def test_ticks_take_in_both_ends(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 3 <= len(found) <= 8


def test_small_words() -> None:
    assert [signed(value) for value in (1.25, -3.0, -0.01)] == ["+1.2", "−3.0", "0.0"]
    assert side({"low": 0.0, "high": 2.0}) == "unclear" and side({"low": -2.0, "high": -1.0}) == "below"
