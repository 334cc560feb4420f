"""The report on a made-up run folder: what it says, in both languages, and that no text becomes markup."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tags import Tags

from factory import gates
from factory.config import Config, Evaluate, Gates
from factory.costs import Measured
from factory.domain import FREE, Domain, Task
from factory.files import read_json, templates, weights_mark, write_json, write_sealed
from factory.pictures import curve
from factory.records import write_records
from factory.references import Reference, keep, standard
from factory.stage import Context, run_stages
from factory.stages.report import ANSWERS, STAGE, answers

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
        {"reason": reason, "task": "charge", "question": f"Q{i} {EVIL}", "answer": f"A{i}", "detail": "of row 7"}
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


class Law(Domain):
    def tasks(self) -> list[Task]:
        return [Task("charge", "Charge", "exact", choices=("theft", "robbery")), Task("qa", "Open questions", "exact")]


def context(
    run: Path, language: str = "en", title: str = "Criminal law", words: str = f"Charges & articles {EVIL}"
) -> Context:
    config = Config("law", title, language, "gemma-3-270m", description=words, seed=7)
    return Context(Law(config, run), run, "report", say=lambda text: None)


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


LATIN = re.compile(r"[A-Za-z][A-Za-z-]{2,}")
KEPT = {  # names, not words
    "SFT", "DPO", "n-gram", "SHA-", "Holm", "ROUGE-L", "arXiv", "torch", "Linux-", "Python", "gemma-", "GGUF", "GPT-", "rival", "factory", "eval",
    "cost", "transformers", "float", "llama", "cpp", "prices", "toml", "domain", "price-per-hour", "model", "row", "prefer", "min", "pairs", "EPYC", "AMD", "GPU", "rival-", "rival-old", "theft", "gpt-", "o-mini", "mini", "nano", "turbo", "haiku", "gemini-", "flash-lite", "deepseek-chat", "claude-", "claude-sonnet-",
}  # fmt: skip


def shown(page: str) -> str:
    """What the page says itself: no style, no text of questions and answers, no addresses."""
    page = re.sub(
        r'<style>.*?</style>|<(span|div|small) class="(?:text|inline|address).*?</\1>|<code>.*?</code>',
        " ",
        page,
        flags=re.S,
    )
    return re.sub(r"<[^>]+>", " ", page)


@pytest.mark.parametrize("dpo", [True, False])
def test_a_chinese_page_is_chinese(tmp_path: Path, dpo: bool) -> None:
    scores = make_scores("zh", dpo)
    scores["tasks"][FREE.name] = {"title": FREE.title, "scorer": "rouge_l", "n": 60}
    for cells in scores["models"].values():
        cells[FREE.name] = cell(50)
    gates = [
        ("not below ngram", "+7.9 [+2.9, +12.9], margin 5"),
        ("format", "170 of 180 answers are not empty and end by themselves, at least 90% must"),
    ]
    scores["gates"] += [{"name": name, "passed": True, "detail": detail} for name, detail in gates]
    make_run(tmp_path, scores)
    if not dpo:
        done(tmp_path / "dpo", {"skipped": "left out: 3 pairs, fewer than 32 (prefer.min_pairs = 32)"})
    told = context(tmp_path, "zh", "刑法", "罪名")
    refer(told)
    spend(told)
    run_stages([STAGE], told)
    whole = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "与 row 7 近似" in whole
    page = shown(whole)
    assert set(LATIN.findall(page)) <= KEPT
    assert "自由提问" in page and "180 个回答中有 170 个不为空且自行结束，至少要 90%" in page and "，余量 5" in page


def test_every_label_has_both_languages(tmp_path: Path) -> None:
    words = (templates("report") / "words.jinja").read_text(encoding="utf-8")
    pairs = re.findall(r'"(\w+)": \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\]', words)
    assert len(pairs) > 120
    for key, english, chinese in pairs:
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese)), key
        assert not re.search(r"[\u4e00-\u9fff]", english), key


def refer(told: Context) -> None:
    """Three references beside the specialist: a larger one, published scores, and a stale one."""
    mark = standard(told.domain, "ab" * 32)
    rows = {task: [(number * 3) % 3 / 2 for number in range(30)] for task in TASKS}
    means = {task: cell(70, 30) for task in TASKS} | {"mean": cell(70, 90)}
    keep(told.run_dir, [
        Reference("rival-1b", "gguf", "./rival-1b.gguf", means, mark, "d", 10**9, False, rows),
        Reference("GPT-4", "published", "told.csv", {"charge": cell(60)}, mark),
        Reference("rival-old", "folder", "./old", means, "another", "d", 10**8),
    ])  # fmt: skip


def spend(told: Context, price: float = 0.5, rival: str = "d") -> None:
    mark = standard(told.domain, "ab" * 32)
    machine = "AMD EPYC, 2 cores, 24 GB memory, no GPU"
    row = Measured(
        "d", mark, machine, "transformers, float32", 10, 900, 100, 20.0, 3.0, 2.0, None, "2026-01-01T00:00:00+0000"
    )
    best = read_json(told.run_dir / "evaluate" / "scores.json")["best"]
    models = {
        best: row,
        "rival-1b": replace(row, seconds=200.0, digest=rival),
        "sft-old": replace(row, standard="another"),
    }
    write_json(
        told.run_dir / "costs.json",
        {"price_per_hour": price, "models": {name: asdict(one) for name, one in models.items()}},
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_release_measured_is_shown(tmp_path: Path, language: str) -> None:
    scores, zh = make_scores(language), language == "zh"
    make_run(tmp_path, scores)
    told = context(tmp_path, language)
    (tmp_path / scores["best"] / "adapter").mkdir()
    adapter = tmp_path / scores["best"] / "adapter"
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    before, after = ({"en sense": cell(60, 20), "mean": cell(60, 20)}, {"en sense": cell(40, 20), "mean": cell(40, 20)})
    found = {
        "adapter": weights_mark(adapter), "models": {"base": before, "specialist": after},
        "difference": {name: {"difference": -20.0, "low": -31.0, "high": -9.0, "n": 20} for name in before},
        "perplexity": {"base": {"en": 40.0}, "specialist": {"en": 90.0}},
    }  # fmt: skip
    write_sealed(tmp_path / "forgetting.json", found)
    gates.keep(tmp_path, adapter, Gates(), gates.of_forgetting(found, Gates()))
    run_stages([STAGE], told)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert Tags(page).open == [] and 'id="forgotten"' in page
    assert ("常识（英文）" if zh else "common sense (English)") in page
    assert ("有门槛没有通过（保住通用能力）" if zh else "it does not pass every gate (general ability kept)") in page
    assert ("困惑度为基座的 2.25 倍，至多 10 倍" if zh else "2.25 times the base") in page
    told = context(tmp_path, language)
    told.domain.config = replace(told.config, evaluate=Evaluate(gates=Gates(forgets=30.0)))
    run_stages([STAGE], told)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert ("未测" if zh else "not measured") in page, "under other limits"
    write_json(tmp_path / "forgetting.json", found | {"perplexity": {"base": {"en": 40.0}, "specialist": {"en": 41.0}}})
    run_stages([STAGE], told)
    assert 'id="forgotten"' not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8"), "changed by hand"


def test_references_stand_in_the_table_and_the_pictures(tmp_path: Path) -> None:
    run = tmp_path / "r1"
    plain = build(run, make_scores())
    assert 'id="references"' not in plain and "factory cost" in plain
    told = context(run)
    refer(told)
    assert run_stages([STAGE], told)[0].reason == "changed: references"
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert Tags(page).open == [] and 'id="references"' in page
    table = page[page.index('id="references"') : page.index("<h2>Differences")]
    assert "rival-1b" in table and "GPT-4" in table and "published" in table and "rival-old" not in table
    assert "Not shown, as scored on other items or by other code: rival-old" in page
    assert page.count("m-reference") - plain.count("m-reference") == 2 * 1 + len(TASKS), (
        "both sheets' means and each task"
    )
    assert page.count('class="p-reference"') == 1 and "there are 2 (factory eval --model)" in page, (
        "too few sizes for density"
    )
    assert "than rival-1b (" in page


def test_published_scores_on_other_items_are_told_apart_and_not_drawn(tmp_path: Path) -> None:
    make_run(tmp_path, make_scores())
    told = context(tmp_path)
    mark = standard(told.domain, "ab" * 32)
    nearly = {task: cell(60, 60) for task in TASKS} | {"charge": cell(60, 58), "mean": cell(60, 178)}
    other = {task: cell(60, 60) for task in TASKS} | {"charge": cell(60, 100), "mean": cell(60, 220)}
    keep(tmp_path, [
        Reference("nearly", "published", "told.csv", nearly, mark, "a", 10**9),
        Reference("elsewhere", "published", "told.csv", other, mark, "b", 10**10),
        Reference("mute", "address", "http://h/v1", {"charge": cell(50)}, mark, "c", unanswered=3),
    ])  # fmt: skip
    run_stages([STAGE], told)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert Tags(page).open == []
    section = page[page.index('id="references"') : page.index("<h2>Differences")]
    same, others = section.split("<h3>Published scores on other items</h3>")
    assert "nearly" in same and "n = 58/60" in same and "elsewhere" not in same
    assert "elsewhere" in others and "on other items: n 100, here 60" in others and "nearly" not in others
    assert "3 unanswered, each scores 0" in same
    assert page.count("elsewhere") == 1 < page.count("nearly"), "neither among the bars nor over the sizes"


def test_a_ladder_of_three_gives_a_density(tmp_path: Path) -> None:
    make_run(tmp_path, make_scores())
    told = context(tmp_path)
    mark = standard(told.domain, "ab" * 32)
    keep(tmp_path, [Reference("t", "gguf", "t", {"mean": cell(90.0)}, mark, "t", 10**8, tuned=True)])
    ladder = {"b": (10**9, 53.0), "c": (10**10, 75.0)}
    keep(
        tmp_path,
        [
            Reference(name, "gguf", name, {"mean": cell(score)}, mark, name, size)
            for name, (size, score) in ladder.items()
        ],
    )
    run_stages([STAGE], told)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert (
        "An untuned model would need about" in page
        and "stroke-dasharray" in page
        and page.count('class="p-reference"') == 3
    )


def test_costs_stand_beside_hosted_prices(tmp_path: Path) -> None:
    run = tmp_path / "r1"
    build(run, make_scores())
    told = context(run)
    refer(told)
    spend(told)
    run_stages([STAGE], told)
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    section = page[page.index("<h2>Cost") : page.index("<h2>Failures")]
    assert "this machine does not tell" in section and "sft-old" not in section and "2024-07-18" in section
    assert "it gives 1,800 answers an hour" in section and section.count("never") >= 3
    assert "<td>0.28</td>" in section, "0.5 dollars an hour over 1,800 answers, for a thousand"
    assert section.count('class="p-') == 2 and 'class="p-best"' in section, "GPT-4 has no mean"
    assert "A thousand cost $0.28 on this machine" in page
    spend(told, price=0.0, rival="of another file")
    run_stages([STAGE], told)
    again = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "is not known: factory cost --price-per-hour" in again and "An answer takes 3 s on this machine." in again
    measured = again[again.index("<h2>Cost") : again.index("<h3>Hosted")]
    assert "rival-1b" not in measured and "rival-1b" in section, "measured before the file was replaced"


def test_failures_and_confusions_are_shown(tmp_path: Path) -> None:
    page = build(tmp_path / "r1", make_scores())
    section = page[page.index("<h2>Failures") : page.index("<h2>Training")]
    assert "No answer" in section and "Another label" in section and "Which label for which" in section
    assert section.count('class="confusion"') == 1, "of the task with labels alone"
    assert page.index("What goes wrong") < page.index('id="detail"') < page.index("<h2>Failures")


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
