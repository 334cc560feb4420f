"""Domains are found in ./domains and in installed packages; a broken one is one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from conftest import ROOT
from toys import CODE, ITEMS, TOML, jsonl, make_toy

from factory import domain as module
from factory.config import Config
from factory.domain import Domain, Task, find_domain, load_domain
from factory.errors import FactoryError
from factory.records import Document, write_records


class Installed(Domain):
    """What an entry point names in these tests."""


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Pretend that only this entry point is installed."""

    def put(name: str, value: str) -> None:
        monkeypatch.setattr(module, "entry_points", lambda group: [EntryPoint(name, value, group)])

    return put


def test_local_folder_is_found_with_its_neighbours(tmp_path: Path) -> None:
    folder = make_toy(tmp_path, "from . import helper\n" + CODE)
    (folder / "helper.py").write_text("VALUE = 7\n")
    found = find_domain("toy")
    assert (found.origin, found.folder) == ("./domains", folder)
    assert load_domain("toy", ["seed=3"]).config.seed == 3


@pytest.mark.parametrize("name", ["cooking", "legal"])
def test_shipped_domains_load_from_a_checkout_and_as_installed(name: str) -> None:
    assert find_domain(name, ROOT / "domains").origin == "./domains"
    assert find_domain(name).origin != "./domains"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cooking", "## Ingredients\n\n- 200 g rice\n- 1 egg\n\n## Directions\n\n1. Boil the rice.\n2. Add the egg.\n"),
        ("legal", "第一条 为了保护合同当事人的合法权益，制定本法。\n"),
    ],
)
def test_a_file_whose_name_is_not_utf_8_gives_documents_that_can_be_written(
    tmp_path: Path, name: str, text: str
) -> None:
    source = tmp_path / os.fsdecode("甲".encode("gb18030"))
    source.mkdir()
    (source / os.fsdecode("乙.md".encode("gb18030"))).write_text(text, encoding="utf-8")
    documents = list(load_domain(name, ["options.add_sample=false"] * (name == "legal")).documents(source))
    write_records(tmp_path / "documents.jsonl", documents)
    assert [(one.id, one.title, one.source) for one in documents] == [("乙.md", "乙", f"{tmp_path}/甲/乙.md")]


def test_local_wins_over_installed(tmp_path: Path, install: Callable[[str, str], None]) -> None:
    install("toy", "test_domain:Installed")
    assert find_domain("toy").kind.__name__ == "Installed"
    make_toy(tmp_path)
    assert find_domain("toy").origin == "./domains"


def test_unknown_domain_suggests(tmp_path: Path) -> None:
    make_toy(tmp_path)
    with pytest.raises(FactoryError, match="Unknown domain 'tyo'") as caught:
        load_domain("tyo")
    assert "'toy'" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module", "domain.py does not load: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "domain.py does not load: SyntaxError"),
        ("x = 1", "defines 0 Domain classes"),
        (CODE + "\nclass Second(Toy): ...\n", "defines 2 Domain classes"),
    ],
)
def test_broken_local_plugin(tmp_path: Path, code: str, said: str) -> None:
    make_toy(tmp_path, code)
    with pytest.raises(FactoryError) as caught:
        find_domain("toy")
    assert said in caught.value.message and caught.value.hint
    assert load_domain("cooking").config.name == "cooking"  # it breaks itself alone


def test_folder_without_code(tmp_path: Path) -> None:
    (make_toy(tmp_path) / "domain.py").unlink()
    with pytest.raises(FactoryError, match=r"has no domain\.py"):
        find_domain("toy")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_package:X", "does not load"),
        ("test_domain:Missing", "does not load"),
        ("json:dumps", "is no Domain class"),
    ],
)
def test_broken_installed_plugin(install: Callable[[str, str], None], value: str, said: str) -> None:
    install("bad", value)
    with pytest.raises(FactoryError, match=said) as caught:
        find_domain("bad")
    assert "'bad'" in caught.value.message and value in caught.value.message


