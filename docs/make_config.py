"""Renders docs/config.md from the dataclasses in factory/config.py, whose trailing comments are the descriptions.

Run: python docs/make_config.py (writes the page), or with --check (exit status 1 when the page is stale). It reads the
source and imports nothing of the factory, so that it also works where the factory is not installed.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "factory" / "config.py"
PAGE = ROOT / "docs" / "config.md"
INTRO = """# Settings

Every key of `domain.toml`. An unknown key is an error that suggests the nearest known one; so is a wrong type, or a
value out of range. Any key can be given for one build on the command line: `factory build cooking --set sft.epochs=1`.

This page is made from `factory/config.py` by `python docs/make_config.py`; a test says when it is stale.
"""
EMPTY = {"list": "[]", "dict": "{}"}


def render(source: str) -> str:
    """The page: a table for the top-level keys, then one for each section, in the order of the source."""
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    limits = _limits(tree)
    lines = source.splitlines()
    parts = [INTRO]

    def add(node: ast.ClassDef, title: str, prefix: str) -> None:
        fields = _fields(node)
        plain = [field for field in fields if ast.unparse(field.annotation) not in classes]
        parts.append(_table(title, ast.get_docstring(node) or "", plain, prefix, lines, limits))
        for field in fields:
            if (kind := ast.unparse(field.annotation)) in classes:
                add(classes[kind], f"[{prefix}{_name(field)}]", f"{prefix}{_name(field)}.")

    add(classes["Config"], "Top level", "")
    return "\n".join(parts)


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [entry for entry in node.body if isinstance(entry, ast.AnnAssign)]


def _name(field: ast.AnnAssign) -> str:
    return ast.unparse(field.target)


def _limits(tree: ast.Module) -> dict[str, str]:
    """Allowed values in words, by dotted key, from the module's _RANGES and _CHOICES."""
    found: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if ast.unparse(target) == "_RANGES":
            found |= {
                key: f"{low:g} to {high:g}".replace("e+0", "e") for key, (low, high) in _plain(node.value).items()
            }
        elif ast.unparse(target) == "_CHOICES":
            found |= {key: " or ".join(f"`{value}`" for value in values) for key, values in _plain(node.value).items()}
    return found


def _plain(node: ast.expr) -> Any:
    """The value of a literal; `1 << 20` is as plain as 1048576."""
    if isinstance(node, ast.Dict):
        return {_plain(key): _plain(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Tuple):
        return tuple(_plain(entry) for entry in node.elts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift):
        return _plain(node.left) << _plain(node.right)
    return ast.literal_eval(node)


def _table(
    title: str, text: str, fields: list[ast.AnnAssign], prefix: str, lines: list[str], limits: dict[str, str]
) -> str:
    rows = ["| key | type | default | allowed | what it is |", "| --- | --- | --- | --- | --- |"]
    for field in fields:
        key = prefix + _name(field)
        kind = ast.unparse(field.annotation)
        cells = (f"`{key}`", f"`{kind}`", _default(field, kind), limits.get(key, ""), _comment(lines, field))
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |".replace("  ", " "))
    return f"## {title}\n\n{text}\n\n" + "\n".join(rows) + "\n"


def _default(field: ast.AnnAssign, kind: str) -> str:
    if field.value is None:
        return "required"
    if isinstance(field.value, ast.Call):
        factory = field.value.keywords[0].value
        if isinstance(factory, ast.Lambda):
            return f"`{ast.unparse(factory.body)}`".replace("'", '"')
        return f"`{EMPTY[kind.partition('[')[0]]}`"
    return f"`{str(ast.literal_eval(field.value)).lower() if kind == 'bool' else _toml(field.value)}`"


def _toml(node: ast.expr) -> str:
    return f'"{node.value}"' if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _comment(lines: list[str], field: ast.AnnAssign) -> str:
    """The comment behind a key's value, or inside its brackets where the formatter has put it."""
    last = field.end_lineno or field.lineno
    behind = lines[last - 1].encode()[field.end_col_offset or 0 :].decode().partition("#")[2]
    within = (line.partition("#")[2] for line in lines[field.lineno - 1 : last])
    return behind.strip() or " ".join(filter(None, map(str.strip, within)))


def main() -> int:
    page = render(SOURCE.read_text(encoding="utf-8"))
    if "--check" in sys.argv[1:]:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page
        print("docs/config.md is stale: run python docs/make_config.py" if stale else "docs/config.md is up to date")
        return int(stale)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
