"""Which directories a server takes for versions, and whether all files of a version are there.

OVMS reads a directory's name with C++'s `stoll`, so `2.partial` is version 2 too, serves the highest number
by default, and never looks into a loaded version again (model_server, src/modelmanager.cpp).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ovms_converter.errors import CorruptModelError, LocationError
from ovms_converter.storage.base import SMALL_FILE, Destination, Entry

__all__ = [
    "RECORD",
    "SIGNATURE",
    "Version",
    "check_small",
    "load_record",
    "mapping_of",
    "mappings_of",
    "members",
    "read_record",
    "version_number",
    "versions_of",
]

RECORD = "conversion.json"
SIGNATURE = "model.sig"
"""A version's signature, if it has one, by the name that the tool `model_signing` gives it."""
_STOLL = re.compile(r"\s*\+?(\d+)", re.ASCII)


def version_number(directory: str) -> int | None:
    """The version that OVMS takes a directory for, None if it skips it.

    >>> [version_number(name) for name in ("1", "01", "2-partial", "latest", "0")]
    [1, 1, 2, None, None]
    """
    match = _STOLL.match(directory)
    return int(match.group(1)) or None if match else None


@dataclass(frozen=True)
class Version:
    """A version directory that exists: its number, its name, and its files by their name in it."""

    number: int
    directory: str
    files: Mapping[str, Entry]

    @property
    def modified(self) -> datetime | None:
        """When the last of its files was written, by the store's clock; None if that is not known of all."""
        times = [entry.modified for entry in self.files.values()]
        known = [time for time in times if time]
        return max(known) if known and len(known) == len(times) else None

    def holds(self, record: Mapping[str, Any]) -> bool:
        """Whether every file of a record is there with its size, and the signature if it was signed."""
        files: Mapping[str, Mapping[str, Any]] = record["files"]
        return (
            bool(files)
            and members(record) <= self.files.keys()
            and all(self.files[name].size in (None, facts.get("size")) for name, facts in files.items())
        )


def mapping_of(value: object) -> Mapping[str, Any]:
    """A JSON object of a record; an empty one for anything else, since a record may be anybody's."""
    return value if isinstance(value, Mapping) else {}


def mappings_of(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a list of a record; none of anything else."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def members(record: Mapping[str, Any]) -> frozenset[str]:
    """The names of all files of a version but the record itself."""
    return frozenset(record["files"]) | ({SIGNATURE} if record.get("signed_by") else set())


def versions_of(entries: Iterable[Entry]) -> tuple[Version, ...]:
    """All versions of a listing, finished or not, lowest first."""
    directories: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        directory, slash, name = entry.path.partition("/")
        if slash:
            directories.setdefault(directory, {})[name] = entry
    numbered = [(version_number(name), name, files) for name, files in directories.items()]
    return tuple(
        sorted((Version(n, name, files) for n, name, files in numbered if n), key=lambda v: v.number)
    )


def check_small(version: Version, name: str) -> None:
    """Raise `CorruptModelError` if a file of a version is too large to be what its name says."""
    found = version.files[name].size or 0
    if found > SMALL_FILE:
        raise CorruptModelError(
            f"`{version.directory}/{name}` has {found:,} bytes, and no more than {SMALL_FILE:,} are read"
        )


def load_record(destination: Destination, version: Version) -> dict[str, Any]:
    """The record of a version that has one.

    Raises `CorruptModelError` if it is not this program's, and what the store answers.
    """
    check_small(version, RECORD)
    path = f"{version.directory}/{RECORD}"
    try:
        record = json.loads(destination.read(path))
    except (ValueError, RecursionError):
        record = None
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
        raise CorruptModelError(f"`{path}` is not the record that this program writes")
    return dict(record)


def read_record(destination: Destination, version: Version) -> dict[str, Any] | None:
    """The record of a version; None if it has none that may be read, or one that is not this program's.

    Raises `UnavailableError`: a store that does not answer says nothing of what is there.
    """
    if RECORD not in version.files:
        return None
    try:
        return load_record(destination, version)
    except (CorruptModelError, LocationError):
        return None
