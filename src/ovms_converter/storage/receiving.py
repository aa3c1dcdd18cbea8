"""The bytes of one object through connections that break: in order, each once, as long as they come."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.base import Entry
from ovms_converter.storage.bucket import CHUNK, Bucket
from ovms_converter.storage.store_errors import RangeIgnoredError, SourceChangedError

__all__ = ["Puller", "Segment", "Sink", "Wanted", "receive", "received"]

FINE = 64 << 10
"""Bytes handed over at a time after a break, until one request has brought as much as `CALM`."""
CALM = 16 << 20
FRUITLESS_TRIES = 8
"""Requests in a row that bring no byte before a transfer is given up; with the pauses about 15 s."""
BYTES_PER_RETRY = 256 << 10
"""A transfer may break once for each of these that it brought, on top of `FREE_RETRIES`."""
FREE_RETRIES = 20


Sink = Callable[[int, bytes], Awaitable[None]]
"""Takes the bytes that begin at an offset; no further ones come until it has returned."""


@dataclass(frozen=True)
class Wanted:
    """One file of a download: what the store said of it, its path below the target, and its key."""

    key: str
    path: str
    size: int
    entry: Entry


@dataclass
class Segment:
    """A run of bytes on its way: all before `position` are through; `end` may come nearer while it runs."""

    position: int
    end: int


class Puller(Protocol):
    """Another way than `Bucket.stream` to the bytes of an object, for as long as nothing goes wrong."""

    async def pull(
        self, wanted: Wanted, segment: Segment, handle: int, arrived: Callable[[int], None]
    ) -> None:
        """Write the bytes of a segment to their place in the file behind `handle`, as far as all goes well:
        `segment.position` tells how far that is.

        `arrived` is told how many bytes are written, in the caller's event loop. Raises `OSError` if they
        cannot be.
        """


async def receive(
    bucket: Bucket,
    wanted: Wanted,
    segment: Segment,
    sink: Sink,
    chunk_size: int = CHUNK,
) -> None:
    """Hand the bytes of a segment to `sink`, in order, each once, and about `chunk_size` at a time.

    From a server that is known to ignore ranges all is read up to the segment's end, and what comes before
    the segment is thrown away. Raises `UnavailableError` when the retries are used up, `SourceChangedError`
    when the object is another one by now, `RangeIgnoredError` when the server turns out to be such a one:
    another call then does without ranges.
    """
    begun = segment.position
    fruitless = breaks = 0
    chunk = chunk_size
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
            chunk = chunk_size if segment.position - before > CALM else FINE
            if fruitless >= FRUITLESS_TRIES or breaks > FREE_RETRIES + brought // BYTES_PER_RETRY:
                raise
            if fruitless:
                await asyncio.sleep(min(0.2 * 2**fruitless, 5) * random.uniform(0.5, 1))  # noqa: S311 - no secret


async def _receive_once(
    bucket: Bucket, wanted: Wanted, segment: Segment, sink: Sink, chunk_size: int
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
                await sink(segment.position, fresh)
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

    async def sink(offset: int, data: bytes) -> None:  # noqa: ARG001 - as `Sink` has it
        parts.append(data)

    try:
        await receive(bucket, wanted, Segment(start, end), sink)
    except RangeIgnoredError:
        await receive(bucket, wanted, Segment(start + sum(map(len, parts)), end), sink)
    return parts[0] if len(parts) == 1 else b"".join(parts)
