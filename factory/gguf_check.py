"""Whether a GGUF file is whole, by its header alone: llama.cpp may end the process over one that is cut short."""

from __future__ import annotations

import mmap
import struct
from functools import lru_cache
from pathlib import Path

from factory.errors import FactoryError

# Bytes of a value by GGUF's number for its type
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# Weights of a block and its bytes by GGML's number for a tensor's type; they are gguf's, which is slow to import
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56),
    30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
_TEXT, _LIST = 8, 9
_LENGTH = struct.Struct("<Q")


def check_gguf(path: Path) -> None:
    """Raise FactoryError for a file that is missing, no GGUF (version 2 or 3, little-endian), or shorter than its tensors."""
    if not path.is_file():
        raise FactoryError(f"{path} does not exist.", "Give a GGUF file.")
    try:
        whole = _tensors(path, *_state(path))[0] <= path.stat().st_size
    except (ValueError, LookupError, ArithmeticError, RecursionError, struct.error):  # cut, none, or impossible counts
        whole = False
    if not whole:
        raise FactoryError(f"{path} is damaged: it is no GGUF file, or was cut short.", "Export or fetch it again.")


def gguf_parameters(path: Path) -> int:
    """How many weights a sound GGUF file holds."""
    return _tensors(path, *_state(path))[1]


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _tensors(path: Path, _changed: int, _size: int) -> tuple[int, int]:
    """Where the last tensor ends, in bytes from the beginning, and how many weights all of them hold.

    Read once for each state of a file: who names it and who opens it both ask whether it is whole.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _Header(data)
        if data[:4] != b"GGUF" or header.number("<I") not in (2, 3):
            raise ValueError("no GGUF")
        tensors, keys = header.number("<Q"), header.number("<Q")
        alignment = 32
        for _ in range(keys):
            name = header.text()
            kind = header.number("<I")
            start = header.at
            header.skip(kind)
            if name == b"general.alignment":
                (alignment,) = struct.unpack_from("<I", data, start)
        end = weights = 0
        for _ in range(tensors):
            header.text()
            count = 1
            for _ in range(header.number("<I")):
                count *= header.number("<Q")
            weights += count
            block, size = _BLOCKS[header.number("<I")]
            end = max(end, header.number("<Q") + count // block * size)
        return -(-header.at // alignment) * alignment + end, weights


class _Header:
    """Reads on through a GGUF's header, from behind the magic on."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 4

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> bytes:
        length = self.number("<Q")
        self.at += length
        if self.at > len(self.data):
            raise ValueError("cut short")
        return self.data[self.at - length : self.at]

    def skip(self, kind: int) -> None:
        """Past a value, or a list of them."""
        if kind == _TEXT:
            self.text()
        elif kind == _LIST:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SIZES:
                self.at += count * _SIZES[inner]
            elif inner == _TEXT:  # a vocabulary: a few hundred thousand
                for _ in range(count):
                    self.at += 8 + _LENGTH.unpack_from(self.data, self.at)[0]
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.at += _SIZES[kind]