def test_a_real_package_is_found_after_pip_install(tmp_path: Path) -> None:
    """The one door for third parties, tried as they would: pip, entry point, the command line."""
    shutil.copytree(ROOT / "tests" / "plugin_pkg", tmp_path / "pkg")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--target", tmp_path / "site", tmp_path / "pkg"], check=True
    )
    code = (
        "from factory.domain import find_domain, load_domain\n"
        "from factory.stage import Context, run_stages\n"
        "from factory.pipeline import stages\nfrom pathlib import Path\n"
        "run_stages(stages('curate'), Context(load_domain('herbs'), Path('runs/herbs/default'), ''))\n"
        "print(find_domain('herbs').origin)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "factory-herbs"
    assert "4 examples, 2 eval items" in done.stdout


def test_task_by_alias_and_active_tasks(tmp_path: Path) -> None:
    make_toy(tmp_path)
    toy = load_domain("toy", ['tasks=["k-1"]'])
    assert toy.task("k-1").name == "kind" and [task.name for task in toy.active()] == ["kind"]
    assert [task.name for task in load_domain("toy").active()] == ["kind", "say"]
    for bad in ('tasks=["knd"]', "options.lod=true"):
        with pytest.raises(FactoryError) as caught:
            load_domain("toy", [bad])
        assert caught.value.hint in ("Did you mean 'kind'?", "Did you mean 'loud'?")


def test_prompt_is_system_then_question_and_bare_takes_the_template_off(tmp_path: Path) -> None:
    make_toy(tmp_path)
    toy = load_domain("toy")
    task = toy.task("kind")
    prompt = toy.prompt(task, " {a} fig ")
    assert [message["role"] for message in prompt] == ["system", "user"]
    assert prompt[1]["content"] == "What is {a} fig?" and task.bare(prompt[1]["content"]) == "{a} fig"
    assert toy.prompt(None, "as it is") == [prompt[0], {"role": "user", "content": "as it is"}]
    assert len(load_domain("toy", ['system_prompt=""']).prompt(task, "fig")) == 1
    assert Task("t", "T", "exact").bare("whole") == "whole"


def test_the_parts_of_a_question_about_a_passage() -> None:
    task = Task("t", "T", "exact", "Read.\n\n{input}\nEnd", about="Text:\n{passage}\n\nQuestion: {question}?")
    told = "A text.\n\nQuestion: is it one?"
    asked = task.template.format(input=task.about.format(passage=told, question="Why"))
    assert task.parts(asked) == (told, "Why")
    assert Task("s", "S", "exact", "Praise.\n{input}", about="<{passage}>").parts("Praise.\n<tea>") == ("tea", "")
    assert Task("u", "U", "exact", "What is {input}?").parts("What is naan?") == ("naan", "")


def test_default_passages_are_paragraphs_with_nothing_lost() -> None:
    blocks = [f"{number} " + "x" * 500 for number in range(5)]
    document = Document("a.md", "\n\n".join(blocks) + "\n \n", "Title", "en", "MIT", "a.md", "eval", {"k": 1})
    made = list(Domain(Config("a", "A", "en", "b"), Path()).passages(document))
    assert "\n\n".join(passage.text for passage in made) == "\n\n".join(blocks)
    assert (
        all(len(passage.text) <= 1204 for passage in made) and len({passage.id for passage in made}) == len(made) == 3
    )
    assert made[0].split == "eval" and made[0].license == "MIT" and made[0].meta == {"k": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reference": ""}, "items.jsonl:1: 'reference' is missing"),
        ({"input": 5}, "must be texts"),
        ({"task": 5}, "must be texts"),
        ({"reference": [1]}, "must be texts"),
        ({"task": "knd"}, "has no task 'knd'"),
        ({"scorer": "exakt"}, "items.jsonl:1: unknown scorer 'exakt'"),
        ({"scorer": ["exact"]}, "items.jsonl:1: unknown scorer"),
    ],
)
def test_bad_eval_rows(tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = make_toy(tmp_path)
    (folder / "evals" / "items.jsonl").write_text(jsonl([{**ITEMS[0], **change}]))
    with pytest.raises(FactoryError) as caught:
        list(load_domain("toy").frozen_items())
    assert said in caught.value.message and caught.value.hint


@pytest.mark.parametrize("value", ["20%", "true", "[0.2]"])
def test_an_option_is_of_the_kind_of_its_default(value: str) -> None:
    with pytest.raises(FactoryError, match=r"options\.eval_share = .* is not a number") as caught:
        load_domain("cooking", [f"options.eval_share={value}"])
    assert caught.value.hint == "Its default: 0.2"
    assert load_domain("cooking", ["options.eval_share=1"]).option("eval_share") == 1


def test_eval_row_may_name_references_and_scorer(tmp_path: Path) -> None:
    folder = make_toy(tmp_path, toml=TOML)
    (folder / "evals" / "items.jsonl").write_text(
        jsonl([{**ITEMS[0], "reference": ["a", "b"], "scorer": "exact", "document": "d"}])
    )
    (item,) = load_domain("toy").frozen_items()
    assert (item.references, item.scorer, item.provenance["document"]) == (["a", "b"], "exact", "d")
