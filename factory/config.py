"""domain.toml as typed sections: unknown keys are refused with a suggestion, wrong types named."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.addresses import check_address
from factory.errors import FactoryError, suggest
from factory.files import read_text


@dataclass(frozen=True)
class Synthesize:
    """A larger model writes examples about the passages; without a teacher the rules alone make them."""

    teacher: str = ""  # an OpenAI-compatible address that ends in /v1, or a .gguf file; empty: none
    model: str = ""  # the teacher's model; empty: the first that the address has
    task: str = ""  # the task that its examples belong to; empty: 'ask', else the first one about a passage
    kinds: list[str] = field(
        default_factory=list
    )  # fact, explain, scenario, judge, talk, decline, classify; empty: all
    per_passage: int = 2  # examples asked for about one passage
    most: int = 600  # examples accepted, spread over the passages
    floor: float = 30.0  # the teacher answers eval items first: below this mean score (of 100) the build stops
    floor_items: int = 40  # eval items it answers
    concurrency: int = 4  # calls at once
    max_tokens: int = 0  # tokens in and out together that a run may use, in all its stages and builds; 0: no limit
    max_money: float = 0.0  # money that a run may use, in all its stages and builds; 0: no limit
    price_in: float = 0.0  # of a million tokens in
    price_out: float = 0.0  # of a million tokens out


@dataclass(frozen=True)
class Curate:
    """What happens to examples before training sees them."""

    min_chars: int = 1  # shortest completion, in characters
    max_chars: int = 6000  # longest prompt and completion together, in characters
    mask_pii: bool = (
        True  # personal data (identity numbers, phones, e-mail, cards, plates, addresses) becomes its kind: [PHONE]
    )
    near_duplicate: float = 0.8  # similarity (of letters in order) from which questions with like answers are the same
    leak_ngram: int = 16  # length of the n-grams that are compared with the eval questions, in Latin letters; a Chinese letter counts two
    leak_share: float = (
        0.5  # a long row whose n-grams cover this much of a long eval question (or it of the row) is a leak
    )
    language_share: float = 0.3  # least share of letters that belong to the domain's language
    same_meaning: float = 0.0  # cosine from which like answers' questions mean the same, e.g. 0.93; 0: not compared
    keep: float = 1.0  # share of each task's training rows that is kept
    keep_by: str = "random"  # how: random, coverage (of meanings), difficulty (arXiv 2308.12032), or a mix of these two
    general: float = 0.0  # general questions (factory/general) trained on beside each row, so that less is forgotten: 0.1: one for ten rows
    dev_share: float = 0.06  # share of the rows kept back to choose between the SFT and the DPO adapter
    dev_most: int = 60  # at most this many rows kept back


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning of a LoRA adapter (QLoRA, arXiv 2305.14314)."""

    quantization: str = "nf4"  # nf4: 4-bit weights under the adapter (QLoRA); none: the base as it is
    learning_rate: float = 4e-4  # at its peak: linear warm-up, then down
    epochs: float = 0.0  # passes over the training rows; 0: by their number, about 1,100 rows seen in 1 to 4 passes
    task_epochs: dict[str, Any] = field(
        default_factory=dict
    )  # passes of a task's rows that need more or fewer: {ask = 3}
    batch: int = 8  # rows a step
    max_length: int = 768  # tokens; a longer row is cut by TRL
    lora_r: int = 16  # rank of the adapter
    lora_alpha: int = 32  # the adapter is scaled by lora_alpha / lora_r
    lora_dropout: float = (
        0.0  # share of the adapter's inputs dropped in training; on a CPU it costs a tenth of the time
    )
    top_layers: int = 0  # the adapter on so many of the topmost layers alone: quicker, less able; 0: on all
    save_steps: int = 25  # a checkpoint every so many steps: a killed build goes on from there
    early_stop: int = 0  # readings of the dev loss with no gain after which training ends with the best checkpoint; 0, a round, under 24 dev rows: off
    trial: int = 10  # rows learned by heart before the training, in seconds: their loss must fall; 0: no trial
    trainer: dict[str, Any] = field(default_factory=dict)  # goes to trl.SFTConfig word for word


