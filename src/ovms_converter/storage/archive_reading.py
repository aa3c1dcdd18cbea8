"""The members of zip and tar files, read from any file that can be sought; nothing is unpacked."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TypeAlias

from ovms_converter.storage.archive_rules import ArchiveRules, Member, is_litter

__all__ = [
    "BLOCK",
    "Readable",
    "TarReader",
    "begins_gzip",
    "begins_tar",
    "begins_tar_gz",
    "begins_zip",
    "open_zip",
    "zip_members",
]

BLOCK = 512
"""Bytes that tell what an archive is; a tar consists of such blocks."""

Readable: TypeAlias = IO[bytes] | gzip.GzipFile | io.BufferedReader
"""A file that is read and sought."""

_CHUNK = 1 << 20
_MAX_HEADER = 8 << 20
"""More than this no archive needs at once for names; `tarfile` and `zipfile` hold it in memory."""

_MODEL_NAMES = frozenset({"MLmodel", "saved_model.pb", "saved_model.pbtxt"})
_MODEL_PATHS = frozenset({"MAR-INF/MANIFEST.json"})
"""What TorchServe's archives (`.mar`) have at their top."""

_MODEL_SUFFIXES = (".onnx", ".tflite", ".pdmodel", ".keras", ".h5")
_TAIL = (1 << 12, 22 + 56 + 20 + 0xFFFF)
"""Bytes at the end of a zip in which its end is looked for: mostly, and where there is a comment."""


def begins_zip(start: bytes) -> bool:
    """Whether these are the first bytes of a zip."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def begins_gzip(start: bytes) -> bool:
    """Whether these are the first bytes of a gzip file."""
    return start.startswith(b"\x1f\x8b")


def begins_tar_gz(start: bytes) -> bool:
    """Whether these first bytes of a gzip file (some thousands) hold the beginning of a tar."""
    try:
        return begins_tar(zlib.decompressobj(wbits=31).decompress(start, BLOCK))
    except zlib.error:
        return False


def begins_tar(block: bytes) -> bool:
    """Whether these bytes begin with a tar header, whose sum is in it (POSIX.1-1988 and before)."""
    block = block[:BLOCK]
    if len(block) < BLOCK or not block[0]:
        return False
    try:
        told = int(block[148:156].strip(b" \0").decode("ascii"), 8)
    except ValueError:
        return False
    return told == sum(block[:148]) + 8 * 32 + sum(block[156:])


def open_zip(file: Readable, name: str, rules: ArchiveRules) -> zipfile.ZipFile | None:
    """A zip that is to be unpacked, for the caller to close; None if the file is something else.

    Raises `CorruptModelError` if it is damaged and its `name` says that it is a zip, and `ModelError`.
    """
    named = name.lower().endswith(".zip")
    try:
        if _central_directory_bytes(file) > _MAX_HEADER:
            raise rules.refusal("has a list of members that is too large")
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as problem:
        if named:
            raise rules.damage(problem) from None
        return None  # another format that begins like a zip, to be named by those who know it
    names = {info.filename for info in archive.infolist()}
    if _is_model_file(names) or not (named or _holds_model(names)):
        archive.close()
        return None
    return archive


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """What is in a zip. ZipInfo.is_dir() fails at an empty name."""
    for info in archive.infolist():
        yield Member(info.filename, info.filename.endswith("/"), info.file_size, _zip_problem(info), info)


class TarReader:
    """A tar that is read from its beginning to its end."""

    def __init__(self, file: Readable, rules: ArchiveRules) -> None:
        self._file = _BoundedReads(file)
        self._rules = rules
        # It opens nothing: the file is its caller's.
        self._archive = tarfile.open(fileobj=self._file, mode="r:", errorlevel=2)  # noqa: SIM115 - read as long as the members are

    def members(self) -> Iterator[tuple[Member, IO[bytes]]]:
        """The files, each with its bytes, which are read before the next one is asked for."""
        members = (
            Member(info.name, info.isdir(), info.size, _tar_problem(info), info) for info in self._archive
        )
        for member in self._rules.accepted(members):
            assert isinstance(member.source, tarfile.TarInfo)
            data = self._archive.extractfile(member.source)
            assert data is not None, "a regular file has data"
            with data:
                yield member, data

    def part(self, member: Member, start: int, length: int) -> bytes:
        """Up to `length` bytes of a member from `start` on."""
        assert isinstance(member.source, tarfile.TarInfo)
        data = self._archive.extractfile(member.source)
        assert data is not None, "a regular file has data"
        with data:
            data.seek(start)
            pieces = []
            while length > 0 and (piece := data.read(min(length, _CHUNK))):
                pieces.append(piece)
                length -= len(piece)
        return b"".join(pieces)

    def check_end(self) -> None:
        """Raise `EOFError` without an end: `tarfile` takes a header that it cannot read for one."""
        self._file.seek(self.end)
        if self._file.read(BLOCK) != bytes(BLOCK):
            raise EOFError("its end is missing")

    @property
    def end(self) -> int:
        """Where the end begins, once all members were seen."""
        return self._archive.offset

    def pass_over_rest(self) -> None:
        """Read what is left: of a compressed file for its checksum."""
        while rest := self._file.read(_CHUNK):
            self._rules.pass_over(len(rest))


class _BoundedReads(io.RawIOBase):
    """A file that is not read in pieces of any size: a header that asks for it attacks the memory."""

    def __init__(self, file: Readable) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """At most `_MAX_HEADER` bytes. Raises `ValueError` if more are asked for."""
        if not 0 <= size <= _MAX_HEADER:
            raise ValueError("a header in it is too large")
        return self._file.read(size)

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; forwards in a compressed file reads up to it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place that the next read begins at."""
        return self._file.tell()


def _central_directory_bytes(file: Readable) -> int:
    """The size of a zip's list of members as its end tells it; 0 without an end (APPNOTE 4.3.14, 4.3.16)."""
    whole = file.seek(0, io.SEEK_END)
    for length in _TAIL:
        file.seek(max(0, whole - length))
        tail = file.read(length)
        end, end64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
        if end64 >= 0 and len(tail) >= end64 + 48:
            return int(struct.unpack_from("<Q", tail, end64 + 40)[0])
        if end >= 0 and len(tail) >= end + 16:
            return int(struct.unpack_from("<L", tail, end + 12)[0])
    return 0


def _is_model_file(names: set[str]) -> bool:
    """Whether a zip with these members is a Keras or PyTorch model itself."""
    if {"config.json", "metadata.json"} <= names and any(name.endswith(".weights.h5") for name in names):
        return True
    return any(
        names & {f"{top}/version", f"{top}/.data/version"}
        and names & {f"{top}/data.pkl", f"{top}/constants.pkl", f"{top}/archive_format"}
        for top in {name.partition("/")[0] for name in names}
    )


def _holds_model(names: set[str]) -> bool:
    return bool(names & _MODEL_PATHS) or any(
        name.rpartition("/")[2] in _MODEL_NAMES or name.lower().endswith(_MODEL_SUFFIXES)
        for name in names
        if not is_litter(name)
    )


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 0x1:
        return "is encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    return None if kind in {0, stat.S_IFREG, stat.S_IFDIR} else "is neither a file nor a directory"


def _tar_problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "is a link"
    return None if info.isreg() or info.isdir() else "is neither a file nor a directory"
