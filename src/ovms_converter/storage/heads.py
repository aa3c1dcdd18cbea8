"""Requests of our own, HEADs above all, beside obstore's, which shows few of the headers of its answers.

What goes wrong with one is no error: the request that it stands beside tells what there is to tell.
"""

import functools
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import quote

from ovms_converter.errors import ConverterError
from ovms_converter.storage.aws_signature import signed_headers
from ovms_converter.storage.background import in_thread
from ovms_converter.storage.base import Entry
from ovms_converter.storage.bucket import quoted_etag
from ovms_converter.storage.clients import ask, connections
from ovms_converter.storage.credentials import AwsKeys
from ovms_converter.storage.network import Network
from ovms_converter.storage.witness import Head

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Credential
    from urllib3 import PoolManager

__all__ = ["S3Server", "google_head", "s3_head"]

_AT_ONCE = 8
_FRESH = timedelta(minutes=5)
"""Keys that expire sooner are not used any more."""


class _Server:
    """One server, and our connections to it."""

    def __init__(self, url: str, network: Network) -> None:
        self._url = url
        self._network = network

    @functools.cached_property
    def pool(self) -> "PoolManager":
        """Connections that are kept."""
        return connections(self._url, self._network, _AT_ONCE)

    async def head(
        self, url: str, headers: Callable[[], Mapping[str, str]], etag: str | None
    ) -> Mapping[str, str] | None:
        """The headers of an answer, with lower-case names; None without one, or if it tells another ETag.

        `headers` are made in a thread, for which they may ask others.
        """
        return await in_thread(self._asked, url, headers, etag)

    def _asked(
        self, url: str, headers: Callable[[], Mapping[str, str]], etag: str | None
    ) -> Mapping[str, str] | None:
        from urllib3.exceptions import HTTPError

        try:
            answer = ask("HEAD", url, headers=headers(), patience=2, pool=self.pool)
        except (ConverterError, HTTPError, OSError, ValueError):
            return None
        told = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status not in (200, 206) or (etag and quoted_etag(told.get("etag")) != etag):
            return None
        return told


class S3Server(_Server):
    """A server of S3's protocol, for requests about objects below `base`, the URL of their bucket. Without
    `keys` they are not signed.
    """

    def __init__(
        self, base: str, keys: "Callable[[], S3Credential] | None", region: str, network: Network
    ) -> None:
        super().__init__(base, network)
        self._base = base.rstrip("/")
        self._keys = _lasting(keys) if keys else None
        self._region = region

    def url(self, key: str) -> str:
        """Where an object is."""
        return f"{self._base}/{quote(key)}"

    def headers(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers, and what signs them; keys may be fetched for that. Raises `ConverterError`."""
        if self._keys is None:
            return headers
        now = datetime.now(timezone.utc)
        return signed_headers(
            method, url, self._keys(), region=self._region, service="s3", now=now, headers=headers
        )


def s3_head(server: S3Server) -> Head:
    """A HEAD of an object that asks for its checksums, and for nothing that a server would refuse."""

    async def head(key: str, entry: Entry, part: int | None) -> Mapping[str, str] | None:
        url = server.url(key) + (f"?partNumber={part}" if part else "")
        wanted = {} if part else {"x-amz-checksum-mode": "ENABLED"}
        # Some servers tell a part's own ETag.
        etag = None if part else entry.etag
        return await server.head(url, lambda: server.headers("HEAD", url, wanted), etag)

    return head


def _lasting(provider: "Callable[[], S3Credential]") -> Callable[[], AwsKeys]:
    """The provider's keys, asked for again when they are about to expire."""
    lock = threading.Lock()
    held: list[S3Credential] = []

    def keys() -> AwsKeys:
        with lock:
            expiry = held[0]["expires_at"] if held else None
            if not held or (expiry and expiry - datetime.now(timezone.utc) < _FRESH):
                held[:] = [provider()]
            found = held[0]
        return AwsKeys(found["access_key_id"], found["secret_access_key"], found["token"], "")

    return keys


def google_head(store: "GCSStore", base: str, network: Network, *, signs: bool) -> Head:
    """A HEAD of an object below `base`, the URL of its bucket, by URLs that `store` signs if it `signs`.

    Who may not sign any is told nothing.
    """
    server = _Server(base, network)

    async def head(key: str, entry: Entry, part: int | None) -> Mapping[str, str] | None:
        from obstore import sign_async
        from obstore.exceptions import BaseError

        if part:
            return None
        try:
            signed_url = await sign_async(store, "HEAD", key, timedelta(minutes=5)) if signs else ""
        except BaseError:
            return None
        return await server.head(signed_url or f"{base}/{quote(key)}", dict, entry.etag)

    return head
