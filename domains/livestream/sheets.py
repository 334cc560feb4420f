"""Product sheets: how one is read, what is asked about it by rule, and how answers are scored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.domain import Task
from factory.scorers import numbers, token_f1

from .adwords import ad_words

SILENT = "资料里没写，我先帮您问一下客服。"
NO_WORDS = "没有"
CANDIDATES = 4  # products to pick from
_SHEET = "商品资料：\n{passage}\n\n观众：{question}"
TASKS = (
    Task("script", "写直播口播", "script", "根据商品资料写一段直播口播：说出商品名和直播价，讲两个卖点，不编造，不用广告法禁用词。\n\n{input}", max_new_tokens=160, about="{passage}"),
    Task("answer", "回答观众", "answer", "你是直播间助理，只根据商品资料回答观众，资料里没写的就说没写。\n\n{input}", max_new_tokens=64, about=_SHEET),
    Task("decline", "资料没写就不答", "declines", "你是直播间助理，只根据商品资料回答观众，资料里没写的就说没写。\n\n{input}", max_new_tokens=64, about=_SHEET),
    Task("pick", "按需求选品", "choice", "从下面的商品里挑一个符合观众需求的，只写商品名。\n\n{input}", max_new_tokens=24),
    Task("adwords", "查广告禁用词", "adwords", "找出下面这句话里广告法不允许的词，每行一个；没有就写“没有”。\n\n{input}", max_new_tokens=32),
)  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A product sheet: `# title`, a line of summary, `- key：value` facts, and lists under 卖点, 怎么用, 注意."""

    title: str
    line: str
    facts: dict[str, str]
    points: tuple[str, ...]

    @property
    def price(self) -> str:
        """The number of the 直播价, as it is written."""
        found = re.search(r"\d+(?:\.\d+)?", self.facts.get("直播价", ""))
        return found[0] if found else ""


def parse(text: str) -> Sheet | None:
    """The sheet in a text that holds one (a question, too); None where title or 直播价 is missing."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    line = re.search(r"^一句话：(.+)$", text, re.MULTILINE)
    head, _, rest = text.partition("\n## ")
    facts = dict(re.findall(r"^- ([^：\n]{1,10})：(.+)$", head, re.MULTILINE))
    points = re.search(r"卖点\n+((?:- .+\n?)+)", rest)
    entries = re.findall(r"^- (.+)$", points[1], re.MULTILINE) if points else []
    sheet = Sheet(title[1].strip() if title else "", line[1].strip() if line else "", facts, tuple(entries))
    return sheet if sheet.title and sheet.price else None


# Questions


def words_of(found: Sequence[str]) -> str:
    """The answer of the task `adwords`."""
    return "\n".join(found) or NO_WORDS


def pick_input(need: str, target: Sheet, others: Sequence[Sheet]) -> str:
    """A need and products to choose from: the right one among others of other kinds, always in the same order."""
    kind = target.facts.get("品类", "")
    rivals = [sheet for sheet in others if sheet.title != target.title and sheet.facts.get("品类", "") != kind]
    chosen = sorted(rivals, key=lambda sheet: _mark(need + sheet.title))[: CANDIDATES - 1]
    lines = [
        f"- {sheet.title}：{sheet.line}" for sheet in sorted([target, *chosen], key=lambda s: _mark(s.title + need))
    ]
    return f"观众需求：{need}\n\n商品：\n" + "\n".join(lines)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_ASKED = {
    "直播价": "多少钱啊", "规格": "规格是怎样的", "产地": "哪里产的", "发货": "多久发货", "售后": "不满意能退吗",
    "保质期": "保质期多久", "材质": "什么材质的", "颜色": "有几个颜色", "容量": "容量多大", "功率": "功率多少", "尺码": "有哪些尺码",
    "适用": "适合谁用", "品牌": "什么牌子的",
}  # fmt: skip


def by_rule(sheet: Sheet) -> Iterator[tuple[str, str, str]]:
    """Task, input and answer for a sheet that has no rows written by hand: what stands in it and what does not."""
    for key, question in _ASKED.items():
        if key in sheet.facts:
            yield "answer", question, sheet.facts[key]
        elif key in ("保质期", "功率", "尺码"):
            yield "decline", question, SILENT
    if len(sheet.points) >= 2:
        first, second = sheet.points[:2]
        spec = f"规格{sheet.facts['规格']}，" if "规格" in sheet.facts else ""
        yield (
            "script",
            "",
            f"家人们看这款{sheet.title}，{first}，{second}。{spec}直播价 {sheet.price} 元，喜欢的直接拍。",
        )
    yield "need", sheet.line, sheet.title


# Scores: (prediction, references, question), where the question holds the sheet


def made_up(text: str, question: str) -> bool:
    """Does the text name a number that the question (the sheet in it) does not have?"""
    return bool(set(numbers(text)) - set(numbers(question)))


def score_script(prediction: str, references: Sequence[str], question: str) -> float:
    """Share of title, price and two selling points that are there; 0 for a made-up number, a forbidden word or a length out of 60 to 220."""
    sheet = parse(question)
    if (
        sheet is None
        or not 60 <= len(prediction.strip()) <= 220
        or made_up(prediction, question)
        or ad_words(prediction)
    ):
        return 0.0
    points = sum(_told(point, prediction) for point in sheet.points)
    return (float(sheet.title in prediction) + float(sheet.price in prediction) + min(points, 2)) / 4


def _told(point: str, script: str) -> bool:
    """A selling point is told when a quarter of its pairs of neighbouring characters stand in the script."""
    pairs = {point[at : at + 2] for at in range(len(point) - 1) if re.fullmatch(r"\w\w", point[at : at + 2])}
    return sum(pair in script for pair in pairs) >= 0.25 * max(1, len(pairs))


def score_answer(prediction: str, references: Sequence[str], question: str) -> float:
    """Token F1 with the reference; 0 for a number that the sheet does not have."""
    return 0.0 if made_up(prediction, question) else token_f1(prediction, references)


def score_declines(prediction: str, references: Sequence[str]) -> float:
    """1 when the answer says that the sheet does not say."""
    return float(bool(re.search(r"没有?(?:写|说|提|注明|标)|帮您问|问一下客服", prediction)))


def score_adwords(prediction: str, references: Sequence[str]) -> float:
    """F1 of the words named, one a line (or with 、 between them)."""
    found, wanted = (
        {word for word in re.split(r"[\n、，,；;\s]+", text) if word} for text in (prediction, references[0])
    )
    return 2 * len(found & wanted) / (len(found) + len(wanted))
