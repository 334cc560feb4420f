"""One rule for each kind of question: from the blocks of a passage to (task, question, answer, cue).

The cue are the words without which a text cannot answer. Answers are lines as they stand in the passage; where a question
could mean two things there (two lists of one name, a key that stands twice), none is asked.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from factory.structure import Block, sentences

Found = Iterator[tuple[str, str, str, str]]  # task, question, answer, cue
LABEL = 3  # a heading that stands in so many documents ("Ingredients") names a part, not what a text is about


@dataclass(frozen=True)
class Corpus:
    """What only all passages together tell: headings that are labels, and which runs of Chinese letters are words."""

    documents: dict[str, int] = field(default_factory=dict)  # by heading
    left: dict[str, set[str]] = field(default_factory=dict)  # what stands before a run; "" is a border
    right: dict[str, set[str]] = field(default_factory=dict)

    def is_label(self, heading: str) -> bool:
        return self.documents.get(heading.lower(), 0) >= LABEL or bool(_LABEL.match(heading))

    def is_word(self, run: str) -> bool:
        """A run with a border, or with several neighbours, on either side (accessor variety: Feng et al. 2004)."""
        return all("" in side.get(run, ()) or len(side.get(run, ())) >= 3 for side in (self.left, self.right))


def corpus_of(texts: Iterable[tuple[str, list[Block]]]) -> Corpus:
    """From (document, blocks) of every passage."""
    named: dict[str, set[str]] = defaultdict(set)
    left: dict[str, set[str]] = defaultdict(set)
    right: dict[str, set[str]] = defaultdict(set)
    for document, parts in texts:
        for block in parts:
            named[bare(block.heading).lower()].add(document)
            for line in block.lines:
                for before, run, after in _runs(line):
                    left[run].add(before)
                    right[run].add(after)
    return Corpus({heading: len(documents) for heading, documents in named.items()}, left, right)


# Headings and lines

_NUMBER = re.compile(
    r"^(?:第[一二三四五六七八九十百千零〇两\d]+[章节编篇部分卷回讲课]+|[一二三四五六七八九十]{1,3}[、.．]|[（(][一二三四五六七八九十\d]{1,3}[）)]"
    r"|\d{1,3}(?:\.\d{1,3})*[.)、．）](?!\d)|\d{1,3}(?:\.\d{1,3})+(?=\s)|(?:Chapter|Part|Step)\s+(?:\d+|[IVX]+)\b[.:]?)\s*",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"[？?]$|^(?:什么|为什么|为何|如何|怎么|怎样|哪)|^(?:What (?:is|are)|Why|How (?:to|do|does))\s", re.IGNORECASE
)


_LABEL = re.compile(
    r"^(?:附[件录则]?[一二三四五六七八九十\d]*|其[他它]|说明|小结|总结|前言|概述|引言|目录|注意事项|Notes?|Summary|Overview|Introduction|Conclusion|Contents|"
    r"References|Appendix.{0,3})$",
    re.IGNORECASE,
)


def bare(heading: str) -> str:
    """A heading without its number: "2. 刮渣与浸泡" and "第三章 合同" name what follows it."""
    return _NUMBER.sub("", heading).strip()


def _lines(block: Block) -> list[str]:
    """Without the marks of admonitions: [!Warning]."""
    lines = (re.sub(r"^\[!\w+\]\s*", "", line).strip() for line in block.lines)
    return [line for line in lines if line]


def _told(lines: Iterable[str]) -> list[str]:
    """Whole sentences: what a semicolon divides belongs together."""
    told: list[str] = []
    for line in lines:
        whole = ""
        for part in sentences(line):
            whole += part
            if not re.search(r"[；;][”」』）]*\s*$", part):
                told.append(whole.strip())
                whole = ""
        if whole.strip():
            told.append(whole.strip())
    return told


def _sections(parts: Sequence[Block]) -> dict[str, list[Block]]:
    """The blocks below each heading."""
    found: dict[str, list[Block]] = defaultdict(list)
    for block in parts:
        if bare(block.heading):
            found[bare(block.heading)].append(block)
    return found


# Definitions

_MEANS_ZH = re.compile(
    r"^([^，。：；、？！“”（）()\s这那它其此该本如若因由所不]{2,12}?)(?:[（(][^）)]*[）)])?，?(?:是指|指的是|是一种|是一类|是一项|指(?![示导定挥出向]))(?=.{6})"
)
_MEANS_EN = re.compile(
    r"^(?:(?:A|An|The)\s+)?((?!(?:It|This|That|These|Those|There|They|He|She|You|We|I|If|When|What|Here|Each|All|One|Some|Most|Many|My|Our|Your|Their"
    r"|Another|Other|Both|Now|Also|Below|Above|Only|Other)\b)"
    r"[A-Za-z][\w'-]*(?:\s+[\w'-]+){0,3}?)\s+(is|are|means|refers to|denotes)\s+(?:an?|the|any|every|one|those)\s+(?!must\b|lot\b|bit\b|few\b)\w+"
)
_VAGUE = re.compile(
    r"\b(?:result|rest|goal|idea|key|trick|thing|way|problem|difference|reason|purpose|point|aim|advantage|part|step|rule|secret|method|option|"
    r"time|above|below|following|important|best|first|last|next|only|same)s?\b",
    re.IGNORECASE,
)
_HERE = re.compile(
    r"\bth(?:is|ese) (?:dish|recipe|case|chapter|section|text)\b|^(?:Preparing|Making|Using|Adding|Cooking|Having)\b",
    re.I,
)
_TERM = re.compile(r"^【([^】]{1,20})】(.{8,})", re.DOTALL)


def define(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    for block in parts:
        for line in _lines(block) if block.kind in ("text", "list") else ():
            if named := _TERM.match(line):
                term = re.sub(r"[（(][^）)]*[）)]", "", named[1]).strip()
                if term and term in named[1]:
                    yield "define", f"什么是“{term}”？" if chinese else f"What is {term}?", named[2].strip(), term
                continue
            for sentence in _told([line]):
                found = (_MEANS_ZH if chinese else _MEANS_EN).match(sentence)
                if found and chinese:
                    yield "define", f"什么是“{found[1]}”？", sentence, found[1]
                elif found and sentence[0].isupper() and not _VAGUE.search(found[1]) and not _HERE.search(sentence):
                    verb = "are" if found[2] == "are" else "is"
                    yield "define", f"What {verb} {found[1]}?", sentence, found[1]


# Values

_PAIR_ZH = re.compile(r"^([^：:。，；？！\s][^：:。，；？！]{0,13}?)\s*[：:]\s*(\S.*)$", re.DOTALL)
_PAIR_EN = re.compile(r"^([A-Z][\w'/()-]*(?:\s[\w'/()-]+){0,4}):\s*(\S.*)$", re.DOTALL)
_MARKS = re.compile(r"^[^\w“\"'（(【\[]+")  # an emoji before the key
_NO_KEY = re.compile(
    r"^(?:问题?\d*|Q(?:uestion)?\s?\d*|答案?\d*|A(?:nswer)?\s?\d*|注意?|说明|提示|警告|例如|比如|如|备注|Notes?|Side note|Example|Hint|Tip|Tips|Attention|"
    r"(?:在|将|把|对|从|当|如果|若|先|再|首先|然后|最后|其中|建议|记得|另外|此外|因此|所以|但|一般|通常|也就是).*|Warning|Caution|Important|Optional|Optionally|Alternatively|PS|Edit|Update|OR|.*https?)$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[。！？；，]|[.!?](?:\s|$)|[;,]\s")


def pairs(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """`key: value` lines: a short value is a fact, a sentence answers "what does it say about ..."."""
    lines = [line for block in parts if block.kind in ("text", "list", "steps") for line in _lines(block)]
    matched = [found for line in lines if (found := _pair(line, chinese))]
    counts = Counter(key.lower() for key, _ in matched)
    for key, value in matched:
        if counts[key.lower()] > 1:
            continue
        short = value.rstrip("。.；;，,")
        if short and len(short) <= (30 if chinese else 60) and not _SENTENCE.search(short):
            yield "fact", f"“{key}”一项写的是什么？" if chinese else f"What is given for “{key}”?", short, key
        elif len(value) >= 12:
            yield _about(key, value, chinese)


def _pair(line: str, chinese: bool) -> tuple[str, str] | None:
    found = (_PAIR_ZH if chinese else _PAIR_EN).match(_MARKS.sub("", line))
    if not found or _NO_KEY.match(found[1]) or found[2].startswith("//"):
        return None
    clock = found[1][-1].isdigit() and found[2][0].isdigit()  # 12:30, 1:2
    word = found[1].split()[0].lower()
    return None if clock or (not chinese and word in STOP_EN - {"for"}) else (found[1], found[2])


def cells(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """Cells of a table whose row and column have a name of their own."""
    tables = [block.cells for block in parts if block.kind == "table"]
    for head, *rows in tables:
        first = 1 if re.match(r"^(?:序号|编号|No\.?|#|ID)?$", head[0], re.IGNORECASE) and len(head) > 2 else 0
        names = Counter(row[first] for table in tables for row in table[1:] if len(row) > first)
        for row in rows:
            for column, cell in list(zip(head, row, strict=False))[first + 1 :]:
                if cell and head.count(column) == 1 and column and row[first] and names[row[first]] == 1:
                    question = (
                        f"表中“{row[first]}”的“{column}”是什么？"
                        if chinese
                        else f"In the table, what is “{column}” of “{row[first]}”?"
                    )
                    if len(cell) <= (30 if chinese else 60):
                        yield "fact", question, cell, row[first]


def _about(name: str, answer: str, chinese: bool) -> tuple[str, str, str, str]:
    return (
        "about",
        f"关于“{name}”，资料怎么说？" if chinese else f"What does the text say about “{name}”?",
        answer,
        name,
    )


# Sections


def section(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """What stands below a heading that asks, and what the paragraphs below one of several headings say."""
    sections = _sections(parts)
    for heading, below in sections.items():
        lines = [line for block in below if block.kind != "table" for line in _lines(block)]
        if _ASKS.search(heading):
            mark = "" if re.search(r"[？?]$", heading) else ("？" if chinese else "?")
            yield "faq", heading + mark, "\n".join(lines), heading
        elif len(sections) > 1 and not corpus.is_label(heading) and below[0].kind == "text":
            told = [line for block in below if block.kind == "text" for line in _lines(block)]
            ends = any(_ARTICLE.match(line) for line in told) or told[-1:] == [] or told[-1].endswith(("：", ":"))
            if not ends and len("".join(told)) >= 12 and any(re.search(r"[。！？.!?]", text) for text in told):
                yield _about(heading, "\n".join(told), chinese)


_QUESTION = re.compile(r"^(?:问题?|Q(?:uestion)?)\s*\d*\s*[：:.、]\s*(.+)$", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"^(?:答案?|A(?:nswer)?)\s*\d*\s*[：:.、]\s*(.+)$", re.IGNORECASE | re.DOTALL)


def faq(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    lines = [line for block in parts if block.kind in ("text", "list", "steps") for line in _lines(block)]
    for line, after in itertools.pairwise(lines):
        asked, told = _QUESTION.match(line), _ANSWER.match(after)
        if asked and told:
            yield "faq", asked[1].strip(), told[1].strip(), asked[1].strip()


_ARTICLE = re.compile(
    r"^(第[一二三四五六七八九十百千零〇\d]+条(?:之[一二三四五六七八九十]+)?|(?:Article|Section|§)\s*\d+[a-z]?)(?=[.:：\s【])[.:：\s]*(.{6,})$",
    re.DOTALL,
)


def article(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """An article with all its paragraphs; the last one of a passage only where nothing is missing after a colon."""
    told: dict[str, list[str]] = {}
    twice: set[str] = set()
    name = ""
    for before, block in zip([None, *parts], parts, strict=False):
        if before is not None and before.headings != block.headings:
            name = ""
        for line in _lines(block):
            if found := _ARTICLE.match(line) if block.kind in ("text", "list") else None:
                name = found[1]
                twice |= {name} & set(told)
                told[name] = [found[2].strip()]
            elif name:
                told[name].append(line)
    for name, lines in told.items():
        if name not in twice and not lines[-1].endswith(("：", ":")):
            yield "article", f"{name}怎么规定？" if chinese else f"What does {name} say?", "\n".join(lines), name


def entries(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """The entries of a list that has a name of its own: the line before it, or its heading."""
    named: list[tuple[str, Block]] = []
    for before, block in zip([None, *parts], parts, strict=False):
        if block.kind == "list":
            lead = ""
            if before is not None and before.kind == "text" and before.lines[-1].endswith(("：", ":")):
                lead = before.lines[-1].rstrip("：:").strip()
            named.append((lead if 2 <= len(lead) <= (30 if chinese else 70) else bare(block.heading), block))
    counts = Counter(name for name, _ in named)
    for name, block in named:
        lines = _lines(block)
        short = lines and max(map(len, lines)) <= (30 if chinese else 60)
        if (
            name
            and counts[name] == 1
            and not _ASKS.search(name)
            and 2 <= len(lines) <= 10
            and short
            and not any(_pair(line, chinese) for line in lines)
        ):
            yield (
                "list",
                f"“{name}”下面列出了哪些？" if chinese else f"What is listed under “{name}”?",
                "\n".join(lines),
                name,
            )


_DOING = re.compile(
    r"步|操作|流程|做法|方法|制作|过程|工序|怎么|如何|direction|instruction|step|method|procedure|preparation|how to|process|making",
    re.IGNORECASE,
)


def step(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """One entry of the passage's only numbered list; "step" where the list says that it is about doing."""
    numbered = [(before, block) for before, block in zip([None, *parts], parts, strict=False) if block.kind == "steps"]
    for before, block in numbered if len(numbered) == 1 else ():
        lead = before.lines[-1] if before is not None and before.kind == "text" else ""
        doing = bool(_DOING.search(block.heading + " " + lead[-20:]))
        for number, line in enumerate(block.lines, block.start) if len(block.lines) >= 3 else ():
            if len(line) >= 6:
                zh = f"第{number}步怎么做？" if doing else f"第{number}条写的是什么？"
                yield "step", zh if chinese else f"What is {'step' if doing else 'number'} {number}?", line, ""


