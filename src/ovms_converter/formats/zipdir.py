"""The directory of a ZIP archive, read from its tail; nothing is unpacked.

Source: PKWARE's APPNOTE.TXT 4.3.12-4.3.16.
"""

import struct
from typing import Protocol

__all__ = ["Readable", "zip_names"]

LIMIT = 1 << 20
"""Bytes of the directory that are read at most; what comes after them is not looked at."""


class Readable(Protocol):
    """A file of known size that is read here and there."""

    size: int

    def bytes(self, start: int, length: int) -> bytes:
        """The bytes from `start` on, fewer only at the end of the file."""


def zip_names(file: Readable) -> tuple[str, ...]:
    """The names in an archive's directory, in its order, as far as it is whole; none if it has none."""
    for tail_length in (1 << 12, 1 << 17):
        tail_start = max(0, file.size - tail_length)
        tail = file.bytes(tail_start, file.size - tail_start)
        at = tail.rfind(b"PK\x05\x06")
        if at >= 0 and len(tail) - at >= 22:
            size, offset = struct.unpack_from("<II", tail, at + 12)
            if 0xFFFFFFFF in (size, offset):
                size, offset = _zip64(file, tail, at)
            return _names(file.bytes(offset, min(size, LIMIT)))
        if tail_start == 0:
            break
    return ()


def _zip64(file: Readable, tail: bytes, at: int) -> tuple[int, int]:
    locator = tail.rfind(b"PK\x06\x07", 0, at)
    if locator < 0 or at - locator < 20:
        return 0, 0
    record = file.bytes(struct.unpack_from("<Q", tail, locator + 8)[0], 56)
    if len(record) < 56 or not record.startswith(b"PK\x06\x06"):
        return 0, 0
    size, offset = struct.unpack_from("<QQ", record, 40)
    return int(size), int(offset)


def _names(directory: bytes) -> tuple[str, ...]:
    names = []
    at = 0
    while directory[at : at + 4] == b"PK\x01\x02" and at + 46 <= len(directory):
        name, extra, comment = struct.unpack_from("<HHH", directory, at + 28)
        names.append(directory[at + 46 : at + 46 + name].decode("utf-8", "replace"))
        at += 46 + name + extra + comment
    return tuple(names)
