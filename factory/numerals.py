"""Numbers in a text as values, whether in digits, Chinese numerals or small English words."""

from __future__ import annotations

import re
import unicodedata

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_ANY = "[零〇一二两三四五六七八九十百千万亿]+"
_COUNTS = "年月日天周岁个条款项元次人份克斤倍章节编级类种名米时分秒只台辆张把双件位顿口家间层杯碗瓶袋盒包颗粒根片块勺匙毫厘升吨度成折部本页号楼座栋%％"
_COUNTED = re.compile(
    rf"{_ANY}(?=[{_COUNTS}]|公[斤里升分]|百分|小时|星期|多[{_COUNTS}])|(?<=百分之){_ANY}|(?<=第){_ANY}"
)
_VALUE = r"(?:\d+|[零〇一二两三四五六七八九十百千]+)"
_ARTICLES = re.compile(
    rf"第\s*(?P<list>{_VALUE}(?:\s*(?:[、,和或与及至到~—-]|以及|或者)\s*第?\s*{_VALUE})*)\s*条(?:之(?P<sub>[一二三四五六七八九十]+))?"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()
_WORDS = {word: number for number, word in enumerate(_SMALL) if number != 1} | {"twenty": 20, "thirty": 30, "half": 0.5}


def numbers(text: str) -> set[float]:
    """The values of the numbers in a text: 30, 1,000, 三十, twelve. Chinese numerals count where something is counted; 一 and "one",
    which often count nothing, do not."""
    text = unicodedata.normalize("NFKC", text)
    found = {float(number.replace(",", "")) for number in _NUMBER.findall(text) if number.count(".") < 2}
    found |= {float(chinese_number(number)) for number in _COUNTED.findall(text) if number != "一"}
    return found | {float(_WORDS[word]) for word in re.findall(r"[a-z]+", text.lower()) if word in _WORDS}


def articles(text: str) -> dict[str, str]:
    """The articles of a law that a text names, 第十二条, 第 12 条 and 第十二条之一, alone or in a list: each by its number (12, 12-1) with its words."""
    found: dict[str, str] = {}
    for named in _ARTICLES.finditer(unicodedata.normalize("NFKC", text)):
        values = [str(int(n) if n.isdecimal() else chinese_number(n)) for n in re.findall(_VALUE, named["list"])]
        if named["sub"]:
            values[-1] += f"-{chinese_number(named['sub'])}"
        found |= dict.fromkeys(values, named[0])
    return found


def without_articles(text: str) -> str:
    """A text without the articles of a law that it names."""
    return _ARTICLES.sub("", unicodedata.normalize("NFKC", text))


def chinese_number(text: str) -> int:
    """三百二十一 as 321; a row of digits (二〇二四) as it stands."""
    if not set(text) & {*_UNITS, "万", "亿"}:
        return int("".join(str(_DIGITS[char]) for char in text))
    for mark, worth in (("亿", 10**8), ("万", 10**4)):
        if mark in text:
            above, _, below = text.partition(mark)
            return (chinese_number(above) if above else 1) * worth + (chinese_number(below) if below else 0)
    total = digit = 0
    for char in text:
        if char in _UNITS:
            total += (digit or 1) * _UNITS[char]
            digit = 0
        else:
            digit = _DIGITS[char]
    return total + digit
