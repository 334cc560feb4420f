"""Files are whole or absent; digests see names and content; a lock has one holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory.errors import FactoryError, suggest
from factory.files import atomic_write, digest, digest_tree, lock, read_json, read_text, sha256, write_json, write_text

HOLD = """
import sys, time
from pathlib import Path
from factory.errors import FactoryError
from factory.files import lock
with lock(Path(sys.argv[1]), FactoryError("busy")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"菜": "葱"})
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644
    assert "葱" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"菜": "葱"}


def test_read_text_names_the_byte_and_the_cure(tmp_path: Path) -> None:
    (tmp_path / "gb.txt").write_bytes("ab合同".encode("gb18030"))
    with pytest.raises(FactoryError, match=r"gb.txt is not UTF-8 \(byte 2\)") as caught:
        read_text(tmp_path / "gb.txt")
    assert "iconv" in caught.value.hint
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfname")
    assert read_text(tmp_path / "bom.txt") == "name"
    with pytest.raises(FactoryError, match="No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(FactoryError, match="directory"):
        read_text(tmp_path)


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", '{\n"a": }')
    with pytest.raises(FactoryError, match=r"a.json is not JSON \(line 2"):
        read_json(tmp_path / "a.json")


def test_digest_is_of_the_value_not_of_its_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) and digest([1, 2]) != digest([2, 1])


def test_digest_tree_sees_names_and_content_not_caches(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "x")
    before = digest_tree(tmp_path)
    assert before == {"a/b.txt": sha256(tmp_path / "a" / "b.txt")}
    write_text(tmp_path / ".hidden" / "c", "x")
    write_text(tmp_path / "__pycache__" / "c.pyc", "x")
    assert digest_tree(tmp_path) == before
    (tmp_path / "a" / "b.txt").rename(tmp_path / "a" / "c.txt")
    assert digest_tree(tmp_path) != before
    assert digest_tree(tmp_path / "a" / "c.txt") == {"c.txt": before["a/b.txt"]}


def test_lock_is_refused_while_another_process_holds_it_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(FactoryError, match="busy"), lock(path, FactoryError("busy")):
            raise AssertionError("two holders")
    finally:
        holder.kill()
        holder.wait()
    with lock(path, FactoryError("busy")):
        pass


def test_suggest_names_the_near_one_or_all() -> None:
    assert suggest("cookin", ["cooking", "legal"]) == "Did you mean 'cooking'?"
    assert suggest("zzz", ["legal", "cooking"]) == "Known: cooking, legal."
    assert suggest("zzz", []) == "Known: none."


def test_values_that_json_does_not_know_still_have_a_digest() -> None:
    assert digest({"path": Path("a")}) == digest({"path": "a"})
    assert digest("\ud83d") != digest("\ud83e")


def test_names_that_are_not_utf_8_can_be_written(tmp_path: Path) -> None:
    for name in ("茶.md".encode("gb18030"), b"\xff\xfe.md", b"\xfe\xff.md"):
        (tmp_path / os.fsdecode(name)).write_text("x")
    write_json(tmp_path / "out.json", digest_tree(tmp_path))
    assert set(read_json(tmp_path / "out.json")) == {"茶.md", r"\xff\xfe.md", r"\xfe\xff.md"}


def test_a_reader_of_the_old_file_never_sees_half_of_the_new(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with open(tmp_path / "a.txt") as reader:
        write_text(tmp_path / "a.txt", "new and longer")
        assert reader.read() == "old"
    assert read_text(tmp_path / "a.txt") == "new and longer"
