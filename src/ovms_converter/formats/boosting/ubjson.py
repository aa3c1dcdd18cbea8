"""Universal Binary JSON (draft 12, https://ubjson.org), as far as XGBoost writes it; never trusted.

Numbers are big-endian. An array of one number type is read at once.
"""

import sys
from array import array

from ovms_converter.errors import CorruptModelError

__all__ = ["parse_ubjson"]

_DEPTH = 64
_ARRAY_CODES = {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"}
"""UBJSON's number types → those of `array`."""

_INTEGERS = (b"i", b"U", b"I", b"l", b"L")
_CONSTANTS: dict[bytes, bool | None] = {b"Z": None, b"T": True, b"F": False}


def parse_ubjson(data: bytes) -> object:
    """The value in a document: mappings, lists and `array`s, texts, numbers, true, false, None.

    Raises `CorruptModelError`.
    """
    reader = _Reader(data)
    return reader.value(reader.take(1), 0)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise CorruptModelError("the UBJSON document is truncated")
        found = bytes(self._data[self._at : end])
        self._at = end
        return found

    def value(self, kind: bytes, depth: int) -> object:
        """A value of a type whose marker has been read."""
        if depth > _DEPTH:
            raise CorruptModelError(f"the UBJSON document is nested more than {_DEPTH} deep")
        if kind in _ARRAY_CODES:
            return self._numbers(kind, 1)[0]
        if kind == b"S":
            return self._text()
        if kind == b"C":
            return chr(self.take(1)[0])
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == b"[":
            return self._array(depth)
        if kind == b"{":
            return self._object(depth)
        raise CorruptModelError(f"the UBJSON document has the unknown type {kind!r}")

    def _numbers(self, kind: bytes, count: int) -> "array[int] | array[float]":
        found = array(_ARRAY_CODES[kind])
        found.frombytes(self.take(count * found.itemsize))
        if sys.byteorder == "little":
            found.byteswap()
        return found

    def _integer(self) -> int:
        kind = self.take(1)
        if kind not in _INTEGERS:
            raise CorruptModelError("the UBJSON document has no number where it needs a length")
        found = int(self._numbers(kind, 1)[0])
        if found < 0:
            raise CorruptModelError("the UBJSON document has a negative length")
        return found

    def _text(self) -> str:
        try:
            return str(self.take(self._integer()), "utf-8")
        except UnicodeDecodeError:
            raise CorruptModelError("the UBJSON document has a text that is not UTF-8") from None

    def _header(self) -> tuple[bytes | None, int | None]:
        """The type and the number of a container's elements, where they are told in advance."""
        kind = count = None
        if self._next() == b"$":
            self.take(1)
            kind = self.take(1)
        if self._next() == b"#":
            self.take(1)
            count = self._integer()
        elif kind is not None:
            raise CorruptModelError("the UBJSON document has a typed array without a length")
        return kind, count

    def _next(self) -> bytes:
        return bytes(self._data[self._at : self._at + 1])

    def _array(self, depth: int) -> object:
        kind, count = self._header()
        if kind is not None and count is not None:
            if kind in _ARRAY_CODES:
                return self._numbers(kind, count)
            raise CorruptModelError(f"the UBJSON document has an array of the type {kind!r}")
        found: list[object] = []
        if count is not None:
            # each element takes a byte at least, so a count that lies ends with the data
            found.extend(self.value(self.take(1), depth + 1) for _ in range(count))
            return found
        while (kind := self.take(1)) != b"]":
            found.append(self.value(kind, depth + 1))
        return found

    def _object(self, depth: int) -> dict[str, object]:
        kind, count = self._header()
        found: dict[str, object] = {}
        while count is None or len(found) < count:
            if count is None and self._next() == b"}":
                self.take(1)
                break
            before = len(found)
            name = self._text()
            found[name] = self.value(kind or self.take(1), depth + 1)
            if len(found) == before:
                raise CorruptModelError("the UBJSON document has the same name twice")
        return found
