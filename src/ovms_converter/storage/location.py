"""A URL or path as the user gave it, taken apart once."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ovms_converter.errors import RequestError

__all__ = ["SCHEMES", "Location"]

SCHEMES = {
    "s3": "s3", "gs": "gs", "gcs": "gs",
    "az": "az", "azure": "az", "abfs": "az", "abfss": "az",
    "http": "http", "https": "https", "file": "file",
}  # fmt: skip
"""Spelling in a URL → the scheme that serves it."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")


@dataclass(frozen=True)
class Location:
    """Where a model is or goes.

    `text`    as given, outer white space stripped: what is reported back; may hold a secret (`str()` does not)
    `scheme`  one of the values of `SCHEMES`
    `container`  bucket, container or host[:port]; "" for a file
    `path`    key or path in it, without a slash at its end (nor, in a store, at its start); never `.` or `..`
    """

    text: str
    scheme: str
    container: str
    path: str
