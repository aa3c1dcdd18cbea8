"""A fetched .zip, .tar or .tar.gz that holds a model becomes a tree of files.

What a file is, its bytes decide. Many model files are zip files too (.keras, .pth, .pt2, .npz): a zip is
unpacked only if there is a model among its members and it is not itself one. Nothing in an archive is
trusted: not its names, not the sizes it tells, not its links.
"""

import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from ovms_converter.errors import CorruptModelError, ModelError
from ovms_converter.storage.base import FetchedFile, FetchedTree
from ovms_converter.storage.disk import disk_errors
from ovms_converter.storage.location import why_unsafe

__all__ = ["ArchiveLimits", "may_be_archive", "unpacked"]

_CHUNK = 1 << 20
_BLOCK = 512
_MAX_HEADER = 8 << 20
"""More than this no archive needs at once for names; `tarfile` and `zipfile` hold it in memory."""

_MODEL_NAMES = frozenset({"MLmodel", "saved_model.pb", "saved_model.pbtxt"})
_MODEL_SUFFIXES = (".onnx", ".tflite", ".pdmodel", ".keras", ".h5")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ArchiveLimits:
    """When an archive is taken for a bomb.

    `total_bytes` of all files; `ratio` of their bytes to the archive's, which counts from `ratio_from` bytes
    on, as a small model of zeros is no attack; `members` counts directories too.
    """

    total_bytes: int = 256 << 30
    ratio: int = 200
    ratio_from: int = 1 << 30
    members: int = 20_000


@dataclass(frozen=True)
class _Member:
    """One entry: `problem` says why it cannot be unpacked, `open` gives its bytes."""

    name: str
    is_directory: bool
    size: int
    problem: str | None
    source: zipfile.ZipInfo | tarfile.TarInfo = field(repr=False)


