"""Objects to files: many files at once, straight into place.

    small file   one request, held in memory, hashed, written
    large file   piece by piece over one connection, and over more while that makes it faster. Chunks are
                 written where they belong with `pwrite`, and a thread takes the digest of what lies whole
                 before the first gap

A connection that breaks is taken up again at the byte where it broke, as long as bytes keep coming. On a
fast link one stream is as fast as several and the cheapest for both ends, and threads of our own are faster
still; over a long or shaped one several streams help.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.background import Budget, all_of
from ovms_converter.storage.base import FetchedFile, Progress
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.checksums import Checksum, Digests
from ovms_converter.storage.disk import write_at
from ovms_converter.storage.large_file import STREAMS, Ask, LargeFile
from ovms_converter.storage.receiving import Wanted, received
from ovms_converter.storage.store_errors import changed

__all__ = ["Download"]

SMALL = 8 << 20
FILES_AT_ONCE = 24
MEMORY = 48 << 20
"""Bytes of small files that may be held at once."""
QUESTIONS_AT_ONCE = 8
"""About checksums."""
OUTRUNS = 150_000_000
"""Bytes a second of small files from which on their SHA-256 is left for later, as that of a large one: to
take it here holds up the next answers.
"""


class Download:
    """A set of files on their way below one directory."""

    def __init__(self, bucket: Bucket, directory: Path, progress: Progress) -> None:
        self._bucket = bucket
        self._directory = directory
        self._progress = progress
        self._files = asyncio.Semaphore(FILES_AT_ONCE)
        self._streams = asyncio.Semaphore(STREAMS)
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._memory = Budget(MEMORY)
        self._made: set[Path] = set()
        self._through = 0
        self._begun = time.monotonic()

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

        async def ask() -> Checksum | None:
            async with self._questions:
                return await self._bucket.checksum(wanted.key, wanted.entry)

        digests = await self._bring(wanted, self._progress, ask)
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

        async def known() -> Checksum | None:
            return checksum

        again = await self._bring(wanted, _unheard, known)
        # The same bytes twice: what is told may be no checksum. Other bytes: the way here changes them.
        if again.fits or (not meant and again.taken == digests.taken):
            return again
        raise UnavailableError(
            f"`{names.bucket}/{key}` arrives damaged: its {checksum.algorithm} is not the store's",
            hint="try again; if it stays so, the object or a proxy on the way is at fault",
        )

    async def _bring(self, wanted: Wanted, progress: Progress, ask: Ask) -> Digests:
        """Bring one file; `ask` asks for its checksum."""
        target = self._directory / wanted.path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        with _opened(target) as handle:
            if wanted.size > SMALL:
                return await self._large(wanted, handle, progress, ask)
            async with self._memory.of(wanted.size):
                return await self._small(wanted, handle, progress, ask)

    async def _small(self, wanted: Wanted, handle: int, progress: Progress, ask: Ask) -> Digests:
        asked = asyncio.ensure_future(ask())
        try:
            data = await received(self._bucket, wanted, 0, wanted.size)
            progress(len(data))
            write_at(handle, data, 0)
            digests = Digests(await asked)
        finally:
            asked.cancel()
        self._through += len(data)
        if digests.is_fast_without_sha256 and self._through > OUTRUNS * (time.monotonic() - self._begun):
            digests.leave_sha256()
        digests.update(data)
        return digests

    async def _large(self, wanted: Wanted, handle: int, progress: Progress, ask: Ask) -> Digests:
        os.ftruncate(handle, wanted.size)
        large = LargeFile(self._bucket, wanted, handle, progress, self._streams)
        taken: list[Digests] = []

        async def follow() -> None:
            taken.append(await large.follow(ask))

        await all_of([follow(), large.bring()])
        return taken[0]


def _unheard(count: int) -> None:
    """The progress of what is brought a second time."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file of ours for writing and reading; no link is followed."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)
