"""Members of a ZIP archive in a tree, read from where it is without fetching all of it."""

import io
import lzma
import struct
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING

from ovms_converter.formats.tree import Tree, Window

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["DAMAGE", "WindowFile", "open_archive", "read_member"]

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for archives that are damaged, encrypted or compressed in a way it does not know."""

_ARCHIVE_READ = 4 << 20
"""Bytes of an archive that are read, its directory included; one that needs more is not looked into."""


class WindowFile(io.RawIOBase):
    """A file in a tree for readers that want a file object, such as `zipfile`.

    Raises `OSError` for a read that would be more than `limit` bytes in all.
    """

    def __init__(self, window: Window, limit: int = sys.maxsize) -> None:
        self._window = window
        self._left = limit
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._window.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill a buffer as far as the file goes."""
        target = memoryview(buffer).cast("B")
        self._left -= min(len(target), self._window.size)
        if self._left < 0:
            raise OSError("more would be read than an inspection may")
        data = self._window.bytes(self._at, len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_archive(tree: Tree, path: str) -> zipfile.ZipFile:
    """An archive in a tree, of which a bounded part can be read. Raises one of `DAMAGE`."""
    return zipfile.ZipFile(io.BufferedReader(WindowFile(tree.sample(path).window(), _ARCHIVE_READ)))


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Up to `limit` bytes of a member. Raises one of `DAMAGE`, or KeyError if there is none of that name."""
    with archive.open(name) as member:
        return member.read(limit)
