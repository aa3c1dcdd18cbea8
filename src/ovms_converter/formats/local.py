"""Reading a file of a fetched model through a memory map."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ovms_converter.errors import CorruptModelError

__all__ = ["mapped"]

_Result = TypeVar("_Result")


def mapped(path: Path, read: Callable[[memoryview], _Result]) -> _Result:
    """What a reader makes of a memory-mapped file; raises `CorruptModelError` for a missing or empty one."""
    if not path.is_file() or path.stat().st_size == 0:
        raise CorruptModelError("it is missing or empty")
    with path.open("rb") as file:
        return read(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
