"""Parts of an object whose server ignores ranges: reads that go forward share one stream of the whole.

A model is looked at by small reads, each further on than the last. A stream for each of them would bring
everything before it again: ten looks into a large file are several times its size.
"""

from collections.abc import AsyncIterator

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.bucket import Bucket
from ovms_converter.storage.receiving import Wanted, received

__all__ = ["ForwardReader"]


class ForwardReader:
    """Reads of one object; its stream stays open between them."""

    def __init__(self, bucket: Bucket, wanted: Wanted) -> None:
        self.wanted = wanted
        self._bucket = bucket
        self._stream: AsyncIterator[bytes] | None = None
        self._chunk = b""
        self._offset = 0
        """Where in the object the last chunk begins."""

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`. Raises as `received` does."""
        try:
            return await self._read(start, end)
        except UnavailableError:
            # The stream may have grown old between two reads; this one is patient.
            self._stream = None
            return await received(self._bucket, self.wanted, start, end)

    async def _read(self, start: int, end: int) -> bytes:
        if self._stream is None or start < self._offset:
            self._stream = await self._bucket.whole(self.wanted.key, self.wanted.entry)
            self._chunk, self._offset = b"", 0
        parts: list[bytes] = []
        while start < end:
            part = self._chunk[start - self._offset : end - self._offset]
            parts.append(part)
            start += len(part)
            if start < end:
                self._offset += len(self._chunk)
                self._chunk = await anext(self._stream, b"")
                if not self._chunk:
                    raise UnavailableError(f"`{self._bucket.names.endpoint}` broke the connection off")
        return b"".join(parts)
