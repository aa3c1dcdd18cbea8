"""The model repository as OpenVINO Model Server (OVMS) reads it: numbered versions, each written once.

    <location>/<N>/conversion.json     the record of the conversion; written first, it claims the version
    <location>/<N>/<stem>.bin          weights
    <location>/<N>/<stem>.xml          written last: without it a server loads nothing

OVMS reads a directory's name with C++'s `stoll`, so `2.partial` is version 2 too, serves the highest number
by default, and never looks into a loaded version again (model_server, src/modelmanager.cpp).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovms_converter.errors import AlreadyExistsError, ConverterError
from ovms_converter.storage.base import Destination, Entry, Progress

__all__ = ["RECORD", "ModelRepository", "Version", "version_number"]

RECORD = "conversion.json"
_STOLL = re.compile(r"\s*\+?(\d+)")
_ATTEMPTS = 20


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

    def holds(self, files: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether every file of a record is there with its size."""
        return bool(files) and all(
            name in self.files and self.files[name].size in (None, facts.get("size"))
            for name, facts in files.items()
        )


class ModelRepository:
    """The versions at a destination."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination

    def versions(self) -> tuple[Version, ...]:
        """All versions, finished or not, lowest first."""
        directories: dict[str, dict[str, Entry]] = {}
        for entry in self.destination.list():
            directory, slash, name = entry.path.partition("/")
            if slash:
                directories.setdefault(directory, {})[name] = entry
        numbered = [(version_number(name), name, files) for name, files in directories.items()]
        return tuple(
            sorted((Version(n, name, files) for n, name, files in numbered if n), key=lambda v: v.number)
        )

    def find(self, fingerprint: str) -> tuple[Version, dict[str, Any]] | None:
        """The newest finished version with its record, if it has this fingerprint."""
        for version in reversed(self.versions()):
            record = self._record(version)
            if record is None or not version.holds(record.get("files", {})):
                continue
            return (version, record) if record.get("fingerprint") == fingerprint else None
        return None

    def publish(self, files: Mapping[str, Path], wanted: str, progress: Progress) -> int:
        """Publish files (name → local file, in the order to be written) as a new version; return its number.

        `wanted` is a number as text, or anything else for the next free one. Raises `AlreadyExistsError` if
        the wanted number is taken. If another run takes the next number meanwhile, the one after it is tried.
        """
        for _ in range(_ATTEMPTS):
            taken = {version.number for version in self.versions()}
            number = int(wanted) if wanted.isdigit() else max(taken, default=0) + 1
            if number in taken:
                raise AlreadyExistsError(
                    f"version {number} exists already at `{self.destination.location}`",
                    hint="a published version is never changed; use `--model-version next`",
                )
            try:
                self.destination.publish(str(number), files, progress)
            except AlreadyExistsError:
                if wanted.isdigit():
                    raise
                continue
            return number
        raise AlreadyExistsError(
            f"other runs took each of {_ATTEMPTS} version numbers at `{self.destination.location}` first",
            hint="let fewer runs publish to one location at a time",
        )

    def _record(self, version: Version) -> dict[str, Any] | None:
        if RECORD not in version.files:
            return None
        try:
            record = json.loads(self.destination.read(f"{version.directory}/{RECORD}"))
        except (ValueError, ConverterError):
            return None
        return record if isinstance(record, dict) and isinstance(record.get("files"), dict) else None
