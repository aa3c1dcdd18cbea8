"""One directory on its way into a bucket: the first file claims it, the last one completes it.

What was fetched from the same bucket and is published as it was is copied by the store itself, if it is
large: nothing is sent.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
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
from ovms_converter.storage.background import Budget, all_of
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
FILES_AT_ONCE = 16
MEMORY = 8 * PART
"""Bytes of small files that may be held at once."""
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
        self._compared: dict[str, Checksum | None] = {}
        """Files whose checksum is compared once they are stored → that of what was sent; of one that was sent
        by one request it is taken then.
        """
        self._large = asyncio.Semaphore(1)

    async def run(self) -> None:
        """Claim, fill, complete."""
        if await self._bucket.list(self._prefix):
            raise AlreadyExistsError(f"`{self._location}` exists already")
        keys = list(self._keys)
        for key in keys[:1]:
            await self._store(key, only_if_absent=True)
            await self._see(key)
        await self._fill(keys[1:-1])
        for key in keys[1:][-1:]:
            await self._store(key, only_if_absent=True)
            await self._see(key)

    async def _fill(self, keys: Sequence[str]) -> None:
        """Store the files between the first and the last. Of many, one listing tells what HEADs would."""
        at_once = asyncio.Semaphore(FILES_AT_ONCE)
        many = len(keys) > FILES_AT_ONCE
        memory = Budget(MEMORY)

        async def stored(key: str) -> None:
            async with at_once, memory.of(min(PART, self._keys[key].stat().st_size)):
                await self._store(key, only_if_absent=False)
                if not many:
                    await self._see(key)

        await all_of([stored(key) for key in keys])
        if not many:
            return
        listed = {entry.path: entry for entry in await self._bucket.list(self._prefix)}

        async def seen(key: str) -> None:
            async with at_once:
                await self._see(key, listed.get(key))

        await all_of([seen(key) for key in keys])

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
        """Store one file."""
        path = self._keys[key]
        size = path.stat().st_size
        if size <= (IN_MEMORY if only_if_absent else PART):
            await self._store_small(key, path.read_bytes(), only_if_absent=only_if_absent)
            self._progress(size)
            self._compared[key] = None
            return
        if only_if_absent and await self._bucket.head(key):
            raise AlreadyExistsError(f"`{self._bucket.names.bucket}/{key}` exists already")
        async with self._large:
            original = self._original(path)
            if (not original or not await self._copied(original, key)) and (
                digest := await self._store_large(key, path)
            ):
                self._compared[key] = Checksum("MD5", bytes.fromhex(digest))

    async def _see(self, key: str, listed: Entry | None = None) -> None:
        """See that one file is there whole, as it was `listed` if that is so, else as the store says now."""
        path = self._keys[key]
        size = path.stat().st_size
        stored = listed if listed and listed.size == size else await self._bucket.head(key)
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
        told = await self._bucket.checksum(key, stored) if key in self._compared else None
        if told and not await self._is_as_sent(key, stored, told):
            raise UnavailableError(
                f"`{self._bucket.names.bucket}/{key}` was stored with other bytes than were sent",
                hint="something on the way changes them; try again",
            )

    async def _is_as_sent(self, key: str, stored: Entry, told: Checksum) -> bool:
        """Whether nothing that a store tells speaks against what was sent; of a large file, only the same
        kind of checksum can.

        A store may tell another checksum and mean no such thing; if it does not tell what it means, the
        object is read once more.
        """
        sent = self._compared[key]
        if sent:
            return told.algorithm != sent.algorithm or told == sent
        path = self._keys[key]
        if await asyncio.to_thread(told.fits_file, path):
            return True
        meant = await self._bucket.confirmed(key, stored, told)
        return meant.fits_file(path) if meant else await self._holds(key, path.read_bytes())

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
