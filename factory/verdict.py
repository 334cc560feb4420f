"""The report's sentences: whether the specialist is better, by how much, than what, at what cost; in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Versus = dict[tuple[str, str], Row]
CHEAP = ("ngram", "majority")
NAMES = {
    "best": ("Specialist", "专用模型"), "base": ("Base model", "基座模型"), "sft": ("SFT adapter", "SFT 适配器"),
    "dpo": ("SFT + DPO adapter", "SFT + DPO 适配器"), "ngram": ("n-gram baseline", "n-gram 基线"),
    "majority": ("Majority answer", "多数答案基线"),
}  # fmt: skip
SENTENCES = {
    "by": ("{d} points (95% interval {low} to {high})", "{d} 分（95% 区间 {low} 至 {high}）"),
    "leak": (
        "These scores cannot be trusted: eval text was found in the training rows.",
        "分数不可信：训练数据中发现了评测内容。",
    ),
    "base_above": ("The specialist is better than its base: on average {by}", "专用模型优于基座模型：平均 {by}"),
    "base_unclear": (
        "The specialist is not shown to be better than its base: on average {by}",
        "没有证据表明专用模型优于基座模型：平均 {by}",
    ),
    "base_below": ("The specialist is worse than its base: on average {by}", "专用模型不如基座模型：平均 {by}"),
    "base_unknown": ("The specialist was not compared with its base", "没有与基座模型作比较"),
    "passed": ("; it passes every gate.", "；门槛全部通过。"),
    "so_far": ("; it passes every gate measured so far (not yet measured: {gates}).", "；已测的门槛全部通过（还没有测：{gates}）。"),
    "failed": ("; it does not pass every gate ({gates}).", "；有门槛没有通过（{gates}）。"),
    "ungated": (".", "。"),
    "cheap_above": ("It is clearly above {names}.", "明显高于：{names}。"),
    "cheap_unclear": ("It is not clearly above {names}.", "没有明显高于：{names}。"),
    "cheap_below": ("It is clearly below {names}.", "明显低于：{names}。"),
    "other_above": ("On the same items it is clearly better than {names}.", "同一套题上明显好于：{names}。"),
    "other_unclear": ("On the same items it is neither clearly better nor clearly worse than {names}.", "同一套题上与以下模型没有明显差别：{names}。"),
    "other_below": ("On the same items it is clearly worse than {names}.", "同一套题上明显不如：{names}。"),
    "stale": (
        "Not shown, as scored on other items or by other code: {names}. `factory eval` scores again, or forgets.",
        "以下模型是在另一套题上或用另一版代码评的，因此不显示：{names}。用 factory eval 重新评测，或者去掉。",
    ),
    "task_unclear": ("Not clearly better than the base on: {tasks}.", "以下任务没有明显优于基座模型：{tasks}。"),
    "task_below": ("Clearly worse than the base on: {tasks}.", "以下任务明显不如基座模型：{tasks}。"),
    "right": (
        "{right} of {n} answers get at least half of the points (the base: {base}); {gained} were gained, {lost} lost.",
        "{n} 道题中有 {right} 道得到一半以上的分，基座模型有 {base} 道：新增 {gained} 道，丢掉 {lost} 道。",
    ),
    "forgot": (
        "General ability, outside its domain: {by} against the base.",
        "领域之外的一般能力：较基座模型 {by}。",
    ),
    "seeds": (
        "Trained from {n} seeds it scores {scores} on the mean (standard deviation {sd}); with training's own chance counted in, it stands to its base at {by}.",
        "用 {n} 个随机种子各训练一次，平均分为 {scores}（标准差 {sd}）；把训练本身的偶然也算进去，与基座模型之差为 {by}。",
    ),
    "cost": (
        "An answer takes {seconds} s here. A thousand cost ${own} on this machine, always busy, at ${price} an hour; ${other} at {model}, by its price of {date}.",
        "在本机回答一题要 {seconds} 秒。机器按每小时 {price} 美元、始终在答题计，一千题 {own} 美元；{model} 按 {date} 的价格为 {other} 美元。",
    ),
    "speed": ("An answer takes {seconds} s on this machine.", "在本机回答一题要 {seconds} 秒。"),
    "dense": (
        "An untuned model would need about {size} parameters ({low} to {high}) to score as much here: {times} times its own size.",
        "未经微调的模型大约要 {size} 参数（{low} 至 {high}）才能在这里得到同样的分数：是它自身的 {times} 倍。",
    ),
    "dense_few": (
        "Density is not told: it needs untuned models of three sizes on these items, and there are {n} (factory eval --model).",
        "能力密度未给出：需要三种规模的未微调模型答同一套题，现有 {n} 种（用 factory eval --model 添加）。",
    ),
    "dense_flat": (
        "Density is not told: among the untuned models a larger one does not score higher here.",
        "能力密度未给出：在这些未微调模型中，规模更大的分数并不更高。",
    ),
    "dense_above": (
        "Density is not told: the specialist scores more than the line of the untuned models gives for {high} parameters, ten times the largest.",
        "能力密度未给出：专用模型的分数高于未微调模型拟合线在 {high} 参数（最大者的十倍）处的值。",
    ),
    "dense_below": (
        "Density is not told: the specialist scores less than the line of the untuned models gives for {low} parameters, a tenth of the smallest.",
        "能力密度未给出：专用模型的分数低于未微调模型拟合线在 {low} 参数（最小者的十分之一）处的值。",
    ),
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
}  # fmt: skip
GATES = {
    "above ": ("Above: ", "高于："),
    "not below ": ("Not below: ", "不低于："),
    "leak-free": ("No eval text in the training rows", "训练数据中没有评测内容"),
    "format": ("Answers that are whole", "回答完整"),
    "forgetting": ("General ability kept", "保住通用能力"),
    "perplexity": ("Other texts still read", "其他文本仍读得懂"),
    "latency": ("Answers in time", "回答够快"),
}
DETAILS = {  # what evaluate says of a gate, dpo of its reason and factory cost of the machine, in Chinese
    r"(.+), margin (.+)": r"\1，余量 \2",
    r"(\d+) of (\d+) answers are not empty and end by themselves, at least (\d+%) must": r"\2 个回答中有 \1 个不为空且自行结束，至少要 \3",
    r"training rows against eval items": "训练数据与评测题逐条比对",
    r"not scored": "没有评测",
    r"not measured yet: factory release": "还没有测，发布时测",
    r"general ability (.+), the estimate may fall by (.+)": r"通用能力 \1，估计值最多可降 \2 分",
    r"perplexity of texts outside the domain (.+) times the base's, at most (.+)": r"领域之外文本的困惑度为基座的 \1 倍，至多 \2 倍",
    r"(.+) s an answer \(median of (\d+), one at a time\), at most (.+)": r"每次回答 \1 秒（逐题作答 \2 次的中位数），最多 \3 秒",
    r"(.+), (\d+) cores, (\d+) GB memory, no GPU": r"\1，\2 核，\3 GB 内存，无 GPU",
    r"(.+), (\d+) cores, (\d+) GB memory, (\d+ x )?GPU (.+), (\d+) GB": r"\1，\2 核，\3 GB 内存，\4GPU \5，\6 GB",
    r"(\d+) pairs, fewer than (\d+) \(prefer\.min_pairs = (\d+)\)": r"只有 \1 个偏好对，少于 \2 个（prefer.min_pairs = \3）",
}

GENERAL = {  # kinds and languages of the general set
    "reading": ("reading", "阅读"), "arithmetic": ("arithmetic", "算术"), "sense": ("common sense", "常识"),
    "instruction": ("doing as told", "按要求做"), "perplexity": ("perplexity", "困惑度"), "en": ("English", "英文"), "zh": ("Chinese", "中文"),
}  # fmt: skip


def say(key: str, zh: bool, **values: Any) -> str:
    """A sentence of SENTENCES."""
    return SENTENCES[key][zh].format(**values)


def signed(value: float) -> str:
    """A difference in points with its sign, one decimal."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def size(parameters: float) -> str:
    """A number of parameters to two or three digits: 135M, 1.5B."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= 0.9995 * unit:
            return (
                f"{parameters / unit:.3g}{letter}" if parameters / unit >= 99.5 else f"{parameters / unit:.2g}{letter}"
            )
    return f"{parameters:.0f}"


def money(dollars: float) -> str:
    """Dollars to two digits, from 10 on to the cent."""
    return f"{dollars:,.2f}" if dollars >= 1 else f"{dollars:.2g}" if dollars >= 0.0001 else f"{dollars:.1e}"


def name(model: str, zh: bool) -> str:
    """What a model of the scoreboard is called."""
    if model.startswith("round"):
        number = model.removeprefix("round")
        return f"第 {number} 轮" if zh else f"Round {number}"
    return NAMES.get(model, (model, model))[zh]


def in_words(detail: str, zh: bool) -> str:
    """What evaluate or a stage says of itself, in the page's language; as it stands where it is of no known form."""
    for pattern, words in DETAILS.items() if zh else ():
        if found := re.fullmatch(pattern, detail):
            parts = re.split(r"\\(\d)", words)  # text, the number of a group, text, ...
            return "".join(
                in_words(found[int(part)] or "", zh) if place % 2 else part for place, part in enumerate(parts)
            )
    return detail


