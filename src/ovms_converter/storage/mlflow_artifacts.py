"""Files that a tracking server hands through from its own store: `mlflow-artifacts:/…`."""

import posixpath
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovms_converter.errors import LocationError, NotFoundError, UnavailableError
from ovms_converter.storage.base import Entry, FetchedFile, FetchedTree, Listing, Progress
from ovms_converter.storage.http import fetch_all
from ovms_converter.storage.http_download import download
from ovms_converter.storage.location import Location, why_unsafe
from ovms_converter.storage.mlflow_server import TrackingServer

__all__ = ["ArtifactSource"]

_MAX_FILES = 20_000
_MAX_DEPTH = 32


class ArtifactSource:
    """A `Source` for the artifacts at `path` of a server; `location` is what the user asked for."""

    def __init__(self, location: Location, server: TrackingServer, path: str) -> None:
        self._location = location
        self._server = server
        self._path = path
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._neighbours: dict[str, int | None] = {}

    @property
    def location(self) -> Location:
        """Where this reads."""
        return self._location

    def list(self) -> Listing:
        """All files, one request per directory. Raises `NotFoundError` if there are none."""
        with self._lock:
            if self._listing is None:
                self._listing = self._look()
            return self._listing

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes of one file from offset `start`; all of the rest if `length` is None."""
        place, _ = self._place(path)
        return self._server.artifact(place).read(start, length)

    def size_of(self, path: str) -> int | None:
        """See `Source.size_of`."""
        return self._place(path)[1]

    def reads_parts(self, path: str) -> bool:
        """See `Source.reads_parts`."""
        place, _ = self._place(path)
        return self._server.artifact(place).reads_parts

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        """Bring these files below `directory`. Their sizes must be those that the server tells."""

        def one(path: str, stop: threading.Event) -> FetchedFile:
            place, told = self._place(path)
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            size, sha256 = download(self._server.artifact(place), target, progress, stop)
            if told is not None and size != told:
                raise UnavailableError(
                    f"`{path}` of `{self._location}` came with {size} bytes, and the server told {told}",
                    hint="run again when nobody writes to it",
                )
            return FetchedFile(path, size, sha256)

        return FetchedTree(directory, fetch_all(paths, one, self._server.client))

    @property
    def place(self) -> str | None:
        """See `Source.place`: the server's ETags are of its own temporary files."""
        return None

    def etag(self, path: str) -> str | None:  # noqa: ARG002 - as `Source` has it
        """See `Source.etag`: there is none that lasts."""
        return None

    def has_still(self, etags: Mapping[str, str]) -> bool:  # noqa: ARG002 - as `Source` has it
        """See `Source.has_still`: only the bytes would tell."""
        return False

    def _look(self) -> Listing:
        """The files below the path. A file and what is not there list nothing alike: the parent tells."""
        files: dict[str, int | None] = {}
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            for name, is_directory, size in self._level(posixpath.join(self._path, prefix).rstrip("/")):
                if is_directory:
                    waiting.append(f"{prefix}{name}/")
                else:
                    files[prefix + name] = size
            if len(files) > _MAX_FILES or prefix.count("/") > _MAX_DEPTH:
                raise LocationError(f"`{self._location}` has too many files or levels of directories")
        if files:
            return Listing(False, tuple(Entry(path, size) for path, size in sorted(files.items())))
        parent, _, name = self._path.rpartition("/")
        self._neighbours = {
            other: size for other, is_directory, size in self._level(parent) if not is_directory
        }
        if name not in self._neighbours:
            raise NotFoundError(
                f"there is nothing at `{self._location}`",
                hint="check the path in the run's or model's artifacts",
            )
        return Listing(True, (Entry(name, self._neighbours[name]),))

    def _level(self, path: str) -> Sequence[tuple[str, bool, int | None]]:
        """Name, whether it is a directory, and size of what is directly in one directory."""
        answer = self._server.artifacts(path)
        items = answer.get("files", [])
        found: list[tuple[str, bool, int | None]] = []
        for item in items if isinstance(items, list) else []:
            name = str(item.get("path", "")) if isinstance(item, dict) else ""
            reason = why_unsafe(name)
            if reason or "/" in name:
                shown = "".join(letter if letter.isprintable() else "?" for letter in name)
                raise LocationError(
                    f"`{self._location}` has a file that is not read: `{shown}` {reason or 'is a path'}"
                )
            size = item.get("file_size")
            found.append((name, bool(item.get("is_dir")), size if isinstance(size, int) else None))
        return found

    def _place(self, path: str) -> tuple[str, int | None]:
        """Where a listed file, or a neighbour of the only file, is at the server, and its size."""
        listing = self.list()
        if listing.is_file:
            sizes, base = self._neighbours, self._path.rpartition("/")[0]
        else:
            sizes, base = {entry.path: entry.size for entry in listing.entries}, self._path
        if path not in sizes:
            raise NotFoundError(f"there is no `{path}` at `{self._location}`")
        return posixpath.join(base, path), sizes[path]