def may_be_archive(start: bytes) -> bool:
    """Whether a file that starts with these bytes (512 are enough) is worth a call of `unpacked`."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")) or _is_tar_header(start[:_BLOCK])


def unpacked(tree: FetchedTree, directory: Path, limits: ArchiveLimits | None = None) -> FetchedTree | None:
    """The files of the archive that `tree` is, below `directory` (existing and empty); None if it is no
    archive.

    Directories that hold nothing but one directory are left out of the paths. Raises `CorruptModelError` for
    a damaged archive, `ModelError` for one that is not safe to unpack, and `ResourceError` if the disk is
    full.
    """
    if len(tree.files) != 1:
        return None
    path = tree.root / tree.files[0].path
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    if not may_be_archive(start):
        return None
    unpacking = _Unpacking(path.name, path.stat().st_size, directory, limits or ArchiveLimits())
    if start.startswith(b"PK"):
        files = _unpack_zip(path, unpacking)
    elif start.startswith(b"\x1f\x8b"):
        files = _unpack_tar_gz(path, unpacking)
    else:
        with path.open("rb") as file:
            files = _unpack_tar(file, unpacking)
    if files is None:
        return None
    if not files:
        raise CorruptModelError(f"the archive `{path.name}` holds no file")
    return _without_top(directory, files)


def _unpack_zip(path: Path, unpacking: "_Unpacking") -> list[FetchedFile] | None:
    try:
        with path.open("rb") as file:
            if _central_directory_bytes(file) > _MAX_HEADER:
                raise unpacking.refusal("has a list of members that is too large")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as problem:
        if path.suffix.lower() == ".zip":
            raise unpacking.damage(problem) from None
        return None  # another format that begins like a zip, to be named by those who know it
    with archive, unpacking.damages():
        infos = archive.infolist()
        names = {info.filename for info in infos}
        if _is_model_file(names) or not (path.suffix.lower() == ".zip" or _holds_model(names)):
            return None
        # ZipInfo.is_dir() fails at an empty name.
        members = (
            _Member(info.filename, info.filename.endswith("/"), info.file_size, _zip_problem(info), info)
            for info in infos
        )
        for member in unpacking.accepted(members):
            assert isinstance(member.source, zipfile.ZipInfo)
            with archive.open(member.source) as data:
                unpacking.write(member, data)
    return unpacking.files


def _unpack_tar_gz(path: Path, unpacking: "_Unpacking") -> list[FetchedFile] | None:
    with gzip.open(path) as file:
        try:
            is_tar = _is_tar_header(file.read(_BLOCK))
        except (OSError, EOFError, zlib.error) as problem:
            if path.name.lower().endswith((".tar.gz", ".tgz")):
                raise unpacking.damage(problem) from None
            return None
        if not is_tar:
            return None
        with unpacking.damages():
            file.seek(0)
        return _unpack_tar(file, unpacking)


def _unpack_tar(file: IO[bytes] | gzip.GzipFile, unpacking: "_Unpacking") -> list[FetchedFile]:
    bounded = _BoundedReads(file)
    with unpacking.damages():
        with tarfile.open(fileobj=bounded, mode="r:", errorlevel=2) as archive:
            members = (
                _Member(info.name, info.isdir(), info.size, _tar_problem(info), info) for info in archive
            )
            for member in unpacking.accepted(members):
                assert isinstance(member.source, tarfile.TarInfo)
                data = archive.extractfile(member.source)
                assert data is not None, "a regular file has data"
                with data:
                    unpacking.write(member, data)
            end = archive.offset
        # `tarfile` takes a header that it cannot read, or that is cut off, for the end.
        bounded.seek(end)
        if bounded.read(_BLOCK) != bytes(_BLOCK):
            raise EOFError("its end is missing")
        # What is left of a compressed file is read for its checksum.
        while rest := bounded.read(_CHUNK):
            unpacking.pass_over(len(rest))
    return unpacking.files


class _Unpacking:
    """The state of one unpacking: what was written, and what must not be written any more."""

    def __init__(self, archive: str, archive_bytes: int, directory: Path, limits: ArchiveLimits) -> None:
        self.files: list[FetchedFile] = []
        self._archive = archive
        self._directory = directory
        self._limits = limits
        self._allowed = min(limits.total_bytes, max(limits.ratio_from, limits.ratio * archive_bytes))
        self._bytes = 0
        self._spellings: dict[str, tuple[str, bool]] = {}

    def accepted(self, members: Iterable[_Member]) -> Iterator[_Member]:
        """The members that are files, their names cleaned. Raises `ModelError` for one that is not safe."""
        for number, member in enumerate(members):
            if number >= self._limits.members:
                raise self.refusal(f"has more than {self._limits.members} members")
            name = member.name.removeprefix("./").removesuffix("/") if member.name != "." else ""
            if not name or _is_litter(name):
                self.pass_over(member.size)
                continue
            self._check_size(member.size)
            reason = _unsafe(name) or member.problem
            if reason:
                shown = "".join(letter if letter.isprintable() else "?" for letter in name)
                raise self.refusal(f"has a member that is not unpacked: `{shown}` {reason}")
            self._claim(name, member.is_directory)
            if not member.is_directory:
                yield _Member(name, False, member.size, None, member.source)

    def pass_over(self, size: int) -> None:
        """Count bytes that are read but not written. Raises `ModelError` if there are too many."""
        self._check_size(size)
        self._bytes += size

    def write(self, member: _Member, data: IO[bytes]) -> None:
        """Write one file, taking its digest; its real size counts, not the one that the archive tells."""
        target = self._directory / member.name
        sha256 = hashlib.sha256()
        size = 0
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.fdopen(os.open(target, flags, 0o644), "wb", buffering=0)
        with handle:
            while chunk := data.read(_CHUNK):
                size += len(chunk)
                self._check_size(size)
                sha256.update(chunk)
                with disk_errors(target):
                    handle.write(chunk)
        if size != member.size:
            raise EOFError(f"`{member.name}` has another size than the archive tells")
        self._bytes += size
        self.files.append(FetchedFile(member.name, size, sha256.hexdigest()))

    @contextmanager
    def damages(self) -> Iterator[None]:
        """Turn what `zipfile`, `tarfile` and `gzip` raise for damaged bytes into `CorruptModelError`."""
        try:
            yield
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            ValueError,
        ) as problem:
            raise self.damage(problem) from None
        except (NotImplementedError, RuntimeError) as problem:
            raise self.refusal(f"cannot be unpacked: {problem}") from None
        except OSError as problem:  # bz2 and gzip have no error of their own for some damages
            raise self.damage(problem) from None

    def damage(self, problem: Exception) -> CorruptModelError:
        """The archive is damaged: `problem` says how."""
        return CorruptModelError(
            f"the archive `{self._archive}` is damaged: {problem}", hint="make or upload the archive again"
        )

    def refusal(self, reason: str) -> ModelError:
        """The archive is not unpacked, for this reason."""
        return ModelError(
            f"the archive `{self._archive}` {reason}",
            hint="unpack it yourself, and give the directory of the model",
        )

    def _check_size(self, size: int) -> None:
        if self._bytes + size > self._allowed:
            raise self.refusal(
                f"unpacks to more than {self._allowed >> 20} MiB, which is taken for an attack"
            )

    def _claim(self, name: str, is_directory: bool) -> None:
        """Raise if this name, or a directory on its way, is another member's name on some file system."""
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            entry = (path, is_directory or depth < len(parts))
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
            known = self._spellings.get(key)
            if known is not None and (known != entry or not entry[1]):
                raise self.refusal(f"has two members of one name: `{known[0]}` and `{path}`")
            self._spellings[key] = entry


