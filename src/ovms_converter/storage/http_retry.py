"""When another try is worth it, how long to wait for it, and when to give up."""

import email.utils
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.network import Network

__all__ = ["Broken", "HttpLimits", "Patience", "retry_after"]


@dataclass(frozen=True)
class HttpLimits:
    """How long to wait and how much to do at once. Times are in seconds, sizes in bytes.

    A connection that carries no byte for `idle_seconds` is given up. `attempts` failures in a row, or
    `wait_budget` of waiting since the last progress, end a transfer; `progress_bytes` that arrived since the
    last failure count as progress. A file of `ranged_from` or more comes in parts of `part_bytes` over
    `streams` connections; `files` files come at once.
    """

    connect_seconds: float = 10.0
    idle_seconds: float = 30.0
    attempts: int = 6
    first_wait: float = 0.25
    longest_wait: float = 15.0
    wait_budget: float = 120.0
    progress_bytes: int = 256 << 10
    ranged_from: int = 64 << 20
    part_bytes: int = 16 << 20
    streams: int = 4
    files: int = 8

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "HttpLimits":
        """The defaults, with the time-outs of all stores (`S3_CONNECT_TIMEOUT`, `S3_READ_TIMEOUT`)."""
        network = Network.from_environment(environ)
        return cls(connect_seconds=network.connect_seconds, idle_seconds=network.idle_seconds)


class Broken(Exception):  # noqa: N818 - not an error of the user's: it is caught where a try is repeated
    """One try failed in a way that another may not; the server asks for `wait` seconds (`Retry-After`).

    `reached` is False if there was no connection to any server.
    """

    def __init__(self, reason: str, wait: float | None = None, *, reached: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.reached = reached


class Patience:
    """Counts the failures of one transfer. `what` names it in the error; it holds no secret.

    A set `interrupted` ends a wait, and every further try.
    """

    def __init__(self, limits: HttpLimits, what: str, interrupted: threading.Event | None = None) -> None:
        self._limits = limits
        self._what = what
        self._interrupted = interrupted or threading.Event()
        self._failures = 0
        self._waited = 0.0

    def check(self) -> None:
        """Raise `UnavailableError` if the transfer was interrupted."""
        if self._interrupted.is_set():
            raise UnavailableError(f"`{self._what}` was not read to its end: the transfer was stopped")

    def failed(self, broken: Broken, moved: int = 0) -> None:
        """Wait for another try, or raise `UnavailableError`. `moved` bytes arrived since the last failure;
        after some progress, the next try follows at once.
        """
        self.check()
        if moved >= self._limits.progress_bytes:
            self._failures, self._waited = 0, 0.0
            if broken.wait is None:
                return
        self._failures += 1
        if self._failures >= self._limits.attempts:
            raise UnavailableError(
                f"`{self._what}` gave up after {self._failures} tries: {broken.reason}",
                hint="the server may be overloaded or restarting: try again later"
                if broken.reached
                else "check the host name and port, and the network and proxy on the way",
            )
        # Jitter keeps the steps of one pipeline from coming back all at the same moment.
        backoff = min(self._limits.first_wait * 2 ** (self._failures - 1), self._limits.longest_wait)
        wait = max(backoff * random.uniform(0.5, 1.0), broken.wait or 0.0)  # noqa: S311 - no secret
        if self._waited + wait > self._limits.wait_budget:
            raise UnavailableError(
                f"`{self._what}` is not available: {broken.reason}, and the next try is {wait:.0f} s away",
                hint="try again later",
            )
        self._waited += wait
        self._interrupted.wait(wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for: a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
