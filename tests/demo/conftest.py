"""The generated app's modules by their own names, as `python app.py` sees them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from factory.files import templates

MODULES = {path.stem for path in templates("app").glob("*.py")}


@pytest.fixture(autouse=True)
def own_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(templates("app")))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)
