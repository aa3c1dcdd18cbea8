"""A bucket of a Google storage emulator.

`STORAGE_EMULATOR_HOST` is the convention of Google's own clients, which speak the JSON API, and so do the
emulators behind it; obstore speaks the XML API, which few of them know. No credentials are sent.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConverterError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage.background import in_thread
from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.bucket import CHUNK
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.receiving import Puller
from ovms_converter.storage.store_errors import RangeIgnoredError, SourceChangedError, StoreNames

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["JsonBucket"]

_UPLOAD_PART = 8 << 20


class JsonBucket:
    """Requests to one bucket; see `Bucket`. An ETag is made from `md5Hash`, where the emulator tells it."""

    def __init__(self, bucket: str, base_url: str) -> None:
        import urllib3

        self.names = StoreNames(f"gs://{bucket}", base_url, None, "check `STORAGE_EMULATOR_HOST`")
        self.ranges = True
        self.puller: Puller | None = None
        self._bucket = bucket
        self._http = urllib3.PoolManager(
            maxsize=32,
            timeout=urllib3.Timeout(connect=10, read=20),
            retries=urllib3.Retry(3, backoff_factor=0.2),
        )

    async def head(self, key: str) -> Entry | None:
        """See `Bucket.head`."""
        try:
            return _entry(await self._json("GET", self._object(key), key))
        except NotFoundError:
            return None

    async def list(self, prefix: str) -> list[Entry]:
        """See `Bucket.list`."""
        entries: list[Entry] = []
        async for page in self._pages({"prefix": f"{prefix}/"} if prefix else {}):
            entries += [_entry(item) for item in page.get("items", ())]
        return entries

    async def children(self, prefix: str) -> Sequence[str]:
        """See `Bucket.children`."""
        paths: list[str] = []
        async for page in self._pages({"delimiter": "/"} | ({"prefix": f"{prefix}/"} if prefix else {})):
            paths += page.get("prefixes", ())
            paths += [item["name"] for item in page.get("items", ())]
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    async def _pages(self, query: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
        """Every page of a listing. Raises `UnavailableError` for one that leads back to itself."""
        token = ""
        while True:
            more = {"pageToken": token} if token else {}
            page = await self._json(
                "GET", f"/storage/v1/b/{self._bucket}/o?{urlencode({**query, **more})}", ""
            )
            yield page
            last, token = token, page.get("nextPageToken", "")
            if not token:
                return
            if token == last:
                raise UnavailableError(f"a listing of `{self.names.bucket}` does not end")

    async def stream(
        self, key: str, start: int, end: int, entry: Entry, chunk: int = CHUNK
    ) -> AsyncIterator[bytes]:
        """See `Bucket.stream`."""
        whole = (start, end) == (0, entry.size)
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        answer = await self._ask(
            "GET", f"{self._object(key)}?alt=media", key, headers=headers, preload_content=False
        )
        try:
            if not whole and answer.status != 206:
                raise RangeIgnoredError(f"`{self.names.endpoint}` ignores ranges")
            told = answer.headers.get("Content-Length")
            if whole and told and int(told) != entry.size:
                raise SourceChangedError(
                    f"`{self.names.bucket}/{key}` changed while it was read", hint="run again"
                )
            while data := await in_thread(self._chunk, answer, chunk):
                yield data
        finally:
            answer.close()

    async def whole(self, key: str, entry: Entry) -> AsyncIterator[bytes]:  # noqa: ARG002 - as `Bucket` has it
        """See `Bucket.whole`."""
        answer = await self._ask("GET", f"{self._object(key)}?alt=media", key, preload_content=False)
        return _Chunks(lambda: self._chunk(answer))

    async def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """See `Bucket.put`. An emulator that ignores the condition is asked first."""
        query = {"uploadType": "media", "name": key}
        if only_if_absent:
            query["ifGenerationMatch"] = "0"
            if await self.head(key):
                raise AlreadyExistsError(f"`{self.names.bucket}/{key}` exists already")
        await self._json("POST", f"/upload/storage/v1/b/{self._bucket}/o?{urlencode(query)}", key, body=data)

    async def put_file(self, key: str, path: Path, progress: Progress) -> str | None:
        """See `Bucket.put_file`: a resumable upload, one part after the other."""
        size = path.stat().st_size
        query = urlencode({"uploadType": "resumable", "name": key})
        headers = {"Content-Type": "application/json", "X-Upload-Content-Length": str(size)}
        path_of_upload = f"/upload/storage/v1/b/{self._bucket}/o?{query}"
        begun = await self._ask("POST", path_of_upload, key, body=b"{}", headers=headers)
        url = begun.headers["Location"]
        target = url[url.index("/upload/") :]
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            start = 0
            while data := file.read(_UPLOAD_PART):
                end = start + len(data)
                headers = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
                await self._ask("PUT", target, key, body=data, headers=headers)
                await asyncio.to_thread(digest.update, data)
                progress(len(data))
                start = end
        return digest.hexdigest()

    async def copy(self, key: str, target: str) -> None:
        """See `Bucket.copy`."""
        await self._json(
            "POST", f"{self._object(key)}/copyTo{self._object(target)[len('/storage/v1') :]}", key
        )

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Bucket.delete`."""
        for key in keys:
            with contextlib.suppress(NotFoundError):
                await self._ask("DELETE", self._object(key), key)

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        """See `Bucket.checksum`: the ETag is made of the MD5; what was composed of others has a CRC alone."""
        if entry.etag:
            return Checksum("MD5", bytes.fromhex(entry.etag.strip('"')))
        try:
            told = await self._json("GET", self._object(key), key)
            return Checksum("CRC32C", base64.b64decode(told["crc32c"]))
        except (ConverterError, KeyError, ValueError):
            return None

    async def confirmed(self, key: str, entry: Entry, checksum: Checksum) -> Checksum | None:  # noqa: ARG002 - as `Bucket` has it
        """See `Bucket.confirmed`."""
        return checksum

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{quote(key, safe='')}"

    def _chunk(self, answer: "BaseHTTPResponse", size: int = CHUNK) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            return answer.read(size)
        except HTTPError:
            raise UnavailableError(f"`{self.names.endpoint}` broke the connection off") from None

    async def _json(self, method: str, path: str, key: str, body: bytes | None = None) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((await self._ask(method, path, key, body=body)).data)
        return found

    async def _ask(self, method: str, path: str, key: str, **more: Any) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        try:
            answer = await in_thread(
                self._http.request, method, self.names.endpoint + path, redirect=False, **more
            )
        except HTTPError:
            raise UnavailableError(
                f"`{self.names.endpoint}` is not available", hint="check `STORAGE_EMULATOR_HOST`"
            ) from None
        if answer.status >= 400:
            answer.drain_conn()
            raise self._refused(answer.status, key)
        return answer

    def _refused(self, status: int, key: str) -> ConverterError:
        url = f"{self.names.bucket}/{key}" if key else self.names.bucket
        if status == 404:
            return NotFoundError(f"there is no `{url}` at `{self.names.endpoint}`", hint="check the spelling")
        if status == 412:
            return AlreadyExistsError(f"`{url}` exists already")
        if status in (401, 403):
            return AccessDeniedError(f"no access to `{url}` at `{self.names.endpoint}`")
        if status == 429 or status >= 500:
            return UnavailableError(
                f"`{self.names.endpoint}` answered {status} for `{url}`", hint="try again later"
            )
        return LocationError(f"`{self.names.endpoint}` refused `{url}` with {status}")


class _Chunks:
    """A body on its way, one chunk after the other."""

    def __init__(self, chunk: Callable[[], bytes]) -> None:
        self._chunk = chunk

    def __aiter__(self) -> "_Chunks":
        return self

    async def __anext__(self) -> bytes:
        if chunk := await in_thread(self._chunk):
            return chunk
        raise StopAsyncIteration


def _entry(item: Mapping[str, Any]) -> Entry:
    md5 = item.get("md5Hash")
    etag = f'"{base64.b64decode(md5).hex()}"' if md5 else None
    updated = item.get("updated")
    modified = datetime.fromisoformat(updated.replace("Z", "+00:00")) if updated else None
    return Entry(item["name"], int(item.get("size") or 0), etag, modified)
