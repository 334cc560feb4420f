"""Legal tasks: their labels and wording, how answers in task files are read, and LawBench's scorers."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from factory.domain import Task
from factory.numerals import chinese_number
from factory.scorers import Scorer

TOPICS = (
    "婚姻家庭", "劳动纠纷", "交通事故", "债权债务", "刑事辩护", "合同纠纷", "房产纠纷", "侵权", "公司法", "医疗纠纷", "拆迁安置",
    "行政诉讼", "建设工程", "知识产权", "综合咨询", "人身损害", "涉外法律", "海事海商", "消费权益", "抵押担保",
)  # fmt: skip
FOCUSES = (
    "诉讼主体", "租金情况", "利息", "本金争议", "责任认定", "责任划分", "损失认定及处理", "原审判决是否适当", "合同效力",
    "财产分割", "责任承担", "鉴定结论采信问题", "诉讼时效", "违约", "合同解除", "肇事逃逸",
)  # fmt: skip
MARRIAGE = (
    "婚后有子女", "限制行为能力子女抚养", "有夫妻共同财产", "支付抚养费", "不动产分割", "婚后分局", "二次起诉离婚",
    "按月给付抚养费", "准予离婚", "有夫妻共同债务", "婚前个人财产", "法定离婚", "不履行家庭义务", "存在非婚生子", "适当帮助",
    "不履行离婚协议", "损害赔偿", "感情不和分居满二年", "子女随非抚养权人生活", "婚后个人财产",
)  # fmt: skip
ARTICLES = tuple(str(number) for number in range(1, 453))  # of the Criminal Law
ENTITIES = "犯罪嫌疑人、受害人、被盗货币、物品价值、盗窃获利、被盗物品、作案工具、时间、地点、组织机构"


def tasks(charges: tuple[str, ...]) -> tuple[Task, ...]:
    """The eight tasks; `charges` closes the answer space of the charge task."""
    return (
        Task("topic", "咨询类别", "topic", "判断法律咨询的类别。\n咨询：{input}\n类别：", TOPICS, aliases=("2-4",)),
        Task("focus", "争议焦点", "focus", "判断案件的争议焦点。\n案情：{input}\n争议焦点：", FOCUSES, aliases=("2-2",)),
        Task("charge", "罪名", "charge", "根据事实判断罪名。\n事实：{input}\n罪名：", charges, ";", aliases=("3-3",)),
        Task("recital", "法条背诵", "rouge_l", "背诵法条。\n{input}\n答案：", max_new_tokens=256, aliases=("1-1",)),
        Task("marriage", "婚姻争议要点", "marriage", "判断婚姻案件句子的要点，可多选。\n句子：{input}\n要点：", MARRIAGE, ";",
             aliases=("2-3",)),
        Task("entities", "盗窃案实体", "entities", f"抽取实体（{ENTITIES}）。\n句子：{{input}}\n实体：", max_new_tokens=192,
             aliases=("2-6",)),
        Task("articles", "刑法法条", "articles", "根据事实和罪名给出刑法法条的条号。\n事实：{input}\n条号：", ARTICLES, "、",
             aliases=("3-1",)),
        Task("term", "刑期", "term", "根据事实预测刑期（月）。\n事实：{input}\n刑期：", max_new_tokens=8,
             aliases=("3-4",)),
    )  # fmt: skip


def answer(task: str, text: str) -> str:
    """A task file's answer as the specialist should write it: without the field's name; several entries joined by `;`."""
    text = text.strip()
    if task != "entities":
        text = re.sub(r"^(?:答案|争议焦点类别|类别|罪名|法条|刑期)[:：]", "", text).strip()
    if task in ("topic", "focus", "marriage", "charge"):
        text = text.rstrip("。")
    if task == "marriage":
        return text.replace("、", ";")
    if task == "articles":  # 刑法第266、159条
        return "、".join(re.findall(r"\d+", text))
    return text.replace(";", "\n") if task == "entities" else text


_SHARES = {
    "articles": 0.5,
    "term": 0.75,
    "charge": 1.5,
    "focus": 1.67,
}  # of `cut`: what decides these stands in few words, or in many


def shorten(task: str, text: str, cut: int) -> str:
    """Without the field's name; a long text keeps `cut` characters at either end (charges and articles stand at the end).

    Facts for a charge lose an indictment's set phrases first, so that what happened fits.
    """
    text = re.sub(r"^(?:句子|事实|咨询)[:：]", "", text.strip())
    text = re.sub(r"\s*\r?\n\s*", " ", text)
    if task == "charge":
        text = _FORMULAS.sub("", text)
        text = re.sub(r"[，。、；：,]{2,}", lambda run: "。" if "。" in run[0] else run[0][-1], text).lstrip(
            "，。、；：, "
        )
    cut = round(cut * _SHARES.get(task, 1.0))
    if task in ("recital", "topic", "entities", "marriage") or len(text) <= 2 * cut:
        return text
    return f"{text[:cut]}…{text[-cut:]}"


# What every indictment says, whatever was done: who accuses, when, which evidence, which law, "the facts are clear".
_FORMULAS = re.compile(
    "|".join(
        (
            r"[^，。；]{0,12}(?:人民检察院|公诉机关|检察机关)[^，。；]{0,8}?指控[，,：:]?",
            r"《?中华人民共和国刑法》?",
            r"[×xX]{2,}",
            r"第?[（(][一二三四五六七八九十]+[）)]项",
            r"犯罪?事实清楚[，,]?",
            r"证据(?:确实|确凿)?[、，]?充分[，,]?",
            r"追究[^，。；]{0,6}刑事责任",
            r"(?:提请|请求|诉请|建议)(?:本院)?[^。；]{0,12}(?:判处|惩处|判决)",
            r"[之的]规定",
            r"其行为[已均]*(?:触犯|构成)了?",
            r"\d{4}年\d{1,2}月\d{1,2}日(?:\d{1,2}时许?)?",
            r"上述[^。]{0,120}(?:证据|证实|证明)[^。]*。",
            r"(?:就此|为证实|为证明|针对上述|为支持)[^。]{0,200}证据[^。]*。",
            r"[^。；]{0,60}(?:证人证言|户籍证明|鉴定意见|勘验笔录)[^。；]*[。；]",
            r"被告人",
        )
    )
)


def named_charge(text: str) -> tuple[str, str]:
    """(facts, charges) of a case that names its charge after the facts, as inputs of the articles and term tasks do."""
    facts, _, rest = text.partition("罪名:")
    return facts.strip(), re.split(r"[。\n]|法条", rest, maxsplit=1)[0].strip()


def with_statute(text: str, places: Mapping[str, Sequence[str]]) -> str:
    """A case whose charges are named, with where the Criminal Law has each of them; `places`: articles by charge.

    A small model does not learn a statute's numbers by heart, and need not: they are looked up.
    """
    _, mark, rest = text.rpartition("罪名")
    found = {}
    for charge in sorted(places, key=len, reverse=True):  # 协助组织卖淫 before 组织卖淫
        if mark and charge in rest:
            found[rest.index(charge)] = f"{charge}{'、'.join(dict.fromkeys(places[charge]))}"
            rest = rest.replace(charge, "\n" * len(charge))
    return f"{text}\n刑法：{'；'.join(found[place] for place in sorted(found))}" if found else text


def named_articles(text: str) -> tuple[str, str]:
    """(facts and charges, article numbers) of a case that names both, as inputs of the term task do."""
    case, _, rest = text.partition("法条:")
    return case.strip(), "、".join(re.findall(r"\d+", rest.split("\n")[0]))


def article_number(article: str) -> str:
    """第一百二十条之一 as 120之一."""
    match = re.fullmatch(r"第(.+)条(之.+)?", article)
    return f"{chinese_number(match[1])}{match[2] or ''}" if match else ""


def offences(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(definition, charges) of an article of the Criminal Law, up to the penalty; `names`: the charges that it holds."""
    paragraphs = [line.strip() for line in text.splitlines() if line.strip()]
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:  # the paragraph that shares most of the charge's characters defines it
        found[max(paragraphs, key=lambda line: len(set(name) & set(line)))].append(name)
    for paragraph, names_here in found.items():
        if len(names_here) > 2:  # one sentence for a dozen charges (放火、决水、爆炸…) tells none of them
            continue
        definition = re.split(r"的?[，,]?(?:对[^，。]{0,30})?[，,]处", paragraph, maxsplit=1)[0][:100]
        yield definition, ";".join(names_here)


