"""Zip archives, read member by member in memory: nothing is written, so that no name leads anywhere."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from factory.readers import base as reading
from factory.readers.base import Unreadable

MOST_MEMBERS = 50_000


def members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The files of an archive: a name, and a call that reads it or raises Unreadable. Raises Unreadable for all of them."""
    unpacked = 0

    def load(member: zipfile.ZipInfo) -> bytes:
        nonlocal unpacked
        if unpacked > 10 * reading.MOST_BYTES:
            raise Unreadable(f"the archive holds more than {10 * reading.MOST_BYTES // 1_000_000} MB")
        if member.file_size > reading.MOST_BYTES:
            raise Unreadable(f"larger than {reading.MOST_BYTES // 1_000_000} MB")
        unpacked += member.file_size  # before it is read: a broken member is unpacked, too
        return _read(archive, member)

    try:
        archive = zipfile.ZipFile(path)
    except OSError:
        raise
    except Exception as error:  # a version or a name that zipfile does not know, too
        raise Unreadable("broken zip") from error
    with archive:
        listed = archive.infolist()
        if len(listed) > MOST_MEMBERS:
            raise Unreadable(f"more than {MOST_MEMBERS} files")
        for member in sorted(listed, key=_name):
            name = _name(member)
            hidden = any(part.startswith((".", "__")) and part != ".." for part in PurePosixPath(name).parts)
            if not member.is_dir() and not hidden:
                yield name, lambda member=member: load(member)  # type: ignore[misc]


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise Unreadable("a link")
    if member.flag_bits & 1:
        raise Unreadable("with a password: unpack the archive first")
    try:
        with archive.open(member) as file:
            return file.read()  # no more than file_size: where that is wrong, the checksum is, too
    except Exception as error:  # whatever zlib and zipfile say about a broken member
        raise Unreadable("broken in the archive") from error


def _name(member: zipfile.ZipInfo) -> str:
    """Below the archive: no name leads out of it. Chinese Windows writes names in GB18030 and does not say so."""
    name = member.filename
    if not member.flag_bits & 0x800:
        data = member.orig_filename.encode("cp437", "replace")
        try:
            name = data.decode()
        except UnicodeDecodeError:
            name = data.decode("gb18030", "replace")
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(part for part in parts if part not in ("/", ".."))
