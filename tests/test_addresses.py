"""No address with a secret in it gets anywhere: each door refuses it, and nothing of it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import TOML, Factory, make_toy

from factory.addresses import KEY, check_address
from factory.errors import FactoryError
from factory.proposal import Wish, propose
from factory.teacher import open_teacher

SECRETS = [
    "http://me:sk-secret@127.0.0.1:9/v1",
    "https://127.0.0.1:9/v1?key=sk-secret",
    "HTTP://sk-secret@localhost/v1",
]


@pytest.mark.parametrize("where", SECRETS)
def test_a_name_a_password_or_a_query_is_refused_and_not_repeated(where: str) -> None:
    for door in (
        check_address,
        lambda text: open_teacher(text).__enter__(),
        lambda text: propose(Wish("tea", teacher=text)),
    ):
        with pytest.raises(FactoryError, match="no user name, password or query") as caught:
            door(where)
        assert KEY in caught.value.hint and "sk-secret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("where", ["http://127.0.0.1:8080/v1", "https://host/v1", "models/a@b?.gguf", ""])
def test_a_plain_address_and_a_file_pass(where: str) -> None:
    check_address(where)


@pytest.mark.parametrize("where", SECRETS[:2])
def test_no_command_writes_it(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    factory = Factory(monkeypatch, capsys)
    make_toy(tmp_path)
    run = tmp_path / "runs" / "toy" / "default"
    (run / "ingest").mkdir(parents=True)
    (run / "ingest" / "eval.jsonl").write_text("")
    monkeypatch.setattr("factory.build.build_run", lambda order, say: run)
    (tmp_path / "passages.jsonl").write_text('{"id": "1", "text": "Tea brews."}\n')
    for words in (
        ("build", "toy", "--set", f"synthesize.teacher={where}", "--dry"),
        ("eval", "toy", "--model", f"{where}#qwen"),
        ("synthesize", "passages.jsonl", "--teacher", where, "-o", "out.jsonl"),
        ("new-domain", "tea", "--teacher", where, "--yes"),
    ):
        ended = factory(*words)
        assert ended.code == 1 and "no user name, password or query" in ended.err, ended
        assert "sk-secret" not in ended.out + ended.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"sk-secret" in path.read_bytes()]
    make_toy(tmp_path, toml=f'{TOML}[synthesize]\nteacher = "{where}"\n')
    assert "no user name, password or query" in factory("status", "toy").err
