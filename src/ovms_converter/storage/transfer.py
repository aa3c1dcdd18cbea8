"""Objects to files: many files at once, straight into place.

    small file   one request, held in memory, hashed, written
    large file   piece by piece over one connection, and over more while that makes it faster. Chunks are
                 written where they belong with `pwrite`, and a thread takes the digest of what lies whole
                 before the first gap

A connection that breaks is taken up again at the byte where it broke, as long as bytes keep coming. On a
fast link one stream is as fast as several and the cheapest for both ends; over a long or shaped one
several help.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.background import all_of
from ovms_converter.storage.base import FetchedFile, Progress
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.checksums import Checksum, Digests
from ovms_converter.storage.disk import write_at
from ovms_converter.storage.large_file import STREAMS, LargeFile
from ovms_converter.storage.receiving import Wanted, received
from ovms_converter.storage.store_errors import changed

__all__ = ["Download"]

SMALL = 8 << 20
FILES_AT_ONCE = 24
MEMORY = 48 << 20
"""Bytes of small files that may be held at once."""


class Download:
    """A set of files on their way below one directory."""

    def __init__(self, bucket: Bucket, directory: Path, progress: Progress) -> None:
        self._bucket = bucket
        self._directory = directory
        self._progress = progress
        self._files = asyncio.Semaphore(FILES_AT_ONCE)
        self._streams = asyncio.Semaphore(STREAMS)
        self._memory = _Budget(MEMORY)
        self._made: set[Path] = set()

    async def run(self, files: Sequence[Wanted]) -> tuple[FetchedFile, ...]:
        """Bring all files and return them in the order given."""
        done: dict[str, FetchedFile] = {}

        async def one(wanted: Wanted) -> None:
            async with self._files:
                done[wanted.path] = await self._checked(wanted)

        await all_of([one(wanted) for wanted in sorted(files, key=lambda wanted: -wanted.size)])
        return tuple(done[wanted.path] for wanted in files)

    async def _checked(self, wanted: Wanted) -> FetchedFile:
        """Bring one file; the store tells meanwhile what is to be compared with it."""
        asked = asyncio.ensure_future(self._bucket.checksum(wanted.key, wanted.entry))
        try:
            digests = await self._bring(wanted, self._progress, asked)
        finally:
            asked.cancel()
        if digests.checksum and not digests.fits:
            digests = await self._mended(wanted, digests, digests.checksum)
        return FetchedFile(wanted.path, wanted.size, digests.sha256)

    async def _mended(self, wanted: Wanted, digests: Digests, checksum: Checksum) -> Digests:
        """What to do about a file that does not fit: ask what the checksum means, then bring it once more.

        Raises `UnavailableError` if the bytes are damaged.
        """
        names, key = self._bucket.names, wanted.key
        now = await self._bucket.head(key)
        if now is None or now.etag != wanted.entry.etag:
            raise changed(names, key)
        meant = await self._bucket.confirmed(key, wanted.entry, checksum)
        if meant and meant != checksum:
            checksum = meant
            if await asyncio.to_thread(meant.fits_file, self._directory / wanted.path):
                return digests
        known: asyncio.Future[Checksum | None] = asyncio.get_running_loop().create_future()
        known.set_result(checksum)
        again = await self._bring(wanted, _unheard, known)
        # The same bytes twice: what is told may be no checksum. Other bytes: the way here changes them.
        if again.fits or (not meant and again.taken == digests.taken):
            return again
        raise UnavailableError(
            f"`{names.bucket}/{key}` arrives damaged: its {checksum.algorithm} is not the store's",
            hint="try again; if it stays so, the object or a proxy on the way is at fault",
        )

    async def _bring(
        self, wanted: Wanted, progress: Progress, asked: asyncio.Future[Checksum | None]
    ) -> Digests:
        """Bring one file, whose checksum is being `asked` for."""
        target = self._directory / wanted.path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        with _opened(target) as handle:
            if wanted.size > SMALL:
                return await self._large(wanted, handle, progress, asked)
            async with self._memory.of(wanted.size):
                data = await received(self._bucket, wanted, 0, wanted.size)
                progress(len(data))
                write_at(handle, data, 0)
                digests = Digests(await asked)
                digests.update(data)
        return digests

    async def _large(
        self, wanted: Wanted, handle: int, progress: Progress, asked: asyncio.Future[Checksum | None]
    ) -> Digests:
        os.ftruncate(handle, wanted.size)
        large = LargeFile(self._bucket, wanted, handle, progress, self._streams)
        taken: list[Digests] = []

        async def follow() -> None:
            taken.append(await large.follow(asked))

        await all_of([follow(), large.bring()])
        return taken[0]


def _unheard(count: int) -> None:
    """The progress of what is brought a second time."""


class _Budget:
    """So many bytes and no more are held at once; whoever wants some waits in line."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._condition = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def of(self, size: int) -> Any:
        """Hold `size` bytes of the budget for the block."""
        async with self._condition:
            await self._condition.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            async with self._condition:
                self._free += size
                self._condition.notify_all()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file of ours for writing and reading; no link is followed."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)
