"""report: one self-contained HTML page that says whether the specialist is better, by how much, and shows the answers.

Everything on it comes from the folders of earlier stages. The labels live in the template, the verdict's sentences
here, both in English and Chinese. Documents and model output are untrusted: the template escapes every value.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from factory.budgets import exports, marks, picture
from factory.files import digest, read_json, read_text, templates, write_json, write_text
from factory.records import read_rows
from factory.rounds import FEEDBACK
from factory.stage import Context, Stage, manifest

Row = dict[str, Any]
ANSWERS = 20  # shown side by side
DROPPED = 3  # dropped rows shown per reason
CHEAP = ("ngram", "majority")
NAMES = {
    "best": ("Specialist", "专用模型"), "base": ("Base model", "基座模型"), "sft": ("SFT adapter", "SFT 适配器"),
    "dpo": ("SFT + DPO adapter", "SFT + DPO 适配器"), "ngram": ("n-gram baseline", "n-gram 基线"),
    "majority": ("Majority answer", "多数答案基线"),
}  # fmt: skip
SENTENCES = {
    "by": ("{d} points (95% interval {low} to {high})", "{d} 分（95% 区间 {low} 至 {high}）"),
    "base_above": ("The specialist is better than its base: on average {by}.", "专用模型优于基座模型：平均 {by}。"),
    "base_unclear": (
        "The specialist is not shown to be better than its base: on average {by}.",
        "没有证据表明专用模型优于基座模型：平均 {by}。",
    ),
    "base_below": ("The specialist is worse than its base: on average {by}.", "专用模型不如基座模型：平均 {by}。"),
    "base_unknown": ("The specialist was not compared with its base.", "没有与基座模型作比较。"),
    "cheap_above": ("It is clearly above {names}.", "明显高于：{names}。"),
    "cheap_unclear": ("It is not clearly above {names}.", "没有明显高于：{names}。"),
    "cheap_below": ("It is clearly below {names}.", "明显低于：{names}。"),
    "task_unclear": ("Not clearly better than the base on: {tasks}.", "以下任务没有明显优于基座模型：{tasks}。"),
    "task_below": ("Clearly worse than the base on: {tasks}.", "以下任务明显不如基座模型：{tasks}。"),
    "dpo_out": ("DPO was left out: {reason}.", "没有做 DPO：{reason}。"),
    "dpo_yes": ("DPO helped on the dev rows: {dev}.", "DPO 在开发集上有帮助：{dev}。"),
    "dpo_no": ("DPO did not help on the dev rows: {dev}.", "DPO 在开发集上没有帮助：{dev}。"),
    "dpo_above": ("On the eval set DPO clearly gained over SFT: {by}.", "评测集上 DPO 较 SFT 明显提高：{by}。"),
    "dpo_unclear": ("On the eval set DPO changed nothing clearly: {by}.", "评测集上 DPO 较 SFT 没有明显变化：{by}。"),
    "dpo_below": ("On the eval set DPO clearly lost to SFT: {by}.", "评测集上 DPO 较 SFT 明显下降：{by}。"),
    "no_dev": (
        "Handed on: the {best}; without dev rows there was nothing to choose on.",
        "交付的是 {best}；没有开发集，因此没有作选择。",
    ),
    "only": ("Handed on: the {best}, the only one trained.", "交付的是 {best}，也是唯一训练出的适配器。"),
    "round_above": ("{name} is clearly better than {before}: {by}.", "{name}明显优于{before}：{by}。"),
    "round_unclear": (
        "{name} is neither clearly better nor clearly worse than {before}: {by}.",
        "{name}与{before}没有明显差别：{by}。",
    ),
    "round_below": ("{name} is clearly worse than {before}: {by}.", "{name}明显不如{before}：{by}。"),
    "chosen": (
        "Handed on: the {best}, chosen by its score on {n} dev rows kept back from training, not on the eval set.",
        "交付的是 {best}，依据训练时留出的 {n} 条开发集得分选出，没有用评测集来挑选。",
    ),
}


def run(context: Context) -> Row:
    """Write report.html and report.json from what the earlier stages left."""
    scores: Row = read_json(context.input("evaluate") / "scores.json")
    told = tell(scores, context.summary("dpo"), context.config.language == "zh")
    page = context.out / "report.html"
    write_text(page, render(gather(context, scores) | {"told": told}))
    found = {"models": scores["models"], "best": scores["best"], "verdict": told["verdict"]}
    write_json(context.out / "report.json", found)
    return {"note": f"report: {page}", "verdict": told["verdict"]}


# The verdict


def tell(scores: Row, dpo: Row, zh: bool) -> Row:
    """The verdict in words (better than base? than the cheap baselines?), more facts, whether gates passed, a tone."""
    versus = against(scores)
    cheap = {name: versus[name, "mean"] for name in CHEAP if (name, "mean") in versus}
    base = versus.get(("base", "mean"))
    first = _say(f"base_{base['side']}", zh, by=_by(base, zh)) if base else _say("base_unknown", zh)
    verdict = ("" if zh else " ").join([first, *_against_cheap(cheap, zh)])
    facts = [
        *_by_round(scores["rounds"], versus, zh),
        *_by_task(scores["tasks"], versus, zh),
        *_about_dpo(scores, dpo, versus, zh),
    ]
    passed = all(gate["passed"] for gate in scores["gates"])
    fine = passed and all(row["side"] == "above" for row in cheap.values())
    good = base is not None and base["side"] == "above" and scores["leak_free"]
    tone = "bad" if not good else "good" if fine else "mixed"
    return {"verdict": verdict, "facts": facts, "passed": passed, "tone": tone}


def against(scores: Row) -> dict[tuple[str, str], Row]:
    """The specialist's differences by (other model, task), with the side of zero that each lies on."""
    found = (row for row in scores["differences"] if row["better"] == "best")
    return {(row["worse"], row["task"]): row | {"side": side(row)} for row in found}


