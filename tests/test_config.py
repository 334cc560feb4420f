"""domain.toml: what is wrong is named, with the nearest right thing; every key is documented."""

from __future__ import annotations

import dataclasses
import operator
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from factory.config import _CHOICES, _RANGES, Config, load_config
from factory.errors import FactoryError

MINIMAL = 'name = "toy"\ntitle = "Toy"\nlanguage = "en"\nbase = "b"\n'


def load(text: str = "", *overrides: str) -> Config:
    path = Path("domain.toml")
    path.write_text(MINIMAL + text, encoding="utf-8")
    return load_config(path, list(overrides))


def keys(kind: type = Config, prefix: str = "") -> dict[str, str]:
    """Every dotted key and its annotation."""
    found = {}
    for field in dataclasses.fields(kind):
        section = field.default_factory
        if isinstance(section, type) and dataclasses.is_dataclass(section):
            found |= keys(section, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = str(field.type)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "domains").glob("*/domain.toml")), ids=lambda path: path.parent.name)
def test_every_shipped_domain_loads(path: Path) -> None:
    assert load_config(path).name == path.parent.name


def test_defaults_and_integers_for_floats() -> None:
    config = load("[sft]\nepochs = 3\n[options]\nany = [1]\n")
    assert config.sft.epochs == 3.0 and isinstance(config.sft.epochs, float)
    assert config.options == {"any": [1]} and config.curate.near_duplicate == 0.8 and config.tasks == []


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("titel = 'x'", "unknown key 'titel'", "'title'"),
        ("[sft]\nlerning_rate = 1", "unknown key 'sft.lerning_rate'", "'learning_rate'"),
        ("[stf]\nepochs = 1", "unknown key 'stf'", "'sft'"),
        ("[sft]\nepochs = '3'", "'sft.epochs' must be float, not '3'", "config.md"),
        ("[sft]\nepochs = true", "'sft.epochs' must be float", "config.md"),
        ("[sft]\nbatch = 1.5", "'sft.batch' must be int", "config.md"),
        ("[sft]\nbatch = true", "'sft.batch' must be int", "config.md"),
        ("tasks = 'topic'", "'tasks' must be list", "config.md"),
        ("tasks = [1]", "'tasks' must be a list of texts", "config.md"),
        ("sft = 3", "'sft' must be a section", "[sft]"),
        ("[sft]\nepochs = -1", "sft.epochs = -1.0 is out of range", "1000"),
        ("[sft]\ntask_epochs = {fact = 'x'}", "'sft.task_epochs.fact' must be float", "config.md"),
        ("[sft]\ntask_epochs = {fact = -1}", "sft.task_epochs.fact = -1 is out of range", "1000"),
        ("[sft]\nepochs = nan", "sft.epochs = nan is out of range", "1000"),
        ("[curate]\nlanguage_share = 1.1", "curate.language_share = 1.1 is out of range", "Between 0 and 1"),
        ("[evaluate]\nmax_items = -1", "evaluate.max_items = -1 is out of range", "Between 0"),
        ("[prefer]\nmin_pairs = 0", "prefer.min_pairs = 0 is out of range", "Between 1"),
        ("[sft]\nquantization = 'nf5'", "sft.quantization = 'nf5' is not known", "'nf4'"),
        ("[sft\n", "is not TOML", "Mend"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str, hint: str) -> None:
    with pytest.raises(FactoryError) as caught:
        load(text)
    assert said in caught.value.message and "domain.toml" in caught.value.message
    assert hint in caught.value.hint


def test_missing_key_and_bad_name() -> None:
    Path("domain.toml").write_text('name = "toy"\ntitle = "T"\nlanguage = "en"\n')
    with pytest.raises(FactoryError, match="'base' is missing"):
        load_config(Path("domain.toml"))
    with pytest.raises(FactoryError, match="is no identifier"):
        load("", "name=My Toy")


def test_overrides_take_toml_values_and_bare_words() -> None:
    config = load(
        "[sft]\nepochs = 2\n", "sft.epochs=1", "sft.quantization=none", 'tasks=["a", "b"]', "sft.trainer.optim=sgd",
        "options.deep.er=true", "dpo.learning_rate=1e-6", "title=a = b",
    )  # fmt: skip
    assert (config.sft.epochs, config.sft.quantization, config.tasks) == (1.0, "none", ["a", "b"])
    assert config.sft.trainer == {"optim": "sgd"} and config.options == {"deep": {"er": True}}
    assert config.dpo.learning_rate == 1e-6 and config.title == "a = b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sft.epochs", "is not key=value"),
        ("=1", "is not key=value"),
        ("title.x=1", "title is no section"),
        ("sft.epoch=1", "unknown key 'sft.epoch'"),
        ("sft.epochs=many", "'sft.epochs' must be float, not 'many'"),
        ("language=fr", "language = 'fr' is not known"),
    ],
)
def test_bad_overrides(override: str, said: str) -> None:
    with pytest.raises(FactoryError) as caught:
        load("", override)
    assert said in caught.value.message


def test_every_number_has_a_range_and_no_range_is_stale() -> None:
    known = keys()
    numbers = {key for key, kind in known.items() if kind in ("int", "float")} - {"seed"}
    assert set(_RANGES) == numbers
    assert set(_CHOICES) <= set(known)


def test_every_default_is_in_its_range() -> None:
    config = load()
    for key, (low, high) in _RANGES.items():
        assert low <= operator.attrgetter(key)(config) <= high, key


def test_every_key_is_documented() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(keys())
    for key, row in rows.items():
        assert row.strip(" |").rpartition("|")[2].strip(), f"{key} has no trailing comment in factory/config.py"


def test_page_is_not_stale() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "make_config.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
