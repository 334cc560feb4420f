"""Why a row was dropped, in the words of a page: English and Chinese."""

from __future__ import annotations

import re

REASONS = {
    "duplicate": ("duplicate", "重复"), "near-duplicate": ("near duplicate", "近似重复"),
    "same-meaning": ("same meaning", "同义"), "not selected": ("not selected", "未选入"),
    "leak": ("overlap with the eval set", "与评测集重合"), "too short": ("too short", "过短"), "too long": ("too long", "过长"),
    "language": ("other language", "语言不符"), "broken text": ("broken text", "乱码"), "repetition": ("repeats itself", "内容反复"),
    "not in the form asked for": ("not in the form asked for", "格式不符"),
    "no question": ("no question", "没有提问"), "the passage may answer it": ("the passage may answer it", "原文可能有答案"),
    "speaks of the passage": ("speaks of the passage", "提到了“原文”本身"),
    "the answer is in the question": ("the answer is in the question", "问题里已有答案"),
    "copies the instruction": ("copies the instruction", "照抄了指令"), "not whole": ("not whole", "不完整"),
    "answered otherwise when asked again": ("answered otherwise when asked again", "重新问时答得不一样"),
    "not supported": ("not supported by the passage", "原文不支持"), "no judgement": ("no judgement", "没有得到判定"),
    "the passage does answer it": ("the passage does answer it", "原文其实有答案"),
    "judged as not supported": ("judged as not supported", "教师判定原文不支持"),
    "judged as no answer to the question": ("judged as no answer to the question", "教师判定答非所问"),
}  # fmt: skip
DETAILS = {  # what curate and the teacher's checks say of a row, in Chinese
    r"same question as eval item (.+)": r"与评测题 \1 的问题相同",
    r"contains the question of eval item (.+)": r"包含评测题 \1 的问题",
    r"is a part of the question of eval item (.+)": r"是评测题 \1 的问题的一部分",
    r"shares (\d+%) of its text with eval item (.+)": r"\1 的文字与评测题 \2 相同",
    r"has (\d+%) of its sentences from eval item (.+)": r"\1 的句子来自评测题 \2",
    r"asks what eval item (.+) asks, with the same answer": r"与评测题 \1 问法不同，问题和答案相同",
    r"means what eval item (.+) asks \(cosine (.+)\)": r"与评测题 \1 同义（余弦 \2）",
    r"means what (.+) asks \(cosine (.+)\)": r"与 \1 同义（余弦 \2）", r"random, (.+) kept": r"随机选取，保留 \1",
    r"difficulty (.+), cosine (.+) with the nearest kept row": r"难度 \1，与最近的保留数据余弦 \2",
    r"cosine (.+) with the nearest kept row": r"与最近的保留数据余弦 \1", r"difficulty (.+)": r"难度 \1",
    r"has (\d+%) of its words": r"问题中 \1 的文字在原文里",
    r"same question as (.+)": r"与 \1 的问题相同", r"of (.+)": r"与 \1 近似",
    r"answer of (\d+) characters": r"回答只有 \1 个字符", r"no question": "没有问题", r"(\d+) characters": r"\1 个字符",
    r"not zh": "不是中文", r"not en": "不是英文", r"not en or zh": "不是中文或英文",
    r"(\d+%) of its text stands in it before": r"\1 的文字在前文已出现过", r"letters of a wrong encoding": "编码错误的字符",
    r"the quotation is not in the passage: ((?s:.*))": r"引文不在原文中：\1", r"the passage has no number (.+)": r"原文没有数字 \1",
    r"the passage does not name (.+)": r"原文没有提到 \1", r"(\d+%) of the answer is not in the passage": r"回答中 \1 的文字不在原文中",
    r"(\d+%) of '((?s:.*))' is in the passage": r"“\2”只有 \1 的文字在原文中", r"(\d+%) of it is in its quotation": r"只有 \1 的文字在引文中",
    r"(\d+%) of it": r"问题里已有 \1", r"the quotation says nothing": "引文没有内容", r"letters of the form itself": "混入了格式符号",
    r"(\d+) letters and more": r"长达 \1 个字，没有写完", r"(\d+%) of the answer stands in it before": r"回答中 \1 的文字前面已有",
    r"the case names '(.+)'": r"情形里写出了类别“\1”", r"the passage says the very statement": "原文就是这样写的", r"the passage does not say": "原文没有写明",
}  # fmt: skip
ENGLISH = {
    r"of (.+)": r"much like \1", r"not en": "not English", r"not zh": "not Chinese", r"not en or zh": "neither English nor Chinese",
}  # fmt: skip


def why(detail: str, zh: bool) -> str:
    """A dropped row's detail in the page's words; as it stands where it is of no known form."""
    for pattern, words in (DETAILS if zh else ENGLISH).items():
        if found := re.fullmatch(pattern, detail):
            return found.expand(words)
    return detail
