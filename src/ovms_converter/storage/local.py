"""Files of this machine: read where they lie, published by renaming a finished directory."""

import contextlib
import os
import stat
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from ovms_converter.errors import LocationError, NotFoundError
from ovms_converter.storage.base import SMALL_FILE, Entry, FetchedFile, FetchedTree, Listing, Progress, Source
from ovms_converter.storage.disk import disk_errors
from ovms_converter.storage.location import Location, printable, why_unsafe
from ovms_converter.storage.nearby import near
from ovms_converter.storage.renaming import Renaming, remove_empty
from ovms_converter.storage.scratch import SCRATCH_PREFIX, clear_dead, make

__all__ = ["LocalDestination", "LocalSource", "open_destination", "open_source"]


def open_source(location: Location, environ: Mapping[str, str]) -> "LocalSource":  # noqa: ARG001 - as every scheme has it
    """A file or directory to read; no setting matters."""
    return LocalSource(location)


def open_destination(location: Location, environ: Mapping[str, str]) -> "LocalDestination":  # noqa: ARG001 - as every scheme has it
    """A directory to publish into; no setting matters."""
    return LocalDestination(location)


class LocalSource:
    """A file or a directory. `fetch` copies nothing: the tree's root is the user's own directory.

    Its files carry no digest: they are hashed later, beside the conversion, so that nothing is read twice in
    a row.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._path = Path(location.path)

    def list(self) -> Listing:
        """See `Source.list`. Links are followed; anything but regular files is skipped, as are our scratch
        directories.
        """
        with disk_errors(self.location):
            if not self._path.is_dir():
                if hint := near(self.location):
                    raise NotFoundError(f"there is no `{self.location}`", hint=hint)
                status = self._path.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise LocationError(f"`{self.location}` is neither a file nor a directory")
                return Listing(True, (_entry(self._path.name, status),))
            entries = _files(self._path)
        for entry in entries:
            _refuse_unsafe(entry.path, self._path)
        return Listing(False, entries)

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Source.read`."""
        with disk_errors(self._root / path), self._file(path).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def size_of(self, path: str) -> int | None:
        """See `Source.size_of`."""
        with disk_errors(self._root / path):
            return self._file(path).stat().st_size

    def reads_parts(self, path: str) -> bool:  # noqa: ARG002 - as `Source` has it
        """See `Source.reads_parts`."""
        return True

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:  # noqa: ARG002 - as `Source` has it
        """See `Source.fetch`: nothing is copied, and everything is there at once."""
        files = []
        for path in paths:
            with disk_errors(self._root / path):
                size = self._file(path).stat().st_size
            files.append(FetchedFile(path, size))
            progress(size)
        return FetchedTree(self._root, tuple(files))

    @property
    def place(self) -> str | None:
        """See `Source.place`: times and inode numbers do not tell that bytes are the same."""
        return None

    def etag(self, path: str) -> str | None:  # noqa: ARG002 - as `Source` has it
        """See `Source.etag`: a file system has none."""
        return None

    def has_still(self, etags: Mapping[str, str]) -> bool:  # noqa: ARG002 - as `Source` has it
        """See `Source.has_still`: only the bytes would tell."""
        return False

    @property
    def _root(self) -> Path:
        """The directory that paths are relative to: a single file's neighbours are reached by name."""
        return self._path if self._path.is_dir() else self._path.parent

    def _file(self, path: str) -> Path:
        reason = why_unsafe(path)
        if reason:
            raise LocationError(f"`{path}` {reason}: it is not below `{self.location}`")
        return self._root / path


def _entry(path: str, status: os.stat_result) -> Entry:
    modified = datetime.fromtimestamp(status.st_mtime, tz=timezone.utc)
    return Entry(path, status.st_size, f"{status.st_mtime_ns}-{status.st_ino}", modified)


def _identities(directories: Iterable[Path]) -> frozenset[tuple[int, int]]:
    """What the system knows directories by, whatever link leads there."""
    return frozenset((status.st_dev, status.st_ino) for status in map(Path.stat, directories))


def _refuse_unsafe(path: str, directory: Path) -> None:
    if reason := why_unsafe(path):
        raise LocationError(
            f"`{directory}` holds a file whose name cannot be used: `{printable(path)}` {reason}",
            hint="rename or remove that file",
        )


