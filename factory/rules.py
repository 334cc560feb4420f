"""Questions by rule from the structure of passages: no teacher, no network, every answer stands in the text.

Nearly all of them are asked about a passage that stands in the question, so that an eval set can be drafted from passages
which training never sees. Some are asked about a passage that does not answer them: the specialist learns to say so.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from factory.domain import Task
from factory.records import Passage
from factory.structure import Block, blocks, sentences

SILENT = {"zh": "资料中没有提到。", "en": "The text does not say."}
SILENT_EVERY = 7  # one question of so many is asked about a passage that does not answer it
EACH = 2  # questions of one task about one passage, at most
_LONGEST = {"zh": 160, "en": 320}  # letters of an answer
_ROOM = {"zh": 560, "en": 1100}  # letters of passage and question
_READ = {
    "zh": "请根据资料回答问题，资料里没有的就说资料中没有提到。\n\n{input}",
    "en": "Answer from the text. If the text does not say, say so.\n\n{input}",
}
ABOUT = {"zh": "资料：\n{passage}\n\n问题：{question}", "en": "Text:\n{passage}\n\nQuestion: {question}"}


def tasks(language: str, sources: Sequence[str] = ()) -> list[Task]:
    """Every task that the rules know, in one language; `sources` are the labels of the task `source`."""
    reading = [
        ("define", ("什么是……？", "What is ...?"), "rouge_l", 128),
        ("fact", ("条目和表格里的值", "Values in entries and tables"), "token_f1", 48),
        ("about", ("关于……怎么说", "What it says about ..."), "rouge_l", 128),
        ("faq", ("常见问题", "Frequent questions"), "rouge_l", 128),
        ("article", ("第几条怎么规定", "What an article says"), "rouge_l", 128),
        ("list", ("列出各项", "List the entries"), "set_f1", 128),
        ("step", ("第几步怎么做", "What a step says"), "rouge_l", 128),
        ("find", ("哪句话提到……", "Which sentence names ..."), "rouge_l", 128),
    ]
    chosen = language == "zh"
    made = [
        Task(name, title[0 if chosen else 1], scorer, _READ[language], max_new_tokens=length, about=ABOUT[language])
        for name, title, scorer, length in reading
    ]
    heading = "给下面这段文字拟一个小标题：\n\n{input}" if chosen else "Give this text a short heading:\n\n{input}"
    made.append(Task("heading", "拟小标题" if chosen else "Give a heading", "rouge_l", heading, max_new_tokens=24))
    if sources:
        ask = "下面这段文字出自哪份资料？" if chosen else "Which document is this text from?"
        title = "出自哪份资料" if chosen else "Which document"
        made.append(Task("source", title, "choice", ask + "\n\n{input}", tuple(sources), max_new_tokens=24))
    return made


@dataclass(frozen=True)
class Asked:
    """A question about a passage; `cue` are the words without which a text cannot answer it."""

    task: str
    passage: Passage
    question: str
    answer: str
    cue: str = ""
    number: int = 0  # counts the questions of one task about one passage

    @property
    def input(self) -> str:
        """What goes into the task's template."""
        if self.task in ("heading", "source"):
            return self.question
        return ABOUT[self.passage.language].format(passage=self.passage.text, question=self.question)


def ask(passages: Sequence[Passage], active: Iterable[Task], most: int) -> list[Asked]:
    """At most `most` questions about the passages, spread evenly over the active tasks; the same ones every time."""
    names = {task.name: task for task in active}
    found: dict[str, list[Asked]] = defaultdict(list)
    for passage in passages:
        per_task: dict[str, list[Asked]] = defaultdict(list)
        for asked in _about(passage, names):
            if asked.task in names and asked.answer.strip() and len(asked.input) <= _ROOM[passage.language]:
                per_task[asked.task].append(asked)
        for name, rows in per_task.items():
            found[name] += sorted(rows, key=_mark)[:EACH]
    for name, rows in found.items():
        found[name] = sorted((_elsewhere(row, passages) for row in rows), key=_mark)
    return _numbered(_spread(found, most))


