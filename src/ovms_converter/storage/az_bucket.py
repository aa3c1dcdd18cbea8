"""A container of Azure Blob Storage, with the MD5 digests that obstore neither shows nor sends.

Downloads are obstore's; a small request of our own tells the digest that a blob has. Uploads are requests of
our own, so that the service refuses what does not arrive as it was sent, and keeps the digest of the whole.
Where such a request is denied, as to a token that may not sign URLs, obstore does it, without a digest.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from ovms_converter.errors import AccessDeniedError, AlreadyExistsError, ConverterError, UnavailableError
from ovms_converter.storage.background import all_of, in_thread
from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.bucket import PART
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.clients import connections
from ovms_converter.storage.http_retry import retry_after
from ovms_converter.storage.network import Network
from ovms_converter.storage.obstore_bucket import PARTS_AT_ONCE, ObstoreBucket
from ovms_converter.storage.redirects import Advice, elsewhere, refusal
from ovms_converter.storage.store_errors import BusyError, StoreNames, refused
from ovms_converter.storage.throttling import Patience

if TYPE_CHECKING:
    from obstore.store import AzureStore
    from urllib3 import BaseHTTPResponse

__all__ = ["AzureContainer", "SignedUrl", "signed_by_key", "signed_by_store", "with_token"]

_VERSION = "2021-12-02"
_LASTS = timedelta(days=1)
_TRIES = 6
_CONNECTIONS = 24
"""As many as files come at once."""

SignedUrl = Callable[[str, str], Awaitable[str]]
"""HTTP method and key → URL with what allows this request; further fields of a query can be added to it."""


class AzureContainer(ObstoreBucket):
    """See `ObstoreBucket`. Digests are asked for of blobs with `asks_from` bytes and more."""

    def __init__(
        self,
        patient: "AzureStore",
        once: "AzureStore",
        names: StoreNames,
        signed: SignedUrl,
        network: Network,
        *,
        advice: Advice,
        asks_from: int = 0,
        without_keys: Sequence[ConverterError] = (),
        before_read: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(patient, once, names, without_keys=without_keys, before_read=before_read)
        self._signed = signed
        self._advice = advice
        self._asks_from = asks_from
        self._http = connections(names.endpoint, network, _CONNECTIONS)

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        """See `Bucket.checksum`: the blob's property, an MD5, which the service makes of all that is stored
        by one request, and a client may set for the rest.
        """
        if (entry.size or 0) < self._asks_from:
            return None
        headers = {"if-match": entry.etag} if entry.etag else {}
        try:
            answer = await self._ask(await self._signed("HEAD", key), "HEAD", key, headers)
            digest = base64.b64decode(answer.headers.get("content-md5", ""))
        except (ConverterError, binascii.Error):
            return None
        return Checksum("MD5", digest) if digest else None

    async def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """See `Bucket.put`."""
        headers = {"x-ms-blob-type": "BlockBlob", "content-md5": _md5(data)}
        if only_if_absent:
            headers["if-none-match"] = "*"
        try:
            await self._ask(await self._signed("PUT", key), "PUT", key, headers, data, tries=1)
        except AccessDeniedError:
            await super().put(key, data, only_if_absent=only_if_absent)

    async def put_file(self, key: str, path: Path, progress: Progress) -> str | None:
        """See `Bucket.put_file`."""
        try:
            return await self._put_blocks(key, path, progress)
        except AccessDeniedError:
            return await super().put_file(key, path, progress)

    async def _put_blocks(self, key: str, path: Path, progress: Progress) -> str:
        """Send a file in blocks, each with its digest, and the whole's with the list of them."""
        url = await self._signed("PUT", key)
        part = max(PART, -(-path.stat().st_size // 9_000))
        whole = hashlib.md5(usedforsecurity=False)
        blocks: list[str] = []
        reading = asyncio.Lock()

        with path.open("rb") as file:

            async def send() -> None:
                while True:
                    async with reading:
                        data = await asyncio.to_thread(file.read, part)
                        if not data:
                            return
                        await asyncio.to_thread(whole.update, data)
                        block = _block(len(blocks) + 1)
                        blocks.append(block)
                    headers = {"content-md5": await asyncio.to_thread(_md5, data)}
                    await self._ask(f"{url}comp=block&blockid={block}", "PUT", key, headers, data)
                    progress(len(data))

            await all_of([send() for _ in range(PARTS_AT_ONCE)])
        named = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        xml = f"<BlockList>{named}</BlockList>".encode()
        headers = {"x-ms-blob-content-md5": base64.b64encode(whole.digest()).decode()}
        await self._ask(f"{url}comp=blocklist", "PUT", key, headers, xml)
        return whole.hexdigest()

    async def _ask(
        self,
        url: str,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        tries: int = _TRIES,
    ) -> "BaseHTTPResponse":
        """The answer to one request, repeated where that may help."""
        patience = Patience(tries, 0.1)
        while True:
            try:
                return await in_thread(self._once_asked, url, method, key, headers, body)
            except UnavailableError as error:  # noqa: PERF203 - a network is slower than a try
                if tries == 1:
                    raise
                await patience.after(error)

    def _once_asked(
        self, url: str, method: str, key: str, headers: Mapping[str, str], body: bytes | None
    ) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        try:
            answer = self._http.request(
                method,
                url,
                headers={"x-ms-version": _VERSION, **headers},
                body=body,
                redirect=False,
                retries=False,
            )
        except HTTPError:
            raise UnavailableError(
                f"`{self.names.endpoint}` is not available: the exchange with it broke",
                hint="check the endpoint and the network, then try again",
            ) from None
        if answer.status < 300:
            return answer
        target = elsewhere(url, answer.status, answer.headers)
        if target is not None:
            raise refusal(url, target, self._advice(target, None))
        code = answer.headers.get("x-ms-error-code", "")
        if b"Provided contentMD5 doesn't match" in answer.data:
            code = "Md5Mismatch"  # the service's word, which its emulator does not know
        if "if-none-match" in headers and answer.status in (409, 412):
            raise AlreadyExistsError(f"`{self.names.bucket}/{key}` exists already")
        error = refused(self.names, key, answer.status, code)
        if isinstance(error, BusyError):
            milliseconds = answer.headers.get("x-ms-retry-after-ms", "")
            is_told = milliseconds.isascii() and milliseconds.isdigit()
            error.wait = int(milliseconds) / 1000 if is_told else retry_after(answer.headers)
        raise error


def signed_by_key(base: str, account: str, container: str, key: str) -> SignedUrl:
    """URLs below `base`, the container's own, by a shared access signature that the account's key makes.

    It has no beginning, so that a clock that is ahead does no harm. Fields and their order:
    https://learn.microsoft.com/rest/api/storageservices/create-service-sas
    """

    async def signed(method: str, blob: str) -> str:
        expiry = (datetime.now(timezone.utc) + _LASTS).strftime("%Y-%m-%dT%H:%M:%SZ")
        allowed = "r" if method == "HEAD" else "cw"
        fields = [
            allowed,
            "",
            expiry,
            f"/blob/{account}/{container}/{blob}",
            "",
            "",
            "",
            _VERSION,
            "b",
            *[""] * 7,
        ]
        digest = hmac.digest(base64.b64decode(key), "\n".join(fields).encode(), hashlib.sha256)
        query = {"sp": allowed, "se": expiry, "sv": _VERSION, "sr": "b", "sig": base64.b64encode(digest)}
        return f"{base}/{quote(blob)}?{urlencode(query)}&"

    return signed


def signed_by_store(store: "AzureStore", names: StoreNames) -> SignedUrl:
    """URLs that obstore signs, with a key that it asks the service for in the name of a user or workload.

    Raises `AccessDeniedError` where they may not have one. obstore 0.12 signs keys that a URL has to escape
    wrongly, and allows a HEAD nothing.
    """

    async def signed(method: str, blob: str) -> str:
        from obstore import sign_async
        from obstore.exceptions import BaseError

        try:
            return f"{await sign_async(store, 'GET' if method == 'HEAD' else 'PUT', blob, _LASTS)}&"
        except BaseError:
            raise AccessDeniedError(f"no key to sign with at `{names.endpoint}`") from None

    return signed


def with_token(base: str, token: str) -> SignedUrl:
    """URLs below `base` with a shared access signature that was given, or without any."""

    async def signed(method: str, blob: str) -> str:  # noqa: ARG001 - as `SignedUrl` has it
        return f"{base}/{quote(blob)}?{token and f'{token}&'}"

    return signed


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _block(number: int) -> str:
    """A block's name: all of one blob have the same length, and nothing in it that a URL would not take."""
    return base64.b64encode(f"{number:06}".encode()).decode()
