"""What the stages report while they run. A listener shows it; no stage knows who listens."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

__all__ = [
    "Event",
    "Listener",
    "Note",
    "Stage",
    "StageFinished",
    "StageProgress",
    "StageStarted",
    "StageTotal",
    "ignore",
]


class Stage(Enum):
    """The stages of a conversion, in their order."""

    FETCH = "fetch"
    RECOGNISE = "recognise"
    CONVERT = "convert"
    VERIFY = "verify"
    PUBLISH = "publish"


@dataclass(frozen=True)
class StageStarted:
    """A stage begins. `total` is the bytes that it will move, None if it moves none or does not know."""

    stage: Stage
    detail: str = ""
    total: int | None = None


@dataclass(frozen=True)
class StageTotal:
    """A stage that runs will move `total` bytes, other than it said when it began; None if it cannot know."""

    stage: Stage
    total: int | None


@dataclass(frozen=True)
class StageProgress:
    """`done` bytes of the stage are through, counted from its start."""

    stage: Stage
    done: int


@dataclass(frozen=True)
class StageFinished:
    """A stage is through. `seconds` is wall time, `moved` the bytes it moved.

    `in_place` is True if it found all bytes where they are needed and moved none.
    """

    stage: Stage
    seconds: float
    moved: int = 0
    detail: str = ""
    in_place: bool = False


@dataclass(frozen=True)
class Note:
    """A line for the person who reads the log."""

    level: Literal["debug", "info", "warning"]
    text: str


Event: TypeAlias = StageStarted | StageTotal | StageProgress | StageFinished | Note
Listener: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that shows nothing."""
