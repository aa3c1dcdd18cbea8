"""A source as the tree of files that the formats look at: every byte read once, and counted."""

from collections.abc import Mapping

from ovms_converter.storage.base import Listing, Source

__all__ = ["CountedFiles"]

_SMALL = 32 << 10
"""A file up to this many bytes is read whole at the first look: a request costs more than its bytes."""


class CountedFiles:
    """The `Files` of a source. What was read is kept, so that going through a file twice costs nothing.

    `bytes_read` and `requests` count what was asked of the source beyond its listing.
    """

    def __init__(self, source: Source, listing: Listing) -> None:
        self._source = source
        self._sizes = {entry.path: entry.size for entry in listing.entries}
        self._blocks: dict[str, dict[int, bytes]] = {}
        self.bytes_read = 0
        self.requests = 0

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path."""
        return self._sizes

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; raises the errors of `Source.read`."""
        size = self._sizes.get(path)
        end = None if length is None else start + length
        if size is not None:
            end = size if end is None else min(end, size)
            if start >= end:
                return b""
        known = self._blocks.setdefault(path, {})
        for at in (start, 0):
            if end is not None and end <= at + len(known.get(at, b"")):
                return known[at][start - at : end - at]
        if size is not None and size <= _SMALL:
            known[0] = self._asked(path, 0, size)
            return known[0][start:end]
        known[start] = self._asked(path, start, None if end is None else end - start)
        return known[start]

    def _asked(self, path: str, start: int, length: int | None) -> bytes:
        data = self._source.read(path, start, length)
        self.requests += 1
        self.bytes_read += len(data)
        return data