def against(scores: Row) -> Versus:
    """The specialist's differences by (other model, task), with the side of zero that each lies on."""
    found = (row for row in scores["differences"] if row["better"] == "best")
    return {(row["worse"], row["task"]): row | {"side": side(row)} for row in found}


def side(difference: Row) -> str:
    """Where a 95% interval lies: `above` zero, `below` it, or `unclear`; also where chance alone (p; for tasks by Holm) gives as much."""
    if difference["low"] <= 0 <= difference["high"] or difference.get("p", 0.0) >= 0.05:
        return "unclear"
    return "above" if difference["low"] > 0 else "below"


def gates(scores: Row, zh: bool) -> list[Row]:
    """The gates in the page's language: title, detail, passed (None: not measured yet)."""
    return [
        {"title": _gate(gate["name"], zh), "detail": in_words(gate["detail"], zh), "passed": gate["passed"]}
        for gate in scores["gates"]
    ]


def _gate(gate: str, zh: bool) -> str:
    kind = next((known for known in GATES if gate.startswith(known)), "")
    return GATES[kind][zh] + (name(gate.removeprefix(kind), zh) if gate != kind else "") if kind else gate


def tell(scores: Row, dpo: Row, zh: bool) -> Row:
    """The verdict in a sentence, what else a manager must know (`facts`) and an engineer (`more`), and a tone."""
    versus = against(scores)
    cheap = {rival: versus[rival, "mean"] for rival in CHEAP if (rival, "mean") in versus}
    base = versus.get(("base", "mean"))
    passed = all(gate["passed"] is not False for gate in scores["gates"])
    fine = passed and all(row["side"] == "above" for row in cheap.values())
    good = base is not None and base["side"] == "above" and scores["leak_free"]
    return {
        "verdict": _verdict(scores, base, zh),
        "facts": [*_beside("cheap", cheap, zh), *_by_task(scores["tasks"], versus, zh)],
        "more": [*_by_round(scores["rounds"], versus, zh), *_about_dpo(scores, dpo, versus, zh)],
        "passed": passed,
        "tone": "bad" if not good else "good" if fine else "mixed",
    }


