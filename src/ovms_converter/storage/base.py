"""What every source and destination can do; one module a scheme implements it.

This room knows nothing of models: it turns a URL into a tree of files and a list of files into objects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from ovms_converter.storage.location import Location

__all__ = [
    "PROBE",
    "SMALL_FILE",
    "Destination",
    "Entry",
    "FetchedFile",
    "FetchedTree",
    "Listing",
    "Progress",
    "Side",
    "Source",
]

SMALL_FILE = 16 << 20
"""Bytes of a small file, such as a record, that are read at most unless more are expected."""

PROBE = ".ovms-converter-probe-"
"""Begins the name of the object that is written and removed to learn whether writing is allowed; OVMS skips
such names.
"""

Progress: TypeAlias = Callable[[int], None]
"""Called with a number of bytes each time that many more are through; from any thread."""


class Side(Enum):
    """Which end of the conversion a location is: it decides whether `OUTPUT_*` variables count."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, order=True)
class Entry:
    """One file below a location.

    `path` is relative to the location, POSIX, never absolute and without `..`; `size` is in bytes, None
    where the store does not tell; `etag` is whatever changes with the content, None where the store does
    not tell; `modified` is when it was written, by the clock of the store or file system.
    """

    path: str
    size: int | None = None
    etag: str | None = None
    modified: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Listing:
    """Everything at a source: one file (`is_file`, one entry, its name as path) or all of a prefix."""

    is_file: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class FetchedFile:
    """A file that is now on this machine.

    `sha256` is the hex digest of its bytes, taken while they passed.
    """

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class FetchedTree:
    """Files on this machine: `root / file.path`.

    The root of a local source is the user's own directory: never write there.
    """

    root: Path
    files: tuple[FetchedFile, ...]


class Source(Protocol):
    """A location that is read. Paths are those of `list()`; a single file also gives its neighbours by name.

    Every method raises `NotFoundError`, `AccessDeniedError`, `LocationError` or `UnavailableError`.
    """

    @property
    def location(self) -> Location:
        """Where this reads."""

    def list(self) -> Listing:
        """All files, one request per thousand.

        Siblings that only share the prefix's first letters are not part of it.
        """

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes of one file from offset `start`; all of the rest if `length` is None."""

    def size_of(self, path: str) -> int | None:
        """The bytes of a file that was read, also where a listing does not tell them; None if nobody does."""

    def reads_parts(self, path: str) -> bool:
        """Whether a part of a file costs less than the whole; False where a server turned out to ignore
        ranges, or does not tell how large the file is.
        """

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        """Bring these files below `directory` (an empty directory of ours; local sources ignore it).

        A second call may bring further files into the same directory.
        """

    @property
    def place(self) -> str | None:
        """What names this source among all there are, without secrets; None where ETags prove nothing.

        An ETag counts only together with its place: other resources may have the same.
        """

    def etag(self, path: str) -> str | None:
        """The strong ETag of the bytes that were listed or read as `path`; None if there is none."""

    def has_still(self, etags: Mapping[str, str]) -> bool:
        """Whether each of these files has still this strong ETag; no byte of them is asked for.

        The paths are those of an earlier `list()`, or of neighbours that were read then.
        """


class Destination(Protocol):
    """A location that is written: directories of files, each directory once and never again.

    Every method raises `AccessDeniedError`, `LocationError`, `UnavailableError` or `ResourceError` (disk
    full).
    """

    @property
    def location(self) -> Location:
        """Where this writes."""

    def check_writable(self) -> None:
        """Raise if a `publish` would be refused. Leaves nothing behind."""

    def list(self) -> tuple[Entry, ...]:
        """All files below the location; none if it does not exist yet."""

    def read(self, path: str, limit: int = SMALL_FILE) -> bytes:
        """One small file, whole. Raises `LocationError` if it has more than `limit` bytes."""

    def as_source(self) -> Source:
        """The location as something to read, with the destination's own credentials."""

    def siblings(self) -> tuple[str, ...]:
        """Names beside the location that begin with its own name, sorted."""

    def scratch(self) -> Path | None:
        """A new directory on the destination's own file system, for `publish` to rename; None for a store.

        Its name starts with `.ovms-`, which no server takes for a version. The caller removes it.
        """

    def publish(self, directory: str, files: Mapping[str, Path], progress: Progress) -> None:
        """Make `<location>/<directory>/<name>` of each `name: file`; who waits for the last sees all or none.

        Names are relative POSIX paths. On a file system: a finished directory is renamed into place; files
        that lie in `scratch()` are moved, others copied. In an object store: in the order given, the first
        (a claim) and the last only if absent. Raises `AlreadyExistsError` if the directory was there or
        appeared meanwhile.
        """

    def copy_from(self, source: Source) -> None:
        """Let `publish` copy what `source` fetched within the store, where that is possible.

        Those files must not have been changed since.
        """

    def remove(self, paths: Sequence[str]) -> None:
        """Remove these files; a file that is gone already is no error."""
