"""Personal data in a text, found and masked: identity numbers, phones, e-mail, bank cards, IBAN, plates, street addresses.

What has check digits is checked by python-stdnum, phone numbers by Google's phonenumbers: a case number, an order number or an
article of a statute is left alone. Names of people are not looked for.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南"
    "|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_REGIONS = set(
    map(
        int,
        "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83".split(),
    )
)
_HAN = r"[\u4e00-\u9fff]"
_NOT_PLACE = "住在于到至寄送往从是为了的址位与，。：；"
_PLACE = rf"(?:(?![{_NOT_PLACE}]){_HAN})"
_HOUSE = r"[甲乙丙丁]?\d{1,5}(?:[-—之]\d{1,4})?\s?(?:号院?|弄)"
_ROOM = rf"(?:\s?(?:[\dA-Za-z一二三四五六七八九十]{{1,5}}|{_PLACE}{{2,8}}(?=\d))\s?(?:号楼|号院|栋|幢|座|单元|门|层|楼|室|号|弄|户|房)?|附\d{{1,4}}号|之[一二三四五六七八九十\d])*(?<=[号弄栋幢座元门层楼室户房\d一二三四五六七八九十])"
_ADDRESS_ZH = re.compile(
    rf"(?:(?:{_PROVINCES})(?:省|市|自治区|壮族自治区|回族自治区|维吾尔自治区|特别行政区)?\s?)?"
    rf"(?:{_PLACE}{{2,8}}(?:自治州|市|州|盟)\s?)?(?:{_PLACE}{{1,8}}(?:区|县|旗|市)\s?)?(?:{_PLACE}{{1,8}}(?:街道|镇|乡)\s?)?"
    rf"{_PLACE}{{1,9}}(?:大道|大街|路|街|道|巷|胡同|里)(?:[东西南北中]?(?:段|侧)|{_PLACE}{{1,4}}(?:巷|弄|里))?\s?{_HOUSE}{_ROOM}"
)
_STREET = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Ter|Way|Square|Sq|Close|Crescent"
    "|Cres|Parade|Parkway|Pkwy|Highway|Hwy|Row|Mews|Gardens|Grove|Hill|Circle|Cir|Trail|Walk|Quay"
)
_STATE = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)
_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
_ADDRESS_EN = re.compile(
    rf"(?<!In )(?<!Since )(?<!By )\b(?:(?:Flat|Apartment|Apt|Unit|Suite) \w{{1,5}}, )?\d{{1,5}}[A-Za-z]?(?:-\d{{1,5}})? (?:[NSEW]\.? |(?:North|South|East|West) )?(?:(?:[A-Z][a-z'’]+|\d{{1,3}}(?:st|nd|rd|th)|St\.?) ){{1,4}}"
    rf"(?:{_STREET})\b(?! (?!Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl\b)[A-Z][a-z])\.?(?:[, ]+(?:[NSEW]{{1,2}}\b|(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|#)\.? ?#?\w+))*"
    rf"(?:,? (?:[A-Z][a-z'’.]+ ?){{1,3}}(?:,? (?:{_STATE})\b(?: \d{{5}}(?:-\d{{4}})?)?|,? {_POSTCODE})|,? (?:{_POSTCODE}))?"
)
_NOT_MONTH = re.compile(
    r"\d+ (?:January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
_ID = re.compile(r"(?<![\dA-Za-z])\d{17}[\dXx](?![\dA-Za-z])")
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+(?!(?:png|jpe?g|gif|svg|webp|pdf|py|js|css)(?![A-Za-z0-9]))[A-Za-z]{2,24}(?![A-Za-z0-9]|:[\w~/])"
)
_CARD = re.compile(r"(?<![\dA-Za-z.])(?<![A-Z]{2}\d{2} )\d(?:[ -]?\d){12,18}(?![\dA-Za-z])")
_BIN = re.compile(r"4|5[1-5]|2(?:2[2-9]|[3-6]|7[01]|720)|3[47]|35|6(?:011|014|4[4-9]|5|2)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\w-])\d{3}([- ])\d{2}\1\d{4}(?![\w-])")
_SSN_NAMED = re.compile(r"(?:SSN|Social Security)[^.\d]{0,24}(?<!\d)(\d{9})(?!\d)", re.IGNORECASE)
_PLATE = re.compile(
    r"(?<![/A-Za-z])[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-HJ-NP-Z][·•\s.-]?"
    r"(?:[DF](?:\s?[A-HJ-NP-Z0-9])(?:\s?\d){4}|(?:\s?\d){5}[DF]|(?:\s?[A-HJ-NP-Z0-9]){4}(?:\s?[A-HJ-NP-Z0-9挂学警港澳]))(?![A-Za-z0-9]|-\d)"
)


@dataclass(frozen=True)
class Found:
    """Personal data at text[start:end]."""

    kind: str  # id_number, ssn, email, iban, bank_card, phone, plate, address
    start: int
    end: int


def find(text: str, language: str = "") -> list[Found]:
    """Personal data in their order, without overlaps; `language` (zh or en) says how a local phone number is written."""
    taken: list[Found] = []
    for kind, search in _SEARCHES.items():
        for start, end in search(text, language):
            if all(end <= other.start or other.end <= start for other in taken):
                taken.append(Found(kind, start, end))
    return sorted(taken, key=lambda found: found.start)


def mask(text: str, language: str = "") -> tuple[str, list[str]]:
    """The text with each piece of personal data replaced by its kind, [PHONE], and the kinds replaced."""
    found = find(text, language)
    for piece in reversed(found):
        text = f"{text[: piece.start]}[{piece.kind.upper()}]{text[piece.end :]}"
    return text, [piece.kind for piece in found]


def _matches(
    pattern: re.Pattern[str], good: Callable[[str], bool] = lambda text: True
) -> Callable[[str, str], Iterator[tuple[int, int]]]:
    def search(text: str, language: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            if good(match[0]):
                yield match.span()

    return search


def _is_card(text: str) -> bool:
    from stdnum import luhn

    digits = re.sub(r"[ -]", "", text)
    groups = re.split(r"[ -]", text)
    even = len(groups) == 1 or (len(groups) > 2 and all(len(group) >= 3 for group in groups[:-1]))
    if _form_of_id(text):  # with a wrong check digit: some other number
        return False
    return (
        even and 14 < len(digits) < 20 and bool(_BIN.match(digits)) and len(set(digits)) > 2 and luhn.is_valid(digits)
    )


def _is_id(text: str) -> bool:
    from stdnum.iso7064 import mod_11_2

    return _form_of_id(text) and bool(mod_11_2.is_valid(text.upper()))


def _form_of_id(text: str) -> bool:
    """A region and a day of birth, whatever the check digit."""
    try:
        born = datetime.date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    return len(text) == 18 and int(text[:2]) in _REGIONS and born.year >= 1880 and born <= datetime.date.today()


def _is_ssn(text: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(text.replace(" ", "-")))


def _ssns(text: str, language: str) -> Iterator[tuple[int, int]]:
    """With dashes, or nine digits that are named."""
    yield from _matches(_SSN, _is_ssn)(text, language)
    yield from (match.span(1) for match in _SSN_NAMED.finditer(text))


def _is_iban(text: str) -> bool:
    from stdnum import iban

    return bool(iban.is_valid(text, check_country=False))


def _phones(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Local numbers as the language's country writes them, and any with its country code."""
    if sum(char.isdigit() for char in text) < 7:
        return
    import phonenumbers
    from phonenumbers import Leniency, PhoneNumberType

    public = {PhoneNumberType.TOLL_FREE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN, PhoneNumberType.PREMIUM_RATE}
    for region in {"zh": ["CN"], "en": ["US", "GB"]}.get(language, ["CN", "US", "GB"]):
        for match in phonenumbers.PhoneNumberMatcher(text, region, Leniency.POSSIBLE):
            written = match.raw_string.lstrip("(（").startswith("+") or bool(_UK_MOBILE.fullmatch(match.raw_string))
            known = phonenumbers.is_valid_number(match.number) or written
            if (
                known
                and phonenumbers.number_type(match.number) not in public
                and _phone_like(match.raw_string, text, match.start, match.end)
            ):
                yield match.start, match.end


