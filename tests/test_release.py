"""What a release rests on, without a build: the adapter, however large, is the one that was scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_card import make_job

from factory.errors import FactoryError
from factory.export import release
from factory.files import read_json, sha256, write_json


def test_an_adapter_that_a_build_compares_by_size_is_compared_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_card.tiny_model", lambda folder: folder)
    monkeypatch.setattr(release, "plan_run", lambda order: [])
    job = make_job(tmp_path)
    weights = job.run_dir / "dpo" / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"trained")
    path = job.run_dir / "dpo" / "manifest.json"
    write_json(path, read_json(path) | {"outputs": {"adapter/adapter_model.safetensors": {"sha256": sha256(weights)}}})
    release._require_up_to_date(job)
    weights.write_bytes(b"another")
    with pytest.raises(FactoryError, match=r"\(dpo: adapter/adapter_model.safetensors was changed\)") as caught:
        release._require_up_to_date(job)
    assert caught.value.hint == "Bring it up to date: factory build law --force dpo"
