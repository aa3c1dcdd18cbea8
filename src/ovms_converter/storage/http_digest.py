"""The digest that is taken of every download, and those that a server gives to compare with."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping

from ovms_converter.storage.http_retry import Broken

__all__ = ["Digests", "expected_digests"]

_STRONGEST_FIRST = ("sha512", "sha256", "sha1", "md5", "crc32")
_LENGTHS = {"sha512": 64, "sha256": 32, "sha1": 20, "md5": 16, "crc32": 4}
_SPELLINGS = {"sha": "sha1", "sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}


def expected_digests(headers: Mapping[str, str], *, whole: bool) -> dict[str, bytes]:
    """Algorithm → digest of the whole file, from an answer's headers (lower-case names).

    Read are `Repr-Digest` (RFC 9530), `Digest` (RFC 3230), `x-goog-hash`, and, only if the answer is the
    `whole` file, `Content-Digest`, `Content-MD5` and `x-amz-checksum-*`: of a part they may mean the part. A
    digest that is no digest (a multipart one with `-N` at its end, another algorithm) is passed over.
    """
    found: dict[str, bytes] = {}
    lists = [headers.get("repr-digest", ""), headers.get("digest", ""), headers.get("x-goog-hash", "")]
    if whole:
        lists.append(headers.get("content-digest", ""))
        lists.append(f"md5={headers.get('content-md5', '')}")
        for algorithm in ("sha512", "sha256", "sha1", "crc32", "md5"):
            _keep(found, algorithm, headers.get(f"x-amz-checksum-{algorithm}", ""))
    for text in lists:
        for item in text.split(","):
            name, _, value = item.strip().partition("=")
            _keep(found, _SPELLINGS.get(name.strip().lower(), ""), value.strip().strip(":"))
    return found


def _keep(found: dict[str, bytes], algorithm: str, text: str) -> None:
    if algorithm not in _LENGTHS or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        return
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return
    if len(digest) == _LENGTHS[algorithm]:
        found.setdefault(algorithm, digest)


class Digests:
    """SHA-256 of bytes as they pass, and with it the strongest digest that is `expected`."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._sha256 = hashlib.sha256()
        self._algorithm = next((name for name in _STRONGEST_FIRST if name in expected), None)
        self._expected = expected[self._algorithm] if self._algorithm else b""
        self._other = (
            hashlib.new(self._algorithm, usedforsecurity=False)
            if self._algorithm in {"sha512", "sha1", "md5"} and self._algorithm
            else None
        )
        self._crc32 = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes in."""
        self._sha256.update(data)
        if self._other is not None:
            self._other.update(data)
        elif self._algorithm == "crc32":
            self._crc32 = zlib.crc32(data, self._crc32)

    def check(self) -> str:
        """The SHA-256 as hex digits. Raises `Broken` if the bytes are not those that the server told of."""
        if self._algorithm:
            if self._other is not None:
                seen = self._other.digest()
            elif self._algorithm == "crc32":
                seen = self._crc32.to_bytes(4, "big")
            else:
                seen = self._sha256.digest()
            if seen != self._expected:
                raise Broken(
                    f"the bytes do not have the {self._algorithm.upper()} digest that the server tells"
                )
        return self._sha256.hexdigest()
