"""References stay in the run, until they are forgotten or their eval set is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.config import Config
from factory.domain import Domain
from factory.errors import FactoryError
from factory.references import Reference, against, current, forget, keep, kept, marks, standard

CELLS = {"mean": {"score": 50.0, "low": 40.0, "high": 60.0, "n": 2}}


def reference(name: str, standard: str = "s", digest: str = "d", **more: object) -> Reference:
    return Reference(name, "gguf", f"./{name}.gguf", CELLS, standard, digest, **more)  # type: ignore[arg-type]


def test_references_are_kept_in_order_and_replaced_by_name(tmp_path: Path) -> None:
    assert kept(tmp_path) == [] and marks(tmp_path) == {}
    assert keep(tmp_path, [reference("a", parameters=7), reference("b")]) == []
    before = marks(tmp_path)
    assert keep(tmp_path, [reference("a", digest="other")]) == ["a"], "another model under a known name is told"
    assert keep(tmp_path, [reference("b")]) == []
    assert [(one.name, one.digest) for one in kept(tmp_path)] == [("a", "other"), ("b", "d")] and marks(
        tmp_path
    ) != before


def test_a_reference_is_forgotten_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="no reference 'a'"):
        forget(tmp_path, "a")
    keep(tmp_path, [reference("apple"), reference("b")])
    with pytest.raises(FactoryError, match="no reference 'aple'") as error:
        forget(tmp_path, "aple")
    assert "Did you mean 'apple'" in error.value.hint
    forget(tmp_path, "apple")
    assert [one.name for one in kept(tmp_path)] == ["b"]
    forget(tmp_path, "b")
    assert not (tmp_path / "references.json").exists()


def test_another_eval_set_or_other_code_makes_it_stale(tmp_path: Path) -> None:
    (tmp_path / "domain.py").write_text("x = 1")
    domain = Domain(Config("toy", "Toy", "en", "x"), tmp_path)
    mark = standard(domain, "items")
    keep(tmp_path, [reference("a", mark)])
    assert [one.name for one in current(tmp_path, mark)[0]] == ["a"] and standard(domain, "other items") != mark
    (tmp_path / "domain.py").write_text("x = 2")
    fresh, stale = current(tmp_path, standard(domain, "items"))
    assert fresh == [] and [one.name for one in stale] == ["a"]


def test_the_difference_is_paired_where_there_are_scores_of_the_same_items() -> None:
    best = {"kind": [1.0, 1.0, 1.0, 0.0], "say": [0.5, 0.5]}
    found = against(best, reference("a", scores={"say": [0.1, 0.2], "kind": [0.0, 0.0, 1.0, 0.0]}), 200)
    assert found["kind"]["difference"] == 50 and found["say"]["difference"] == 35 and found["mean"]["n"] == 6
    for scores in ({}, {"kind": [1.0] * 4}, {"kind": [1.0] * 3, "say": [0.1, 0.2]}):
        assert against(best, reference("a", scores=scores), 200) == {}