_UK_MOBILE = re.compile(r"07\d{3} ?\d{3} ?\d{3}")


def _phone_like(raw: str, text: str, start: int, end: int) -> bool:
    """Not a part of something longer, and written as people write phone numbers."""
    digits = re.sub(r"\D", "", raw)
    if re.search(r"\d[ -]$", text[:start]) or re.match(r"[ -]\d", text[end:]):  # a part of a longer number
        return False
    if re.fullmatch(r"\d{3}[ -]\d{2}[ -]\d{5}", raw):  # nobody groups a phone number so
        return False
    local = not raw.lstrip("(（").startswith("+")
    before, after = text[:start], text[end:]
    if re.search(r"[\dA-Za-z_/#.\-—]$", before) or re.match(r"[\dA-Za-z_/]|[.\-—]\d", after):
        return False
    if local and "." in raw and re.search(r"(?<!\d)\d{1,2}\.|\.\d{1,2}(?!\d)", raw):  # a version
        return False
    if re.match(r"\s?(?:元|美元|万|公里|米|件|克|个|字节|千克|吨|人|%|％|dollars|USD|units|bytes|km)", after):
        return False
    if re.search(r"(?:[$€£¥￥]|No\.?|#|号码?为?：?(?<!机号)(?<!电话号)(?<!电话号码))\s?$", before) and local:
        return bool(re.search(r"(?:手机|电话|联系|phone|tel|call|mobile|fax|传真)[^。.]{0,6}$", before, re.IGNORECASE))
    if local and raw.isdigit():  # no mark that it is a phone number but its form
        return bool(re.fullmatch(r"1[3-9]\d{9}|0\d{9,11}|400\d{7}|800\d{7}", raw)) or bool(
            re.search(r"(?:phone|tel|call|mobile|cell|fax|text|reach|contact|number)\W.{0,20}$", before, re.IGNORECASE)
        )
    return len(digits) >= 7


_SEARCHES: dict[str, Callable[[str, str], Iterator[tuple[int, int]]]] = {
    "email": _matches(_EMAIL),
    "iban": _matches(_IBAN, _is_iban),
    "id_number": _matches(_ID, _is_id),
    "ssn": _ssns,
    "bank_card": _matches(_CARD, _is_card),
    "phone": _phones,
    "plate": _matches(_PLATE),
    "address": lambda text, language: (
        span
        for search in (_matches(_ADDRESS_ZH), _matches(_ADDRESS_EN, lambda found: not _NOT_MONTH.match(found)))
        for span in search(text, language)
    ),
}
