"""Writing into the work directory, and what a failed write means to the user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovms_converter.storage.local import disk_error

__all__ = ["disk_errors", "write_at"]


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a failed write of `target` into the error that names its cause, such as a full disk."""
    try:
        yield
    except OSError as problem:
        raise disk_error(problem, str(target)) from None


def write_at(descriptor: int, data: bytes, position: int) -> int:
    """Write all of `data` at a place of a file; the position behind it. Raises `OSError`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        position += written
        view = view[written:]
    return position