def _mark(asked: Asked) -> str:
    return hashlib.sha256(f"{asked.passage.id}/{asked.task}/{asked.question}".encode()).hexdigest()


def _spread(found: dict[str, list[Asked]], most: int) -> list[Asked]:
    """One of each task in turn until `most` are there."""
    queues = {name: list(reversed(rows)) for name, rows in sorted(found.items())}
    taken: list[Asked] = []
    while queues and len(taken) < most:
        for name in list(queues):
            if not queues[name]:
                del queues[name]
            elif len(taken) < most:
                taken.append(queues[name].pop())
    return taken


def _numbered(rows: Iterable[Asked]) -> list[Asked]:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    made = []
    for row in rows:
        made.append(replace(row, number=counts[row.passage.id, row.task]))
        counts[row.passage.id, row.task] += 1
    return made


def _elsewhere(asked: Asked, passages: Sequence[Passage]) -> Asked:
    """One question in `SILENT_EVERY` moves to a passage that lacks its cue: there the text does not say."""
    mark = int(_mark(asked)[:12], 16)
    if not asked.cue or mark % SILENT_EVERY:
        return asked
    for step in range(1, 9):
        other = passages[(mark // SILENT_EVERY + step * 7) % len(passages)]
        moved = replace(asked, passage=other, answer=SILENT[other.language])
        if asked.cue.lower() not in other.text.lower() and len(moved.input) <= _ROOM[other.language]:
            return moved
    return asked


# The rules


def _about(passage: Passage, names: dict[str, Task]) -> Iterator[Asked]:
    parts = blocks(passage.text)
    chinese = passage.language == "zh"
    longest = _LONGEST[passage.language]
    for rule in (_define, _fact, _faq, _article, _list, _step, _section, _find):
        for task, question, answer, cue in rule(parts, chinese):
            answer = answer if task == "list" else " ".join(answer.split())
            if len(answer) <= longest:
                yield Asked(task, passage, question, answer, cue)
    yield from _whole(passage, parts, names)


Found = Iterator[tuple[str, str, str, str]]  # task, question, answer, cue
_MEANS_ZH = re.compile(
    r"^([^，。：；、？！“”（）()\s这那它其此该本如若因由所不]{2,12}?)(?:[（(][^）)]*[）)])?，?(?:是指|指的是|是一种|是一类|是一项|指(?![示导定挥出向]))(?=.{6})"
)
_MEANS_EN = re.compile(
    r"^(?:(?:A|An|The)\s+)?((?!(?:It|This|That|These|Those|There|They|He|She|You|We|I|If|When|What|Here|Each|All|One|Some|Most|Many)\b)"
    r"[A-Za-z][\w'-]*(?:\s+[\w'-]+){0,3}?)\s+(?:is|are|means|refers to|denotes)\s+(?:an?|the|any|every|one|those)\s+(?!must\b|lot\b|bit\b|few\b)\w+"
)
_TERM = re.compile(r"^【([^】]{1,20})】(.{8,})", re.DOTALL)


def _define(parts: list[Block], chinese: bool) -> Found:
    for block in parts:
        if block.kind not in ("text", "list"):
            continue
        for line in block.lines:
            if named := _TERM.match(line):
                term = re.sub(r"[（(][^）)]*[）)]", "", named[1]).strip()
                yield _define_row(term, named[2].strip(), chinese)
                continue
            for sentence in sentences(line):
                found = (_MEANS_ZH if chinese else _MEANS_EN).match(sentence.strip())
                if found:
                    yield _define_row(found[1], sentence.strip(), chinese)


def _define_row(term: str, answer: str, chinese: bool) -> tuple[str, str, str, str]:
    return "define", f"什么是“{term}”？" if chinese else f"What is {term}?", answer, term


_PAIR_ZH = re.compile(r"^([^：。，；？！]{1,14})[：:]\s*(\S.*)$", re.DOTALL)
_PAIR_EN = re.compile(r"^([A-Z][\w'/()-]*(?:\s[\w'/()-]+){0,4}):\s+(\S.*)$", re.DOTALL)
_ASKED = re.compile(r"^(?:问题?|Q(?:uestion)?|答案?|A(?:nswer)?|注意?|说明|例如|如|Note|Example)$", re.IGNORECASE)


def _fact(parts: list[Block], chinese: bool) -> Found:
    """Short values of `key: value` lines and of table cells; a long value answers "what does it say about ..."."""
    for block in parts:
        if block.kind == "table":
            yield from _cells(block, chinese)
        if block.kind not in ("text", "list", "steps"):
            continue
        for line in block.lines:
            pair = (_PAIR_ZH if chinese else _PAIR_EN).match(line)
            if not pair or _ASKED.match(pair[1].strip()):
                continue
            key, value = pair[1].strip(), pair[2].strip()
            if len(value) <= (30 if chinese else 60):
                of = f"{block.heading}的“{key}”" if block.heading else f"“{key}”"
                yield "fact", f"{of}是什么？" if chinese else f"What is given for “{key}”?", value, key
            else:
                yield _about_row(key, value, chinese)


def _cells(block: Block, chinese: bool) -> Found:
    head, *rows = block.cells
    for row in rows:
        for column, cell in list(zip(head, row, strict=False))[1:]:
            if cell and column and row[0] and len(cell) <= 60:
                question = (
                    f"表中“{row[0]}”的“{column}”是什么？"
                    if chinese
                    else f"In the table, what is “{column}” of “{row[0]}”?"
                )
                yield "fact", question, cell, row[0]


def _about_row(key: str, value: str, chinese: bool) -> tuple[str, str, str, str]:
    question = f"关于“{key}”，资料怎么说？" if chinese else f"What does the text say about “{key}”?"
    return "about", question, value, key


def _section(parts: list[Block], chinese: bool) -> Found:
    """What stands below one of several headings."""
    headings = list(dict.fromkeys(block.heading for block in parts if block.heading))
    for heading in headings if len(headings) > 1 else ():
        text = "\n".join(line for block in parts if block.heading == heading for line in block.lines)
        if re.search(r"[？?]$", heading):
            yield "faq", heading, text, heading
        elif len(text) >= 10:
            yield _about_row(heading, text, chinese)


_QUESTION = re.compile(r"^(?:\*\*)?(?:问题?|Q(?:uestion)?)\s*\d*\s*[：:.、]\s*(.+)$", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"^(?:\*\*)?(?:答案?|A(?:nswer)?)\s*\d*\s*[：:.、]\s*(.+)$", re.IGNORECASE | re.DOTALL)


def _faq(parts: list[Block], chinese: bool) -> Found:
    lines = [line for block in parts if block.kind in ("text", "list") for line in block.lines]
    for line, after in zip(lines, lines[1:], strict=False):
        asked, told = _QUESTION.match(line), _ANSWER.match(after)
        if asked and told:
            yield "faq", asked[1].strip(), told[1].strip(), asked[1].strip()
    headings = list(dict.fromkeys(block.heading for block in parts if block.heading))
    if len(headings) == 1 and re.search(r"[？?]$", headings[0]):
        yield "faq", headings[0], " ".join(lines), headings[0]


_ARTICLE = re.compile(
    r"^(第[一二三四五六七八九十百千零〇\d]+条(?:之[一二三四五六七八九十]+)?|(?:Article|Section|§)\s*\d+[a-z]?)[.:：\s]\s*(.{6,})$",
    re.DOTALL,
)


def _article(parts: list[Block], chinese: bool) -> Found:
    for block in parts:
        for line in block.lines if block.kind in ("text", "list") else ():
            if found := _ARTICLE.match(line):
                question = f"{found[1]}怎么规定？" if chinese else f"What does {found[1]} say?"
                yield "article", question, found[2].strip(), found[1]


def _list(parts: list[Block], chinese: bool) -> Found:
    for before, block in zip([None, *parts], parts, strict=False):
        if (
            block.kind != "list"
            or not 2 <= len(block.lines) <= 10
            or max(map(len, block.lines)) > (30 if chinese else 60)
        ):
            continue
        lead = ""
        if before is not None and before.kind == "text" and re.search(r"[：:]$", before.lines[-1]):
            lead = before.lines[-1].rstrip("：:").strip()
        name = lead if 2 <= len(lead) <= (30 if chinese else 70) else block.heading
        if name and not any(_PAIR_ZH.match(line) for line in block.lines):
            question = f"“{name}”下面列出了哪些？" if chinese else f"What is listed under “{name}”?"
            yield "list", question, "\n".join(block.lines), name


def _step(parts: list[Block], chinese: bool) -> Found:
    for block in parts:
        if block.kind == "steps" and len(block.lines) >= 3 and sum(b.kind == "steps" for b in parts) == 1:
            for number, line in enumerate(block.lines, 1):
                if len(line) >= 6:
                    yield "step", f"第{number}步怎么做？" if chinese else f"What is step {number}?", line, ""


def _find(parts: list[Block], chinese: bool) -> Found:
    """The sentence that holds a term: runs of words between stop words (RAKE, Rose et al. 2010) that stand in one sentence."""
    lines = [line for block in parts if block.kind in ("text", "list", "steps") for line in block.lines]
    told = [part.strip() for line in lines for part in sentences(line)]
    told = [part for part in told if len(part) >= (8 if chinese else 25)]
    if len(told) < 3:
        return
    for sentence in told:
        terms = [
            term for term in _terms(sentence, chinese) if sum(term.lower() in other.lower() for other in told) == 1
        ]
        if terms:
            term = max(terms, key=len)
            question = f"哪句话提到“{term}”？" if chinese else f"Which sentence names “{term}”?"
            yield "find", question, sentence, term


_STOP_ZH = "的了是在和与及或等也都就把被对从到为以于而且并但如则若有无可能会要应需将其这那此该各每个些种之所着过吗呢吧啊很更最不没让使用时后前中上下里外内即再又还只按由向给自己我你他她它们"
_STOP_EN = set(  # noqa: SIM905
    "a about above after again all also an and any are as at be because been before being below between both but by can could did do does "
    "doing down during each few for from further had has have having he her here hers him his how i if in into is it its itself just "
    "like make may me more most much must my need no nor not now of off on once one only or other our out over own same she should so some such than "
    "that the their them then there these they this those through to too under until up use very was we well were what when where which while "
    "who whom why will with would you your".split()
)


def _terms(sentence: str, chinese: bool) -> list[str]:
    if chinese:
        runs = re.split(rf"[^\u4e00-\u9fff]|[{_STOP_ZH}]", sentence)
        return [run for run in runs if 2 <= len(run) <= 6]
    runs, run = [], []
    for word in [*re.findall(r"[A-Za-z][A-Za-z'-]+|[^\sA-Za-z]", sentence), "."]:
        if word[0].isalpha() and word.lower() not in _STOP_EN:
            run.append(word)
        else:
            runs.append(" ".join(run))
            run = []
    return [text for text in runs if len(text) >= 5 and text.count(" ") < 3]


def _whole(passage: Passage, parts: list[Block], names: dict[str, Task]) -> Iterator[Asked]:
    """The heading of a passage, and the document it is from: both from the text without headings."""
    body = "\n\n".join(block.markdown() for block in parts)
    headings = {block.heading for block in parts}
    if len(body) < 60:
        return
    if len(headings) == 1 and 2 <= len(heading := headings.pop()) <= (20 if passage.language == "zh" else 60):
        yield Asked("heading", passage, body, heading)
    if "source" in names and passage.title in names["source"].choices:
        yield Asked("source", passage, body, passage.title)
