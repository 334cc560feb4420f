"""ingest: documents to passages, examples and the frozen eval set; what it refuses; what makes it run again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from toys import CODE, ITEMS, jsonl, make_toy

from factory.domain import load_domain
from factory.errors import FactoryError
from factory.records import Document, EvalItem, Example, Passage, read_records
from factory.stage import Context
from factory.stages import ingest


def context(tmp_path: Path, *overrides: str, source: Path | None = None, code: str = CODE) -> Context:
    if not (tmp_path / "domains").exists():
        make_toy(tmp_path, code)
    return Context(load_domain("toy", list(overrides)), tmp_path / "runs" / "toy" / "default", "ingest", source)


def test_what_it_writes(tmp_path: Path) -> None:
    here = context(tmp_path)
    told = ingest.run(here)
    kinds = {"documents": Document, "passages": Passage, "examples": Example, "eval": EvalItem}
    counts = {name: len(read_records(here.out / f"{name}.jsonl", kind)) for name, kind in kinds.items()}
    assert counts == {"documents": 1, "passages": 6, "examples": 12, "eval": 3}
    assert told["examples"] == {"kind": 6, "say": 6} and told["eval_items"] == {"kind": 2, "say": 1}
    assert told["licenses"] == ["CC0-1.0"] and told["eval_digest"] == ingest.run(here)["eval_digest"]


def test_only_the_chosen_tasks_and_the_others_are_counted(tmp_path: Path) -> None:
    said: list[str] = []
    told = ingest.run(dataclasses.replace(context(tmp_path, 'tasks=["say"]'), say=said.append))
    assert told["examples"] == {"say": 6} and told["eval_items"] == {"say": 1}
    assert any("not chosen" in line and line.endswith(": kind 6") for line in said)


def test_max_items_is_the_same_sample_every_time(tmp_path: Path) -> None:
    first = ingest.run(context(tmp_path, "evaluate.max_items=1"))
    assert first["eval_items"] == {"kind": 1, "say": 1}
    assert ingest.run(context(tmp_path, "evaluate.max_items=1"))["eval_digest"] == first["eval_digest"]


def test_eval_passages_are_never_seen_by_examples(tmp_path: Path) -> None:
    code = CODE.replace('"CC0-1.0", path.name)', '"CC0-1.0", path.name, "eval" if path.stem == "held" else "train")')
    here = context(tmp_path, code=code)
    (here.domain.folder / "data" / "held.txt").write_text("tool chisel\n")
    ingest.run(here)
    examples = read_records(here.out / "examples.jsonl", Example)
    assert examples and not any("held" in example.provenance["passage"] for example in examples)
    assert any(passage.split == "eval" for passage in read_records(here.out / "passages.jsonl", Passage))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("yield Document(path.name", "yield Document('same'", "Two documents have the id 'same'"),
        (
            "self.make_example(KIND, passage, word, kind)",
            "self.make_example(SAY, passage, word, kind)",
            "Two examples have",
        ),
        ("for passage in passages:", "for passage in ():", "made no training example from 12 passages"),
        ('glob("*.txt")', 'glob("*.none")', "No documents in the embedded sample"),
    ],
)
def test_what_it_refuses(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in CODE
    here = context(tmp_path, code=CODE.replace(old, new))
    (here.domain.folder / "data" / "more.txt").write_text((here.domain.folder / "data" / "words.txt").read_text())
    with pytest.raises(FactoryError, match=said) as caught:
        ingest.run(here)
    assert caught.value.hint and not here.out.exists()


def test_files_that_cannot_be_read_are_named_and_kept_in_a_file(tmp_path: Path) -> None:
    """`read_documents` is what new-domain's loader calls; the loader itself hands on documents alone."""
    code = CODE.replace("from factory.files import read_text", "from factory.documents import read_documents")
    start, end = code.index("    def documents"), code.index("    def passages")
    code = (
        code[:start]
        + "    def documents(self, source):\n        return read_documents(self.folder / 'data', 'en')\n\n"
        + code[end:]
    )
    said: list[str] = []
    here = dataclasses.replace(context(tmp_path, code=code), say=said.append)
    for number in range(7):
        (here.domain.folder / "data" / f"{number}.mp4").write_bytes(b"x")
    told = ingest.run(here)
    assert told["documents"] == 1 and told["skipped"] == 7
    assert said[0] == "    7 left out:" and said[1] == "      0.mp4: .mp4: no document that can be read"
    assert len(said) == 7 and said[-1] == f"      and 2 more: all of them in {here.out / 'skipped.jsonl'}"
    rows = [json.loads(line) for line in (here.out / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["name"] for row in rows] == [f"{number}.mp4" for number in range(7)]
    (here.domain.folder / "data" / "words.txt").unlink()
    with pytest.raises(FactoryError, match=r"No documents in .* \(7 left out, the first: 0\.mp4: "):
        ingest.run(here)


def test_bad_eval_sets(tmp_path: Path) -> None:
    here = context(tmp_path)
    path = here.domain.folder / "evals" / "items.jsonl"
    path.write_text(jsonl([ITEMS[0], {**ITEMS[1], "id": ITEMS[0]["id"]}]))
    with pytest.raises(FactoryError, match="Two eval items have the id 'kind-1'"):
        ingest.run(here)
    path.write_text("")
    with pytest.raises(FactoryError, match="The eval set is empty"):
        ingest.run(here)


def test_missing_and_empty_source(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="does not exist"):
        ingest.run(context(tmp_path, source=tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FactoryError, match="No documents in"):
        ingest.run(context(tmp_path, source=tmp_path / "empty"))


def test_fingerprint_sees_code_data_evals_and_source_with_their_names(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    (source / "a.txt").write_text("fruit fig\n")
    here = dataclasses.replace(context(tmp_path), source=source)
    assert ingest.STAGE.watches
    seen = [ingest.STAGE.watches(here)]
    folder = here.domain.folder
    for change in (
        lambda: (source / "a.txt").rename(source / "b.txt"),
        lambda: (source / "b.txt").write_text("fruit kiwi\n"),
        lambda: (folder / "data" / "words.txt").write_text("fruit fig\n"),
        lambda: (folder / "evals" / "items.jsonl").write_text(jsonl(ITEMS[:2])),
        lambda: (folder / "domain.py").write_text(CODE + "# changed\n"),
    ):
        change()
        seen.append(ingest.STAGE.watches(here))
        assert seen[-1] != seen[-2]
