"""Checksums that stores tell of their objects, and the digests that are taken of files on their way.

A checksum is of all bytes, or of its parts' checksums: what Amazon calls composite.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

__all__ = ["ALGORITHMS", "Checksum", "Digests"]

_READ = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """What a store tells of an object's bytes.

    `algorithm`  one of `ALGORITHMS`
    `parts`  bytes of each part, if the digest is one of the parts' digests; none if it is one of all bytes
    """

    algorithm: str
    digest: bytes
    parts: tuple[int, ...] = ()

    def fits(self, data: bytes) -> bool:
        """Whether these are the bytes."""
        hasher = _hasher(self)
        hasher.update(data)
        return hasher.digest() == self.digest

    def fits_file(self, path: Path) -> bool:
        """Whether a file holds the bytes."""
        hasher = _hasher(self)
        with path.open("rb") as file:
            while data := file.read(_READ):
                hasher.update(data)
        return hasher.digest() == self.digest


class _Hasher(Protocol):
    """What `hashlib` makes, as far as it is needed here."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


class _Crc32:
    """zlib's own."""

    def __init__(self) -> None:
        self._register = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._register = zlib.crc32(data, self._register)

    def digest(self) -> bytes:
        return self._register.to_bytes(4, "big")


def _crc32c() -> _Hasher:
    from ovms_converter.storage.crc import CRC32C, Crc

    return Crc(CRC32C)


def _crc64() -> _Hasher:
    from ovms_converter.storage.crc import CRC64NVME, Crc

    return Crc(CRC64NVME)


@dataclass(frozen=True)
class _Algorithm:
    """How a digest is begun, and its bytes."""

    begin: Callable[[], _Hasher]
    size: int


ALGORITHMS: Mapping[str, _Algorithm] = MappingProxyType(
    {
        "CRC32C": _Algorithm(_crc32c, 4),
        "CRC32": _Algorithm(_Crc32, 4),
        "CRC64NVME": _Algorithm(_crc64, 8),
        "SHA-256": _Algorithm(hashlib.sha256, 32),
        "SHA-512": _Algorithm(hashlib.sha512, 64),
        "SHA-1": _Algorithm(lambda: hashlib.sha1(usedforsecurity=False), 20),
        "MD5": _Algorithm(lambda: hashlib.md5(usedforsecurity=False), 16),
    }
)
"""By name, those that cost the least first."""


class _OfParts:
    """A digest of the parts' digests."""

    def __init__(self, begin: Callable[[], _Hasher], parts: Sequence[int]) -> None:
        self._begin = begin
        self._left = list(parts[::-1])
        self._whole, self._part = begin(), begin()

    def update(self, data: bytes | memoryview, /) -> None:
        rest = memoryview(data)
        while rest:
            taken = rest[: self._left[-1]] if self._left else rest
            self._part.update(taken)
            rest = rest[len(taken) :]
            if self._left:
                self._left[-1] -= len(taken)
                if not self._left[-1]:
                    self._left.pop()
                    self._whole.update(self._part.digest())
                    self._part = self._begin()

    def digest(self) -> bytes:
        return self._whole.digest()


def _hasher(checksum: Checksum) -> _Hasher:
    begin = ALGORITHMS[checksum.algorithm].begin
    return _OfParts(begin, checksum.parts) if checksum.parts else begin()


class Digests:
    """The SHA-256 of one file, and what is compared with the store's checksum, if it tells one."""

    def __init__(self, checksum: Checksum | None) -> None:
        self.checksum = checksum
        self._sha256: _Hasher | None = hashlib.sha256()
        self._told = _hasher(checksum) if checksum else None
        if checksum and checksum.algorithm == "SHA-256" and not checksum.parts:
            self._told = self._sha256

    def update(self, data: bytes | memoryview) -> None:
        """Take further bytes."""
        if self._sha256:
            self._sha256.update(data)
        if self._told and self._told is not self._sha256:
            self._told.update(data)

    def leave_sha256(self) -> None:
        """Take it no further: it is left for later."""
        self._sha256 = None

    @property
    def takes_any(self) -> bool:
        """Whether further bytes matter."""
        return bool(self._sha256 or self._told)

    @property
    def is_fast_without_sha256(self) -> bool:
        """Whether only a CRC is left without it, or nothing."""
        return self.checksum is None or self.checksum.algorithm.startswith("CRC")

    @property
    def sha256(self) -> str | None:
        """Hex digits, None if it is left for later."""
        return self._sha256.digest().hex() if self._sha256 else None

    @property
    def taken(self) -> bytes:
        """The digest that is compared with the store's, empty if there is none."""
        return self._told.digest() if self._told else b""

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against the bytes."""
        return self.checksum is None or self.taken == self.checksum.digest
