"""Batched answers of a loaded model; decoding is held to a task's labels where it has any."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.domain import Task
from factory.hardware import trim_memory
from factory.progress import Progress
from factory.records import Message

if TYPE_CHECKING:
    import torch

Trie = dict[int, "Trie"]


@dataclass(frozen=True)
class Question:
    """What one model is asked: the messages, and the task that bounds the answer (None: free text)."""

    prompt: list[Message]
    task: Task | None = None

    @property
    def max_new_tokens(self) -> int:
        return self.task.max_new_tokens if self.task else 256


@dataclass(frozen=True)
class Answer:
    """The text of an answer; `truncated` when the token limit ended it; the tokens written, the one that ended it included.

    `bare`: what came back had not the form that was asked for, so that there is no answer and the text is empty.
    """

    text: str
    truncated: bool = False
    tokens: tuple[int, ...] = ()
    bare: bool = field(default=False, kw_only=True)


def stop_ids(tokenizer: Any, stop: Sequence[str]) -> list[int]:
    """Ids of the tokens that end an answer: the tokenizer's own end and the catalog's."""
    ids = [tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(token) for token in stop)]
    return sorted({token for token in ids if token is not None and token != tokenizer.unk_token_id})


def answer(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    batch: int = 16,
    stop: Sequence[str] = (),
    temperature: float = 0.0,
    no_repeat_ngram: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    keep: Callable[[list[tuple[Question, Answer]]], None] | None = None,
) -> list[Answer]:
    """Answer every question, in order; greedy at temperature 0. `keep` is given each batch as it is answered.

    `no_repeat_ngram`: a free answer repeats no run of so many tokens, its own or the question's (0: it may). It keeps small
    models out of loops.
    """
    import torch

    texts = [tokenizer.apply_chat_template(q.prompt, tokenize=False, add_generation_prompt=True) for q in questions]
    found: list[Answer] = [Answer("")] * len(questions)
    model.eval()
    torch.manual_seed(seed)
    done = 0
    for rows in _batches(questions, texts, batch):
        question = questions[rows[0]]
        tick = _Tick(progress, done, len(rows), question.max_new_tokens)
        answers = _answer_batch(
            model, tokenizer, [texts[row] for row in rows], question, stop, temperature, no_repeat_ngram, tick
        )
        for row, text in zip(rows, answers, strict=True):
            found[row] = text
        if keep:
            keep([(questions[row], found[row]) for row in rows])
        done += len(rows)
        trim_memory()  # a cache of keys and values that grows by a token leaves holes of every size
        if progress:
            progress.at(done)
    return found


def _batches(questions: Sequence[Question], texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Rows with one answer limit and the same labels together, of near lengths: full batches, little padding."""

    def bound(row: int) -> tuple[int, tuple[str, ...], str]:
        task = questions[row].task
        return questions[row].max_new_tokens, task.choices if task else (), task.separator if task else ""

    order = sorted(range(len(texts)), key=lambda row: (bound(row), len(texts[row])))
    for _, alike in itertools.groupby(order, key=bound):
        rows = list(alike)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _answer_batch(
    model: Any,
    tokenizer: Any,
    texts: list[str],
    question: Question,
    stop: Sequence[str],
    temperature: float,
    no_repeat: int,
    tick: _Tick,
) -> list[Answer]:
    import torch

    tokenizer.padding_side = "left"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    inputs.pop("token_type_ids", None)
    width = inputs["input_ids"].shape[1]
    ends = stop_ids(tokenizer, stop)
    extra: dict[str, Any] = {"do_sample": False, "stopping_criteria": [tick]}
    if temperature > 0:
        extra |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    if question.task and question.task.choices:
        extra["prefix_allowed_tokens_fn"] = Constraint(tokenizer, question.task, width, ends)
    else:
        extra["no_repeat_ngram_size"] = no_repeat
    with torch.inference_mode():
        output = model.generate(
            **inputs, max_new_tokens=question.max_new_tokens, eos_token_id=ends, pad_token_id=ends[0], **extra
        )
    return [_read(tokenizer, row[width:].tolist(), ends) for row in output]


class _Tick:
    """Stops nothing: tells the progress after each token of a batch, as long ones take a minute."""

    def __init__(self, progress: Progress | None, done: int, rows: int, most: int) -> None:
        self.progress, self.done, self.rows, self.most = progress, done, rows, most
        self.tokens = 0

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        import torch

        self.tokens += 1
        if self.progress:
            self.progress.at(self.done + self.rows * self.tokens / self.most)
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)


def _read(tokenizer: Any, tokens: list[int], ends: list[int]) -> Answer:
    cut = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = tokenizer.decode(tokens[:cut] if cut is not None else tokens, skip_special_tokens=True)
    return Answer(text.strip(), cut is None, tuple(tokens if cut is None else tokens[: cut + 1]))


class Constraint:
    """Which tokens may come next so that the answer stays one of the task's labels (or several, with a separator)."""

    def __init__(self, tokenizer: Any, task: Task, width: int, ends: list[int]) -> None:
        self.width, self.ends = width, ends
        self.first, self.more = label_tries(task, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])

    def __call__(self, _row: int, ids: torch.Tensor) -> list[int]:
        node = self.first
        for token in ids[self.width :].tolist():
            if token in self.ends:
                return self.ends[:1]
            if token in node:
                node = node[token]
            elif END in node and token in self.more:
                node = self.more[token]
            else:
                return self.ends[:1]
        allowed = [token for token in node if token != END]
        if END in node:
            allowed += self.ends + list(self.more)
        return allowed


END = -1  # in a trie: a label may end here


def label_tries(task: Task, encode: Callable[[str], list[int]]) -> tuple[Trie, Trie]:
    """The tokens of a task's labels, and of the separator with a further label (empty: one label only)."""
    first: Trie = {}
    more: Trie = {}
    for label in task.choices:
        head = encode(label)
        _insert(first, head)
        if task.separator:
            _insert(more, encode(label + task.separator + label)[len(head) :])
    return first, more


def _insert(trie: Trie, tokens: list[int]) -> None:
    for token in tokens:
        trie = trie.setdefault(token, {})
    trie[END] = {}
