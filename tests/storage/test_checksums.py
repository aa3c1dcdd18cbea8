"""Checksums as stores tell them: which are taken for one, and what bytes fit them."""

import asyncio
import base64
import hashlib
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.storage.base import Entry
from ovms_converter.storage.checksums import ALGORITHMS, Checksum, Digests
from ovms_converter.storage.crc import CRC32C, CRC64NVME, Crc
from ovms_converter.storage.witness import Told, Witness, told_checksums


def crc(polynomial: object, data: bytes) -> bytes:
    assert polynomial in (CRC32C, CRC64NVME)
    found = Crc(CRC32C if polynomial is CRC32C else CRC64NVME)
    found.update(data)
    return found.digest()


def of(algorithm: str, data: bytes) -> bytes:
    """The digest of all bytes, by other means where there are any."""
    names = {"SHA-256": "sha256", "SHA-512": "sha512", "SHA-1": "sha1", "MD5": "md5"}
    if algorithm in names:
        return hashlib.new(names[algorithm], data).digest()
    if algorithm == "CRC32":
        return zlib.crc32(data).to_bytes(4, "big")
    return crc(CRC32C if algorithm == "CRC32C" else CRC64NVME, data)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(
    data=st.binary(min_size=1, max_size=300),
    sizes=st.lists(st.integers(1, 90), max_size=5),
    step=st.integers(1, 200),
)
def test_bytes_fit_their_checksum_and_no_others(
    algorithm: str, data: bytes, sizes: list[int], step: int
) -> None:
    """Of all bytes and of the parts' digests, whatever the pieces in which they pass."""
    parts: list[bytes] = []
    for size in sizes:
        start = sum(map(len, parts))
        if data[start:]:
            parts.append(data[start : start + size])
    rest = data[sum(map(len, parts)) :]
    parts += [rest] if rest and parts else []
    whole = b"".join(of(algorithm, part) for part in parts) if parts else data
    checksum = Checksum(algorithm, of(algorithm, whole), tuple(map(len, parts)))
    assert checksum.fits(data)
    digests, other = Digests(checksum), Digests(checksum)
    for start in range(0, len(data), step):
        digests.update(memoryview(data)[start : start + step])
    assert digests.fits
    assert digests.sha256 == hashlib.sha256(data).hexdigest()
    other.update(bytes([data[0] ^ 1]) + data[1:])
    assert not other.fits


def test_a_file_fits_as_its_bytes_do(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    assert Checksum("CRC32C", of("CRC32C", data)).fits_file(tmp_path / "f")
    assert not Checksum("CRC32C", of("CRC32C", data[:-1])).fits_file(tmp_path / "f")


B64 = {name: base64.b64encode(of(name, b"123456789")).decode() for name in ALGORITHMS}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-amz-checksum-crc32": B64["CRC32"]}, [("CRC32", 0)]),
        ({"x-amz-checksum-sha256": f"{B64['SHA-256']}-12"}, [("SHA-256", 12)]),
        ({"x-amz-checksum-md5": B64["MD5"], "x-amz-checksum-xxhash64": B64["CRC64NVME"]}, [("MD5", 0)]),
        # The whole before parts, the cheap before the dear.
        (
            {
                "x-amz-checksum-crc32c": f"{B64['CRC32C']}-2",
                "x-amz-checksum-sha1": B64["SHA-1"],
                "x-amz-checksum-crc64nvme": B64["CRC64NVME"],
                "x-amz-checksum-type": "FULL_OBJECT",
            },
            [("CRC64NVME", 0), ("SHA-1", 0), ("CRC32C", 2)],
        ),
        # Moto leaves the number of parts to the ETag.
        (
            {
                "etag": f'"{"0" * 32}-3"',
                "x-amz-checksum-type": "COMPOSITE",
                "x-amz-checksum-crc32": B64["CRC32"],
            },
            [("CRC32", 3)],
        ),
        # Either is possible.
        ({"etag": f'"{"0" * 32}-3"', "x-amz-checksum-crc32": B64["CRC32"]}, []),
        ({"x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-crc32": B64["CRC32"]}, []),
        ({"x-goog-hash": f"crc32c={B64['CRC32C']},md5={B64['MD5']}"}, [("CRC32C", 0), ("MD5", 0)]),
        ({"x-goog-hash": f"crc32c={B64['CRC32C']}"}, [("CRC32C", 0)]),
        ({"x-amz-checksum-crc32": B64["SHA-1"], "x-amz-checksum-sha1": "%", "x-goog-hash": "md5"}, []),
        ({"x-amz-checksum-crc32": f"{B64['CRC32']}-0", "x-amz-checksum-sha1": "A"}, []),
    ],
)
def test_what_is_taken_for_a_checksum(headers: dict[str, str], expected: list[tuple[str, int]]) -> None:
    found = told_checksums(headers)
    assert found == [Told(name, base64.b64decode(B64[name]), parts) for name, parts in expected]


NAMES = [
    "x-goog-hash",
    "x-amz-checksum-type",
    "etag",
    *(f"x-amz-checksum-{n.lower().replace('-', '')}" for n in ALGORITHMS),
]


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.from_regex(r"[A-Za-z0-9+/]+=*(-\d+)?")))
def test_no_headers_are_more_than_useless(headers: dict[str, str]) -> None:
    for told in told_checksums(headers):
        assert len(told.digest) == ALGORITHMS[told.algorithm].size


@pytest.mark.parametrize(("algorithm", "loads"), [("CRC32", False), ("SHA-256", False), ("CRC32C", True)])
def test_numpy_is_loaded_for_what_needs_it(algorithm: str, loads: bool) -> None:
    code = (
        "import sys; from ovms_converter.storage import s3, transfer; from ovms_converter.storage.checksums "
        f"import Checksum; Checksum({algorithm!r}, b'').fits(b'1'); print('numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{loads}\n"


def test_a_store_that_tells_nothing_is_asked_for_large_objects_alone() -> None:
    asked: list[str] = []

    async def silent(key: str, entry: Entry, part: int | None) -> Mapping[str, str]:
        asked.append(key)
        return {}

    async def ask_for_all() -> None:
        witness = Witness(silent)
        for number in range(20):
            assert await witness.checksum(f"small{number}", Entry("small", 1 << 20, '"a"')) is None
        assert await witness.checksum("large", Entry("large", 1 << 30, '"a"')) is None

    asyncio.run(ask_for_all())
    assert asked == ["small0", "small1", "large"]
