"""A report as a file: what `report` and `convert --report` share."""

import os
from pathlib import Path

from ovms_converter.errors import AccessDeniedError, LocationError
from ovms_converter.workflow.results import replace_file

__all__ = ["check_report_file", "write_report"]


def check_report_file(path: Path) -> None:
    """See that a report can be written here, before any work is done for it.

    Raises `LocationError` or `AccessDeniedError`.
    """
    if path.is_dir():
        raise LocationError(f"the report `{path}` would replace a directory", hint="name a file")
    if not path.parent.is_dir():
        raise LocationError(
            f"the report `{path}` cannot be written: there is no directory `{path.parent}`",
            hint="make it, or name another file",
        )
    if not os.access(path.parent, os.W_OK):
        raise AccessDeniedError(
            f"the report `{path}` cannot be written: `{path.parent}` is not writable for this user",
            hint="name a file elsewhere",
        )


def write_report(path: Path, html: str) -> None:
    """Write a report; a reader sees the old file or the new one, whole. Raises `LocationError`."""
    try:
        replace_file(path.resolve(), html.encode())
    except OSError as error:
        raise LocationError(
            f"the report `{path}` cannot be written: {(error.strerror or str(error)).lower()}",
            hint="name a file elsewhere",
        ) from None
