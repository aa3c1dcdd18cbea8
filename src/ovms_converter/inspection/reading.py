"""A source as the tree of files that the formats look at: every byte read once, and counted."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ovms_converter.inspection.ahead import SLACK, Jumps
from ovms_converter.storage.archive_rules import TooMuchError
from ovms_converter.storage.base import FetchedTree, Listing, Progress
from ovms_converter.storage.location import Location
from ovms_converter.units import size as shown_size

__all__ = ["CountedFiles"]

FETCHED = 256_000_000
"""Bytes that are fetched from elsewhere at most of what has to be fetched whole."""

_SMALL = 32 << 10
"""A file up to this many bytes is read whole at the first look: a request costs more than its bytes."""

_AHEAD = 16
"""Requests that are under way at once for what is likely needed next."""

_HELD = 64 << 20
"""Bytes of a file that are kept; of what is more, the oldest are asked for again if anybody wants them."""

_ENDLESS = 1 << 62
"""Stands for the size of a file that is too large to be fetched, and whose server tells no size."""

_PATIENCE = 4
"""No more guesses are made for a file when there were so many wrong ones more than right ones."""


class _Readable(Protocol):
    """What is needed of a `Source`."""

    @property
    def location(self) -> Location: ...

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes: ...

    def size_of(self, path: str) -> int | None: ...

    def reads_parts(self, path: str) -> bool: ...

    def fetch(self, paths: Sequence[str], directory: Path, progress: Progress) -> FetchedTree: ...


@dataclass
class _File:
    """What is known of a file: blocks by their start, some still on their way; `here` is all of it."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    coming: dict[int, tuple[int, Future[bytes]]] = field(default_factory=dict)
    jumps: Jumps = field(default_factory=Jumps)
    wrong: int = 0
    held: int = 0
    here: Path | None = None

    def keep(self, start: int, block: bytes) -> bytes:
        """Keep a block, and the oldest ones no longer where there are too many bytes."""
        self.held += len(block) - len(self.blocks.pop(start, b""))
        self.blocks[start] = block
        for oldest in list(self.blocks)[:-1]:
            if self.held <= _HELD:
                break
            self.held -= len(self.blocks.pop(oldest))
        return block


class CountedFiles:
    """The `Files` of a source. What was read is kept, so that going through a file twice costs nothing.

    `bytes_read` and `requests` count what was asked of the source beyond its listing. Of a source elsewhere,
    what will likely be needed next is asked for beforehand, and a file that its server sends only whole is
    fetched; `close` ends that. Who is asked for more than `FETCHED` bytes raises `TooMuchError`.
    """

    def __init__(self, source: _Readable, listing: Listing) -> None:
        self._source = source
        self._sizes = {entry.path: entry.size for entry in listing.entries}
        self._files: dict[str, _File] = {}
        self._pool = ThreadPoolExecutor(_AHEAD, "ahead") if source.location.is_remote else None
        self._resources = ExitStack()
        self._came = 0
        self.bytes_read = 0
        self.requests = 0

    def close(self) -> None:
        """Ask for nothing more, and remove what was fetched."""
        self._resources.close()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path."""
        return self._sizes

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; raises the errors of `Source.read`."""
        size = self._sizes.get(path)
        end = None if length is None else start + length
        if size is not None:
            end = size if end is None else min(end, size)
            if start >= end:
                return b""
        file = self._files.setdefault(path, _File())
        if file.here:
            return _part(file.here, start, length)
        if end is not None and (known := self._known(path, file, start, end)) is not None:
            return known
        if size is not None and size <= _SMALL:
            file.keep(0, self._asked(path, 0, size))
            return file.blocks[0][start:end]
        if file.blocks and self._pool and not self._source.reads_parts(path):
            self.fetched(path)
            return self.read(path, start, length)
        self._drop(file)
        if end is not None:
            self._ask_ahead(path, file, start, end - start)
        return file.keep(start, self._asked(path, start, None if end is None else end - start))

    def _known(self, path: str, file: _File, start: int, end: int) -> bytes | None:
        """Bytes that were read before, or that are on their way."""
        for at, (behind, future) in list(file.coming.items()):
            if at <= start and end <= behind:
                file.keep(at, future.result())
                del file.coming[at]
                file.wrong -= 1
                self._ask_ahead(path, file, start, end - start)
        for at, block in file.blocks.items():
            if at <= start and end <= at + len(block):
                return block[start - at : end - at]
        return None

    def _ask_ahead(self, path: str, file: _File, place: int, length: int) -> None:
        """Ask for the places that are likely to follow this one, unless too many guesses were wrong."""
        file.jumps.add(place, length)
        if self._pool is None or file.wrong > _PATIENCE:
            return
        for guess, wanted in file.jumps.following(_AHEAD):
            at, wanted = guess - SLACK, wanted + 2 * SLACK
            held = (*file.coming, *file.blocks)
            if at > place and not any(abs(at - other) < 2 * SLACK for other in held):
                file.coming[at] = at + wanted, self._pool.submit(self._source.read, path, at, wanted)
                self._count(path, at, wanted)

    def fetched(self, path: str) -> FetchedTree:
        """A whole file, on this machine until `close`; a local one stays where it is."""
        directory = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ovms-converter-")))
        before = self._came

        def progress(count: int) -> None:
            self._came += count
            self.check_fetched(self._came, path)

        self.check_fetched(before + (self._sizes.get(path) or 0), path)
        tree = self._source.fetch([path], directory, progress)
        self.requests += 1
        self.bytes_read += self._came - before
        self._files.setdefault(path, _File()).here = tree.root / path
        self._sizes[path] = tree.files[0].size
        return tree

    def _learn(self, path: str) -> None:
        """Fetch a file whose size nobody tells."""
        try:
            self.fetched(path)
        except TooMuchError:
            self._sizes[path] = _ENDLESS

    def check_fetched(self, count: int, path: str) -> None:
        """Raise `TooMuchError` if `count` bytes are more than are fetched from elsewhere."""
        if self._pool is None or count <= FETCHED:
            return
        size = self._sizes.get(path)
        whole = f" of its {shown_size(size)}" if size is not None and size != _ENDLESS else ""
        raise TooMuchError(
            f"more than {shown_size(FETCHED)}{whole} would have to be fetched, where `inspect` ends"
        )

    def _drop(self, file: _File) -> None:
        """Forget what was asked for and not needed: a reader that is elsewhere does not come back."""
        if file.coming:
            file.wrong += 1
            for _, future in file.coming.values():
                future.cancel()
            file.coming.clear()

    def _count(self, path: str, start: int, length: int) -> None:
        size = self._sizes.get(path)
        self.requests += 1
        self.bytes_read += length if size is None else max(min(length, size - start), 0)

    def _asked(self, path: str, start: int, length: int | None) -> bytes:
        data = self._source.read(path, start, length)
        if self._sizes.get(path, 0) is None:
            self._sizes[path] = self._source.size_of(path)
            if self._sizes[path] is None and len(data) == length:
                self._learn(path)
        self._count(path, start, len(data))
        return data


def _part(path: Path, start: int, length: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(-1 if length is None else length)
