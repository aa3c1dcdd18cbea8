"""The file through which the next step of a pipeline learns the URL."""

import contextlib
import os
from pathlib import Path

from ovms_converter.errors import AccessDeniedError, LocationError

__all__ = ["check_result_file", "replace_file", "write_result"]


def check_result_file(path: Path) -> None:
    """Make the directory of a result file and see that it can be written, before any work is done for it.

    Raises `LocationError` or `AccessDeniedError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from None
    if path.is_dir():
        raise LocationError(f"the result file `{path}` is a directory", hint="name a file")
    writable = path if path.exists() else path.parent
    if not os.access(writable, os.W_OK):
        raise AccessDeniedError(
            f"the result file `{path}` cannot be written: `{writable}` is not writable for this user",
            hint="`--result-file` and `TASK_RESULT` decide where the URL is written",
        )


def write_result(path: Path, text: str) -> None:
    """Write `text` and nothing else, not even a newline: Tekton passes a result on verbatim.

    A reader sees the old content or the new one. Where that cannot be had (a mounted file such as
    `/dev/termination-log`, a pipe) it is one single write. Raises `LocationError`.
    """
    data = os.fsencode(text)
    target = path.resolve()
    try:
        if not target.exists() or target.is_file():
            with contextlib.suppress(OSError):
                replace_file(target, data)
                return
        with target.open("wb", buffering=0) as file:
            file.write(data)
    except OSError as error:
        raise _refused(path, error) from None


def replace_file(target: Path, data: bytes) -> None:
    """Give a file new content, so that a reader sees the old one or the new one. Raises `OSError`."""
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=".", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            # `mkstemp` makes a file for this user alone, and what reads it is another one.
            os.fchmod(descriptor, target.stat().st_mode if target.exists() else 0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _refused(path: Path, error: OSError) -> LocationError:
    return LocationError(
        f"the result file `{path}` cannot be written: {(error.strerror or str(error)).lower()}",
        hint="`--result-file` and `TASK_RESULT` decide where the URL is written",
    )
