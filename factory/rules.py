"""Questions by rule from the structure of passages: no teacher, no network, every answer stands in the text.

Nearly all of them are asked about a passage that stands in the question, so that an eval set can be drafted from passages
which training never sees. Some are asked about a passage that does not answer them: the specialist learns to say so.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from factory.domain import Task
from factory.questions import RULES, Corpus, bare, corpus_of
from factory.records import Passage
from factory.structure import Block, blocks
from factory.text import squeeze

SILENT = {"zh": "资料中没有提到。", "en": "The text does not say."}
SILENT_EVERY = 7  # one question of so many is asked about a passage that does not answer it
EACH = 2  # questions of one task about one passage, at most; of articles all
_LONGEST = {"zh": 160, "en": 320}  # letters of an answer
_ROOM = {"zh": 560, "en": 1100}  # letters of passage and question
_READ = {
    "zh": "请根据资料回答问题，资料里没有的就说资料中没有提到。\n\n{input}",
    "en": "Answer from the text. If the text does not say, say so.\n\n{input}",
}
ABOUT = {"zh": "资料：\n{passage}\n\n问题：{question}", "en": "Text:\n{passage}\n\nQuestion: {question}"}


def reading(passage: str, question: str, language: str) -> str:
    """A question as every reading task puts it: the passage, then what is asked of it."""
    return _READ[language].format(input=ABOUT[language].format(passage=passage, question=question))


def tasks(language: str, sources: Sequence[str] = ()) -> list[Task]:
    """Every task that the rules know, in one language; `sources` are the labels of the task `source`.

    No rule asks the questions of the task `ask`: a teacher writes them.
    """
    reading = [
        ("define", ("什么是……？", "What is ...?"), "rouge_l", 128),
        ("fact", ("条目和表格里的值", "Values in entries and tables"), "token_f1", 48),
        ("about", ("关于……怎么说", "What it says about ..."), "rouge_l", 128),
        ("faq", ("常见问题", "Frequent questions"), "rouge_l", 128),
        ("article", ("第几条怎么规定", "What an article says"), "rouge_l", 128),
        ("list", ("列出各项", "List the entries"), "set_f1", 128),
        ("step", ("第几步怎么做", "What a step says"), "rouge_l", 128),
        ("find", ("哪句话提到……", "Which sentence names ..."), "rouge_l", 128),
        ("ask", ("老师模型出的问题", "What a teacher asks"), "rouge_l", 160),
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
    corpus = corpus_of((passage.document, _parts(passage.text)) for passage in passages)
    bare_texts = [squeeze(passage.text) for passage in passages]
    found: dict[str, dict[str, Asked]] = defaultdict(dict)  # by input: no question stands twice
    for passage in passages:
        per_task: dict[str, list[Asked]] = defaultdict(list)
        for asked in _found(passage, names, corpus):
            if len(asked.input) <= _ROOM[passage.language]:
                per_task[asked.task].append(asked)
        for name, rows in per_task.items():
            for row in sorted(rows, key=_mark)[: None if name == "article" else EACH]:
                row = _elsewhere(row, passages, bare_texts)
                found[name].setdefault(row.input, row)
    return _numbered(_spread({name: sorted(rows.values(), key=_mark) for name, rows in found.items()}, most))


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


def _elsewhere(asked: Asked, passages: Sequence[Passage], bare_texts: Sequence[str]) -> Asked:
    """One question in `SILENT_EVERY` moves to a passage that lacks its cue: there the text does not say."""
    mark = int(_mark(asked)[:12], 16)
    if not asked.cue or mark % SILENT_EVERY:
        return asked
    for step in range(1, 9):
        place = (mark // SILENT_EVERY + step * 7) % len(passages)
        moved = replace(asked, passage=passages[place], answer=SILENT[passages[place].language])
        if squeeze(asked.cue) not in bare_texts[place] and len(moved.input) <= _ROOM[moved.passage.language]:
            return moved
    return asked


# The rules

_parts = functools.lru_cache(maxsize=5000)(blocks)  # new-domain asks several times about the same passages


def _found(passage: Passage, names: dict[str, Task], corpus: Corpus) -> list[Asked]:
    """Every question about a passage whose answer stands in it word for word."""
    parts = _parts(passage.text)
    longest = _LONGEST[passage.language]
    made = [
        Asked(task, passage, question, answer, cue)
        for rule in RULES
        for task, question, answer, cue in rule(parts, passage.language == "zh", corpus)
        if len(answer) <= longest and all(line in passage.text for line in [cue, *answer.split("\n")])
    ]
    kept = [*made, *_whole(passage, parts, names, corpus)]
    return [asked for asked in kept if asked.task in names and asked.answer.strip()]


def _whole(passage: Passage, parts: list[Block], names: dict[str, Task], corpus: Corpus) -> Iterator[Asked]:
    """The heading of a passage, and the document it is from: both from the text without headings."""
    body = "\n\n".join(block.markdown() for block in parts)
    if len(body) < 60:
        return
    headings = {bare(block.heading) for block in parts}
    heading = headings.pop() if len(headings) == 1 else ""
    if 2 <= len(heading) <= (20 if passage.language == "zh" else 60) and not corpus.is_label(heading):
        yield Asked("heading", passage, body, heading)
    if "source" in names and passage.title in names["source"].choices:
        yield Asked("source", passage, body, passage.title)
