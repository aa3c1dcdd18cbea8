"""A single file that has to be opened first: an archive, or what a server sends only whole.

Of a zip or tar only parts are read where that can be, of other files all of those that are small enough.
"""

import io
import tempfile
from collections.abc import Mapping
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
from ovms_converter.storage.base import Entry, FetchedTree, Source
from ovms_converter.units import size as shown_size

__all__ = ["HEAD", "Limits", "Opened", "archive_kind", "open_archive"]

HEAD = 8 << 10
"""Bytes that tell what an archive is, the first ones of a compressed tar among them."""


@dataclass(frozen=True)
class Limits:
    """How much of an archive an inspection takes.

    `fetched` bytes of one that is elsewhere, `requests` until its members are known, and `unpacked` bytes on
    this machine.
    """

    fetched: int = 256_000_000
    requests: int = 1000
    unpacked: int = 1 << 30


@dataclass(frozen=True)
class Opened:
    """The files to look at in place of the one that is there.

    `archive`  what they are in; None if that is no archive, but a file that was fetched whole
    `files`    None if more than the `limits` is needed to know them, and `excess` tells of what
    """

    files: Files | None
    archive: Archive | None
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
    """The files of the archive that a source is, or the file that its server sends only whole.

    They are there until `resources` are closed. None if the source can be read as it is.

    Raises what a conversion raises that unpacks the archive, as far as its headers tell. Reading the files
    raises the rest, and `TooMuchError`.
    """
    start = files.read(entry.path, 0, HEAD)
    looking = _Looking(source, entry, files, resources, limits or Limits())
    kind = archive_kind(start, entry.path)
    in_parts = entry.size is not None and (len(start) == entry.size or source.reads_parts(entry.path))
    if not kind and in_parts:
        return None
    try:
        if kind in ("zip", "tar") and in_parts and entry.size is not None:
            return looking.parts(kind, entry.size, start)
        return looking.whole(kind)
    except TooMuchError as excess:
        return Opened(None, Archive(kind, None, None) if kind else None, str(excess))


class _Looking:
    """One archive that is looked into."""

    def __init__(
        self, source: Source, entry: Entry, files: CountedFiles, resources: ExitStack, limits: Limits
    ) -> None:
        self._source = source
        self._entry = entry
        self._files = files
        self._resources = resources
        self._limits = limits
        self._remote = source.location.is_remote
        self._listed = False

    def parts(self, kind: str, size: int, start: bytes) -> Opened | None:
        """Read what is asked for."""
        file = io.BufferedReader(WindowFile(Window(self._read, size, start)), HEAD)
        found = view(file, self._entry.path, size, start, self._limits.unpacked)
        self._listed = True
        if found is None:
            return None
        self._resources.callback(found.close)
        return Opened(found, Archive(kind, len(found.sizes()), found.unpacked_bytes))

    def whole(self, kind: str) -> Opened:
        """Fetch and unpack it, as a conversion does."""
        scratch = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ovms-converter-")))
        fetched, contents = scratch / "archive", scratch / "contents"
        fetched.mkdir()
        contents.mkdir()
        came = 0

        def progress(count: int) -> None:
            nonlocal came
            came += count
            self._check_fetched(came)

        self._check_fetched(self._entry.size or 0)
        tree = self._source.fetch([self._entry.path], fetched, progress)
        self._files.count(came)
        found = unpacked(tree, contents, ArchiveLimits(looked_at=self._limits.unpacked))
        if found is None:
            return Opened(_Here(tree, self._files), None)
        files = formats.LocalFiles(found.root, [file.path for file in found.files])
        sizes = [file.size for file in found.files]
        return Opened(files, Archive(kind, len(sizes), sum(sizes)))

    def _read(self, at: int, length: int) -> bytes:
        self._check_fetched(self._files.bytes_read)
        if self._remote and not self._listed and self._files.requests > self._limits.requests:
            raise TooMuchError(
                f"its members are not all found after {self._limits.requests:,} requests, "
                "where `inspect` ends"
            )
        return self._files.read(self._entry.path, at, length)

    def _check_fetched(self, count: int) -> None:
        if self._remote and count > self._limits.fetched:
            whole = f" of its {shown_size(self._entry.size)}" if self._entry.size is not None else ""
            most = shown_size(self._limits.fetched)
            raise TooMuchError(f"more than {most}{whole} would have to be fetched, where `inspect` ends")


class _Here:
    """One file that was fetched, and its neighbours where they are."""

    def __init__(self, tree: FetchedTree, files: Files) -> None:
        self._tree = tree
        self._neighbours = files

    def sizes(self) -> Mapping[str, int | None]:
        """See `Files`."""
        return {file.path: file.size for file in self._tree.files}

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Files`."""
        if path not in self.sizes():
            return self._neighbours.read(path, start, length)
        with (self._tree.root / path).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)