# Sentences

_FUNCTION = re.compile(
    "或者|以及|因为|因此|所以|如果|但是|并且|而且|由于|对于|关于|通过|根据|按照|依照|以上|以下|可以|应当|应该|不得|不能|需要|必须|进行|其他|其它|等等|这样|那样|怎样|例如|比如|即可"
    "|然后|之后|之前|没有|一个|一些|这个|那个|自己|我们|你们|他们|时候|的|了|把|被|是|和|都|也"
)  # borders of words
_PART = "在与及或等就对从到为以于而且并但如则若有无可能会要应需将其这那此该各每个些种之所着过吗呢吧啊很更最不没让使用时后前中上下里外内即再又还只按由向给我你他她它们"  # may be, or be a part of one
_NUMERAL = re.compile(
    r"^第?[一二三四五六七八九十百千万零〇两几]+[条款项章节编步个种次年月日号元倍]?$|[一二三四五六七八九十两几][年月日次端边侧]|分钟|小时|左右"
)
STOP_EN = set(
    "a about above after again all also an and any are as at be because been before being below between both but by can could did do does "
    "doing down during each few for from further had has have having he her here hers him his how i if in into is it its itself just "
    "like make may me more most much must my need no nor not now of off on once one only or other our out over own same she should so some such than "
    "that the their them then there these they this those through to too under until up use very was we well were what when where which while "
    "who whom why will with would you your finally next first".split()
)
_UNIT = set(
    "tbsp tsp cup cups oz lb lbs ml kg min mins minutes hours teaspoon teaspoons tablespoon tablespoons ounces pounds gram grams".split()
)
_SHORT = re.compile(r"n't$|^(?:it|that|let|there|what|you|we|they|i|he|she)'", re.IGNORECASE)


