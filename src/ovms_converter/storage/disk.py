"""Writing to a disk, and what the operating system's refusals mean to the user."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    ResourceError,
    UnavailableError,
)

__all__ = ["disk_error", "disk_errors", "write_at"]


def disk_error(error: OSError, what: str) -> ConverterError:
    """The error of this package for what the operating system said about `what`, as it may be shown."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(
            f"no space left on the disk that holds `{what}`", hint="free some space, or choose another disk"
        )
    if error.errno == errno.EROFS:
        return LocationError(
            f"`{what}` is on a read-only file system", hint="choose a directory that can be written"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDeniedError(
            f"`{what}` may not be opened by this user (id {os.geteuid()})",
            hint="change its owner or mode, or choose another directory",
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"there is no `{what}`", hint="check the spelling")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        return UnavailableError(f"`{what}` cannot be read or written now: {error.strerror}")
    return LocationError(f"`{what}`: {error.strerror}")


@contextmanager
def disk_errors(what: object) -> Iterator[None]:
    """Turn every `OSError` of the block into the error that names its cause, such as a full disk, and
    `what`.
    """
    try:
        yield
    except OSError as problem:
        raise disk_error(problem, str(what)) from None


def write_at(descriptor: int, data: bytes, position: int) -> int:
    """Write all of `data` at a place of a file; the position behind it. Raises `OSError`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        position += written
        view = view[written:]
    return position
