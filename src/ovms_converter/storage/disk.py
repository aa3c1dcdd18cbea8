"""What a failed write to the work directory means to the user."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovms_converter.errors import LocationError, ResourceError

__all__ = ["disk_errors"]


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a failed write to the work directory into `ResourceError` (disk full) or `LocationError`."""
    try:
        yield
    except OSError as problem:
        if problem.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceError(
                f"no space left for `{target.name}` in `{target.parent}`",
                hint="free some space, or set TMPDIR to a larger disk",
            ) from None
        raise LocationError(f"`{target}` cannot be written: {problem.strerror}") from None