def articles(text: str) -> Iterator[tuple[str, str]]:
    """(第…条, its text) of a statute in Markdown."""
    body = text.split("<!-- INFO END -->", 1)[-1]
    body = re.sub(r"^#.*$", "", body, flags=re.MULTILINE)
    parts = re.split(
        r"^(第[零〇一二三四五六七八九十百千]+条(?:之[一二三四五六七八九十]+)?)\s*", body, flags=re.MULTILINE
    )
    for name, content in zip(parts[1::2], parts[2::2], strict=True):
        if content.strip():
            yield name, re.sub(r"\n{2,}", "\n", content.strip())


# The scorers follow the definitions of LawBench (arXiv 2309.16289 and its evaluation functions), each row on its own.


def one_of(options: Sequence[str]) -> Scorer:
    """1 where the answer names the right option and no other one, wherever in it (2-2, 2-4)."""

    def score(prediction: str, references: Sequence[str]) -> float:
        return float([option for option in options if option in prediction] == [references[0]])

    return score


def named(options: Sequence[str], nested: bool = False) -> Scorer:
    """F1 of the options that the answer names, wherever in it (2-3, 3-3).

    An option whose name only stands inside another's (组织卖淫 in 协助组织卖淫) is not named by it; LawBench counts it
    (`nested`), so that some right answers cannot have full marks there.
    """

    def score(prediction: str, references: Sequence[str]) -> float:
        wanted = {label.strip() for label in references[0].split(";")}
        found, text = set(), prediction
        for option in sorted({*options, *wanted}, key=len, reverse=True):
            if option in text:
                found.add(option)
                text = text if nested else text.replace(option, "\n")
        return _f1(found, wanted)

    return score


