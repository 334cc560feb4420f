"""Files that are written whole or not at all, digests, and locks."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from factory.errors import FactoryError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is fsynced and takes `path`'s place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped); FactoryError when it cannot be read."""
    return "".join(read_lines(path))


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, one at a time, each with its end as a line feed; errors as read_text."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise FactoryError(
            f"{path} is not UTF-8 (byte {error.start}).", f"Convert it: iconv -f GB18030 -t UTF-8 '{path}' > NEW"
        ) from error
    except OSError as error:
        raise FactoryError(f"Cannot read {path}: {error.strerror}.", "Check the path and its permissions.") from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FactoryError(f"{path} is not JSON (line {error.lineno}: {error.msg}).", "Mend or delete it.") from error


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object with its own digest: `read_sealed` believes it as long as nobody changes it."""
    write_json(path, value | {"digest": digest(value)})


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote; empty where there is nothing, or where it was changed since."""
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found if found.pop("digest", "") == digest(found) else {}


def templates(name: str) -> Path:
    """A folder of templates/: installed as factory.templates; in a source checkout at the top."""
    try:
        found = Path(str(resources.files("factory.templates"))) / name
    except ModuleNotFoundError:
        found = Path()
    return found if found.is_dir() and found.name == name else Path(__file__).parents[1] / "templates" / name


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def weights_mark(folder: Path) -> str:
    """The digest of the safetensors files in a folder; empty: there is none."""
    found = {path.name: sha256(path) for path in folder.glob("*.safetensors")}
    return digest(found) if found else ""


def digest_tree(root: Path) -> dict[str, str]:
    """SHA-256 by relative path of every plain file below `root` (or of the file itself)."""
    if root.is_file():
        return {root.name: sha256(root)}
    files = sorted(path for path in root.rglob("*") if path.is_file() and not _hidden(path.relative_to(root)))
    return {utf8(path.relative_to(root).as_posix()): sha256(path) for path in files}


def utf8(path: Path | str) -> str:
    """A path that can be written as UTF-8: archives made by Chinese Windows leave names in GB18030."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        return os.fsencode(path).decode("gb18030", "backslashreplace")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


@contextmanager
def lock(path: Path, busy: FactoryError) -> Iterator[None]:
    """Hold `path` as a lock file; raise `busy` at once when another process holds it. `kill -9` frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        held.release()
