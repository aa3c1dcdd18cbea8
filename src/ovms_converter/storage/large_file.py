"""One large file on its way: one connection, more where that makes it faster, and its digest beside them.

Each connection asks for the next piece of the file whenever it is through with one, and always for no more
than it will read: what a server has sent beyond that, tens of megabytes on a long or fast link, would pass
for nothing. What comes faster than a few connections could make it is pulled by threads instead, where the
bucket has such a way.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from ovms_converter.storage.background import all_of
from ovms_converter.storage.base import Progress
from ovms_converter.storage.bucket import CHUNK, Bucket
from ovms_converter.storage.checksums import Checksum, Digests
from ovms_converter.storage.disk import write_at
from ovms_converter.storage.receiving import Segment, Sink, Wanted, receive
from ovms_converter.storage.store_errors import RangeIgnoredError

__all__ = ["STREAMS", "Ask", "LargeFile"]

STREAMS = 8
"""Connections for large files, all together."""
PIECE = 8 << 20
"""Bytes of a connection's first piece, and of the shortest that is worth a request."""
PIECE_SECONDS = 2.0
"""How long a further piece takes, as fast as the one before it: the pause between two is small beside it."""
LARGE_PIECE = 64 << 20
LARGE_CHUNK = 4 << 20
"""Bytes handed over at a time of such a piece, which comes so fast that turns cost more than memory does."""
GROWTH_SECONDS = 0.5
"""How long the rate is measured before another connection is tried, and after."""
FAST = 300_000_000
"""Bytes a second at which one connection is left alone: no link that several would help is that fast."""
OUTRUNS = FAST
"""Bytes a second from which on the digest of a large file is left for later: the processor is what limits."""
PULLERS = 2
"""Threads that share a link which is as fast as that."""
GROWTH = 1.2
"""By how much the rate must grow for the next step; below it, the link or a disk is what limits."""
HASH_STEP = 4 << 20
"""A digest is taken of at least this much at a time, to keep the threads' overhead out of sight."""
NEAR = 16 << 20
"""Bytes of a large file that are still held when their digest is due; what is further on is read again."""
_READ = 1 << 20