def _verdict(scores: Row, base: Row | None, zh: bool) -> str:
    if not scores["leak_free"]:
        return say("leak", zh)
    first = say(f"base_{base['side']}", zh, by=by(base, zh)) if base else say("base_unknown", zh)
    comma = "、" if zh else ", "
    found = {
        passed: [_inside(gate["title"]) for gate in gates(scores, zh) if gate["passed"] is passed]
        for passed in (False, None)
    }
    if found[False]:
        return first + say("failed", zh, gates=comma.join(found[False]))
    if found[None]:
        return first + say("so_far", zh, gates=comma.join(found[None]))
    return first + say("passed" if scores["gates"] else "ungated", zh)


def _inside(title: str) -> str:
    """A title within a sentence."""
    return title[:1].lower() + re.sub("：(?=[ -~])|: ", " ", title[1:]).replace("：", "")


def forgotten(found: Row, zh: bool) -> Iterable[tuple[str, float, float]]:
    """What `factory.forgetting` found, as rows (what, base, specialist) for every kind of the general set, their mean, and perplexity."""
    before, after = (found["models"][model] for model in ("base", "specialist"))
    for kind in found["difference"]:
        language, _, what = kind.partition(" ")
        title = _general(what, language, zh) if what else "平均" if zh else "mean"
        yield title, before[kind]["score"], after[kind]["score"]
    for language, was in found["perplexity"]["base"].items():
        yield _general("perplexity", language, zh), was, found["perplexity"]["specialist"][language]


