"""The one error that users see."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib.metadata import requires


class FactoryError(Exception):
    """Something the user can mend: `message` says what and where, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def suggest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(known) or 'none'}."


def need_extra(package: str, extra: str) -> FactoryError:
    """The error for an optional dependency that is not installed."""
    return FactoryError(f"{package} is not installed.", f"Run: {pip_install(extra)}")


def pip_install(extra: str) -> str:
    """The command that installs what an extra names: right in a checkout, too, and before the project is on an index."""
    named = re.compile(rf"(.+?)\s*;\s*extra == [\"']{extra}[\"']")
    packages = [found[1] for text in requires("vertical-factory") or [] if (found := named.fullmatch(text))]
    return "pip install " + " ".join(f"'{package}'" for package in packages)
