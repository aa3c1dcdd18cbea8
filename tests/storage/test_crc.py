"""CRC-32C and CRC-64/NVME against published values and a reference that takes one bit after the other."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.storage.crc import CRC32C, CRC64NVME, Crc, Polynomial

BOTH = pytest.mark.parametrize("polynomial", [CRC32C, CRC64NVME], ids=["crc32c", "crc64nvme"])


def bit_by_bit(polynomial: Polynomial, data: bytes) -> bytes:
    ones = (1 << 8 * polynomial.size) - 1
    register = ones
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (polynomial.bits if register & 1 else 0)
    return (register ^ ones).to_bytes(polynomial.size, "big")


def in_pieces(polynomial: Polynomial, data: bytes, cuts: list[int]) -> bytes:
    crc = Crc(polynomial)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        crc.update(memoryview(data)[start:end])
    return crc.digest()


@pytest.mark.parametrize(
    ("polynomial", "data", "expected"),
    [
        (CRC32C, b"", "00000000"),
        (CRC32C, b"123456789", "e3069283"),
        # RFC 3720, B.4
        (CRC32C, bytes(32), "8a9136aa"),
        (CRC32C, b"\xff" * 32, "62a8ab43"),
        (CRC32C, bytes(range(32)), "46dd794e"),
        (CRC64NVME, b"", "0000000000000000"),
        (CRC64NVME, b"123456789", "ae8b14860a799888"),
        # NVM Express NVM Command Set Specification 1.0d, 5.2.1.3.4
        (CRC64NVME, bytes(4096), "6482d367eb22b64e"),
        (CRC64NVME, b"\xff" * 4096, "c0ddba7302eca3ac"),
    ],
)
def test_published_values(polynomial: Polynomial, data: bytes, expected: str) -> None:
    crc = Crc(polynomial)
    crc.update(data)
    assert crc.digest().hex() == expected


@BOTH
@given(data=st.binary(max_size=6000), cuts=st.lists(st.integers(0, 6000), max_size=4))
def test_any_bytes_in_any_pieces(polynomial: Polynomial, data: bytes, cuts: list[int]) -> None:
    cuts = [cut for cut in cuts if cut <= len(data)]
    assert in_pieces(polynomial, data, cuts) == bit_by_bit(polynomial, data)


@BOTH
@pytest.mark.parametrize("beyond", [-9, -8, -1, 0, 1, 7, 8, 9, 16_000])
def test_around_what_is_kept_for_the_table(polynomial: Polynomial, beyond: int) -> None:
    data = random.Random(1).randbytes(8 * polynomial.multiples[0][0] + beyond)
    assert in_pieces(polynomial, data, [5]) == bit_by_bit(polynomial, data)


@BOTH
@pytest.mark.parametrize("size", [8 * (6777 + 32768), 8 * (6559 + 32768) + 1, 1_000_003])
def test_more_than_is_taken_at_once(polynomial: Polynomial, size: int) -> None:
    data = random.Random(2).randbytes(size)
    assert in_pieces(polynomial, data, [size // 7, size - 3]) == bit_by_bit(polynomial, data)


@BOTH
def test_a_digest_so_far_changes_nothing(polynomial: Polynomial) -> None:
    data = random.Random(3).randbytes(100_000)
    crc = Crc(polynomial)
    for start in range(0, len(data), 30_001):
        crc.update(data[start : start + 30_001])
        assert crc.digest() == bit_by_bit(polynomial, data[: start + 30_001])


@BOTH
def test_every_multiple_is_one(polynomial: Polynomial) -> None:
    """The sum of its powers leaves no remainder."""

    def power(words: int) -> int:
        register = 1 << 8 * polynomial.size - 1
        for _ in range(64 * words):
            register = register >> 1 ^ (polynomial.bits if register & 1 else 0)
        return register

    for multiple in polynomial.multiples:
        remainder = 0
        for exponent in multiple:
            remainder ^= power(exponent)
        assert remainder == 0
        assert list(multiple) == sorted(set(multiple), reverse=True)
        assert multiple[-1] == 0
