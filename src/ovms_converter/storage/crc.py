"""CRC-32C and CRC-64/NVME at the speed of memory; neither Python nor numpy has a function for them.

Bytes are the coefficients of a polynomial, and a CRC is its remainder. With y = x^64, which is one machine
word further, a sparse multiple of the CRC's polynomial such as y^6777 + y^484 + y^100 + 1 says that a word
may be moved 6293, 6677 and 6777 words back by an exclusive or, and the remainder stays. Thousands of words
are moved at once, until only the last are left for a table. This is how zlib-ng's Chorba does it (Russell,
2024); the exponents were found by a search, and a wrong one shows in every test.

numpy is loaded with this module. It lets other threads run while it works.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CRC32C", "CRC64NVME", "Crc", "Polynomial"]

Words: TypeAlias = NDArray[np.uint64]

_BLOCK = 32 << 10
"""Words that are taken at once: with the state they fit a processor's second cache."""


@dataclass(frozen=True)
class Polynomial:
    """A CRC that begins with ones, inverts its result, and takes each byte's lowest bit first.

    `size`  bytes of the result
    `bits`  the coefficients, the highest power in the lowest bit, without the leading one
    `multiples`  exponents of y, descending to 0, of sparse multiples; the largest multiple first
    """

    size: int
    bits: int
    multiples: tuple[tuple[int, ...], ...]


CRC32C = Polynomial(4, 0x82F63B78, ((6777, 484, 100, 0), (299, 142, 134, 62, 21, 0)))
CRC64NVME = Polynomial(8, 0x9A6C9329AC4BC9B5, ((6559, 4453, 3805, 3661, 3066, 1313, 940, 0),))


class Crc:
    """One CRC of bytes as they pass."""

    def __init__(self, polynomial: Polynomial) -> None:
        self._polynomial = polynomial
        self._words = np.empty(polynomial.multiples[0][0] + _BLOCK, np.uint64)
        self._bytes = self._words.view(np.uint8)
        self._filled = 0
        self._register = (1 << 8 * polynomial.size) - 1

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        source = np.frombuffer(data, np.uint8)
        while source.size:
            taken = source[: self._bytes.size - self._filled]
            self._bytes[self._filled : self._filled + taken.size] = taken
            self._filled += taken.size
            source = source[taken.size :]
            if self._filled == self._bytes.size:
                self._filled = 8 * self._fold(self._words, self._polynomial.multiples[0])

    def digest(self) -> bytes:
        """The CRC of all bytes so far, the highest byte first."""
        for multiple in self._polynomial.multiples:
            count, rest = divmod(self._filled, 8)
            if count > multiple[0]:
                tail = self._bytes[self._filled - rest : self._filled].copy()
                self._filled = 8 * self._fold(self._words[:count], multiple)
                self._bytes[self._filled : self._filled + rest] = tail
                self._filled += rest
        register, table = self._register, _table(self._polynomial.bits)
        for byte in self._bytes[: self._filled].tobytes():
            register = register >> 8 ^ table[(register ^ byte) & 0xFF]
        mask = (1 << 8 * self._polynomial.size) - 1
        return (register ^ mask).to_bytes(self._polynomial.size, "big")

    def _fold(self, words: Words, multiple: Sequence[int]) -> int:
        """Move all but the last words back, then those to the front; how many there are."""
        if self._register:
            # What the register begins with is as good as in the first bytes.
            first = self._register.to_bytes(self._polynomial.size, "little")
            self._bytes[: len(first)] ^= np.frombuffer(first, np.uint8)
            self._register = 0
        left, *others = multiple
        count, step = len(words) - left, left - others[0]
        for start in range(0, count, step):
            moved = words[start : min(start + step, count)]
            for exponent in others:
                target = words[start + left - exponent :][: len(moved)]
                np.bitwise_xor(target, moved, out=target)
        # The two overlap if there was little to move.
        self._words[:left] = words[count:].copy()
        return left


@cache
def _table(bits: int) -> tuple[int, ...]:
    """Byte → what it changes in the register, eight bits on."""
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (bits if register & 1 else 0)
        table.append(register)
    return tuple(table)