def side(difference: Row) -> str:
    """Where a 95% interval lies: `above` zero, `below` it, or `unclear`."""
    if difference["low"] <= 0 <= difference["high"]:
        return "unclear"
    return "above" if difference["low"] > 0 else "below"


def _say(key: str, zh: bool, **values: Any) -> str:
    return SENTENCES[key][zh].format(**values)


def _name(model: str, zh: bool) -> str:
    if model.startswith("round"):
        number = model.removeprefix("round")
        return f"第 {number} 轮" if zh else f"Round {number}"
    return NAMES.get(model, (model, model))[zh]


def _by(difference: Row, zh: bool) -> str:
    low, high = signed(difference["low"]), signed(difference["high"])
    return _say("by", zh, d=signed(difference["difference"]), low=low, high=high)


def _against_cheap(cheap: dict[str, Row], zh: bool) -> Iterable[str]:
    for where in ("above", "unclear", "below"):
        beside = {_name(name, zh): signed(d["difference"]) for name, d in cheap.items() if d["side"] == where}
        if beside:
            chinese = "、".join(f"{name}（{by}）" for name, by in beside.items())
            text = chinese if zh else " and ".join(f"the {name.lower()} ({by})" for name, by in beside.items())
            yield _say(f"cheap_{where}", zh, names=text)


def _by_round(rounds: Sequence[str], versus: dict[tuple[str, str], Row], zh: bool) -> Iterable[str]:
    for name in reversed(rounds):
        if row := versus.get((name, "mean")):
            now, before = _name(f"round{len(rounds) + 1}", zh), _name(name, zh)
            yield _say(f"round_{row['side']}", zh, name=now, before=before, by=_by(row, zh))


def _by_task(tasks: Row, versus: dict[tuple[str, str], Row], zh: bool) -> Iterable[str]:
    for where in ("unclear", "below"):
        found = [tasks[t]["title"] for t in tasks if ("base", t) in versus and versus["base", t]["side"] == where]
        if found:
            yield _say(f"task_{where}", zh, tasks=("、" if zh else ", ").join(found))


