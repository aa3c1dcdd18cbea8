"""The digest that is taken of every download, and those that a server gives to compare with."""

import base64
import binascii
import re
from collections.abc import Mapping

from ovms_converter.storage import checksums
from ovms_converter.storage.checksums import ALGORITHMS, Checksum
from ovms_converter.storage.http_retry import Broken

__all__ = ["Digests", "expected_digests"]

_STRONGEST_FIRST = {
    "sha512": "SHA-512",
    "sha256": "SHA-256",
    "sha1": "SHA-1",
    "md5": "MD5",
    "crc64nvme": "CRC64NVME",
    "crc32c": "CRC32C",
    "crc32": "CRC32",
}
"""The names that headers begin or end with → those of `ALGORITHMS`."""
_SPELLINGS = {
    "sha": "sha1",
    "sha-1": "sha1",
    "sha-256": "sha256",
    "sha-512": "sha512",
    "md5": "md5",
    "crc32c": "crc32c",
}


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
        for algorithm in _STRONGEST_FIRST:
            _keep(found, algorithm, headers.get(f"x-amz-checksum-{algorithm}", ""))
    for text in lists:
        for item in text.split(","):
            name, _, value = item.strip().partition("=")
            _keep(found, _SPELLINGS.get(name.strip().lower(), ""), value.strip().strip(":"))
    return found


def _keep(found: dict[str, bytes], algorithm: str, text: str) -> None:
    if algorithm not in _STRONGEST_FIRST or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        return
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return
    if len(digest) == ALGORITHMS[_STRONGEST_FIRST[algorithm]].size:
        found.setdefault(algorithm, digest)


class Digests:
    """SHA-256 of bytes as they pass, and with it the strongest digest that is `expected`."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        name = next((name for name in _STRONGEST_FIRST if name in expected), None)
        self._digests = checksums.Digests(Checksum(_STRONGEST_FIRST[name], expected[name]) if name else None)

    def update(self, data: bytes) -> None:
        """Take the next bytes in."""
        self._digests.update(data)

    def check(self) -> str:
        """The SHA-256 as hex digits. Raises `Broken` if the bytes are not those that the server told of."""
        told, sha256 = self._digests.checksum, self._digests.sha256
        if told and not self._digests.fits:
            raise Broken(f"the bytes do not have the {told.algorithm} digest that the server tells")
        assert sha256
        return sha256
