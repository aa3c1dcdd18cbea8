"""What a failed write to the work directory means to the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovms_converter.storage.local import disk_error

__all__ = ["disk_errors"]


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a failed write of `target` into the error that names its cause, such as a full disk."""
    try:
        yield
    except OSError as problem:
        raise disk_error(problem, str(target)) from None
