"""Legal tasks: their labels and wording, how answers in task files are read, and two scorers of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from factory.domain import Task
from factory.scorers import token_f1

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
ENTITIES = "犯罪嫌疑人、受害人、被盗货币、物品价值、盗窃获利、被盗物品、作案工具、时间、地点、组织机构"


def tasks(charges: tuple[str, ...]) -> tuple[Task, ...]:
    """The eight tasks; `charges` closes the answer space of the charge task."""
    return (
        Task("topic", "咨询类别", "choice", "判断法律咨询的类别。\n咨询：{input}\n类别：", TOPICS, aliases=("2-4",)),
        Task("focus", "争议焦点", "choice", "判断案件的争议焦点。\n案情：{input}\n争议焦点：", FOCUSES, aliases=("2-2",)),
        Task("charge", "罪名", "set_f1", "根据事实判断罪名。\n事实：{input}\n罪名：", charges, ";", aliases=("3-3",)),
        Task("recital", "法条背诵", "rouge_l", "背诵法条。\n{input}\n答案：", max_new_tokens=256, aliases=("1-1",)),
        Task("marriage", "婚姻争议要点", "set_f1", "判断婚姻案件句子的要点，可多选。\n句子：{input}\n要点：", MARRIAGE, ";",
             aliases=("2-3",)),
        Task("entities", "盗窃案实体", "entities", f"抽取实体（{ENTITIES}）。\n句子：{{input}}\n实体：", max_new_tokens=192,
             aliases=("2-6",)),
        Task("articles", "刑法法条", "articles", "根据事实和罪名给出刑法法条。\n事实：{input}\n法条：", max_new_tokens=32,
             aliases=("3-1",)),
        Task("term", "刑期", "log_distance", "根据事实预测刑期（月）。\n事实：{input}\n刑期：", max_new_tokens=8,
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
    return text.replace(";", "\n") if task == "entities" else text


def shorten(task: str, text: str, cut: int) -> str:
    """Without the field's name; a long text keeps `cut` characters at either end (charges and articles stand at the end)."""
    text = re.sub(r"^(?:句子|事实|咨询)[:：]", "", text.strip())
    text = re.sub(r"\s*\r?\n\s*", " ", text)
    if task in ("recital", "topic", "entities", "marriage") or len(text) <= 2 * cut:
        return text
    return f"{text[:cut]}…{text[-cut:]}"


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


def _entities(text: str) -> dict[str, str]:
    found: dict[str, str] = defaultdict(str)
    for part in re.split(r"[\n;；]", text):
        kind, colon, value = part.replace("：", ":").partition(":")
        if colon and value.strip():
            found[kind.strip()] += value.strip()
    return found


def score_entities(prediction: str, references: Sequence[str]) -> float:
    """Soft F1 over entity types (as LawBench's 2-6): the character F1 of each type's text counts as its hit."""
    found, wanted = _entities(prediction), _entities(references[0])
    if not found and not wanted:
        return 1.0
    hits = sum(token_f1(found[kind], [wanted[kind]]) for kind in found if kind in wanted)
    return 2 * hits / (len(found) + len(wanted))


def score_articles(prediction: str, references: Sequence[str]) -> float:
    """F1 of the article numbers."""
    found, wanted = (set(re.findall(r"\d+", text)) for text in (prediction, references[0]))
    return 2 * len(found & wanted) / (len(found) + len(wanted)) if found or wanted else 0.0
