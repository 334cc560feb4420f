"""Documents for tests: folders that carry every kind of question, made up anew but always the same; PDF byte by byte."""

from __future__ import annotations

import random
from pathlib import Path

LETTERS = "茶山水火木金石田禾米竹花草叶根果豆麦瓜桃李杏梅松柏柳杨荷菊兰鸟鱼虫马牛羊鸡犬虎龙江河湖海云雨雪风雷电春夏秋冬东南西北红黄蓝绿白黑紫青灰甜酸苦咸鲜香油盐酱醋糖蒜葱姜椒锅碗盘杯壶刀案灯桌椅床窗墙砖瓦纸笔墨书画琴棋歌舞布衣帽鞋袜针线"
SYLLABLES = "ba be bi bo bu da de di do du fa fe fi ga go gu ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no pa pe po ra re ri ro ru sa se so ta te ti to va ve vi vo za ze zo".split()


class Words:
    """Made-up words and sentences of a language."""

    def __init__(self, language: str, seed: int) -> None:
        self.zh, self.dice = language == "zh", random.Random(seed)

    def word(self) -> str:
        if self.zh:
            return "".join(self.dice.sample(LETTERS, self.dice.choice([2, 3, 3])))
        return "".join(self.dice.sample(SYLLABLES, 3))

    def phrase(self) -> str:
        return self.word() + self.word() if self.zh else f"{self.word()} {self.word()}"

    def sentence(self) -> str:
        if self.zh:
            return f"{self.word()}的{self.word()}和{self.word()}，{self.phrase()}在{self.word()}。"
        return f"{self.word().capitalize()} {self.word()} of the {self.phrase()} and {self.word()} with {self.word()}."

    def text(self, count: int) -> str:
        return ("" if self.zh else " ").join(self.sentence() for _ in range(count))

    def name(self) -> str:
        return self.word() if self.zh else self.word().capitalize()


def paper(language: str, number: int) -> str:
    """One document in Markdown: a definition, values, a list, steps, a question, a table, articles."""
    say = Words(language, number)
    name = say.name() + say.word() if language == "zh" else f"{say.name()}{say.word()} {say.word()}"
    listed = [say.phrase() for _ in range(4)]
    steps = "\n".join(f"{index}. {say.sentence()}" for index in range(1, 5))
    keys = [say.name() for _ in range(3)]
    values = "\n".join(f"- {key}{'：' if say.zh else ': '}{say.phrase()}" for key in keys)
    rows = "\n".join(f"| {say.name()} | {say.word()} | {say.dice.randrange(100, 999)} |" for _ in range(3))
    head = f"| {say.name()} | {say.word()} | {say.word()} |\n| --- | --- | --- |"
    if say.zh:
        articles = "\n\n".join(f"第{number * 10 + index}条 {say.text(1)}" for index in range(1, 4))
        return (
            f"# {name}\n\n{name}是指{say.sentence()}{say.text(2)}\n\n{values}\n\n"
            f"## 1. {say.phrase()}\n\n{say.text(2)}\n\n{say.phrase()}：\n\n" + "\n".join(f"- {row}" for row in listed) +
            f"\n\n## 2. {say.phrase()}的做法\n\n{steps}\n\n## 为什么{say.phrase()}？\n\n{say.text(2)}\n\n{head}\n{rows}\n\n"
            f"## {say.phrase()}\n\n{say.text(3)}\n\n{articles}\n"
        )  # fmt: skip
    articles = "\n\n".join(f"Section {number * 10 + index}. {say.text(2)}" for index in range(1, 4))
    return (
        f"# {name}\n\n{name} is a {say.sentence().lower()} {say.text(3)}\n\n{values}\n- {say.name()}: {say.text(2)}\n\n"
        f"## 1. {say.phrase().capitalize()}\n\n{say.text(4)}\n\n{say.phrase().capitalize()}:\n\n"
        + "\n".join(f"- {row}" for row in listed)
        + f"\n\n## 2. How {say.phrase()} is a method\n\n{steps}\n\n## Why {say.phrase()}?\n\n{say.text(4)}\n\n{head}\n{rows}\n\n"
        f"## {say.phrase().capitalize()}\n\n{say.text(6)}\n\n{articles}\n"
    )


def write_papers(folder: Path, language: str, count: int = 18) -> Path:
    for number in range(count):
        path = folder / ("一部" if number % 2 else "") / f"{number:02} {'资料' if language == 'zh' else 'paper'}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(paper(language, number), encoding="utf-8")
    return folder


def pdf(*pages: list[tuple[int, str]] | bytes, trailer: str = "") -> bytes:
    """A PDF with pages of (font size, line) in Helvetica, or with a content stream of their own: fonts F, B (bold) and C (Courier)."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>".encode(),
        b"<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>/B<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>"
        b"/C<</Type/Font/Subtype/Type1/BaseFont/Courier>>>>",
    ]  # fmt: skip
    for number, page in enumerate(pages):
        if not isinstance(page, bytes):
            lines = "".join(f"/F {size} Tf ({text}) Tj 0 -{size * 2} Td " for size, text in page)
            page = f"BT 72 740 Td {lines}ET".encode()
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font 3 0 R>>/Contents {5 + 2 * number} 0 R>>".encode()
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(page), page))
    file, starts = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    size = len(objects) + 1
    return (
        bytes(file)
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{len(file)}\n%%EOF"
        ).encode()
    )
