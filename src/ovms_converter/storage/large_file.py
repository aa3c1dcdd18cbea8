"""One large file on its way: one connection, more where that makes it faster, and its digest beside them."""

import asyncio
import hashlib
import os
import time
from collections.abc import Coroutine
from typing import Any

from ovms_converter.storage.base import Progress
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.disk import write_at
from ovms_converter.storage.receiving import Segment, Wanted, receive
from ovms_converter.storage.store_errors import RangeIgnoredError

__all__ = ["STREAMS", "Digests", "LargeFile"]

STREAMS = 8
"""Connections for large files, all together."""
SHORTEST_HALF = 4 << 20
"""A rest is halved only if each half has this many bytes."""
GROWTH_SECONDS = 0.5
"""How long the rate is measured before another connection is tried, and after."""
FAST = 300_000_000
"""Bytes a second at which one connection is left alone: no link that several would help is that fast."""
OUTRUNS = FAST
"""Bytes a second from which on the digest of a large file is left for later: the processor is what limits."""
GROWTH = 1.2
"""By how much the rate must grow for the next step; below it, the link or a disk is what limits."""
HASH_STEP = 4 << 20
"""A digest is taken of at least this much at a time, to keep the threads' overhead out of sight."""
NEAR = 16 << 20
"""Bytes of a large file that are still held when their digest is due; what is further on is read again."""
_READ = 1 << 20


class Digests:
    """The digests that are taken of one file."""

    def __init__(self, md5: bool) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def update(self, data: bytes | memoryview) -> None:
        """Take further bytes."""
        self._sha256.update(data)
        if self._md5:
            self._md5.update(data)

    @property
    def sha256(self) -> str:
        """Hex digits."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """Hex digits, None if it was not taken."""
        return self._md5.hexdigest() if self._md5 else None


class LargeFile:
    """One large file on its way."""

    def __init__(
        self, bucket: Bucket, wanted: Wanted, handle: int, progress: Progress, streams: asyncio.Semaphore
    ) -> None:
        self._bucket = bucket
        self._wanted = wanted
        self._handle = handle
        self._progress = progress
        self._streams = streams
        self._segments = [Segment(0, wanted.size)]
        self._moved = asyncio.Event()
        self._through = 0
        self._digested = 0
        self._first_byte = 0.0
        self._holds = True
        self._near: dict[int, bytes] = {}
        """Offset → bytes that came in order, held for their digest: to read them again is a copy more."""

    async def bring(self) -> None:
        """Bring all bytes, with as many connections as make it faster."""
        running = {asyncio.create_task(self._stream(self._segments[0]))}
        try:
            await self._grow(running)
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @property
    def is_digested(self) -> bool:
        """Whether the digests of the whole file were taken."""
        return self._digested == self._wanted.size

    async def follow(self, digests: Digests) -> None:
        """Take the digests of what lies whole from the beginning, until all does.

        Unless the bytes come so fast that the processor is what limits: the SHA-256 alone, which the store
        tells nothing to compare with, then waits until somebody needs it, and the file is still in memory.
        """
        loop = asyncio.get_running_loop()
        position = 0
        while position < self._wanted.size:
            ready = self._frontier()
            if ready - position >= HASH_STEP or ready == self._wanted.size:
                if not position and not digests.md5 and self._outruns_digests():
                    self._holds = False
                    self._near.clear()
                    return
                await loop.run_in_executor(None, self._digest, digests, position, ready)
                position = ready
            else:
                self._moved.clear()
                await self._moved.wait()

    def _digest(self, digests: Digests, start: int, end: int) -> None:
        """Take the digests of the bytes from `start` to before `end`, all of which are written."""
        while start < end:
            data = self._near.pop(start, None) or os.pread(self._handle, min(_READ, end - start), start)
            if not data:
                raise EOFError
            digests.update(data)
            start += len(data)
            self._digested = start
        for passed in [offset for offset in list(self._near) if offset < end]:
            del self._near[passed]

    async def _grow(self, running: "set[asyncio.Task[None]]") -> None:
        """Double the connections as long as that pays; return when it does not or the file is there."""
        last_rate = 0.0
        # A store may think long before the first byte; that is no reason to ask it for more at once.
        # The first stream may also end without a byte.
        first_byte = asyncio.create_task(self._moved.wait())
        await asyncio.wait({first_byte, *running}, return_when=asyncio.FIRST_COMPLETED)
        first_byte.cancel()
        while running and self._bucket.ranges:
            before = self._through
            done, _ = await asyncio.wait(running, timeout=GROWTH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            running -= done
            rate = self._through - before
            if rate < last_rate * GROWTH or rate > FAST * GROWTH_SECONDS or len(running) >= STREAMS:
                return
            last_rate = rate
            for _ in range(max(1, len(running))):
                half = self._halve()
                if half is None:
                    return
                running.add(asyncio.create_task(half))

    def _halve(self) -> "Coroutine[Any, Any, None] | None":
        """A stream for the second half of the longest rest, None if there is no place or nothing worth it."""
        longest = max(self._segments, key=lambda segment: segment.end - segment.position)
        rest = longest.end - longest.position
        if rest < 2 * SHORTEST_HALF or self._streams.locked():
            return None
        half = Segment(longest.end - rest // 2, longest.end)
        longest.end = half.position
        self._segments.append(half)
        return self._stream(half, longest)

    async def _stream(self, segment: Segment, first_half: Segment | None = None) -> None:
        """Bring one segment; if the server ignores ranges, the first half goes on to the end of this one."""
        async with self._streams:
            try:
                await receive(self._bucket, self._wanted, segment, self._sink)
            except RangeIgnoredError:
                if first_half and first_half.position < first_half.end == segment.position:
                    self._segments.remove(segment)
                    first_half.end = segment.end
                else:
                    await receive(self._bucket, self._wanted, segment, self._sink)

    def _sink(self, offset: int, data: bytes) -> None:
        if not self._through:
            self._first_byte = time.monotonic()
        write_at(self._handle, data, offset)
        if self._holds and offset - self._digested < NEAR:
            self._near[offset] = data
        self._through += len(data)
        self._progress(len(data))
        self._moved.set()

    def _outruns_digests(self) -> bool:
        """Whether the first bytes came as fast as a local network's, and the file fits into memory well."""
        seconds = time.monotonic() - self._first_byte
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return self._through > OUTRUNS * seconds and self._wanted.size < memory // 4

    def _frontier(self) -> int:
        """The offset of the first byte that is not there yet."""
        for segment in sorted(self._segments, key=lambda segment: segment.end):
            if segment.position < segment.end:
                return segment.position
        return self._wanted.size
