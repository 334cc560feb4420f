"""Every page of the guide, typed from top to bottom in an empty folder with ./handbook; a tiny random model learns.

Both languages have the same commands (tests/test_guides.py), so a page is typed in one of them, and in both where it is the first
that a person follows or writes text of its own.
Blocks that begin with `make` or `pip` install something: tests/test_guides.py looks at their form only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_guides import GUIDE, PAGES, blocks
from tiny import tiny_model

from factory.files import templates
from factory.proposal import BASES

from .toy import Command, environment

pytestmark = pytest.mark.slow
QUICK = [
    "sft.epochs=0.1", "sft.quantization=none", "prefer.max_prompts=8", "prefer.min_pairs=1", "evaluate.max_items=2",
    "evaluate.resamples=100",
]  # fmt: skip


TYPED = [page for page in PAGES if page.startswith(("first-domain", "eval-items"))] + [
    "bases.md",
    "data.zh-CN.md",
    "gates.md",
]


# What `factory` is on these pages: it leaves its folder and words in a file, and prints what the desk answers.
ASKED = """#!/bin/sh
printf '%s\\0' "$PWD" "$@" > {desk}/$$.new && mv {desk}/$$.new {desk}/$$.asked
until [ -f {desk}/$$.code ]; do sleep 0.02; done
cat {desk}/$$.log; exit $(cat {desk}/$$.code)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which the catalog's two bases are tiny, and a `factory` that has torch imported and quick settings."""
    root = tmp_path_factory.mktemp("home")
    for name in BASES.values():
        base = tiny_model(root / "factory" / "models" / name, initializer_range=0.1)
        (base / "factory.json").write_text(json.dumps({"name": name, "stamp": ""}), encoding="utf-8")
    for folder in ("bin", "desk"):
        (root / folder).mkdir()
    (root / "bin" / "factory").write_text(ASKED.format(desk=root / "desk"), encoding="utf-8")
    (root / "bin" / "factory").chmod(0o755)
    closed = threading.Event()
    clerk = threading.Thread(target=serve, args=(root, closed))
    clerk.start()
    yield root
    closed.set()
    clerk.join()


def serve(root: Path, closed: threading.Event) -> None:
    """Run what the script asks for, one after the other, in children of the fork server."""
    quick = [word for setting in QUICK for word in ("--set", setting)]
    extra = {"HOME": str(root), "FACTORY_HOME": str(root / "factory"), "PIP_NO_INDEX": "1"}
    while not closed.wait(0.02):
        for asked in (root / "desk").glob("*.asked"):
            cwd, *words = asked.read_text(encoding="utf-8").split("\0")[:-1]
            command = Command(Path(cwd), *words, *(quick if words[0] == "build" else []), extra=extra)
            done = command.wait()
            command.log.unlink()
            asked.with_suffix(".log").write_text(done.text, encoding="utf-8")
            asked.unlink()
            asked.with_suffix(".new").write_text(str(done.code), encoding="utf-8")
            asked.with_suffix(".new").rename(asked.with_suffix(".code"))


def test_every_page_is_typed_in_one_language_at_least() -> None:
    assert {page.replace(".zh-CN", "") for page in TYPED} == {page.replace(".zh-CN", "") for page in PAGES}


@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_says_works(page: str, home: Path, tmp_path: Path) -> None:
    language = "zh" if ".zh-CN" in page else "en"
    work = tmp_path / "work"
    shutil.copytree(templates("domain") / "sample" / language, work / "handbook")
    env = environment(home, {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    ran = 0
    for block in blocks((GUIDE / page).read_text(encoding="utf-8"), "bash"):
        if block.startswith(("make", "pip")):
            continue
        if block.startswith("factory demo"):
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the script itself
            open_demo(block, work, {**env, "PATH": path})
            approve_all(work)
        else:
            done = subprocess.run(["bash", "-e", "-c", block], cwd=work, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stdout + done.stderr
        ran += 1
    assert ran and (work / "domains" / "teahouse" / "evals" / "draft.jsonl").exists()
    if page.startswith("first-domain"):
        scores = json.loads((work / "runs/teahouse/default/evaluate/scores.json").read_text(encoding="utf-8"))
        assert scores["review"] == {"approved": scores["items"], "draft": 0}
        assert (work / "share/teahouse/factory_teahouse/evals/reviews.json").exists()


def open_demo(block: str, work: Path, env: dict[str, str]) -> None:
    """Start it, fetch the page that it names, end it."""
    process = subprocess.Popen(
        ["bash", "-e", "-c", block], cwd=work, env={**env, "PYTHONUNBUFFERED": "1"}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    try:
        told = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", told)):
            line = process.stdout.readline()
            assert line, told
            told += line
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # the app gives a session
        with opener.open(found[0], timeout=60) as answer:
            assert answer.status == 200 and "gradio" in answer.read().decode()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def approve_all(work: Path) -> None:
    """What an expert leaves on the page "Review"."""
    evals = work / "domains" / "teahouse" / "evals"
    rows = [json.loads(line) for line in (evals / "draft.jsonl").read_text(encoding="utf-8").splitlines()]
    (evals / "reviews.json").write_text(json.dumps({row["id"]: {"verdict": "approved"} for row in rows}), "utf-8")
