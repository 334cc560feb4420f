"""`factory data`: one self-contained HTML page on a run's training data: counts of every step, what was left out, samples.

The labels live in templates/data, the sentences here, both in English and Chinese. Documents are untrusted: the template
escapes every value, and personal data is masked on the page even where the domain leaves it in its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory import datafacts, datarows
from factory.build import Order, build_run, run_domain
from factory.datafacts import Row
from factory.domain import Domain
from factory.files import read_json, templates, write_text
from factory.reasons import REASONS, why
from factory.stage import Say, manifest

STAGES = ("ingest", "synthesize", "curate")
MANY = 0.2  # share of dropped rows or of bare passages from which the page warns
KINDS = {
    "id_number": ("identity number", "身份证号"), "ssn": ("social security number", "社会保障号"), "email": ("e-mail address", "电子邮箱"),
    "iban": ("IBAN", "国际银行账号"), "bank_card": ("bank card", "银行卡号"), "phone": ("phone number", "电话号码"),
    "plate": ("number plate", "车牌号"), "address": ("street address", "住址"),
}  # fmt: skip
SENTENCES = {
    "train": (
        "{train} rows go to training and {dev} are kept back (dev); {dropped}.",
        "{train} 条用于训练，{dev} 条留作开发集；{dropped}。",
    ),
    "dropped": ("{n} of {rows} ({share}) were dropped: {why}", "{rows} 条中剔除了 {n} 条（{share}）：{why}"),
    "unselected": (
        "Of what was left, {n} rows more were not selected (curate.keep).",
        "其余数据中有 {n} 条未被选入（curate.keep）。",
    ),
    "kept_all": ("none of the {rows} was dropped", "{rows} 条中没有剔除任何一条"),
    "refused": (
        "A teacher wrote {n} examples; {refused} others were refused: {why}.",
        "教师模型写的样本采用了 {n} 条；另有 {refused} 条未采用：{why}。",
    ),
    "accepted": ("A teacher wrote {n} examples; none was refused.", "教师模型写了 {n} 条样本，全部采用。"),
    "leak": (
        "Overlap with the eval set ({items} questions) was found in {n} of {rows} rows, and taken out.",
        "{rows} 条中有 {n} 条与评测集（{items} 题）重合，已剔除。",
    ),
    "no_leak": (
        "No row overlaps the eval set ({items} questions).",
        "没有数据与评测集（{items} 题）重合。",
    ),
    "masked": ("Personal data was found and masked: {why}.", "发现个人信息并已遮盖：{why}。"),
    "unmasked": (
        "Personal data stays in the rows, because masking is off for this domain: {why}.",
        "本领域没有开启遮盖，数据中留有个人信息：{why}。",
    ),
    "none_masked": ("No personal data was found.", "没有发现个人信息。"),
    "none_unmasked": (
        "Masking is off for this domain; a look for personal data found none.",
        "本领域没有开启遮盖；检查后没有发现个人信息。",
    ),
    "bare": (
        "{n} of the {all} passages that training may see ({share}) carry no row.",
        "可用于训练的 {all} 个段落中有 {n} 个（{share}）没有数据。",
    ),
    "covered": (
        "Every one of the {all} passages that training may see carries a row.",
        "可用于训练的 {all} 个段落都有数据。",
    ),
    "unread": (
        "{n} files, or parts of them, could not be read.",
        "有 {n} 个文件（或其中一部分）无法读取。",
    ),
    "uncut": ("{n} of {all} documents gave no passage.", "{all} 份文档中有 {n} 份没有切出段落。"),
}


def data_page(order: Order, say: Say) -> tuple[Path, str]:
    """Bring a run up to date until curate and write its data.html; the page's path and what it says on top."""
    folder = build_run(replace(order, until="curate"), say)
    values = gather(run_domain(order.domain, order.run), folder)
    page = folder / "data.html"
    write_text(page, render(values))
    return page, ("" if values["zh"] else " ").join(values["told"]["lines"])


def gather(domain: Domain, folder: Path) -> Row:
    """Every value of the page, by the name that the templates use."""
    config, held, zh = domain.config, datafacts.read(folder), domain.config.language == "zh"
    made = {name: manifest(folder, name) for name in STAGES}
    personal = datafacts.personal(held, made["curate"]["summary"]["masked"], config.curate.mask_pii)
    facts: Row = {
        "flow": datafacts.flow(held), "coverage": datafacts.coverage(held), "personal": personal,
        "masks": config.curate.mask_pii, "may_train": len(held.may_train), "teacher": made["synthesize"]["summary"],
        "unread": datafacts.unread(held),
    }  # fmt: skip
    known = {task.name: task for task in domain.tasks()}
    return facts | {
        "title": config.title, "description": config.description, "zh": zh, "run": folder.name, "made": made,
        "told": tell(facts, zh), "tasks": datafacts.tasks(held, known), "titles": {name: task.title for name, task in known.items()},
        "questions": datafacts.histogram([len(row.question) for row in held.kept]),
        "answers": datafacts.histogram([len(row.answer) for row in held.kept]),
        "languages": datafacts.languages(held), "sources": datafacts.sources(held), "source": _source(folder),
        "shown": datarows.refused(held.dropped, held, known), "unused": datarows.refused(held.refused, held, known),
        "samples": datarows.samples(held, known),
        "names": {key: two[zh] for key, two in {**REASONS, **KINDS}.items()},
    }  # fmt: skip


