"""A store that has enough for now (429, 503) is waited for: a crowd of steps often is what it has enough of.

obstore repeats such a request a few times within about a second, whatever the store asks for.
"""

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.store_errors import BusyError

__all__ = ["Patience", "while_busy"]

BUSY_SECONDS = 30.0
"""Waiting in all for a store that is busy, before one request is given up."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0

T = TypeVar("T")
P = ParamSpec("P")


class Patience:
    """How often one request is repeated: `tries` times in all where it fails, with pauses that begin with
    `pause` seconds and double, and while the store is busy for `BUSY_SECONDS` beside.
    """

    def __init__(self, tries: int, pause: float = 1.0) -> None:
        self._left = tries
        self._pause = pause
        self._busy_pause = FIRST_PAUSE
        self._waited = 0.0

    async def after(self, error: UnavailableError) -> None:
        """Wait for the next try. Raises `error` if there is none."""
        if isinstance(error, BusyError):
            # Jitter keeps the steps of one pipeline from coming back all at the same moment.
            pause = max(self._busy_pause * random.uniform(0.5, 1), error.wait or 0)  # noqa: S311 - no secret
            self._busy_pause = min(2 * self._busy_pause, LONGEST_PAUSE)
            self._waited += pause
            if self._waited > BUSY_SECONDS:
                raise error
        else:
            self._left -= 1
            if self._left <= 0:
                raise error
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


def while_busy(request: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The request, repeated while the store says that it is busy; it must do no harm to be sent twice."""

    @functools.wraps(request)
    async def patient(*args: P.args, **named: P.kwargs) -> T:
        patience = Patience(1)
        while True:
            try:
                return await request(*args, **named)
            except BusyError as busy:  # noqa: PERF203 - a network is slower than a try
                await patience.after(busy)

    return patient
