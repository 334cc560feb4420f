"""Addresses of models that run elsewhere. An address is stored and shown; the key that opens it comes from the environment."""

from __future__ import annotations

import re

from factory.errors import FactoryError

KEY = "FACTORY_TEACHER_KEY"


def is_address(where: str) -> bool:
    return re.match("https?://", where, re.IGNORECASE) is not None


def check_address(where: str) -> None:
    """FactoryError for an address with a user name, a password or a query; what is no address (a file) passes."""
    if is_address(where) and re.search("[@?]", where):
        raise FactoryError(
            "The address of a model may hold no user name, password or query ('@', '?'): it is stored and shown.",
            f"Give it as http://HOST/v1; its key goes into the environment: export {KEY}=...",
        )