def _source(folder: Path) -> str:
    """The last part of the run's source; empty for the embedded sample."""
    notes = folder / "run.json"
    return Path(read_json(notes).get("source") or "").name if notes.exists() else ""


def tell(facts: Row, zh: bool) -> Row:
    """What a reader must know first, in words: how many rows train, leaks, personal data, bare passages; and a tone."""
    lines = [_rows(facts["flow"], zh), *_facts(facts, zh)]
    flow, bare = facts["flow"], facts["coverage"]["bare"]
    thin = bare > MANY * facts["may_train"] and not flow["unselected"]
    many = sum(flow["dropped"].values()) > MANY * flow["rows"] or thin
    open_data = bool(facts["personal"]) and not facts["masks"]
    return {
        "lines": lines,
        "tone": "mixed" if many or open_data or facts["coverage"]["uncut"] or facts["unread"]["n"] else "good",
    }


def _rows(flow: Row, zh: bool) -> str:
    gone, rows = sum(flow["dropped"].values()), f"{flow['rows']:,}"
    if gone:
        share, why = percent(gone, flow["rows"]), counted(flow["dropped"], REASONS, zh)
        dropped = _say("dropped", zh, n=f"{gone:,}", rows=rows, share=share, why=why)
    else:
        dropped = _say("kept_all", zh, rows=rows)
    return _say("train", zh, train=f"{flow['train']:,}", dev=f"{flow['dev']:,}", dropped=dropped)


def _facts(facts: Row, zh: bool) -> Iterator[str]:
    flow, bare, may = facts["flow"], facts["coverage"]["bare"], facts["may_train"]
    if flow["unselected"]:
        yield _say("unselected", zh, n=f"{flow['unselected']:,}")
    if refused := sum(flow["refused"].values()):
        why = counted(flow["refused"], REASONS, zh)
        yield _say("refused", zh, n=f"{flow['by_teacher']:,}", refused=f"{refused:,}", why=why)
    elif flow["by_teacher"]:
        yield _say("accepted", zh, n=f"{flow['by_teacher']:,}")
    leaks = flow["dropped"].get("leak", 0)
    yield _say("leak" if leaks else "no_leak", zh, n=f"{leaks:,}", items=f"{flow['items']:,}", rows=f"{flow['rows']:,}")
    state = "masked" if facts["masks"] else "unmasked"
    yield _say(state if facts["personal"] else f"none_{state}", zh, why=counted(facts["personal"], KINDS, zh))
    yield _say("bare" if bare else "covered", zh, n=f"{bare:,}", all=f"{may:,}", share=percent(bare, may))
    if unread := facts["unread"]["n"]:
        yield _say("unread", zh, n=f"{unread:,}")
    if uncut := facts["coverage"]["uncut"]:
        yield _say("uncut", zh, n=f"{uncut:,}", all=f"{flow['documents']:,}")


def _say(key: str, zh: bool, **values: Any) -> str:
    return SENTENCES[key][zh].format(**values)


def counted(counts: Mapping[str, int], names: Mapping[str, tuple[str, str]], zh: bool) -> str:
    """Counts in words: near duplicate (12), too long (3)."""
    told = ((names.get(name, (name, name))[zh], f"{count:,}") for name, count in counts.items())
    return "、".join(f"{name} {n}" for name, n in told) if zh else ", ".join(f"{name} ({n})" for name, n in told)


def percent(part: int, whole: int) -> str:
    """A share in percent: one decimal, and never 0.0% for something or 100.0% for not all of it."""
    share = 100 * part / whole if whole else 0.0
    text = f"{share:.1f}%"
    if text == "0.0%":
        return "< 0.1%" if part else "0%"
    return "> 99.9%" if text == "100.0%" and part < whole else text.replace("100.0", "100")


def render(values: Row) -> str:
    """The page; Jinja2 escapes every value."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FileSystemLoader(templates("data")),
    )  # fmt: skip
    page.globals |= {"percent": percent, "why": why}
    return page.get_template("page.html.jinja").render(values)
