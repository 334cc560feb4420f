"""synthesize: what can go wrong is said before the first call, and so is what the calls will take; one budget for the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served

from factory.config import Config, Synthesize
from factory.domain import Domain, Task
from factory.errors import FactoryError
from factory.files import read_json
from factory.records import EvalItem, Example, Passage, read_records, write_records
from factory.stage import Context
from factory.stages import synthesize

FACTS = ["brews for two minutes", "is rolled by hand", "withers in the shade", "goes well with milk"]


class Tea(Domain):
    about = "Text: {passage}\nQuestion: {question}"

    def tasks(self) -> list[Task]:
        return [Task("ask", "Ask", "token_f1", about=self.about)]


class Bare(Tea):
    about = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    with served() as found:
        yield found


def run(
    tmp_path: Path, server: Served, said: list[str] | None = None, domain: type[Domain] = Tea, **settings: Any
) -> dict[str, Any]:
    passages = [
        Passage(f"p{n}", "tea.md", f"# Tea {n}\n\nTea {n} {fact}.", split="train") for n, fact in enumerate(FACTS)
    ]
    write_records(tmp_path / "ingest" / "passages.jsonl", passages)
    items = [EvalItem(f"e{n}", "ask", [{"role": "user", "content": f"What {n}?"}], ["?"], "exact") for n in range(3)]
    write_records(tmp_path / "ingest" / "eval.jsonl", items)
    wanted = {"teacher": server.address, "floor": 0.0, "concurrency": 1, **settings}
    config = Config("tea", "Tea", "en", "base", synthesize=Synthesize(**wanted))
    say = said.append if said is not None else print
    return synthesize.run(Context(domain(config, tmp_path), tmp_path, "synthesize", say=say))


def test_the_estimate_comes_before_the_first_call_and_has_all_of_them(tmp_path: Path, server: Served) -> None:
    said: list[str] = []
    made = run(tmp_path, server, said, kinds=["fact", "decline"])
    assert "toy-teacher: 23 calls, 0 of them answered before" in said[0], "3 eval items, 8 drafts, 12 to check them"
    assert made["calls"] == 23 and said[1].lstrip().startswith("teacher toy-teacher: ")
    assert read_json(tmp_path / "teacher.json") == {"tokens_in": 2300, "tokens_out": 460}


def test_a_domain_without_a_task_for_the_examples_is_named_before_the_first_call(
    tmp_path: Path, server: Served
) -> None:
    with pytest.raises(FactoryError, match="no task for a teacher's questions"):
        run(tmp_path, server, domain=Bare)
    assert not server.asked


def test_where_the_budget_ends_the_build_stops_and_can_go_on_with_what_there_is(tmp_path: Path, server: Served) -> None:
    with pytest.raises(FactoryError, match=r"budget is spent: 1320 tokens\. The teacher wrote \d examples") as caught:
        run(tmp_path, server, max_tokens=1300)
    assert not (tmp_path / "synthesize" / "examples.jsonl").exists() and len(server.asked) == 11
    most = int(caught.value.hint.rpartition("=")[2])
    assert run(tmp_path, server, max_tokens=1300, most=most)["accepted"] == most
    assert len(server.asked) == 11, "with no call more"
    assert run(tmp_path, server, max_tokens=9999)["accepted"] > most
    assert len(read_records(tmp_path / "synthesize" / "examples.jsonl", Example)) > most