def _files(directory: Path) -> tuple[Entry, ...]:
    """All regular files below a directory, sorted."""
    entries: list[Entry] = []
    _walk(directory, "", _identities(directory.resolve().parents), entries)
    return tuple(sorted(entries))


def _walk(directory: Path, prefix: str, above: frozenset[tuple[int, int]], entries: list[Entry]) -> None:
    """Append all regular files below a directory; a link to a directory above it would never end and is
    refused.
    """
    status = directory.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise LocationError(f"`{directory}` is a link to a directory that holds it", hint="remove the link")
    with os.scandir(directory) as items:
        for item in items:
            if item.name.startswith(SCRATCH_PREFIX):
                continue
            path = prefix + item.name
            if item.is_dir():
                _walk(Path(item.path), f"{path}/", above | {here}, entries)
            elif item.is_file():
                entries.append(_entry(path, item.stat()))


class LocalDestination:
    """A directory that holds published directories."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._path = Path(location.path)

    def check_writable(self) -> None:
        """See `Destination.check_writable`: a directory is made and removed where the first one would have
        to be made.
        """
        existing = self._existing()
        with self._making(existing):
            probe = make(existing)
            probe.path.rmdir()
        probe.release()

    def list(self) -> tuple[Entry, ...]:
        """See `Destination.list`."""
        with disk_errors(self.location):
            if not self._path.is_dir():
                return ()
            # Nothing of ours has a name that is refused in a source.
            return tuple(entry for entry in _files(self._path) if not why_unsafe(entry.path))

    def read(self, path: str, limit: int = SMALL_FILE) -> bytes:
        """See `Destination.read`."""
        data = LocalSource(self.location).read(path, 0, limit + 1)
        if len(data) > limit:
            raise LocationError(f"`{path}` below `{self.location}` has more than {limit:,} bytes")
        return data

    def as_source(self) -> LocalSource:
        """See `Destination.as_source`."""
        return LocalSource(self.location)

    def siblings(self) -> tuple[str, ...]:
        """See `Destination.siblings`."""
        own = self._path.name
        with disk_errors(self.location):
            names = [path.name for path in self._path.parent.iterdir()]
        return tuple(sorted(name for name in names if name.startswith(own) and name != own))

    def scratch(self) -> Path | None:
        """See `Destination.scratch`: in the nearest directory that exists, so that a failed run leaves none
        behind.
        """
        existing = self._existing()
        for directory in (self._path, *self._path.parents):
            clear_dead(directory)
        with self._making(existing):
            held = make(existing)
        weakref.finalize(self, held.release)
        return held.path

    def publish(self, directory: str, files: Mapping[str, Path], progress: Progress) -> None:
        """See `Destination.publish`: all is flushed to the disk before the one rename that shows it."""
        Renaming(self.location, directory, self._missing()).publish(files, progress)

    def copy_from(self, source: Source) -> None:
        """See `Destination.copy_from`: what is fetched lies on this machine already."""

    def remove(self, paths: Sequence[str]) -> None:
        """See `Destination.remove`; directories that become empty go too."""
        for path in paths:
            file = self._path / path
            with disk_errors(file):
                file.unlink(missing_ok=True)
            remove_empty([self._path / parent for parent in PurePosixPath(path).parents[:-1]])

    def _existing(self) -> Path:
        """The location or the nearest directory above it that exists."""
        path = self._path
        while not os.path.lexists(path):
            path = path.parent
        if not path.is_dir():
            raise LocationError(
                f"`{path}` is a file, and the destination `{self.location}` must be a directory",
                hint="name a directory as destination",
            )
        return path

    @contextlib.contextmanager
    def _making(self, existing: Path) -> Iterator[None]:
        """Tell of a file system in which nothing can be made, such as `/proc`."""
        try:
            with disk_errors(self.location):
                yield
        except NotFoundError:
            raise LocationError(
                f"`{self.location}` cannot be created: `{existing}` takes no new directories",
                hint="choose another directory",
            ) from None

    def _missing(self) -> tuple[Path, ...]:
        """The directories that publishing will have to make, the innermost first."""
        existing = self._existing()
        return tuple(path for path in (self._path, *self._path.parents) if existing in path.parents)
