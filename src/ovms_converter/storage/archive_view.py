"""The files of a zip or tar that stays where it is: what is asked for is read, the rest is not.

A member that is stored as it is is read here and there. A compressed one is inflated from its beginning as
far as was asked for, to a temporary file. `ArchiveRules` say what is taken of an archive and what is refused.
"""

import io
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from ovms_converter.errors import NotFoundError
from ovms_converter.storage.archive_reading import (
    Readable,
    TarReader,
    begins_tar,
    begins_zip,
    open_zip,
    zip_members,
)
from ovms_converter.storage.archive_rules import (
    ArchiveLimits,
    ArchiveRules,
    Member,
    TooMuchError,
    shared_top,
)
from ovms_converter.storage.disk import disk_errors

__all__ = ["ArchiveView", "view"]

_CHUNK = 1 << 18
_IN_MEMORY = 4 << 20
"""Bytes of a member that are inflated into memory; what is more goes to a file."""

_SMALL = 1 << 16
"""A stored member up to this size is read whole, with its checksum."""

_LOCAL_HEADER = 30
"""Bytes of a zip's header before each member, without name and extra field (APPNOTE 4.3.7)."""

_Read = Callable[[Member, int, int], bytes]


class ArchiveView:
    """The files of an archive by their paths, from the first directory on that holds more than one.

    `unpacked_bytes` of all files. `close` removes what was inflated.
    """

    def __init__(self, rules: ArchiveRules, name: str, members: Mapping[str, Member], read: _Read) -> None:
        if not members:
            raise rules.emptiness()
        top = shared_top(list(members))
        self._rules = rules
        self._name = name
        self._read = read
        self._members = {path.removeprefix(top): member for path, member in sorted(members.items())}
        self.unpacked_bytes = sum(member.size for member in members.values())
        self.resources = ExitStack()

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path."""
        return {path: member.size for path, member in self._members.items()}

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes of a file from `start` on; all of the rest if `length` is None.

        Raises `NotFoundError`, `CorruptModelError`, `TooMuchError` if more would be inflated than may be, and
        what reading the archive raises.
        """
        member = self._members.get(path)
        if member is None:
            raise NotFoundError(f"there is no file `{path}` in the archive `{self._name}`")
        end = member.size if length is None else min(start + length, member.size)
        if start >= end:
            return b""
        with self._rules.damages():
            data = self._read(member, start, end - start)
            if len(data) < end - start:
                raise EOFError(f"`{member.name}` has another size than the archive tells")
        return data

    def close(self) -> None:
        """Remove what was inflated."""
        self.resources.close()


def view(
    file: Readable, name: str, size: int, start: bytes, inflated: int, limits: ArchiveLimits | None = None
) -> ArchiveView | None:
    """The files of a zip or tar of `size` bytes that begins with `start`; None if it is neither, or a model.

    Up to `inflated` bytes are inflated in all. Raises what `unpacked` raises, as far as the headers tell;
    `ArchiveView.read` raises the rest.
    """
    rules = ArchiveRules(name, size, limits or ArchiveLimits())
    if begins_zip(start):
        archive = open_zip(file, name, rules)
        if archive is None:
            return None
        zipped = _Zip(archive, file, size, inflated)
        with rules.damages():
            members = _taken(rules, rules.accepted(zip_members(archive)))
        found = ArchiveView(rules, name, members, zipped.part)
        found.resources.push(zipped.resources)
        return found
    if not begins_tar(start):
        return None
    with rules.damages():
        tar = TarReader(file, rules)
        members = _taken(rules, (member for member, _ in tar.members()))
        tar.check_end()
        rules.pass_over(size - tar.end)
    return ArchiveView(rules, name, members, tar.part)


def _taken(rules: ArchiveRules, members: Iterable[Member]) -> dict[str, Member]:
    """The members by name, their bytes counted as if they were unpacked."""
    found = {}
    for member in members:
        rules.pass_over(member.size)
        found[member.name] = member
    return found


class _Zip:
    """The bytes of the members of a zip."""

    def __init__(self, archive: zipfile.ZipFile, file: Readable, size: int, inflated: int) -> None:
        self.resources = ExitStack()
        self.resources.enter_context(archive)
        self._archive = archive
        self._file = file
        self._size = size
        self._inflatable = inflated
        self._left = inflated
        self._offsets: dict[str, int] = {}
        self._inflated: dict[str, tuple[IO[bytes], IO[bytes]]] = {}

    def part(self, member: Member, start: int, length: int) -> bytes:
        """Up to `length` bytes of a member from `start` on."""
        info = member.source
        assert isinstance(info, zipfile.ZipInfo)
        plain = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not plain or info.file_size <= _SMALL:
            return self._inflate(info, start, length)
        offset = self._offset(info)
        if offset + info.file_size > self._size:
            raise EOFError
        self._file.seek(offset + start)
        return self._file.read(length)

    def _offset(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a stored member begin; `zipfile` looks at its header first."""
        if info.filename not in self._offsets:
            with self._archive.open(info):
                self._file.seek(info.header_offset)
                header = self._file.read(_LOCAL_HEADER)
            self._offsets[info.filename] = (
                info.header_offset + _LOCAL_HEADER + sum(struct.unpack_from("<HH", header, 26))
            )
        return self._offsets[info.filename]

    def _inflate(self, info: zipfile.ZipInfo, start: int, length: int) -> bytes:
        """A part of a member, which is inflated from where it was left."""
        if info.filename not in self._inflated:
            self._inflated[info.filename] = (
                self.resources.enter_context(self._archive.open(info)),
                self.resources.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY)),  # noqa: SIM115 - `resources` closes it
            )
        packed, file = self._inflated[info.filename]
        file.seek(0, io.SEEK_END)  # which tells no place before Python 3.11
        missing = start + length - file.tell()
        while missing > 0 and (chunk := packed.read(min(missing, _CHUNK))):
            self._left -= len(chunk)
            if self._left < 0:
                raise TooMuchError.unpacked(self._inflatable)
            with disk_errors(Path(tempfile.gettempdir())):
                file.write(chunk)
            missing -= len(chunk)
        file.seek(start)
        return file.read(length)
