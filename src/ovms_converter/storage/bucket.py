"""One bucket of an object store: the few requests that the rest of this room makes of it."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.store_errors import StoreNames

if TYPE_CHECKING:
    from ovms_converter.storage.receiving import Puller

__all__ = ["CHUNK", "PART", "Bucket", "quoted_etag"]

CHUNK = 1 << 20
"""Bytes handed over at a time by a stream."""
PART = 5 << 20
"""Least size of a part of a multipart upload; a store takes at most 10,000 parts."""


class Bucket(Protocol):
    """Requests to one bucket; keys are literal. All raise errors of this package."""

    names: StoreNames
    ranges: bool
    """False once the server was seen to send the whole object when a part was asked for."""
    puller: "Puller | None"
    """Brings large parts faster, where there is such a way."""

    async def head(self, key: str) -> Entry | None:
        """Size and ETag of an object, None if there is none."""

    async def list(self, prefix: str) -> list[Entry]:
        """All objects whose key begins with `prefix/`, all of the bucket for ""; `path` is the whole key."""

    async def children(self, prefix: str) -> Sequence[str]:
        """The names directly below `prefix/`, of objects and of what would be directories."""

    def stream(
        self, key: str, start: int, end: int, entry: Entry, chunk: int = CHUNK
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end` of the object that `entry` told of, in chunks of about
        `chunk` bytes.

        Raises `SourceChangedError` if it is another one by now, `RangeIgnoredError` if only the whole can be
        had.
        """

    async def whole(self, key: str, entry: Entry) -> AsyncIterator[bytes]:
        """All bytes of an object, as an iterator that outlives the event loop in which it was made."""

    async def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """Store a small object; `AlreadyExistsError` if it must be new and is not, where the store can
        tell.
        """

    async def put_file(self, key: str, path: Path, progress: Progress) -> str | None:
        """Store a large file in parts, with bounded memory. The MD5 of what was sent, in hex digits, where
        only `checksum` tells whether it has arrived so.
        """

    async def copy(self, key: str, target: str) -> None:
        """Let the store copy one of its objects to another key."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is gone already is no error."""

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        """What the store tells of the bytes of the object that `entry` told of, by a request of its own where
        it has to be asked; None if it tells nothing. Raises nothing.
        """

    async def confirmed(self, key: str, entry: Entry, checksum: Checksum) -> Checksum | None:
        """What the store really means by a `checksum` that does not fit; None if it is none, or nobody tells.
        Raises nothing.
        """


def quoted_etag(etag: str | None) -> str | None:
    """An ETag as HTTP writes it, None for a weak or empty one, which does not tell that bytes are equal."""
    if not etag or etag.startswith("W/") or etag == '""':
        return None
    return etag if etag.startswith('"') else f'"{etag}"'
