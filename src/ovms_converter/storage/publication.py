"""One directory on its way into a bucket: the first file claims it, the last one completes it.

What was fetched from the same bucket and is published as it was is copied by the store itself, if it is
large: nothing is sent.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from ovms_converter.errors import (
    AlreadyExistsError,
    ConverterError,
    InterruptedRunError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage import background
from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.bucket import PART, Bucket
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.location import Location
from ovms_converter.storage.receiving import Wanted, received
from ovms_converter.storage.throttling import Patience

__all__ = ["Original", "Publication"]

UPLOAD_TRIES = 3
CLEAN_UP_SECONDS = 10
STOPPED_SECONDS = 1
"""The same for who was told to end: a person waits, or a cluster that kills before long."""
IN_MEMORY = 32 << 20
"""Up to this size a file is stored by one request, which is what a condition needs."""

Original: TypeAlias = Callable[[Path], Wanted | None]
"""The object of the same bucket that a file on this machine is the copy of, if it is one."""


class _ClaimLostError(AlreadyExistsError):
    """What this run had written is gone: another run took it for dead."""


class Publication:
    """One directory on its way into a bucket: the first file claims it, the last one completes it."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        files: Mapping[str, Path],
        progress: Progress,
        location: Location,
        original: Original,
    ) -> None:
        self._bucket = bucket
        self._keys = {f"{prefix}/{name}": path for name, path in files.items()}
        self._prefix = prefix
        self._progress = progress
        self._location = location
        self._original = original
        self._written: list[str] = []
        self._large = asyncio.Semaphore(1)

    async def run(self) -> None:
        """Claim, fill, complete."""
        if await self._bucket.list(self._prefix):
            raise AlreadyExistsError(f"`{self._location}` exists already")
        keys = list(self._keys)
        for key in keys[:1]:
            await self._store(key, only_if_absent=True)
        small = asyncio.Semaphore(8)

        async def between(key: str) -> None:
            async with small:
                await self._store(key, only_if_absent=False)

        await background.all_of([between(key) for key in keys[1:-1]])
        for key in keys[1:][-1:]:
            await self._store(key, only_if_absent=True)

    def clean_up(self, error: BaseException) -> None:
        """Take back what was written, as far as the store lets us: without its last file no server loads it
        anyway.
        """
        others = isinstance(error, AlreadyExistsError) and not isinstance(error, _ClaimLostError)
        if not self._written or others:
            return

        async def remove() -> None:
            with contextlib.suppress(ConverterError):
                await self._bucket.delete(self._written[::-1])

        stopped = isinstance(error, InterruptedRunError) or not isinstance(error, Exception)
        seconds = STOPPED_SECONDS if stopped else CLEAN_UP_SECONDS
        with contextlib.suppress(asyncio.TimeoutError):
            background.run(lambda: asyncio.wait_for(remove(), seconds))

    async def _store(self, key: str, *, only_if_absent: bool) -> None:
        """Store one file and see that it is there whole."""
        path = self._keys[key]
        size = path.stat().st_size
        data: bytes | None = None
        sent: Checksum | None = None
        if size <= (IN_MEMORY if only_if_absent else PART):
            data = path.read_bytes()
            sent = Checksum("MD5", hashlib.md5(data, usedforsecurity=False).digest())
            await self._store_small(key, data, only_if_absent=only_if_absent)
            self._progress(size)
        else:
            if only_if_absent and await self._bucket.head(key):
                raise AlreadyExistsError(f"`{self._bucket.names.bucket}/{key}` exists already")
            async with self._large:
                original = self._original(path)
                if not original or not await self._copied(original, key):
                    digest = await self._store_large(key, path)
                    sent = Checksum("MD5", bytes.fromhex(digest)) if digest else None
        stored = await self._bucket.head(key)
        if stored is None:
            raise _ClaimLostError(
                f"`{self._bucket.names.bucket}/{key}` was removed as soon as it was stored",
                hint="another run may have published the same meanwhile; run again",
            )
        if stored.size != size:
            raise UnavailableError(
                f"`{self._bucket.names.bucket}/{key}` was stored with {size:,} bytes and has {stored.size}",
                hint="another program may write there; try again",
            )
        told = await self._bucket.checksum(key, stored) if sent else None
        agrees = not told or not sent or _agree(told, sent, data)
        if told and not agrees and not await self._is_as_sent(key, stored, told, data):
            raise UnavailableError(
                f"`{self._bucket.names.bucket}/{key}` was stored with other bytes than were sent",
                hint="something on the way changes them; try again",
            )

    async def _is_as_sent(self, key: str, stored: Entry, told: Checksum, data: bytes | None) -> bool:
        """Whether a store that tells another checksum means no such thing; if it does not tell what it means,
        the object is read once more.
        """
        if data is None:
            return False
        meant = await self._bucket.confirmed(key, stored, told)
        return meant.fits(data) if meant else await self._holds(key, data)

    async def _store_small(self, key: str, data: bytes, *, only_if_absent: bool) -> None:
        """One request, repeated if no answer came; an object of ours that such a request left is no
        stranger's.
        """
        unanswered = False
        patience = Patience(UPLOAD_TRIES)
        while True:
            if not only_if_absent or unanswered:
                self._note(key)
            try:
                await self._bucket.put(key, data, only_if_absent=only_if_absent)
            except AlreadyExistsError:
                if unanswered and await self._holds(key, data):
                    return
                raise
            except UnavailableError as error:
                unanswered = True
                await patience.after(error)
            else:
                self._note(key)
                return

    async def _copied(self, original: Wanted, key: str) -> bool:
        """Let the store copy an object of its own; whether it did, and it was the one that was fetched."""
        self._note(key)
        try:
            await self._bucket.copy(original.key, key)
            now, stored = await self._bucket.head(original.key), await self._bucket.head(key)
        except ConverterError:
            return False
        if not original.entry.etag or not now or now.etag != original.entry.etag:
            return False
        if stored is None or stored.size != original.size:
            return False
        self._progress(original.size)
        return True

    async def _store_large(self, key: str, path: Path) -> str | None:
        """Store a file in parts; see `Bucket.put_file`."""
        moved = 0

        def progress(count: int) -> None:
            nonlocal moved
            moved += count
            self._progress(max(0, min(count, moved)))

        patience = Patience(UPLOAD_TRIES)
        while True:
            self._note(key)
            try:
                return await self._put_parts(key, path, progress)
            except UnavailableError as error:
                # What is sent again is not told again.
                moved = -moved if moved > 0 else moved
                await patience.after(error)

    async def _put_parts(self, key: str, path: Path, progress: Progress) -> str | None:
        """Upload in parts. If the answer to the last request got lost, its repetition finds no upload any
        more, or no parts of it (Azure: 400), and what tells is the object: the directory is claimed, so
        nobody else writes there.
        """
        try:
            return await self._bucket.put_file(key, path, progress)
        except LocationError as error:
            stored = await self._bucket.head(key)
            if stored and stored.size == path.stat().st_size:
                return None
            if isinstance(error, NotFoundError):
                raise UnavailableError(
                    f"the store lost an upload that was nearly complete: {error.message}", hint="try again"
                ) from None
            raise

    async def _holds(self, key: str, data: bytes) -> bool:
        entry = await self._bucket.head(key)
        if entry is None or entry.size != len(data):
            return False
        return await received(self._bucket, Wanted(key, key, len(data), entry), 0, len(data)) == data

    def _note(self, key: str) -> None:
        if key not in self._written:
            self._written.append(key)


def _agree(told: Checksum, sent: Checksum, data: bytes | None) -> bool:
    """Whether what a store tells speaks not against what was sent; of a large file only the same kind can."""
    if told.algorithm == sent.algorithm:
        return told == sent
    return data is None or told.fits(data)
