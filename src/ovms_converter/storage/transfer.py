"""Objects to files: many files at once, large ones in several spans at once, straight into place.

    small file   one request, held in memory, hashed, written
    large file   spans of `SPAN` bytes, `SPANS_AT_ONCE` of them under way; each chunk is written where it
    belongs with `pwrite`,
                 and a thread takes the digest of what lies whole before the first gap

A connection that breaks is taken up again at the byte where it broke, as long as bytes keep coming.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.base import Entry, FetchedFile, Progress
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.store_errors import RangeIgnoredError, SourceChangedError

__all__ = ["Download", "Wanted", "all_of", "receive", "received"]

SMALL = 8 << 20
SPAN = 16 << 20
SPANS_AT_ONCE = 4
FILES_AT_ONCE = 24
MEMORY = 48 << 20
"""Bytes of small files that may be held at once."""
HASH_STEP = 8 << 20
"""A digest is taken of at least this much at a time, to keep the threads' overhead out of sight."""

FRUITLESS_TRIES = 6
"""Connections in a row that bring no byte before a transfer is given up; with the pauses about 15 s."""
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


async def receive(
    bucket: Bucket, wanted: Wanted, start: int, end: int, sink: Callable[[int, bytes], None]
) -> None:
    """Hand the bytes from `start` to before `end` to `sink(offset, bytes)`, in order and each once.

    Raises `UnavailableError` when the retries are used up, `SourceChangedError` when the object is another
    one by now.
    """
    offset = start
    fruitless = breaks = 0
    whole = False
    while offset < end:
        before = offset
        position = 0 if whole else offset
        stream = bucket.stream(wanted.key, position, wanted.size if whole else end, wanted.entry)
        try:
            async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    fresh = chunk[max(0, offset - position) : max(0, end - position)]
                    position += len(chunk)
                    if fresh:
                        sink(offset, fresh)
                        offset += len(fresh)
                    if offset == end:
                        break
            _refuse_short(bucket, wanted, offset, end)
        except SourceChangedError:
            raise
        except RangeIgnoredError:
            if whole:
                raise
            whole = True
        except UnavailableError:
            fruitless = 0 if offset > before else fruitless + 1
            breaks += 1
            if fruitless >= FRUITLESS_TRIES or breaks > FREE_RETRIES + (offset - start) // BYTES_PER_RETRY:
                raise
            await asyncio.sleep(min(0.2 * 2**fruitless, 5) * random.uniform(0.5, 1) if fruitless else 0)  # noqa: S311


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

    await receive(bucket, wanted, start, end, sink)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Download:
    """A set of files on their way below one directory."""

    def __init__(self, bucket: Bucket, directory: Path, progress: Progress) -> None:
        self._bucket = bucket
        self._directory = directory
        self._progress = progress
        self._files = asyncio.Semaphore(FILES_AT_ONCE)
        self._spans = asyncio.Semaphore(SPANS_AT_ONCE)
        self._memory = _Budget(MEMORY)

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
        if expected and digests.md5 != expected[1]:
            again = await self._bring(wanted, _unheard, md5=True)
            # The same bytes twice: the tag may be no digest. Other bytes: the way here changes them.
            if again.md5 != expected[1] and (
                again.sha256 != digests.sha256 or await self._bucket.etag_is_digest(wanted.key)
            ):
                raise UnavailableError(
                    f"`{self._bucket.names.bucket}/{wanted.key}` arrives damaged: its MD5 is not the store's",
                    hint="try again; if it stays so, the object or a proxy on the way is at fault",
                )
            digests = again
        return FetchedFile(wanted.path, wanted.size, digests.sha256)

    async def _bring(self, wanted: Wanted, progress: Progress, *, md5: bool) -> "_Digests":
        target = self._directory / wanted.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _opened(target) as handle:
            digests = _Digests(md5)
            if wanted.size <= SMALL:
                async with self._memory.of(wanted.size):
                    await self._small(wanted, handle, progress, digests)
            else:
                await self._large(wanted, handle, progress, digests)
        return digests

    async def _small(self, wanted: Wanted, handle: int, progress: Progress, digests: "_Digests") -> None:
        data = await received(self._bucket, wanted, 0, wanted.size)
        progress(len(data))
        digests.update(data)
        _write(handle, data, 0)

    async def _large(self, wanted: Wanted, handle: int, progress: Progress, digests: "_Digests") -> None:
        spans = [(start, min(start + SPAN, wanted.size)) for start in range(0, wanted.size, SPAN)]
        reached = [start for start, _ in spans]
        moved = asyncio.Event()
        os.ftruncate(handle, wanted.size)

        async def bring(number: int) -> None:
            def sink(offset: int, data: bytes) -> None:
                _write(handle, data, offset)
                reached[number] = offset + len(data)
                progress(len(data))
                moved.set()

            async with self._spans:
                await receive(self._bucket, wanted, *spans[number], sink)

        async def follow() -> None:
            loop = asyncio.get_running_loop()
            position = number = 0
            while position < wanted.size:
                while number < len(spans) - 1 and reached[number] == spans[number][1]:
                    number += 1
                ready = reached[number]
                if ready - position >= HASH_STEP or ready == wanted.size:
                    await loop.run_in_executor(None, digests.update_from, handle, position, ready)
                    position = ready
                else:
                    moved.clear()
                    await moved.wait()

        await all_of([follow(), *(bring(number) for number in range(len(spans)))])


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

    def update_from(self, handle: int, start: int, end: int) -> None:
        """Take the bytes from `start` to before `end` of a file that was just written."""
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        while start < end:
            count = os.preadv(handle, [view[: min(len(view), end - start)]], start)
            if count == 0:
                raise EOFError
            self.update(view[:count])
            start += count

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
