"""Imports go downward only, and the command line starts without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

LEVELS = [
    ["errors"], ["addresses", "hardware", "files", "text", "progress", "pii", "numerals", "gguf_check", "pictures", "verdict", "failures", "reasons"], ["fused", "one_machine", "prefix", "trunk", "guard", "records", "config", "scorers", "duplicates", "grounding", "quality", "meter"], ["leaks", "readers"],
    ["domain", "documents", "structure", "versions"], ["questions"], ["rules"],
    ["baselines", "packed", "statistics", "stage"], ["trackers", "ranks"], ["models", "generate", "training", "kinds", "references", "seeds", "gates"], ["store"], ["answers", "llama", "budgets", "weights", "costs", "density"], ["embedding", "difficulty"], ["meaning", "selection", "forgetting", "trial"], ["rounds"], ["sieve"], ["expert"], ["sizing", "teacher"], ["drafts"], ["synthesis", "judge"], ["plan", "beside"], ["stages"], ["pipeline"],
    ["sources", "doctor", "proposal", "datafacts"], ["build", "scaffold", "passages", "datarows"], ["predict", "check", "cleaning", "teaching", "console", "datapage", "curvepage"], ["curve", "export", "feedback"], ["scoring", "judging", "harness"], ["costing"], ["cli_options"], ["cli_cost", "cli_data", "cli_domain", "cli_export", "cli_feedback", "cli_proof"], ["cli"],
]  # fmt: skip
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
HEAVY = {"torch", "transformers", "datasets", "gradio", "trl", "peft", "sklearn"}
FILES = sorted(path for path in (ROOT / "factory").rglob("*.py") if path.name != "__init__.py")


def imported(path: Path) -> set[str]:
    """Every factory module that a file imports, wherever in it, without `factory.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            plain = module not in ("factory", "factory.stages", "factory.readers")
            found |= {module} if plain else {f"{module}.{alias.name}" for alias in node.names}
    names = {name.removeprefix("factory.") for name in found if name.startswith("factory.")}
    return names - {"__version__"}


def room(path: Path) -> str:
    return path.relative_to(ROOT / "factory").with_suffix("").parts[0]


def test_every_module_has_a_level() -> None:
    assert {room(path) for path in FILES} == set(LEVEL)


def test_every_package_is_in_the_wheel() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "factory").rglob("__init__.py")}
    assert found <= set(told), found - set(told)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "factory")))
def test_imports_go_downward(path: Path) -> None:
    for name in imported(path):
        own = name.split(".")[0] == room(path) != "stages"  # stages import no other stage
        assert own or LEVEL[name.split(".")[0]] < LEVEL[room(path)], f"{room(path)} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "domains").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_domains_need_only_the_contract(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("factory"):
            assert LEVEL[(node.module or "").split(".")[1]] <= LEVEL["rules"], f"{path} imports {node.module}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom factory.cli import app\nsys.argv = ['factory', '--help']\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Usage: factory" in done.stdout and done.stdout.strip().endswith("HEAVY: []"), done.stdout + done.stderr