class _BoundedReads(io.RawIOBase):
    """A file that is not read in pieces of any size: a header that asks for it attacks the memory."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """At most `_MAX_HEADER` bytes. Raises `ValueError` if more are asked for."""
        if not 0 <= size <= _MAX_HEADER:
            raise ValueError("a header in it is too large")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; forwards in a compressed file reads up to it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place that the next read begins at."""
        return self._file.tell()


def _is_tar_header(block: bytes) -> bool:
    """Whether these 512 bytes are a tar header, whose sum is in it (POSIX.1-1988 and before)."""
    if len(block) < _BLOCK or not block[0]:
        return False
    try:
        told = int(block[148:156].strip(b" \0").decode("ascii"), 8)
    except ValueError:
        return False
    return told == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _central_directory_bytes(file: IO[bytes]) -> int:
    """The size of a zip's list of members as its end tells it; 0 without an end (APPNOTE 4.3.14, 4.3.16)."""
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - 22 - 56 - 20 - 0xFFFF))
    tail = file.read()
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
    return any(
        name.rpartition("/")[2] in _MODEL_NAMES or name.lower().endswith(_MODEL_SUFFIXES)
        for name in names
        if not _is_litter(name)
    )


def _unsafe(name: str) -> str | None:
    """Why a member of this name is not unpacked on any system; None if it is."""
    if "\\" in name or _DRIVE.match(name):
        return "is written as a path of Windows"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "has a name that is not UTF-8"
    return why_unsafe(name)


def _is_litter(name: str) -> bool:
    """Whether this is what macOS leaves in archives: twins of files that look like models and are none."""
    parts = PurePosixPath(name).parts
    return bool(parts) and (parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._"))


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


def _without_top(directory: Path, files: list[FetchedFile]) -> FetchedTree:
    """The tree from the first directory on that holds more than one directory."""
    root = directory
    while len({file.path.partition("/")[0] for file in files}) == 1 and "/" in files[0].path:
        top = files[0].path.partition("/")[0]
        root /= top
        files = [FetchedFile(file.path.partition("/")[2], file.size, file.sha256) for file in files]
    return FetchedTree(root, tuple(sorted(files, key=lambda file: file.path)))
