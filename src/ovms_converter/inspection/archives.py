"""What is in an archive, from as little of it as can be: parts of a zip or tar, all of a small gzip file."""

import io
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ovms_converter import formats
from ovms_converter.formats.archives import WindowFile
from ovms_converter.formats.base import Files
from ovms_converter.formats.tree import Window
from ovms_converter.inspection.reading import CountedFiles
from ovms_converter.inspection.report import Archive
from ovms_converter.storage.archive import gzipped_name, may_be_archive, unpacked
from ovms_converter.storage.archive_reading import begins_gzip, begins_tar_gz, begins_zip
from ovms_converter.storage.archive_rules import ArchiveLimits, TooMuchError
from ovms_converter.storage.archive_view import view
from ovms_converter.storage.base import Entry, Source

__all__ = ["HEAD", "Limits", "Opened", "archive_kind", "open_archive"]

HEAD = 8 << 10
"""Bytes that tell what an archive is, the first ones of a compressed tar among them."""


@dataclass(frozen=True)
class Limits:
    """How much of an archive an inspection takes.

    `requests` of one that is elsewhere until its members are known, and `unpacked` bytes on this machine;
    `CountedFiles` bounds what is fetched.
    """

    requests: int = 1000
    unpacked: int = 1 << 30


@dataclass(frozen=True)
class Opened:
    """What is in an archive; `files` are None if more is needed to know them, and `excess` tells of what."""

    files: Files | None
    archive: Archive
    excess: str = ""


def archive_kind(start: bytes, name: str) -> str:
    """`zip`, `tar`, `tar.gz` or `gzip`, by the first bytes of what may be an archive; "" if it is none.

    A damaged tar.gz, which only its name tells, is one: those who unpack it say what is wrong with it.
    """
    if not may_be_archive(start):
        return ""
    if not begins_gzip(start):
        return "zip" if begins_zip(start) else "tar"
    if begins_tar_gz(start) or name.lower().endswith((".tar.gz", ".tgz")):
        return "tar.gz"
    return "gzip" if gzipped_name(name) else ""


def open_archive(
    source: Source, entry: Entry, files: CountedFiles, resources: ExitStack, limits: Limits | None = None
) -> Opened | None:
    """The files of the archive that a source is, until `resources` are closed; None if it is none.

    Raises what a conversion raises that unpacks the archive, as far as its headers tell. Reading the files
    raises the rest, and `TooMuchError`.
    """
    start = files.read(entry.path, 0, HEAD)
    kind = archive_kind(start, entry.path)
    if not kind:
        return None
    looking = _Looking(entry.path, files, source.location.is_remote, resources, limits or Limits())
    size = files.sizes()[entry.path]
    try:
        if kind in ("zip", "tar") and size is not None and source.reads_parts(entry.path):
            return looking.parts(kind, size, start)
        return looking.whole(kind)
    except TooMuchError as excess:
        return Opened(None, Archive(kind, None, None), str(excess))


class _Looking:
    """One archive that is looked into."""

    def __init__(
        self, path: str, files: CountedFiles, remote: bool, resources: ExitStack, limits: Limits
    ) -> None:
        self._path = path
        self._files = files
        self._remote = remote
        self._resources = resources
        self._limits = limits
        self._listed = False

    def parts(self, kind: str, size: int, start: bytes) -> Opened | None:
        """Read what is asked for."""
        file = io.BufferedReader(WindowFile(Window(self._read, size, start)), HEAD)
        found = view(file, self._path, size, start, self._limits.unpacked)
        self._listed = True
        if found is None:
            return None
        self._resources.callback(found.close)
        return Opened(found, Archive(kind, len(found.sizes()), found.unpacked_bytes))

    def whole(self, kind: str) -> Opened | None:
        """Fetch and unpack it, as a conversion does."""
        contents = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ovms-converter-")))
        tree = self._files.fetched(self._path)
        found = unpacked(tree, contents, ArchiveLimits(looked_at=self._limits.unpacked))
        if found is None:
            return None
        files = formats.LocalFiles(found.root, [file.path for file in found.files])
        sizes = [file.size for file in found.files]
        return Opened(files, Archive(kind, len(sizes), sum(sizes)))

    def _read(self, at: int, length: int) -> bytes:
        self._files.check_fetched(self._files.bytes_read, self._path)
        if self._remote and not self._listed and self._files.requests > self._limits.requests:
            raise TooMuchError(
                f"its members are not all found after {self._limits.requests:,} requests, "
                "where `inspect` ends"
            )
        return self._files.read(self._path, at, length)