def _about_dpo(scores: Row, dpo: Row, versus: dict[tuple[str, str], Row], zh: bool) -> Iterable[str]:
    best, chosen_on = scores["best"], scores["chosen_on"]
    if "dpo" not in scores["models"]:
        yield _say("dpo_out", zh, reason=reason(dpo))
        yield _say("only", zh, best=_name(best, zh))
        return
    if not chosen_on:
        yield _say("no_dev", zh, best=_name(best, zh))
        return
    dev = f"SFT {chosen_on['sft']['score']:.1f}, SFT + DPO {chosen_on['dpo']['score']:.1f}"
    yield _say("dpo_yes" if best == "dpo" else "dpo_no", zh, dev=dev)
    if best == "dpo" and (moved := versus.get(("sft", "mean"))):
        yield _say(f"dpo_{moved['side']}", zh, by=_by(moved, zh))
    yield _say("chosen", zh, best=_name(best, zh), n=chosen_on[best]["n"])


def reason(dpo: Row) -> str:
    """Why DPO was left out."""
    return str(dpo.get("skipped", "")).removeprefix("left out: ").rstrip(".。")


# What the page shows


def gather(context: Context, scores: Row) -> Row:
    """Every value of the page, by the name that the template uses."""
    config, zh = context.config, context.config.language == "zh"
    done = [name for name in ("ingest", *STAGE.reads) if (context.input(name) / "manifest.json").exists()]
    made = {name: manifest(context.run_dir, name) for name in done}
    return {
        "title": config.title, "description": config.description, "zh": zh, "seed": config.seed, "scores": scores,
        "review": scores.get("review", {}),
        "names": {model: _name(model, zh) for model in (*NAMES, *scores["models"])},
        "models": [name for name in {**NAMES, **scores["models"]} if name in scores["models"] and name != "best"],
        "rounds": against_rounds(scores, zh), "feedback": feedback(context), "versus": against(scores),
        "detectable": against(scores).get(("base", "mean"), {}).get("detectable"),
        "data": data(context), "curves": curves(context), "made": made,
        "sft": {"base": config.base} | context.summary("sft"), "prefer": context.summary("prefer"),
        "dpo": context.summary("dpo"), "skipped": reason(context.summary("dpo")),
        "answers": answers(context.input("evaluate") / "predictions", scores),
        "machines": list(dict.fromkeys(_machine(one["machine"]) for one in made.values())),
        "packages": {name: version for one in made.values() for name, version in one["packages"].items()},
        "judge": judgement(context), "exports": exports(context.run_dir), "budget": picture(exports(context.run_dir), ticks),
    }  # fmt: skip


def against_rounds(scores: Row, zh: bool) -> list[Row]:
    """The base and every round with its scores, and by how much this round differs; empty in a first round."""
    if not scores["rounds"]:
        return []
    versus = against(scores)
    rows = [
        {
            "name": _name(name, zh),
            "scores": scores["models"][name],
            "versus": {task: d for (worse, task), d in versus.items() if worse == name},
        }
        for name in ("base", *scores["rounds"])
    ]
    return [*rows, {"name": _name(f"round{len(rows)}", zh), "scores": scores["models"]["best"], "versus": {}}]


def feedback(context: Context) -> Row:
    """What experts gave to this round; empty in a first round."""
    if not context.earlier:
        return {}
    known: Row = read_json(context.run_dir / FEEDBACK / "summary.json")
    return known | {"trained": context.summary("curate")["by_experts"], "sources": context.summary("prefer")["sources"]}


def judgement(context: Context) -> Row:
    """What `factory judge` kept; empty where no judge was asked."""
    path = context.input("evaluate") / "judge.json"
    return dict(read_json(path)) if path.exists() else {}


def judge_mark(context: Context) -> dict[str, str]:
    """The digest of what a judge said, so that the report is made anew after it."""
    found = judgement(context)
    return {"judge": digest(found)} if found else {}


def _machine(known: Row) -> str:
    return " · ".join(f"{name} {value}" for name, value in known.items())


def curves(context: Context) -> dict[str, Row | None]:
    sft, dpo = (_rows(context.input(stage) / "log.jsonl") for stage in ("sft", "dpo"))
    return {
        "sft": curve(sft, "loss", "dev_loss"),
        "dpo": curve(dpo, "loss"),
        "accuracy": curve(dpo, "rewards/accuracies"),
    }


