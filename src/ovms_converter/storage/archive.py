"""A fetched .zip, .tar, .tar.gz or .gz that holds a model becomes a tree of files.

What a file is, its bytes decide. Many model files are zip files too (.keras, .pth, .pt2, .npz): a zip is
unpacked only if there is a model among its members and it is not itself one.
"""

import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ovms_converter.storage.archive_reading import (
    BLOCK,
    Readable,
    TarReader,
    begins_gzip,
    begins_tar,
    begins_zip,
    open_zip,
    zip_members,
)
from ovms_converter.storage.archive_rules import ArchiveLimits, ArchiveRules, shared_top
from ovms_converter.storage.base import FetchedFile, FetchedTree
from ovms_converter.storage.disk import disk_errors

__all__ = ["ArchiveLimits", "gzipped_name", "may_be_archive", "unpacked"]

_CHUNK = 1 << 20


def may_be_archive(start: bytes) -> bool:
    """Whether a file that starts with these bytes (512 are enough) is worth a call of `unpacked`."""
    return begins_zip(start) or begins_gzip(start) or begins_tar(start)


def gzipped_name(name: str) -> str:
    """The name of the one file in `name`, a gzip file that holds no tar; "" if the name does not tell."""
    return next((name[: -len(end)] for end in (".gz", ".tgz") if name.lower().endswith(end)), "")


def unpacked(tree: FetchedTree, directory: Path, limits: ArchiveLimits | None = None) -> FetchedTree | None:
    """The files of the archive that `tree` is, below `directory` (existing and empty); None if it is no
    archive.

    Directories that hold nothing but one directory are left out of the paths. Raises `CorruptModelError` for
    a damaged archive, `ModelError` for one that is not safe to unpack, `ResourceError` if the disk is full,
    and `TooMuchError` if the `limits` are those of a look.
    """
    if len(tree.files) != 1:
        return None
    path = tree.root / tree.files[0].path
    with path.open("rb") as file:
        start = file.read(BLOCK)
        if not may_be_archive(start):
            return None
        file.seek(0)
        rules = ArchiveRules(path.name, path.stat().st_size, limits or ArchiveLimits())
        unpacking = _Unpacking(rules, directory)
        if start.startswith(b"PK"):
            files = _unpack_zip(file, path.name, unpacking)
        elif begins_gzip(start):
            files = _unpack_gzip(file, path.name, unpacking)
        else:
            files = _unpack_tar(file, unpacking)
    if files is None:
        return None
    if not files:
        raise rules.emptiness()
    return _without_top(directory, files)


def _unpack_zip(file: IO[bytes], name: str, unpacking: "_Unpacking") -> list[FetchedFile] | None:
    archive = open_zip(file, name, unpacking.rules)
    if archive is None:
        return None
    with archive, unpacking.rules.damages():
        for member in unpacking.rules.accepted(zip_members(archive)):
            assert isinstance(member.source, zipfile.ZipInfo)
            with archive.open(member.source) as data:
                unpacking.write(member.name, member.size, data)
    return unpacking.files


def _unpack_gzip(packed: IO[bytes], name: str, unpacking: "_Unpacking") -> list[FetchedFile] | None:
    with gzip.open(packed) as file:
        try:
            is_tar = begins_tar(file.read(BLOCK))
        except (OSError, EOFError, zlib.error) as problem:
            if name.lower().endswith((".gz", ".tgz")):
                raise unpacking.rules.damage(problem) from None
            return None
        inner = gzipped_name(name)
        if not is_tar and not inner:
            return None
        with unpacking.rules.damages():
            file.seek(0)
            if not is_tar:
                unpacking.write(inner, None, file)
                return unpacking.files
        return _unpack_tar(file, unpacking)


def _unpack_tar(file: Readable, unpacking: "_Unpacking") -> list[FetchedFile]:
    with unpacking.rules.damages():
        tar = TarReader(file, unpacking.rules)
        for member, data in tar.members():
            unpacking.write(member.name, member.size, data)
        tar.check_end()
        tar.pass_over_rest()
    return unpacking.files


class _Unpacking:
    """Writes what the rules take."""

    def __init__(self, rules: ArchiveRules, directory: Path) -> None:
        self.files: list[FetchedFile] = []
        self.rules = rules
        self._directory = directory

    def write(self, name: str, told: int | None, data: Readable) -> None:
        """Write one file, taking its digest; its real size counts, not the one that the archive `told`."""
        target = self._directory / name
        sha256 = hashlib.sha256()
        size = 0
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.fdopen(os.open(target, flags, 0o644), "wb", buffering=0)
        with handle:
            while chunk := data.read(_CHUNK):
                size += len(chunk)
                self.rules.check_size(size)
                sha256.update(chunk)
                with disk_errors(target):
                    handle.write(chunk)
        if told is not None and size != told:
            raise EOFError(f"`{name}` has another size than the archive tells")
        self.rules.pass_over(size)
        self.files.append(FetchedFile(name, size, sha256.hexdigest()))


def _without_top(directory: Path, files: Sequence[FetchedFile]) -> FetchedTree:
    """The tree from the first directory on that holds more than one directory."""
    top = shared_top([file.path for file in files])
    below = [FetchedFile(file.path.removeprefix(top), file.size, file.sha256) for file in files]
    return FetchedTree(directory / top, tuple(sorted(below, key=lambda file: file.path)))
