"""A bucket through obstore: S3, Google and Azure."""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConverterError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.bucket import CHUNK, PART, quoted_etag
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.listing import ending, next_page, plainly_written
from ovms_converter.storage.store_errors import (
    RangeIgnoredError,
    SourceChangedError,
    StoreNames,
    changed,
    translate,
)
from ovms_converter.storage.throttling import while_busy
from ovms_converter.storage.witness import Witness

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, ObjectMeta
    from obstore.store import ObjectStore

    from ovms_converter.storage.receiving import Puller

__all__ = ["PARTS_AT_ONCE", "ObstoreBucket"]

PARTS_AT_ONCE = 4
MAX_ENTRIES = 200_000
"""More objects than any model has: a prefix that is too short is told, not listed for an hour."""

_MD5 = re.compile(r'"([0-9a-f]{32})"')


class ObstoreBucket:
    """A bucket through obstore.

    `without_keys` holds the reason while no keys can be fetched: the client only says that it has none.
    `patient` repeats a request that fails, `once` does not: a stream is taken up again by `transfer`, without
    a pause as long as bytes come, and a conditional write whose answer got lost must not be taken for
    somebody else's. A `witness` is asked for what an ETag does not tell. `before_read` may refuse an object
    that is about to be read, by raising.
    """

    def __init__(
        self,
        patient: "ObjectStore",
        once: "ObjectStore",
        names: StoreNames,
        *,
        etag_is_md5: bool = False,
        witness: Witness | None = None,
        puller: "Puller | None" = None,
        without_keys: Sequence[ConverterError] = (),
        before_read: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._patient = patient
        self._once = once
        self.names = names
        self._etag_is_md5 = etag_is_md5
        self.ranges = True
        self._witness = witness
        self.puller = puller
        self._without_keys = without_keys
        self._before_read = before_read

    @while_busy
    async def head(self, key: str) -> Entry | None:
        """See `Bucket.head`."""
        from obstore import head_async

        try:
            with self.told(key):
                meta = await head_async(self._patient, key)
        except NotFoundError:
            return None
        return _entry(meta)

    async def _below(self, prefix: str) -> list[Entry]:
        import obstore

        entries: list[Entry] = []
        pages = obstore.list(self._patient, prefix or None, chunk_size=1000)
        where = f"{self.names.bucket}/{prefix}"
        with self.told(prefix):
            while page := await ending(next_page(pages), where):
                entries += map(_entry, page)
                if len(entries) > MAX_ENTRIES:
                    raise LocationError(
                        f"`{where}` holds more than {MAX_ENTRIES:,} objects",
                        hint="name the prefix of the model itself",
                    )
        return entries

    @while_busy
    async def list(self, prefix: str) -> list[Entry]:
        """See `Bucket.list`.

        obstore writes some letters of a prefix in a query otherwise than it signs them, which Amazon, MinIO
        and Google take, and a server that compares letter by letter does not. What is above is listed then.
        """
        try:
            return await self._below(prefix)
        except AccessDeniedError as denied:
            above = plainly_written(prefix)
            if above == prefix or self.names.credentials is None:
                raise
            try:
                found = await self._below(above)
            except (AccessDeniedError, LocationError):
                raise denied from None
            return [entry for entry in found if entry.path.startswith(f"{prefix}/")]

    @while_busy
    async def children(self, prefix: str) -> Sequence[str]:
        """See `Bucket.children`."""
        from obstore import list_with_delimiter_async

        where = f"{self.names.bucket}/{prefix}"
        try:
            with self.told(prefix):
                found = await ending(list_with_delimiter_async(self._patient, prefix or None), where)
        except AccessDeniedError:
            if plainly_written(prefix) == prefix:
                raise
            start = len(prefix) + 1
            return [entry.path[start:].partition("/")[0] for entry in await self.list(prefix)]
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return [path.rpartition("/")[2] for path in paths]

    async def stream(
        self, key: str, start: int, end: int, entry: Entry, chunk: int = CHUNK
    ) -> AsyncIterator[bytes]:
        """See `Bucket.stream`."""
        from obstore import get_async

        options: GetOptions = {}
        if (start, end) != (0, entry.size):
            options["range"] = (start, end)
        if entry.etag:
            options["if_match"] = entry.etag
        with self.told(key):
            await self._look_before(key)
            answer = await get_async(self._once, key, options=options)
            self._refuse_other(key, start, answer.range[0], answer.meta, entry)
            if end - start <= chunk:
                # One turn of the event loop instead of one for each of its chunks, and for their end.
                yield bytes(await answer.bytes_async())
                return
            async for data in answer.stream(chunk):
                yield data

    async def whole(self, key: str, entry: Entry) -> AsyncIterator[bytes]:
        """See `Bucket.whole`."""
        from obstore import get_async

        with self.told(key):
            await self._look_before(key)
            answer = await get_async(self._once, key, options={"if_match": entry.etag} if entry.etag else {})
            self._refuse_other(key, 0, answer.range[0], answer.meta, entry)
            return _Chunks(self, key, answer.stream(CHUNK))

    async def _look_before(self, key: str) -> None:
        if self._before_read:
            await self._before_read(key)

    def _refuse_other(self, key: str, wanted: int, start: int, meta: "ObjectMeta", entry: Entry) -> None:
        """Raise if an answer is not about the bytes that were asked for."""
        if start != wanted:
            raise RangeIgnoredError(f"`{self.names.endpoint}` ignores ranges")
        told, size = quoted_etag(meta["e_tag"]), meta["size"]
        if entry.etag and told and told != entry.etag:
            # The server ignores `If-Match`.
            raise changed(self.names, key)
        if size != entry.size:
            # Without an ETag nothing but the size tells another object; with one, the answer itself is wrong.
            kind = UnavailableError if entry.etag else SourceChangedError
            raise kind(
                f"`{self.names.bucket}/{key}` has {size:,} bytes and was listed with {entry.size or 0:,}",
                hint="it may have changed meanwhile; run again",
            )

    async def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """See `Bucket.put`."""
        from obstore import exceptions, put_async

        with self.told(key):
            if only_if_absent:
                try:
                    await put_async(self._once, key, data, mode="create")
                except exceptions.BaseError as error:
                    if not _lacks_conditions(error):
                        raise
                    if await self.head(key):
                        raise AlreadyExistsError(f"`{self.names.bucket}/{key}` exists already") from None
                else:
                    return
            await put_async(self._once, key, data, use_multipart=False)

    async def put_file(self, key: str, path: Path, progress: Progress) -> str | None:
        """See `Bucket.put_file`. Amazon's servers compare each part with the digest in its signature."""
        from obstore import put_async

        part = max(PART, -(-path.stat().st_size // 9_000))
        with self.told(key), path.open("rb") as file:

            def chunks() -> Iterator[bytes]:
                while data := file.read(part):
                    yield data
                    progress(len(data))

            await put_async(self._patient, key, chunks(), chunk_size=part, max_concurrency=PARTS_AT_ONCE)
        return None

    async def copy(self, key: str, target: str) -> None:
        """See `Bucket.copy`. The store may be silent for long; who waits in vain sends the bytes himself."""
        from obstore import copy_async

        with self.told(key):
            await copy_async(self._once, key, target)

    @while_busy
    async def delete(self, keys: Sequence[str]) -> None:
        """See `Bucket.delete`."""
        from obstore import delete_async

        for key in keys:
            with contextlib.suppress(NotFoundError), self.told(key):
                await delete_async(self._patient, key)

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        """See `Bucket.checksum`: the ETag, where it is an MD5; else the store is asked."""
        found = _MD5.fullmatch(entry.etag or "") if self._etag_is_md5 else None
        if found:
            return Checksum("MD5", bytes.fromhex(found[1]))
        return await self._witness.checksum(key, entry) if self._witness else None

    async def confirmed(self, key: str, entry: Entry, checksum: Checksum) -> Checksum | None:
        """See `Bucket.confirmed`."""
        return await self._witness.confirmed(key, entry, checksum) if self._witness else checksum

    @contextlib.contextmanager
    def told(self, key: str) -> Iterator[None]:
        """Turn every exception of the client into an error of this package."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if self._without_keys:
                raise self._without_keys[-1] from None
            raise translate(error, self.names, key) from None


class _Chunks:
    """A body on its way. An asynchronous generator would be closed together with its event loop."""

    def __init__(self, bucket: ObstoreBucket, key: str, body: "BytesStream") -> None:
        self._bucket = bucket
        self._key = key
        self._body = body

    def __aiter__(self) -> "_Chunks":
        return self

    async def __anext__(self) -> bytes:
        with self._bucket.told(self._key):
            return bytes(await self._body.__anext__())


def _entry(meta: "ObjectMeta") -> Entry:
    return Entry(meta["path"], meta["size"], quoted_etag(meta["e_tag"]), meta["last_modified"])


def _lacks_conditions(error: Exception) -> bool:
    """Whether a store says that it knows no conditional writes."""
    text = str(error)
    return (
        type(error).__name__ == "NotSupportedError"
        or "status code: 501" in text
        or "<Code>NotImplemented" in text
    )
