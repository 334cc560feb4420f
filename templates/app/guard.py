"""Who may come in, and where to: passwords from the environment, sessions in a signed cookie, only the paths of this app.

On 127.0.0.1 without a password everybody is let in, and is a reviewer unless reviewers have a password of their own. A
session is given out only with the page itself, never to a call from elsewhere: other sites cannot use it (SameSite), nor
can a name that was pointed at this machine (the Host is looked at).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass

USER, REVIEWER = "user", "reviewer"
SHORTEST = 8  # characters of a password
HOURS = 12  # a session holds
FREE_TRIES = 5  # wrong passwords of one address before it has to wait
PAUSE = 2.0  # seconds for each further try
MOST_ADDRESSES = 10_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Passwords:
    """The passwords, as salted scrypt hashes only."""

    def __init__(self, user: str, reviewer: str) -> None:
        self._salt = secrets.token_bytes(16)
        self._kept = {role: self._hash(text) for role, text in ((REVIEWER, reviewer), (USER, user)) if text}
        self._one = threading.Lock()  # a flood of tries keeps no more than one core busy

    def __bool__(self) -> bool:
        return bool(self._kept)

    def has(self, role: str) -> bool:
        return role in self._kept

    def role(self, given: str) -> str:
        """The role that a password opens; empty for a wrong one."""
        with self._one:
            found = self._hash(given[:1000])
        roles = [role for role, kept in self._kept.items() if hmac.compare_digest(found, kept)]
        return roles[0] if roles else ""

    def _hash(self, text: str) -> bytes:
        return hashlib.scrypt(text.encode("utf-8", "replace"), salt=self._salt, n=2**14, r=8, p=1)


@dataclass(frozen=True)
class Session:
    """One browser that was let in."""

    id: str
    role: str
    name: str = ""  # what the person calls themselves; reviewers see it beside their feedback

    @property
    def reviewer(self) -> bool:
        return self.role == REVIEWER


class Sessions:
    """Sessions as text that only this process can have written; when the app starts again, people log in again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def write(self, session: Session) -> str:
        row = json.dumps({**asdict(session), "until": time.time() + HOURS * 3600})
        told = base64.urlsafe_b64encode(row.encode()).decode().rstrip("=")
        return f"{told}.{self._sign(told)}"

    def read(self, cookie: str) -> Session | None:
        """The session that a cookie tells; None when it was changed, written by another, or is too old."""
        told, _, signed = cookie.partition(".")
        if not hmac.compare_digest(self._sign(told).encode(), signed.encode("utf-8", "replace")):
            return None
        row = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
        return Session(row["id"], row["role"], row["name"]) if row["until"] > time.time() else None

    def _sign(self, told: str) -> str:
        return hmac.new(self._key, told.encode("utf-8", "replace"), "sha256").hexdigest()


def new_session(role: str, name: str = "") -> Session:
    return Session(secrets.token_urlsafe(12), role, name)


class Tries:
    """Wrong passwords by address: a few are free, then one each PAUSE seconds; so nobody is locked out for longer."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tries left, when that was
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Take a try, and return 0; or return the seconds to wait, and take none."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.get(address, (float(FREE_TRIES), now))
            left = min(left + (now - at) / PAUSE, FREE_TRIES)
            if left < 1:
                return (1 - left) * PAUSE
            self._left[address] = (left - 1, now)
            self._left.move_to_end(address)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)
            return 0.0

    def right(self, address: str) -> None:
        """The password was right: nothing is held against the address."""
        with self._lock:
            self._left.pop(address, None)
