"""A prefix or object of a store as a source, a prefix as a destination: the same for S3, Google and Azure.

An object and a prefix of one name: the object is meant, unless it is empty, as folder markers are.
"""

import asyncio
import contextlib
import secrets
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    ResourceError,
)
from ovms_converter.storage import background
from ovms_converter.storage.base import (
    PROBE,
    SMALL_FILE,
    Entry,
    FetchedFile,
    FetchedTree,
    Listing,
    Progress,
    Source,
)
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.disk import disk_error
from ovms_converter.storage.forward import ForwardReader
from ovms_converter.storage.location import Location, why_unsafe
from ovms_converter.storage.nearby import CHECK, beside
from ovms_converter.storage.publication import Original, Publication
from ovms_converter.storage.receiving import Wanted, received
from ovms_converter.storage.store_errors import StoreNames
from ovms_converter.storage.throttling import while_busy
from ovms_converter.storage.transfer import Download

__all__ = ["ObjectDestination", "ObjectSource"]

_PATIENCE = 5.0
"""Seconds that an error may take to find out what is there instead."""


class ObjectSource:
    """An object, or the objects below a prefix."""

    def __init__(self, location: Location, bucket: Bucket, *, is_prefix: bool = False) -> None:
        """With `is_prefix` the location is what is below it, also if there is an object of that name."""
        self.location = location
        self._bucket = bucket
        self._is_prefix = is_prefix
        self._listing: Listing | None = None
        self._known: dict[str, Entry] = {}
        self._fetched: dict[str, FetchedFile] = {}
        self._originals: dict[Path, Wanted] = {}
        self._forward: ForwardReader | None = None

    def list(self) -> Listing:
        """See `Source.list`."""
        if self._listing is None:
            self._listing = background.run(self._resolve)
            self._known = {entry.path: entry for entry in self._listing.entries}
        return self._listing

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Source.read`."""
        return background.run(lambda: self._read(path, start, length))

    def size_of(self, path: str) -> int | None:
        """See `Source.size_of`."""
        entry = self._known.get(path)
        return entry.size if entry else None

    def reads_parts(self, path: str) -> bool:  # noqa: ARG002 - as `Source` has it
        """See `Source.reads_parts`: the first read shows whether the server ignores ranges."""
        return self._bucket.ranges

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree:
        """See `Source.fetch`: digests are taken while the bytes pass, and compared with the store's where
        it has one.
        """
        self.list()
        self._forward = None
        _refuse_collisions([*self._fetched, *paths], self.location)
        new = [path for path in dict.fromkeys(paths) if path not in self._fetched]

        async def bring() -> tuple[FetchedFile, ...]:
            wanted = await asyncio.gather(*(self._wanted(path) for path in new))
            needed = sum(file.size for file in wanted)
            if needed > (free := shutil.disk_usage(directory).free):
                raise ResourceError(
                    f"`{self.location}` needs {needed:,} bytes, and `{directory}` has {free:,} left",
                    hint="set `TMPDIR` to a directory on a larger disk",
                )
            files = await Download(self._bucket, directory, progress).run(wanted)
            self._originals |= {directory / file.path: file for file in wanted}
            return files

        try:
            files = background.run(bring)
        except OSError as error:
            raise disk_error(error, str(error.filename or directory)) from None
        self._fetched |= {file.path: file for file in files}
        return FetchedTree(directory, tuple(self._fetched[path] for path in paths))

    @property
    def names(self) -> StoreNames:
        """The bucket, and how it is reached."""
        return self._bucket.names

    def original(self, path: Path) -> Wanted | None:
        """The object that a file on this machine was fetched from, if it was."""
        return self._originals.get(path)

    @property
    def place(self) -> str:
        """See `Source.place`."""
        return f"{self._bucket.names.endpoint} {self._bucket.names.bucket}/{self.location.path}"

    def etag(self, path: str) -> str | None:
        """See `Source.etag`: every read asks for the object with the ETag that it was listed with."""
        entry = self._known.get(path)
        return entry.etag if entry else None

    def has_still(self, etags: Mapping[str, str]) -> bool:
        """See `Source.has_still`: the listing tells, of neighbours a HEAD each."""
        self.list()

        async def now() -> list[Wanted]:
            return await asyncio.gather(*(self._wanted(path) for path in etags))

        try:
            wanted = background.run(now)
        except LocationError:
            return False
        return all(etags[one.path] == one.entry.etag for one in wanted)

    async def _resolve(self) -> Listing:
        """Ask for the object and for the prefix at once, and decide which of the two is meant."""
        key = self.location.path
        if self._is_prefix:
            return Listing(False, tuple(sorted(await self._below(key))))
        answers = await asyncio.gather(self._head(key), self._below(key), return_exceptions=True)
        head: Entry | BaseException | None = answers[0]
        below: Sequence[Entry] | BaseException = answers[1]
        if isinstance(head, Entry) and (head.size or not below):
            return Listing(True, (replace(head, path=self.location.name),))
        if isinstance(below, BaseException):
            # The answer to a listing says why; that to a HEAD has no body.
            raise below
        if not below and isinstance(head, BaseException):
            raise head
        if not below:
            hint = await self._what_is_near()
            raise NotFoundError(
                f"there is nothing at `{self.location}` on `{self._bucket.names.endpoint}`", hint=hint
            )
        return Listing(False, tuple(sorted(below)))

    async def _what_is_near(self) -> str:
        """A hint, by one listing of what lies beside, if that does not take long."""
        parent, _, name = self.location.path.rpartition("/")
        if not name:
            return CHECK
        try:
            names = await asyncio.wait_for(self._bucket.children(parent), _PATIENCE)
        except (ConverterError, asyncio.TimeoutError):
            return CHECK
        return beside(name, names, str(self.location).rstrip("/").rpartition("/")[0])

    async def _head(self, key: str) -> Entry | None:
        return await self._bucket.head(key) if key else None

    async def _below(self, key: str) -> Sequence[Entry]:
        return _relative(await self._bucket.list(key), key, self.location)

    async def _read(self, path: str, start: int, length: int | None) -> bytes:
        if self._listing is None:
            self._listing = await self._resolve()
            self._known = {entry.path: entry for entry in self._listing.entries}
        wanted = await self._wanted(path)
        end = wanted.size if length is None else min(wanted.size, start + length)
        start = min(start, end)
        if self._bucket.ranges:
            return await received(self._bucket, wanted, start, end)
        if self._forward is None or self._forward.wanted != wanted:
            self._forward = ForwardReader(self._bucket, wanted)
        return await self._forward.read(start, end)

    async def _wanted(self, path: str) -> Wanted:
        """What the store says of one file. A single object's neighbours are reached by name, and nothing
        above it.
        """
        reason = why_unsafe(path)
        if reason:
            raise LocationError(f"`{path}` {reason}: it is not below `{self.location}`")
        assert self._listing is not None
        base = self.location.path.rpartition("/")[0] if self._listing.is_file else self.location.path
        key = f"{base}/{path}" if base else path
        entry = self._known.get(path) or await self._bucket.head(key)
        if entry is None:
            raise NotFoundError(
                f"there is no `{path}` beside `{self.location}`"
                if self._listing.is_file
                else f"there is no `{path}` below `{self.location}`",
                hint="check that the model was stored whole",
            )
        self._known[path] = entry
        return Wanted(key, path, entry.size or 0, entry)


def _relative(entries: Sequence[Entry], prefix: str, location: Location) -> list[Entry]:
    """Entries with paths below the prefix, without the empty markers that stand for directories.

    Raises `LocationError` for a key that is no safe path.
    """
    cut = len(prefix) + 1 if prefix else 0
    below = [replace(entry, path=entry.path[cut:]) for entry in entries]
    parents = {entry.path[:end] for entry in below for end, letter in enumerate(entry.path) if letter == "/"}
    kept = [entry for entry in below if entry.size or (entry.path and entry.path not in parents)]
    for entry in kept:
        reason = why_unsafe(entry.path)
        if reason or entry.path in parents:
            shown = "".join(letter if letter.isprintable() else "?" for letter in entry.path)
            raise LocationError(
                f"`{location}` holds an object whose key is no safe path: `{shown}` "
                f"{reason or 'is a file and a directory at once'}",
                hint="rename or remove that object",
            )
    return kept


def _refuse_collisions(paths: Sequence[str], location: Location) -> None:
    """Raise if two paths are one on a disk that folds case or normalises Unicode."""
    seen: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        folded = unicodedata.normalize("NFC", path).casefold()
        other = seen.setdefault(folded, path)
        if other != path:
            raise LocationError(
                f"`{location}` holds `{other}` and `{path}`, which are one file on many disks",
                hint="rename one of them",
            )


class ObjectDestination:
    """A prefix that holds published directories."""

    def __init__(self, location: Location, bucket: Bucket) -> None:
        self.location = location
        self._bucket = bucket
        self._original: Original = _no_original

    def check_writable(self) -> None:
        """See `Destination.check_writable`: a small object is written and removed."""
        key = self._key(f"{PROBE}{secrets.token_hex(6)}")

        async def probe() -> None:
            await while_busy(self._bucket.put)(key, b"may this be written?\n")
            # Who may write but not remove can publish all the same.
            with contextlib.suppress(AccessDeniedError):
                await self._bucket.delete([key])

        background.run(probe)

    def list(self) -> tuple[Entry, ...]:
        """See `Destination.list`."""
        entries = background.run(lambda: self._bucket.list(self.location.path))
        return tuple(sorted(_relative(entries, self.location.path, self.location)))

    def read(self, path: str, limit: int = SMALL_FILE) -> bytes:
        """See `Destination.read`."""
        reason = why_unsafe(path)
        if reason:
            raise LocationError(f"`{path}` {reason}: it is not below `{self.location}`")

        async def whole() -> bytes:
            key = self._key(path)
            entry = await self._bucket.head(key)
            if entry is None:
                raise NotFoundError(f"there is no `{path}` below `{self.location}`")
            size = entry.size or 0
            if size > limit:
                raise LocationError(f"`{path}` below `{self.location}` has more than {limit:,} bytes")
            return await received(self._bucket, Wanted(key, path, size, entry), 0, size)

        return background.run(whole)

    def as_source(self) -> ObjectSource:
        """See `Destination.as_source`."""
        return ObjectSource(self.location, self._bucket, is_prefix=True)

    def siblings(self) -> tuple[str, ...]:
        """See `Destination.siblings`."""
        parent, _, own = self.location.path.rpartition("/")
        if not own:
            return ()
        names = background.run(lambda: self._bucket.children(parent))
        return tuple(sorted(name for name in set(names) if name.startswith(own) and name != own))

    def scratch(self) -> Path | None:
        """See `Destination.scratch`: a store has none."""
        return None

    def publish(self, directory: str, files: Mapping[str, Path], progress: Progress) -> None:
        """See `Destination.publish`.

        A store that ignores conditions still refuses a directory that is listed; two runs at the same moment
        can meet there.
        """
        location = self.location.child(directory)
        publication = Publication(
            self._bucket, self._key(directory), files, progress, location, self._original
        )
        try:
            background.run(publication.run)
        except BaseException as error:
            publication.clean_up(error)
            if isinstance(error, OSError):
                raise disk_error(error, str(error.filename)) from None
            raise

    def copy_from(self, source: Source) -> None:
        """See `Destination.copy_from`: a source of the same bucket, reached in the same way."""
        if isinstance(source, ObjectSource) and source.names == self._bucket.names:
            self._original = source.original

    def remove(self, paths: Sequence[str]) -> None:
        """See `Destination.remove`."""
        background.run(lambda: self._bucket.delete([self._key(path) for path in paths]))

    def _key(self, path: str) -> str:
        return f"{self.location.path}/{path}" if self.location.path else path


def _no_original(path: Path) -> None:
    """Nothing on this machine is known to be an object's copy."""