def score_articles(prediction: str, references: Sequence[str]) -> float:
    """F1 of the article numbers, one in each part between 、 (3-1); a paragraph's number is none."""
    found, wanted = (set(_articles(text)) for text in (prediction, references[0]))
    return _f1(found, wanted)


def _articles(text: str) -> Iterator[int]:
    for part in re.sub(r"第[^第款]*款", "", text).split("、"):
        if number := re.search(r"\d+", re.sub(_NUMERAL, lambda match: str(chinese_number(match[0])), part)):
            yield int(number[0])


def score_entities(prediction: str, references: Sequence[str]) -> float:
    """Soft F1 over entity types (2-6): a type hits by the F1 of its text's characters; an entry ends with its line or at a space."""
    found, wanted = _entities(prediction), _entities(references[0])
    hits = sum(_overlap(found[kind], wanted[kind]) for kind in found if kind in wanted)
    return 2 * hits / (len(found) + len(wanted)) if found or wanted else 1.0


def _entities(text: str) -> dict[str, str]:
    """The last entry of each type."""
    found = {}
    for kind in ENTITIES.split("、"):
        for match in re.finditer(rf"{kind}[:：](?=.)\s*([^\n ]*)", text):
            if match[1] not in ("", "无", "未提及"):
                found[kind] = match[1]
    return found


def _overlap(found: str, wanted: str) -> float:
    """F1 over the bag of characters, without signs and spaces."""
    bags = [Counter(re.sub(r"[\W_]", "", text)) for text in (found, wanted)]
    return 2 * (bags[0] & bags[1]).total() / max(1, bags[0].total() + bags[1].total())


def score_term(prediction: str, references: Sequence[str]) -> float:
    """1 - |ln(months + 1) - ln(reference + 1)| / ln 216, not below 0 (3-4); years count where no month is named."""
    found, wanted = (_months(text) for text in (prediction, references[0]))
    if found is None or wanted is None:
        return 0.0
    return max(0.0, 1 - abs(math.log1p(found) - math.log1p(wanted)) / math.log(216))


def _months(text: str) -> int | None:
    text = re.sub(_NUMERAL, lambda match: str(chinese_number(match[0])), text)
    if month := re.search(r"(\d+)个月", text) or re.search(r"(\d+)月", text):
        return int(month[1])
    year = re.search(r"(\d+)年", text)
    return 12 * int(year[1]) if year else None


_NUMERAL = "[零〇一二两三四五六七八九十百千]+"


def _f1(found: Set[Any], wanted: Set[Any]) -> float:
    return 2 * len(found & wanted) / (len(found) + len(wanted)) if found or wanted else 0.0
