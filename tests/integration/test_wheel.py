"""The wheel: what is in it, and that it works from an empty folder with no checkout near."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import tiny_model

from .toy import STAGES, actions, environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git", "build", "dist", "*.egg-info", "runs", "__pycache__", ".venv", "shared", "bench*"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed") / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """`factory` from the installed copy alone: the editable install's finder is not on the way."""
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '').lower()];"
        "import factory; assert factory.__file__.startswith(sys.argv[1]), factory.__file__;"
        "sys.argv = ['factory', *sys.argv[2:]];"
        "from factory.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(installed), *arguments],
        cwd=cwd, env=environment(cwd.parent, {"PYTHONPATH": str(installed)}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_the_factory_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for pattern, least in (
        (r"factory/domains/cooking/data/recipes/.*\.md", 100),
        (r"factory/domains/cooking/evals/.*\.jsonl", 1),
        (r"factory/domains/legal/data/.*", 3),
        (r"factory/domains/legal/evals/.*\.jsonl", 1),
        (r"factory/domains/(cooking|legal)/domain\.(py|toml)", 4),
        (r"factory/templates/app/app\.py", 1),
        (r"factory/templates/report/.*\.jinja", 1),
        (r"factory/stages/[a-z]+\.py", 8),
        (r"factory/models\.toml", 1),
        (r".*\.dist-info/licenses/LICENSE", 1),
    ):
        assert len([name for name in names if re.fullmatch(pattern, name)]) >= least, pattern
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"factory"}
    assert [
        name for name in names if "test" in name.split("/")[0] or name.endswith((".pyc", ".gguf", ".safetensors"))
    ] == []
    assert wheel.stat().st_size < 5_000_000


def test_every_data_file_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files", "domains", "templates"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    tracked = [name for name in listed.stdout.splitlines() if not Path(name).name.startswith(".")]
    assert [name for name in tracked if (ROOT / name).exists() and f"factory/{name}" not in names] == []


def test_an_installed_wheel_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "empty"
    cwd.mkdir()
    told = run(installed, cwd, "domains")
    assert re.search(r"│ cooking .* vertical-factory", told)
    assert re.search(r"│ legal .* vertical-factory", told)
    text = run(installed, cwd, "build", "cooking", "--until", "curate")
    assert actions(text) == {"ingest": "run", "synthesize": "run", "curate": "run"}
    assert sorted(path.name for path in cwd.iterdir()) == ["runs"]
    assert (cwd / "runs/cooking/default/curate/manifest.json").exists()
    assert "smollm2-135m-instruct" in run(installed, cwd, "models", "list")
    assert actions(run(installed, cwd, "build", "legal", "--until", "curate", "--dry")) == {
        "ingest": "run",
        "synthesize": "run",
        "curate": "run",
    }


def test_an_installed_wheel_builds_the_embedded_cooking_whole(installed: Path, tmp_path: Path) -> None:
    """Every stage on the shipped recipes; the base is a tiny random model, so that it takes seconds."""
    base, cwd = tiny_model(tmp_path / "base"), tmp_path / "empty"
    cwd.mkdir()
    settings = [
        f"base={base}", "sft.epochs=0.1", "sft.quantization=none", "prefer.max_prompts=12", "prefer.min_pairs=1",
        "dpo.epochs=0.5", "evaluate.max_items=2", "evaluate.resamples=100", "curate.dev_most=6",
    ]  # fmt: skip
    text = run(installed, cwd, "build", "cooking", *(part for value in settings for part in ("--set", value)))
    assert actions(text) == dict.fromkeys(STAGES, "run")
    scores = json.loads(run(installed, cwd, "report", "cooking", "--json"))["models"]
    assert set(scores) == {"base", "sft", "dpo", "best", "ngram", "majority"}
    assert (cwd / "runs/cooking/default/app/app.py").exists()