Ask: TypeAlias = Callable[[], Awaitable[Checksum | None]]
"""Asks a store what it tells of the bytes of one object."""


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
        self._pieces: list[Segment] = []
        self._asked = 0
        """The offset from which on nothing has been asked for."""
        self._growing = True
        self._puller = bucket.puller
        self._moved = asyncio.Event()
        self._through = 0
        self._digested = 0
        self._first_byte = 0.0
        self._holds = True
        self._writers = ThreadPoolExecutor(STREAMS, "storage-write")
        self._unwritten: set[int] = set()
        """Offsets of what was received and is on its way to the disk."""
        self._near: dict[int, bytes] = {}
        """Offset → bytes that came in order, held for their digest: to read them again is a copy more."""

    async def bring(self) -> None:
        """Bring all bytes, with as many connections as make it faster."""
        running = {asyncio.create_task(self._stream())}
        try:
            await self._grow(running)
            self._growing = False
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._writers.shutdown()

    async def follow(self, ask: Ask) -> Digests:
        """Take the digests of what lies whole from the beginning, until all does; `ask` asks the store what
        it tells of the bytes.

        If they come so fast that the processor is what limits, the SHA-256, which is compared with nothing,
        waits until somebody needs it: the file is still in memory then. Not beside a digest that is as slow,
        nor when half of it is done.
        """
        loop = asyncio.get_running_loop()
        await self._reaches(HASH_STEP)
        # Seen before the question is asked: on a machine with few processors it would slow the bytes down.
        outrun = self._outruns_digests()
        # What the first of a kind loads would hold up the loop.
        digests = await loop.run_in_executor(None, Digests, await ask())
        position = 0
        while position < self._wanted.size:
            ready = await self._reaches(position + HASH_STEP)
            if position < self._wanted.size // 2 and digests.is_fast_without_sha256:
                outrun = outrun or self._outruns_digests()
                if outrun:
                    digests.leave_sha256()
            if not digests.takes_any:
                self._holds = False
                self._near.clear()
                return digests
            await loop.run_in_executor(None, self._digest, digests, position, ready)
            position = ready
        return digests

    async def _reaches(self, offset: int) -> int:
        """Wait until all bytes before an offset, or before the file's end, are there; how many are."""
        while (ready := self._frontier()) < min(offset, self._wanted.size):
            self._moved.clear()
            await self._moved.wait()
        return ready

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
                if self._streams.locked() or self._wanted.size - self._asked < PIECE:
                    return
                running.add(asyncio.create_task(self._stream()))

    async def _stream(self) -> None:
        """Bring one piece after the other, as long as some are left."""
        async with self._streams:
            length = PIECE
            while self._asked < self._wanted.size:
                begun = time.monotonic()
                brought = await self._bring_piece(length)
                rate = brought / max(time.monotonic() - begun, 1e-6)
                if rate > FAST:
                    await self._pull()
                length = max(PIECE, int(rate * (GROWTH_SECONDS if self._growing else PIECE_SECONDS)))

    async def _pull(self) -> None:
        """Bring the rest by the bucket's faster way, as long as nothing goes wrong there."""
        puller, self._puller = self._puller, None
        if puller is None:
            return
        is_well = True

        def arrived(count: int) -> None:
            self._through += count
            self._progress(count)
            self._moved.set()

        async def thread() -> None:
            nonlocal is_well
            while is_well and (rest := self._wanted.size - self._asked):
                piece = self._next(max(PIECE, rest // (PULLERS + 1)))
                await puller.pull(self._wanted, piece, self._handle, arrived)
                is_well = is_well and piece.position == piece.end
                await self._bring_segment(piece, CHUNK)

        await all_of([thread() for _ in range(PULLERS)])

    def _next(self, length: int) -> Segment:
        """The next piece, of this many bytes or what is left."""
        piece = Segment(self._asked, min(self._asked + length, self._wanted.size))
        self._asked = piece.end
        self._pieces.append(piece)
        return piece

    async def _bring_piece(self, length: int) -> int:
        """Bring the next piece, of about this many bytes; how many it had.

        The last pieces are shorter, so that all connections end at about the same time. From a server that
        ignores ranges the whole rest is one piece.
        """
        rest = self._wanted.size - self._asked
        share = max(PIECE, rest // (len(self._pieces) + 1))
        length = rest if rest < 2 * PIECE or not self._bucket.ranges else min(length, share)
        await self._bring_segment(self._next(length), LARGE_CHUNK if length >= LARGE_PIECE else CHUNK)
        return length

    async def _bring_segment(self, piece: Segment, chunk: int) -> None:
        """Bring what is left of a piece."""
        async with self._writing() as sink:
            try:
                await receive(self._bucket, self._wanted, piece, sink, chunk)
            except RangeIgnoredError:
                if piece.end == self._asked:
                    piece.end = self._asked = self._wanted.size
                await receive(self._bucket, self._wanted, piece, sink, chunk)
        self._pieces.remove(piece)
        self._moved.set()

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[Sink]:
        """A sink that writes what it is given while the next bytes arrive; all is written when this ends."""
        last: tuple[int, bytes, Future[int]] | None = None

        async def sink(offset: int, data: bytes) -> None:
            nonlocal last
            if not self._first_byte:
                self._first_byte = time.monotonic()
            await settle()
            self._unwritten.add(offset)
            last = offset, data, self._writers.submit(write_at, self._handle, data, offset)
            self._through += len(data)
            self._progress(len(data))
            self._moved.set()

        async def settle() -> None:
            nonlocal last
            if last:
                (offset, data, written), last = last, None
                # Most are done by now, which costs no turn of the loop.
                if not written.done():
                    await asyncio.wrap_future(written)
                written.result()
                self._unwritten.discard(offset)
                if self._holds and offset - self._digested < NEAR:
                    self._near[offset] = data
                self._moved.set()

        yield sink
        await settle()

    def _outruns_digests(self) -> bool:
        """Whether the bytes come as fast as a local network's, and the file fits into memory well."""
        seconds = time.monotonic() - self._first_byte
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return self._through > OUTRUNS * seconds and self._wanted.size < memory // 4

    def _frontier(self) -> int:
        """The offset of the first byte that is not there yet."""
        return min((*self._unwritten, *(piece.position for piece in self._pieces)), default=self._asked)
