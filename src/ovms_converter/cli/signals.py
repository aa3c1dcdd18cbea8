"""SIGINT and SIGTERM as errors, so that a stopped run cleans up and says why it ended."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ovms_converter.errors import InterruptedRunError

__all__ = ["signals_as_errors"]

_GRACE_SECONDS = 1.0


@contextmanager
def signals_as_errors() -> Iterator[None]:
    """Raise `InterruptedRunError` in the main thread at the first SIGINT or SIGTERM.

    Later ones do not disturb the clean-up (`timeout` sends SIGTERM twice at once); a person who presses
    Ctrl-C again after a second ends the process on the spot.
    """
    stopped_at: float | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = time.monotonic()
            raise InterruptedRunError(number)
        if number == signal.SIGINT and time.monotonic() - stopped_at > _GRACE_SECONDS:
            os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
