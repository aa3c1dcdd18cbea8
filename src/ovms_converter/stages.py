"""Reports a stage while a block runs, and counts what it moves."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ovms_converter.events import (
    Listener,
    Stage,
    StageFinished,
    StageProgress,
    StageStarted,
    StageTotal,
    ignore,
)

__all__ = ["StageMeter", "Stages"]


class StageMeter:
    """Counts the bytes that a stage moves and tells of them; for any thread."""

    def __init__(self, stage: Stage, listener: Listener) -> None:
        self.moved = 0
        self._stage = stage
        self._listener = listener
        self._lock = threading.Lock()

    def __call__(self, count: int, /) -> None:
        """So many bytes more are through."""
        with self._lock:
            self.moved += count
            self._listener(StageProgress(self._stage, self.moved))

    def expect(self, total: int | None) -> None:
        """The stage will move `total` bytes in all; None if that is not known."""
        self._listener(StageTotal(self._stage, total))


class Stages:
    """`with Stages(listener)(stage) as meter:` reports a stage of which this process does the work."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    @contextmanager
    def __call__(
        self, stage: Stage, detail: str = "", total: int | None = None, *, in_place: bool = False
    ) -> Iterator[StageMeter]:
        """Tell that it begins, and if the block ends well, that it is through; `in_place` moves no bytes."""
        started = time.monotonic()
        self._listener(StageStarted(stage, detail, None if in_place else total))
        meter = StageMeter(stage, ignore if in_place else self._listener)
        yield meter
        moved = 0 if in_place else meter.moved
        self._listener(StageFinished(stage, time.monotonic() - started, moved, detail, in_place))
