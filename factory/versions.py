"""Versions of a domain's eval set. Version 1 is what the domain supplies; what experts promote is frozen as the next one.

`evals/versions/v2-DIGEST.jsonl` holds the items that version 2 adds to version 1, and so on. A file is never edited: the
digest in its name is that of its content.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from factory.errors import FactoryError
from factory.files import sha256, write_text
from factory.records import EvalItem, read_records

LETTERS = 12  # of the digest, in the name


def newest(folder: Path) -> int:
    """The number of the newest version of the domain in `folder`."""
    return max(_files(folder), default=1)


def promoted(folder: Path, version: int) -> list[EvalItem]:
    """The items that the versions up to and with `version` add; FactoryError for a file that is missing or was edited."""
    items: list[EvalItem] = []
    for number, path in _checked(folder, version):
        try:
            items += read_records(path, EvalItem)
        except TypeError as error:
            raise FactoryError(
                f"{path}: version {number} holds no eval items ({error}).", "Restore the file."
            ) from error
    return items


def marks(folder: Path, version: int) -> dict[str, str]:
    """The digests of those files, as parts of a fingerprint."""
    return {f"evals version {number}": path.stem for number, path in _checked(folder, version)}


def freeze(folder: Path, items: Sequence[EvalItem]) -> int:
    """Write the next version, which adds `items`; return its number."""
    number = newest(folder) + 1
    text = "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items)
    path = folder / "evals" / "versions" / "new.jsonl"
    try:
        write_text(path, text)
        path.rename(path.with_name(f"v{number}-{sha256(path)[:LETTERS]}.jsonl"))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise FactoryError(
            f"Cannot write the next version of the eval set into {path.parent}.",
            f"Copy the domain to where you may write: cp -r {folder} domains/{folder.name}",
        ) from error
    return number


def _files(folder: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in sorted((folder / "evals" / "versions").glob("v*.jsonl")):
        if match := re.fullmatch(r"v(\d+)-[0-9a-f]{12}", path.stem):
            if int(match[1]) in found:
                raise FactoryError(f"Version {match[1]} of the eval set is there twice: {path}.", "Keep one of them.")
            found[int(match[1])] = path
    return found


def _checked(folder: Path, version: int) -> list[tuple[int, Path]]:
    files = _files(folder)
    for number in range(2, version + 1):
        if number not in files:
            raise FactoryError(
                f"Version {number} of the eval set is missing in {folder / 'evals' / 'versions'}.", "Restore the file."
            )
        if sha256(files[number])[:LETTERS] != files[number].stem.rpartition("-")[2]:
            raise FactoryError(
                f"{files[number]} was edited: a version of the eval set stays as it is.",
                "Restore it (git checkout); to change an item, promote a new one in the app.",
            )
    return [(number, files[number]) for number in range(2, version + 1)]