@dataclass(frozen=True)
class Rounds:
    """What `factory build --round` does: it goes on from the adapter of the round before, on what experts said of it."""

    learning_rate: float = 5e-4  # of sft in a round; 0: as in [sft]
    epochs: int = 8  # how often sft sees an example of an expert; an earlier row is seen once
    replay: float = 10.0  # earlier training rows seen again for each example of an expert, so that they stay known


@dataclass(frozen=True)
class Weights:
    """How often the pairs of a source are seen in an epoch of DPO: 2: twice, 0.5: every other pair, 0: none."""

    own: float = 1.0  # the specialist's wrong answers beside the right ones
    expert: float = 1.0  # better answers and votes of experts (factory feedback)
    teacher: float = 0.0  # the specialist's wrong answers beside better ones of [synthesize] teacher


@dataclass(frozen=True)
class Prefer:
    """The specialist answers its own training questions; wrong answers become rejected ones."""

    max_prompts: int = 240  # training questions asked, spread over the tasks
    samples: int = 1  # answers sampled per question; the worst of them becomes the rejected one
    judge: str = "scorer"  # scorer: the task's own; teacher: [synthesize] teacher must agree, too, asked in both orders
    engine: str = "torch"  # what answers: torch, or llama (llama.cpp over the adapter as a GGUF, quicker on most CPUs; extra gguf)
    temperature: float = 0.7  # 0: greedy
    margin: float = 0.2  # the answer must score at least this much below the reference (of 0 to 1)
    min_pairs: int = 32  # fewer change nothing: DPO is left out; 8 are enough where an expert's is among them
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimization (arXiv 2305.18290) from the SFT adapter on."""

    beta: float = 0.1  # how strongly it is held to the SFT adapter: larger stays nearer
    learning_rate: float = 2e-5  # at its peak
    epochs: float = 1.0  # passes over the pairs
    batch: int = 4  # pairs a step
    max_length: int = 768  # tokens of prompt and answer
    save_steps: int = 20  # a checkpoint every so many steps
    trainer: dict[str, Any] = field(default_factory=dict)  # goes to trl.DPOConfig word for word


@dataclass(frozen=True)
class Gates:
    """What the specialist must show; the scoreboard and the report name each gate that fails, `factory release` refuses it."""

    above: list[str] = field(
        default_factory=lambda: ["base", "majority"]
    )  # clearly better on the mean than each: interval above 0
    not_below: list[str] = field(default_factory=lambda: ["ngram"])  # not worse on the mean than each
    margin: float = 5.0  # points: not worse is shown when the interval of the difference ends above minus this
    forgets: float = 10.0  # points of general ability that it may lose, by the estimate; measured by factory release
    perplexity: float = 10.0  # times that of the base on texts outside the domain, at most; measured by factory release
    seconds: float = 0.0  # most seconds an answer may take on this machine; measured by factory release; 0: no limit
    format: float = 0.9  # least share of its answers that are not empty and end by themselves


@dataclass(frozen=True)
class Evaluate:
    """How the frozen eval set is answered and judged."""

    batch: int = 32  # questions answered at once
    no_repeat_ngram: int = 0  # free answers of every model never repeat a run of so many tokens; 0: they may
    resamples: int = 2000  # bootstrap resamples behind each 95% interval
    max_items: int = 0  # eval items per task, the same sample every time; 0: all
    gates: Gates = field(default_factory=Gates)


@dataclass(frozen=True)
class Cost:
    """What an answer costs: `factory cost` measures it, the report shows it beside hosted models (prices.toml)."""

    price_per_hour: float = 0.0  # dollars for an hour of this machine, for answers and for the build; 0: not known
    answers: int = 16  # eval questions that are answered to measure it


@dataclass(frozen=True)
class App:
    """What the demo shows."""

    title: str = ""  # heading of the page; empty: the domain's title
    subtitle: str = ""  # line below it; empty: the description
    disclaimer: str = ""  # always in sight
    color: str = "indigo"  # a Gradio hue
    starters: list[str] = field(default_factory=list)  # questions to begin with


@dataclass(frozen=True)
class Export:
    """When an exported artifact counts as the trained model: each export answers the eval items, and fails past these."""

    parity_items: int = 0  # eval items per task that it answers; 0: all
    parity_points: float = (
        1.0  # the mean score may fall by so much, a task's too (or by one answer, where that is more)
    )
    parity_points_small: float = 10.0  # the same for types shorter than q8_0, which lose something
    parity_identical: float = (
        95.0  # percent of answers that must be the same, token by token; asked of f16, f32 and adapters alone
    )


@dataclass(frozen=True)
class Config:
    """One domain's settings: the top-level keys of domain.toml and its sections."""

    name: str  # the domain's folder: a-z, 0-9 and _
    title: str  # what people see
    language: str  # en or zh
    base: str  # a name of the model catalog (factory models list), or a path
    system_prompt: str = ""  # the first message of every prompt; empty: none
    description: str = ""  # one line on what it does
    license: str = ""  # of the embedded documents
    tasks: list[str] = field(default_factory=list)  # which tasks to build; empty: all
    seed: int = 0  # of every random choice
    report_to: str = "none"  # where the curves of training are shown while it runs, too
    options: dict[str, Any] = field(default_factory=dict)  # the domain's own settings
    synthesize: Synthesize = field(default_factory=Synthesize)
    curate: Curate = field(default_factory=Curate)
    sft: Sft = field(default_factory=Sft)
    prefer: Prefer = field(default_factory=Prefer)
    dpo: Dpo = field(default_factory=Dpo)
    evaluate: Evaluate = field(default_factory=Evaluate)
    rounds: Rounds = field(default_factory=Rounds)
    cost: Cost = field(default_factory=Cost)
    app: App = field(default_factory=App)
    export: Export = field(default_factory=Export)

    def of_a_round(self) -> Config:
        """These settings for a round after the first: sft has the rate of [rounds] and one pass (factory.rounds.as_often)."""
        rate = self.rounds.learning_rate or self.sft.learning_rate
        sft = dataclasses.replace(self.sft, learning_rate=rate, epochs=1.0, task_epochs={})
        return dataclasses.replace(self, sft=sft)

    def section(self, name: str) -> dict[str, Any]:
        """A section (or a top-level value) as plain data, as manifests keep it."""
        value = getattr(self, name)
        return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