def sentence(parts: Sequence[Block], chinese: bool, corpus: Corpus) -> Found:
    """The sentence that holds a term: runs of words between stop words (RAKE, Rose et al. 2010) that stand in one sentence."""
    told = _told(line for block in parts if block.kind in ("text", "list", "steps") for line in _lines(block))
    if len(told) < 3:
        return
    lower = [other.lower() for other in told]
    for whole in told:
        if len(whole) < (8 if chinese else 25) or whole.endswith(("：", ":")):
            continue
        terms = _words(whole, corpus) if chinese else _phrases(whole)
        terms = [term for term in terms if sum(term.lower() in other for other in lower) == 1]
        if terms:
            term = max(terms, key=len)
            yield "find", f"哪句话提到“{term}”？" if chinese else f"Which sentence names “{term}”?", whole, term


def _runs(line: str) -> Iterator[tuple[str, str, str]]:
    """Runs of 2 to 6 Chinese letters between stop words, with what stands before and after; "" is a border."""
    for piece in _FUNCTION.sub(" ", line).split():
        for found in re.finditer(rf"[^\W\d_a-zA-Z{_PART}]{{2,}}", piece):
            if len(found[0]) <= 6 and all("\u4e00" <= char <= "\u9fff" for char in found[0]):
                around = piece[: found.start()][-1:], piece[found.end() :][:1]
                before, after = (char if char in _PART else "" for char in around)
                yield before, found[0], after


def _words(whole: str, corpus: Corpus) -> list[str]:
    return [run for _, run, _ in _runs(whole) if corpus.is_word(run) and not _NUMERAL.search(run)]


def _phrases(whole: str) -> list[str]:
    runs: list[str] = []
    run: list[str] = []
    for word in [*re.findall(r"[A-Za-z][A-Za-z'-]+|[^\sA-Za-z]", whole), "."]:
        if word[0].isalpha() and word.lower() not in STOP_EN | _UNIT and not _SHORT.search(word):
            run.append(word)
        else:
            runs.append(" ".join(run))
            run = []
    kept = [text for text in runs if 0 < text.count(" ") < 3 or (text[:1].isupper() and len(text) >= 5)]
    return [text for text in kept if text in whole and not whole.startswith(text)]  # the first word is often a verb


RULES = (define, pairs, cells, section, faq, article, entries, step, sentence)
