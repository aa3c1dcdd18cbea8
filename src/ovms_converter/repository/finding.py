"""Finds a published version: the newest finished one of a repository, or the one that `URL/N` names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovms_converter.errors import CorruptModelError, NotFoundError
from ovms_converter.repository.versions import RECORD, Version, load_record, members, versions_of
from ovms_converter.storage import open_destination
from ovms_converter.storage.base import Destination
from ovms_converter.storage.location import Location
from ovms_converter.storage.nearby import near

__all__ = ["RecordedVersion", "find_version"]

_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)


@dataclass(frozen=True)
class RecordedVersion:
    """A version with its record. `destination` is the repository that holds it.

    `newest` tells whether no version with a record in it has a higher number.
    """

    destination: Destination
    version: Version
    record: Mapping[str, Any]
    newest: bool


def find_version(text: str, environ: Mapping[str, str]) -> RecordedVersion:
    """The newest version at a URL or path that has all files of its record, or the one that `URL/N` names.

    The output side's credentials of `environ` count.

    Raises `NotFoundError` if there is no such version with a record, `CorruptModelError` if the record is
    damaged, and whatever a store answers.
    """
    destination, number = _opened(Location.parse(text), environ)
    versions = [version for version in versions_of(destination.list()) if RECORD in version.files]
    for version in reversed(versions):
        if number not in (None, version.number):
            continue
        try:
            record = load_record(destination, version)
        except CorruptModelError as error:
            raise CorruptModelError(
                f"{error.message} (at `{destination.location}`)",
                hint="publish the model again as a new version",
            ) from None
        if number is not None or members(record) <= version.files.keys():
            return RecordedVersion(destination, version, record, newest=version == versions[-1])
    raise NotFoundError(
        f"there is no finished version with a `{RECORD}` at `{destination.location}`",
        hint=near(destination.location)
        or "only what this program published has one; `ovms-converter lint` checks any repository",
    )


def _opened(location: Location, environ: Mapping[str, str]) -> tuple[Destination, int | None]:
    """The repository, and the number of the version if the location is that version's own directory."""
    destination = open_destination(location, environ)
    number = _NUMBER.fullmatch(location.name)
    if not number or all(entry.path != RECORD for entry in destination.list()):
        return destination, None
    if location.scheme == "file":
        parent = str(Path(location.path).parent)
    else:
        parent = location.text.rstrip("/").removesuffix(location.name)
    return open_destination(Location.parse(parent), environ), int(number[0])