_RANGES: dict[str, tuple[float, float]] = {
    "synthesize.per_passage": (1, 100), "synthesize.most": (0, 1e7), "synthesize.floor": (0, 100), "synthesize.floor_items": (1, 1e6),
    "synthesize.concurrency": (1, 1000), "synthesize.max_tokens": (0, 1e12), "synthesize.max_money": (0, 1e9),
    "synthesize.price_in": (0, 1e6), "synthesize.price_out": (0, 1e6),
    "curate.near_duplicate": (0.05, 1), "curate.language_share": (0, 1), "curate.dev_share": (0, 0.5),
    "curate.leak_ngram": (4, 1000), "curate.leak_share": (0.01, 1), "curate.min_chars": (0, 1e6),
    "curate.max_chars": (1, 1e9), "curate.dev_most": (0, 1e6), "curate.same_meaning": (0, 1), "curate.keep": (1e-6, 1), "curate.general": (0, 10),
    "sft.learning_rate": (1e-9, 1), "sft.epochs": (0, 1000), "sft.batch": (1, 4096), "sft.max_length": (16, 1 << 20),
    "sft.lora_r": (1, 1024), "sft.lora_alpha": (1, 4096), "sft.lora_dropout": (0, 0.99), "sft.top_layers": (0, 1000), "sft.save_steps": (1, 1e9),
    "sft.early_stop": (0, 1e6), "sft.trial": (0, 1000),
    "prefer.samples": (1, 100), "prefer.temperature": (0, 5), "prefer.max_prompts": (1, 1e6), "prefer.margin": (0, 1), "prefer.min_pairs": (1, 1e6),
    "rounds.learning_rate": (0, 1), "rounds.epochs": (1, 1000), "rounds.replay": (0, 1000),
    "prefer.weights.own": (0, 100), "prefer.weights.expert": (0, 100), "prefer.weights.teacher": (0, 100),
    "dpo.beta": (1e-6, 100), "dpo.learning_rate": (1e-9, 1), "dpo.epochs": (1e-6, 1000), "dpo.batch": (1, 4096),
    "dpo.max_length": (16, 1 << 20), "dpo.save_steps": (1, 1e9),
    "evaluate.batch": (1, 4096), "evaluate.no_repeat_ngram": (0, 100), "evaluate.resamples": (100, 1e6), "evaluate.max_items": (0, 1e6),
    "evaluate.gates.margin": (0, 100), "evaluate.gates.forgets": (0, 100), "evaluate.gates.perplexity": (1, 1e9), "evaluate.gates.seconds": (0, 1e5), "evaluate.gates.format": (0, 1),
    "cost.price_per_hour": (0, 1e6), "cost.answers": (1, 1e6),
    "export.parity_items": (0, 1e6), "export.parity_points": (0, 100), "export.parity_points_small": (0, 100), "export.parity_identical": (0, 100),
}  # fmt: skip
_CHOICES = {
    "language": ("en", "zh"),
    "report_to": ("none", "trackio", "tensorboard"),
    "curate.keep_by": ("random", "coverage", "difficulty", "mix"),
    "sft.quantization": ("nf4", "none"),
    "synthesize.kinds": ("fact", "explain", "scenario", "judge", "talk", "decline", "classify"),
    "prefer.judge": ("scorer", "teacher"),
    "prefer.engine": ("torch", "llama"),
    "evaluate.gates.above": ("base", "ngram", "majority"),
    "evaluate.gates.not_below": ("base", "ngram", "majority"),
}


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read domain.toml, apply `section.key=value` overrides, check every key, type and range."""
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FactoryError(f"{path} is not TOML: {error}.", "Mend that line.") from error
    for override in overrides or []:
        _override(data, override)
    config = typing.cast(Config, _typed(Config, data, where=str(path), prefix=""))
    if not re.fullmatch(r"[a-z][a-z0-9_]*", config.name):
        raise FactoryError(f"{path}: name = '{config.name}' is no identifier.", "Use a-z, 0-9 and _, a letter first.")
    return config


def config_of(data: dict[str, Any]) -> Config:
    """The settings that `dataclasses.asdict` made plain data of, checked as those of a file."""
    return typing.cast(Config, _typed(Config, data, where="the settings", prefix=""))


def curate_settings(overrides: list[str]) -> Curate:
    """The section [curate] from `curate.key=value` alone, for rows that belong to no domain."""
    data: dict[str, Any] = {}
    for override in overrides:
        _override(data, override)
    if unknown := [key for key in data if key != "curate"]:
        raise FactoryError(f"--set {unknown[0]}: only curate.KEY counts here.", "Example: --set curate.max_chars=9000")
    return typing.cast(Curate, _typed(Curate, data.get("curate", {}), where="--set", prefix="curate."))


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise FactoryError(f"--set {text} is not key=value.", "Example: --set sft.learning_rate=1e-4")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise FactoryError(f"--set {text}: {section} is no section.", "Example: --set sft.epochs=1")
    data[last] = value


def _typed(kind: type, data: dict[str, Any], where: str, prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            raise FactoryError(f"{where}: unknown key '{prefix}{key}'.", suggest(key, hints))
        values[key] = _value(hints[key], value, where, prefix + key)
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    for name in required:
        if name not in values:
            raise FactoryError(f"{where}: '{prefix}{name}' is missing.", f"Add a line: {name} = ...")
    return kind(**values)


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise FactoryError(f"{where}: '{key}' must be a section.", f"Write [{key}] and keys below it.")
        return _typed(typing.cast(type, hint), value, where, key + ".")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    plain = typing.get_origin(hint) or hint
    if isinstance(plain, types.UnionType) or not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise FactoryError(f"{where}: '{key}' must be {plain.__name__}, not {value!r}.", "See docs/config.md.")
    if typing.get_args(hint) == (str,) and not all(isinstance(entry, str) for entry in value):
        raise FactoryError(f"{where}: '{key}' must be a list of texts.", "See docs/config.md.")
    if key == "synthesize.teacher":
        check_address(value)
    if key == "sft.task_epochs":
        for task, passes in value.items():
            _value(float, passes, where, f"sft.task_epochs.{task}")
            if not 0 <= passes <= 1000:
                raise FactoryError(f"{where}: {key}.{task} = {passes} is out of range.", "Between 0 and 1000.")
    low, high = _RANGES.get(key, (float("-inf"), float("inf")))
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise FactoryError(f"{where}: {key} = {value} is out of range.", f"Between {low:g} and {high:g}.")
    for entry in value if isinstance(value, list) else [value]:
        if key in _CHOICES and entry not in _CHOICES[key]:
            raise FactoryError(f"{where}: {key} = '{entry}' is not known.", suggest(str(entry), _CHOICES[key]))
    return value
