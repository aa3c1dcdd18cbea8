"""Objects to files: many files at once, straight into place.

    small file   one request, held in memory, hashed, written
    large file   one stream; while more connections make it faster, the longest rest is halved, and its
                 second half gets a connection of its own. Chunks are written where they belong with
                 `pwrite`, and a thread takes the digest of what lies whole before the first gap

A connection that breaks is taken up again at the byte where it broke, as long as bytes keep coming. On a
fast link one stream is as fast as several and the cheapest for both ends; over a long or shaped one
several help.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.base import Entry, FetchedFile, Progress
from ovms_converter.storage.bucket import CHUNK, Bucket
from ovms_converter.storage.store_errors import RangeIgnoredError, SourceChangedError, changed

__all__ = ["Download", "Segment", "Wanted", "all_of", "receive", "received"]

SMALL = 8 << 20
FILES_AT_ONCE = 24
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
MEMORY = 48 << 20
"""Bytes of small files that may be held at once."""
HASH_STEP = 4 << 20
"""A digest is taken of at least this much at a time, to keep the threads' overhead out of sight."""
NEAR = 16 << 20
"""Bytes of a large file that are still held when their digest is due; what is further on is read again."""
_READ = 1 << 20

FINE = 64 << 10
"""Bytes handed over at a time after a break, until one request has brought as much as `CALM`."""
CALM = 16 << 20
FRUITLESS_TRIES = 8
"""Requests in a row that bring no byte before a transfer is given up; with the pauses about 15 s."""
BYTES_PER_RETRY = 256 << 10
"""A transfer may break once for each of these that it brought, on top of `FREE_RETRIES`."""
FREE_RETRIES = 20

_MD5 = re.compile(r'"([0-9a-f]{32})"')


@dataclass(frozen=True)
class Wanted:
    """One file of a download: what the store said of it, its path below the target, and its key."""

    key: str
    path: str
    size: int
    entry: Entry