def curve(rows: Sequence[Row], key: str, dev: str = "") -> Row | None:
    """rows[key] over steps as shares of the axes (x, y from 0 to 1), raw and as a running mean; None: no row.

    `dev`: rows[dev] on the same axes, the lowest of them and its step.
    """
    points, beside = _points(rows, key), _points(rows, dev)
    if not points:
        return None
    values = [value for _, value in points]
    seen = [*values, *(value for _, value in beside)]
    across, up = ticks(0, max(points[-1][0], *(step for step, _ in beside), 0)), ticks(min(0.0, *seen), max(seen))
    width = max(1, len(points) // 20)
    means = [sum(part) / len(part) for i in range(len(values)) if (part := values[max(0, i - width + 1) : i + 1])]
    every = slice(None, None, math.ceil(len(points) / 400))

    def place(pairs: Iterable[tuple[int, float]]) -> list[tuple[float, float]]:
        return [(x / across[-1], (y - up[0]) / (up[-1] - up[0])) for x, y in pairs]

    mean = [(step, value) for (step, _), value in zip(points, means, strict=True)]
    best = min(beside, key=lambda pair: pair[1], default=None)
    return {"raw": place(points[every]), "mean": place(mean[every]), "x": across, "y": up, "first": means[0], "last": means[-1],
            "dev": place(beside), "best": {"step": best[0], "loss": best[1]} if best else None}  # fmt: skip


def _points(rows: Sequence[Row], key: str) -> list[tuple[int, float]]:
    known = {row["step"]: float(row[key]) for row in rows if isinstance(row.get(key), int | float)}
    return sorted((step, value) for step, value in known.items() if math.isfinite(value))


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers (steps of 1, 2 or 5 times a power of ten) that take in low and high."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 4 * 0.999)
    first, last = math.floor(low / step), math.ceil((low + span) / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def data(context: Context) -> Row:
    """What became of the rows, and a few dropped ones per reason, the first by hash."""
    summary = context.summary("curate")
    dropped = dict(sorted(summary["dropped"].items(), key=lambda entry: (-entry[1], entry[0])))
    shown: dict[str, list[Row]] = {reason: [] for reason in dropped}
    for row in sorted(_rows(context.input("curate") / "dropped.jsonl"), key=lambda row: _mark(str(row))):
        if len(shown.setdefault(row["reason"], [])) < DROPPED:
            shown[row["reason"]].append(row)
    came_in = summary["train"] + summary["dev"] + sum(dropped.values())
    return summary | {"dropped": dropped, "shown": shown, "came_in": came_in}


def answers(folder: Path, scores: Row) -> list[Row]:
    """Up to ANSWERS questions with the base's and the specialist's answers: tasks in turn, then first by hash of id."""
    base = {row["id"]: row for row in _rows(folder / "base.jsonl")}
    queues: dict[str, list[Row]] = {task: [] for task in scores["tasks"]}
    for row in _rows(folder / f"{scores['best']}.jsonl"):
        if row["id"] in base:
            queues.setdefault(row["task"], []).append(row | {"base": base[row["id"]]})
    turns = zip_longest(*(sorted(queue, key=lambda row: _mark(row["id"])) for queue in queues.values()))
    chosen = [row for turn in turns for row in turn if row][:ANSWERS]
    return sorted(chosen, key=lambda row: list(queues).index(row["task"]))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(path: Path) -> list[Row]:
    return [row for _, row in read_rows(path)] if path.exists() else []


# From values to HTML


def signed(value: float) -> str:
    """A difference in points with its sign, one decimal."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def render(values: Row) -> str:
    """The page; Jinja2 escapes every value."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["signed"] = signed
    return page.from_string(read_text(templates("report") / "report.html.jinja")).render(values)


STAGE = Stage(
    "report",
    run,
    ("curate", "sft", "prefer", "dpo", "evaluate"),
    settings=("title", "language", "description"),
    watches=lambda context: marks(context.run_dir) | judge_mark(context),
)
