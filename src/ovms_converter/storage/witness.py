"""What a store tells of an object's bytes when it is asked, by a HEAD of our own.

Amazon's servers, and others of that protocol, tell `x-amz-checksum-*`, of the whole object or of its parts'
checksums; Google's tell `x-goog-hash`. Without an answer the download goes on as it would.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from ovms_converter.storage.base import Entry
from ovms_converter.storage.checksums import ALGORITHMS, Checksum

__all__ = ["Head", "Told", "Witness", "told_checksums"]

Head = Callable[[str, Entry, int | None], Awaitable[Mapping[str, str] | None]]
"""Key, entry, and number of one of its parts or None for the whole object → the headers of a HEAD of it, with
lower-case names, None if there is no such answer.
"""

_AMAZON = {
    "CRC32C": "x-amz-checksum-crc32c",
    "CRC32": "x-amz-checksum-crc32",
    "CRC64NVME": "x-amz-checksum-crc64nvme",
    "SHA-256": "x-amz-checksum-sha256",
    "SHA-512": "x-amz-checksum-sha512",
    "SHA-1": "x-amz-checksum-sha1",
    "MD5": "x-amz-checksum-md5",
}
_GOOGLE = {"CRC32C": "crc32c", "MD5": "md5"}
_VALUE = re.compile(r"([A-Za-z0-9+/]+={0,2})(?:-([1-9]\d{0,4}))?")
_OF_PARTS = re.compile(r'"[0-9a-f]{32}-([1-9]\d{0,4})"')
_OWN_KEYS = (
    "x-amz-server-side-encryption-customer-algorithm",
    "x-goog-encryption-algorithm",
    "x-goog-encryption-kms-key-name",
)
"""Headers of an object that is encrypted with a key that is not the store's own."""
_PARTS_AT_ONCE = 8
_MOST_PARTS = 10_000
"""Amazon's own limit."""
_ENOUGH = 2
"""After so many objects of which a store tells nothing, it is asked for large ones alone: each question of a
small one would cost as much as the object.
"""
_LARGE = 8 << 20


@dataclass(frozen=True)
class Told:
    """One checksum in an answer; `parts` is how many checksums it is one of, 0 if it is of all bytes."""

    algorithm: str
    digest: bytes
    parts: int


def told_checksums(headers: Mapping[str, str]) -> list[Told]:
    """The checksums in an answer's headers, those of all bytes first, and then those that cost the least.

    One that may be either, of an object that came in parts, is passed over, and so is what is no digest.
    """
    kind = headers.get("x-amz-checksum-type", "")
    came_in_parts = _OF_PARTS.fullmatch(headers.get("etag", ""))
    found = []
    for algorithm, name in _AMAZON.items():
        told = _told(algorithm, headers.get(name, ""))
        if told and kind == "COMPOSITE" and came_in_parts:
            told = replace(told, parts=told.parts or int(came_in_parts[1]))
        if told and (told.parts or kind == "FULL_OBJECT" or not (kind or came_in_parts)):
            found.append(told)
    for item in headers.get("x-goog-hash", "").split(","):
        name, _, value = item.strip().partition("=")
        algorithm = next((one for one, spelled in _GOOGLE.items() if spelled == name), "")
        told = _told(algorithm, value)
        if told and not told.parts:
            found.append(told)
    cheap = list(ALGORITHMS)
    return sorted(found, key=lambda told: (bool(told.parts), cheap.index(told.algorithm)))


def _told(algorithm: str, text: str) -> Told | None:
    match = _VALUE.fullmatch(text.strip())
    if algorithm not in ALGORITHMS or not match:
        return None
    try:
        digest = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None
    if len(digest) != ALGORITHMS[algorithm].size:
        return None
    return Told(algorithm, digest, int(match[2] or 0))


class Witness:
    """What a store tells of its objects' bytes when it is asked by `head`."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._silences = 0

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        """The checksum of an object that costs the least, None if the store tells none."""
        if self._silences >= _ENOUGH and (entry.size or 0) < _LARGE:
            return None
        headers = await self._head(key, entry, None)
        found = await self._checksum(key, entry, headers) if headers else None
        self._silences += found is None
        return found

    async def confirmed(self, key: str, entry: Entry, checksum: Checksum) -> Checksum | None:
        """The checksum of an object that bytes do not fit: the one that was taken for it, or what was meant.

        An ETag that looks like an MD5 is none with keys of the store's own; parts need not be of one size.
        None if it is none, or the store does not tell.
        """
        headers = await self._head(key, entry, None)
        if headers is None:
            return None
        if checksum.parts:
            parts = await self._sizes(key, entry, len(checksum.parts))
            return replace(checksum, parts=parts) if parts else None
        if checksum.algorithm == "MD5" and not _has_plain_etag(headers):
            return await self._checksum(key, entry, headers)
        return checksum

    async def _checksum(self, key: str, entry: Entry, headers: Mapping[str, str]) -> Checksum | None:
        for told in told_checksums(headers):
            if not told.parts:
                return Checksum(told.algorithm, told.digest)
            if parts := await self._presumed(key, entry, told.parts):
                return Checksum(told.algorithm, told.digest, parts)
        return None

    async def _presumed(self, key: str, entry: Entry, count: int) -> tuple[int, ...] | None:
        """The parts' sizes: all programs make them of the first one's, but for the last."""
        size = entry.size or 0
        if count == 1:
            return (size,)
        first = await self._size(key, entry, 1)
        if first and first * (count - 1) < size <= first * count:
            return (*[first] * (count - 1), size - first * (count - 1))
        return await self._sizes(key, entry, count)

    async def _sizes(self, key: str, entry: Entry, count: int) -> tuple[int, ...] | None:
        """The size of each part, as the store tells it; None if it does not tell them all."""
        sizes: list[int] = []
        for first in range(1, min(count, _MOST_PARTS) + 1, _PARTS_AT_ONCE):
            numbers = range(first, min(first + _PARTS_AT_ONCE, count + 1))
            sizes += await asyncio.gather(*(self._size(key, entry, number) for number in numbers))
            if not all(sizes) or sum(sizes) > (entry.size or 0):
                return None
        return tuple(sizes) if sum(sizes) == entry.size else None

    async def _size(self, key: str, entry: Entry, number: int) -> int:
        headers = await self._head(key, entry, number)
        told = headers.get("content-length", "") if headers else ""
        return int(told) if told.isdecimal() else 0


def _has_plain_etag(headers: Mapping[str, str]) -> bool:
    amazon = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return not amazon and not any(name in headers for name in _OWN_KEYS)