async def all_of(jobs: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Run all; when one fails, stop the others and raise its error."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for unfinished in tasks:
            unfinished.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Segment:
    """A run of bytes on its way: all before `position` are through; `end` may come nearer while it runs."""

    position: int
    end: int


async def receive(
    bucket: Bucket,
    wanted: Wanted,
    segment: Segment,
    sink: Callable[[int, bytes], None],
) -> None:
    """Hand the bytes of a segment to `sink(offset, bytes)`, in order and each once.

    From a server that is known to ignore ranges all is read up to the segment's end, and what comes before
    the segment is thrown away. Raises `UnavailableError` when the retries are used up, `SourceChangedError`
    when the object is another one by now, `RangeIgnoredError` when the server turns out to be such a one:
    another call then does without ranges.
    """
    begun = segment.position
    fruitless = breaks = 0
    chunk = CHUNK
    while segment.position < segment.end:
        before = segment.position
        try:
            await _receive_once(bucket, wanted, segment, sink, chunk)
        except SourceChangedError:
            raise
        except RangeIgnoredError:
            bucket.ranges = False
            raise
        except UnavailableError:
            fruitless = 0 if segment.position > before else fruitless + 1
            breaks += 1
            brought = segment.position - begun
            # What came of a chunk before a break is lost.
            chunk = CHUNK if segment.position - before > CALM else FINE
            if fruitless >= FRUITLESS_TRIES or breaks > FREE_RETRIES + brought // BYTES_PER_RETRY:
                raise
            if fruitless:
                await asyncio.sleep(min(0.2 * 2**fruitless, 5) * random.uniform(0.5, 1))  # noqa: S311


async def _receive_once(
    bucket: Bucket, wanted: Wanted, segment: Segment, sink: Callable[[int, bytes], None], chunk_size: int
) -> None:
    """One request for the rest of a segment."""
    start, end = (segment.position, segment.end) if bucket.ranges else (0, wanted.size)
    arrived = start
    stream = bucket.stream(wanted.key, start, end, wanted.entry, chunk_size)
    async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            fresh = chunk[max(0, segment.position - arrived) : max(0, segment.end - arrived)]
            arrived += len(chunk)
            if fresh:
                sink(segment.position, fresh)
                segment.position += len(fresh)
            if segment.position >= segment.end:
                return
    _refuse_short(bucket, wanted, segment.position, segment.end)


def _refuse_short(bucket: Bucket, wanted: Wanted, offset: int, end: int) -> None:
    """A body that ended early although the connection was closed in good order."""
    if offset < end:
        raise UnavailableError(
            f"`{bucket.names.bucket}/{wanted.key}` ended after {offset:,} of {end:,} bytes",
            hint="try again later",
        )


async def received(bucket: Bucket, wanted: Wanted, start: int, end: int) -> bytes:
    """The bytes from `start` to before `end`, in memory; see `receive`."""
    parts: list[bytes] = []

    def sink(offset: int, data: bytes) -> None:  # noqa: ARG001
        parts.append(data)

    try:
        await receive(bucket, wanted, Segment(start, end), sink)
    except RangeIgnoredError:
        await receive(bucket, wanted, Segment(start + sum(map(len, parts)), end), sink)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
        """Bring one file; if it does not fit the store's own digest, once more."""
        expected = _MD5.fullmatch(wanted.entry.etag or "") if self._bucket.etag_is_md5 else None
        digests = await self._bring(wanted, self._progress, md5=expected is not None)
        if digests is None:
            return FetchedFile(wanted.path, wanted.size)
        if expected and digests.md5 != expected[1]:
            now = await self._bucket.head(wanted.key)
            if now is None or now.etag != wanted.entry.etag:
                raise changed(self._bucket.names, wanted.key)
            again = await self._bring(wanted, _unheard, md5=True)
            # The same bytes twice: the tag may be no digest. Other bytes: the way here changes them.
            assert again
            if again.md5 != expected[1] and (
                again.sha256 != digests.sha256 or await self._bucket.etag_is_digest(wanted.key)
            ):
                raise UnavailableError(
                    f"`{self._bucket.names.bucket}/{wanted.key}` arrives damaged: its MD5 is not the store's",
                    hint="try again; if it stays so, the object or a proxy on the way is at fault",
                )
            digests = again
        return FetchedFile(wanted.path, wanted.size, digests.sha256)

    async def _bring(self, wanted: Wanted, progress: Progress, *, md5: bool) -> "_Digests | None":
        """Bring one file; its digests, None if they are better taken later."""
        target = self._directory / wanted.path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        with _opened(target) as handle:
            digests = _Digests(md5)
            if wanted.size <= SMALL:
                async with self._memory.of(wanted.size):
                    await self._small(wanted, handle, progress, digests)
            elif not await self._large(wanted, handle, progress, digests):
                return None
        return digests

    async def _small(self, wanted: Wanted, handle: int, progress: Progress, digests: "_Digests") -> None:
        data = await received(self._bucket, wanted, 0, wanted.size)
        progress(len(data))
        digests.update(data)
        _write(handle, data, 0)

    async def _large(self, wanted: Wanted, handle: int, progress: Progress, digests: "_Digests") -> bool:
        """Bring a large file; whether the digests were taken."""
        os.ftruncate(handle, wanted.size)
        large = _LargeFile(self._bucket, wanted, handle, progress, self._streams)
        await all_of([large.follow(digests), large.bring()])
        return large.is_digested


class _LargeFile:
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

    async def follow(self, digests: "_Digests") -> None:
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

    def _digest(self, digests: "_Digests", start: int, end: int) -> None:
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
        _write(self._handle, data, offset)
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


def _unheard(count: int) -> None:
    """The progress of what is brought a second time."""


class _Digests:
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


def _write(handle: int, data: bytes, offset: int) -> None:
    """Write all bytes at a place of a file."""
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count
