"""FlatBuffers without a library: tables, vectors and texts, read a page at a time from a file of any size.

Offsets in a damaged file may point anywhere, so each is checked against the file.
https://flatbuffers.dev/internals/
"""

import struct
from collections.abc import Sequence

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.tree import Window

__all__ = ["Pages", "Table", "root"]

_PAGE = 16 << 10

_LONGEST = 1 << 20
"""No vector of tables or numbers that is read here has more entries, and no text more bytes."""

_MOST = 4_000_000
"""No file has more tables; one that lists a part of itself again and again would have no end."""


class Pages:
    """A file that is read in pages, each once; `size` is the file's in bytes."""

    def __init__(self, file: Window) -> None:
        self.size = file.size
        self._file = file
        self._pages: dict[int, bytes] = {}
        self._tables = 0

    def take(self, start: int, length: int) -> bytes:
        """Exactly these bytes; raises `CorruptModelError` if they are not in the file."""
        if start < 0 or length < 0 or start + length > self.size:
            raise CorruptModelError(f"an offset points to byte {start} of {self.size}")
        first, last = start // _PAGE, (start + max(length, 1) - 1) // _PAGE
        data = b"".join(self._page(number) for number in range(first, last + 1))
        return data[start - first * _PAGE :][:length]

    def number(self, at: int, kind: str) -> int:
        """The number at an offset, `kind` in the letters of `struct`."""
        (value,) = struct.unpack(f"<{kind}", self.take(at, struct.calcsize(kind)))
        return int(value)

    def count_table(self) -> None:
        """Raises `CorruptModelError` when so many tables were met that some must lie in each other."""
        self._tables += 1
        if self._tables > min(_MOST, self.size):
            raise CorruptModelError("it claims more parts than it has room for")

    def _page(self, number: int) -> bytes:
        if number not in self._pages:
            self._pages[number] = self._file.bytes(number * _PAGE, _PAGE)
        return self._pages[number]


class Table:
    """A table; its fields are numbered from 0 in the order of the schema."""

    def __init__(self, pages: Pages, at: int) -> None:
        pages.count_table()
        self._pages = pages
        self._at = at
        self._fields = at - pages.number(at, "i")
        self._length = pages.number(self._fields, "H")

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """A number, `kind` in the letters of `struct`."""
        at = self._field(field)
        return default if at is None else self._pages.number(at, kind)

    def text(self, field: int) -> str:
        """A text; "" if it is not there."""
        at = self._target(field)
        if at is None:
            return ""
        return self._pages.take(at + 4, self._count(at)).decode("utf-8", "replace")

    def numbers(self, field: int, kind: str) -> Sequence[int] | None:
        """A vector of numbers; None if it is not there."""
        at = self._target(field)
        if at is None:
            return None
        count = self._count(at)
        return struct.unpack(f"<{count}{kind}", self._pages.take(at + 4, count * struct.calcsize(kind)))

    def tables(self, field: int) -> Sequence["Table"]:
        """A vector of tables; empty if it is not there."""
        at = self._target(field)
        if at is None:
            return ()
        places = range(at + 4, at + 4 + 4 * self._count(at), 4)
        return [Table(self._pages, place + self._pages.number(place, "I")) for place in places]

    def length(self, field: int) -> int:
        """How many entries a vector has, which are not read; 0 if it is not there."""
        at = self._target(field)
        return 0 if at is None else self._pages.number(at, "I")

    def _field(self, field: int) -> int | None:
        """Where a field is; None if the table does not have it."""
        entry = 4 + 2 * field
        if entry + 2 > self._length:
            return None
        offset = self._pages.number(self._fields + entry, "H")
        return self._at + offset if offset else None

    def _target(self, field: int) -> int | None:
        """Where a text or vector is."""
        at = self._field(field)
        return None if at is None else at + self._pages.number(at, "I")

    def _count(self, at: int) -> int:
        count = self._pages.number(at, "I")
        if count > _LONGEST:
            raise CorruptModelError(f"a list at byte {at} claims {count} entries")
        return count


def root(file: Window) -> Table:
    """The table that a file is. Raises `CorruptModelError`, as the methods of `Table` do."""
    pages = Pages(file)
    return Table(pages, pages.number(0, "I"))