def _general(kind: str, language: str, zh: bool) -> str:
    what, where = GENERAL[kind][zh], GENERAL[language][zh]
    return f"{what}（{where}）" if zh else f"{what} ({where})"


def by(difference: Row, zh: bool) -> str:
    """A difference with its interval, in words."""
    low, high = signed(difference["low"]), signed(difference["high"])
    return say("by", zh, d=signed(difference["difference"]), low=low, high=high)


def _beside(kind: str, rivals: Mapping[str, Row], zh: bool) -> Iterable[str]:
    for where in ("above", "unclear", "below"):
        beside = {name(rival, zh): signed(d["difference"]) for rival, d in rivals.items() if d["side"] == where}
        if beside:
            yield say(f"{kind}_{where}", zh, names=_listed(beside, kind == "cheap", zh))


def _listed(beside: Mapping[str, str], ours: bool, zh: bool) -> str:
    """Names with their differences; `ours`: names of NAMES, which take an article in English."""
    if zh:
        return "、".join(f"{rival}（{much}）" for rival, much in beside.items())
    told = [f"the {rival.lower()} ({much})" if ours else f"{rival} ({much})" for rival, much in beside.items()]
    return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))


def about_references(versus: Mapping[str, Row], zh: bool) -> list[str]:
    """Which references the specialist is better than, by their differences on the mean."""
    return list(_beside("other", {rival: row | {"side": side(row)} for rival, row in versus.items()}, zh))


def not_shown(stale: Sequence[str], zh: bool) -> list[str]:
    """That references are stale, in a sentence."""
    return [say("stale", zh, names=("、" if zh else ", ").join(stale))] if stale else []


def _by_round(rounds: Sequence[str], versus: Versus, zh: bool) -> Iterable[str]:
    for earlier in reversed(rounds):
        if row := versus.get((earlier, "mean")):
            now, before = name(f"round{len(rounds) + 1}", zh), name(earlier, zh)
            yield say(f"round_{row['side']}", zh, name=now, before=before, by=by(row, zh))


def _by_task(tasks: Row, versus: Versus, zh: bool) -> Iterable[str]:
    for where in ("unclear", "below"):
        found = [tasks[t]["title"] for t in tasks if ("base", t) in versus and versus["base", t]["side"] == where]
        if found:
            yield say(f"task_{where}", zh, tasks=("、" if zh else ", ").join(found))


def _about_dpo(scores: Row, dpo: Row, versus: Versus, zh: bool) -> Iterable[str]:
    best, chosen_on = scores["best"], scores["chosen_on"]
    if "dpo" not in scores["models"]:
        yield say("dpo_out", zh, reason=reason(dpo, zh))
        yield say("only", zh, best=name(best, zh))
        return
    if not chosen_on:
        yield say("no_dev", zh, best=name(best, zh))
        return
    dev = f"SFT {chosen_on['sft']['score']:.1f}{'，' if zh else ', '}SFT + DPO {chosen_on['dpo']['score']:.1f}"
    yield say("dpo_yes" if best == "dpo" else "dpo_no", zh, dev=dev)
    if best == "dpo" and (moved := versus.get(("sft", "mean"))):
        yield say(f"dpo_{moved['side']}", zh, by=by(moved, zh))
    yield say("chosen", zh, best=name(best, zh), n=chosen_on[best]["n"])


def reason(dpo: Row, zh: bool) -> str:
    """Why DPO was left out."""
    return in_words(str(dpo.get("skipped", "")).removeprefix("left out: ").rstrip(".。"), zh)
