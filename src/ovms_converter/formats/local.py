"""Reading a file of a fetched model: through a memory map, and with its name in every complaint."""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ovms_converter.errors import CorruptModelError

__all__ = ["mapped", "naming"]

_Result = TypeVar("_Result")


def mapped(path: Path, read: Callable[[memoryview], _Result]) -> _Result:
    """What a reader makes of a memory-mapped file; raises `CorruptModelError` for a missing or empty one."""
    if not path.is_file() or path.stat().st_size == 0:
        raise CorruptModelError("it is missing or empty")
    with path.open("rb") as file:
        return read(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Turn a reader's `CorruptModelError`, which knows bytes only, into one that names the file."""
    try:
        yield
    except CorruptModelError as error:
        raise CorruptModelError(
            f"`{path}` is truncated or damaged: {error.message}",
            hint=error.hint or "compare its size and checksum with the original, and upload it again",
        ) from None
