"""What is in a `.npz` file of numpy, told from the headers of its arrays, without numpy and without pickle.

Format: numpy's NEP 1, a zip of `.npy` files.
"""

import ast
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.archives import DAMAGE

__all__ = ["MOST_BYTES", "NpzArray", "read_npz"]

MOST_BYTES = 1 << 30
"""The most that the arrays of one file may hold, unpacked."""

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16
_KINDS = "biufUS"
"""numpy's letters for booleans, integers, floats and text: everything that a model takes."""


@dataclass(frozen=True)
class NpzArray:
    """One array: its type in numpy's words (`<f4`) and its sizes."""

    type: str
    shape: tuple[int, ...]


def read_npz(path: Path) -> Mapping[str, NpzArray]:
    """The arrays of a file by name, in its order.

    Raises `CorruptModelError`, whose message goes on from the file's name, if it is no `.npz`, holds nothing,
    holds Python objects, or is unpacked larger than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, NpzArray] = {}
            for item in archive.infolist():
                if not item.filename.endswith(".npy"):
                    raise CorruptModelError(f"is no `.npz` of numpy: it holds `{item.filename[:80]}`")
                with archive.open(item) as stream:
                    name = item.filename.removesuffix(".npy")
                    if name in found:
                        raise CorruptModelError(f"holds two arrays of the name `{name[:80]}`")
                    found[name] = _header(stream, name)
            size = sum(item.file_size for item in archive.infolist())
    except DAMAGE:
        raise CorruptModelError("is no `.npz` of numpy, or it is damaged") from None
    if not found:
        raise CorruptModelError("holds no arrays")
    if size > MOST_BYTES:
        raise CorruptModelError(f"holds {size} bytes, and {MOST_BYTES} is the most that is read")
    return found


def _header(stream: IO[bytes], name: str) -> NpzArray:
    start = stream.read(8)
    if start[:6] != _MAGIC or start[6:7] not in (b"\1", b"\2", b"\3"):
        raise CorruptModelError(f"is no `.npz` of numpy: `{name[:80]}` is no array")
    (length,) = struct.unpack("<H", stream.read(2)) if start[6] == 1 else struct.unpack("<I", stream.read(4))
    try:
        header = ast.literal_eval(stream.read(min(length, _LONGEST_HEADER)).decode("latin-1").strip())
        kind, shape = header["descr"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise CorruptModelError(
            f"is damaged: the array `{name[:80]}` has no header that can be read"
        ) from None
    sizes = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
    if not isinstance(kind, str) or kind[1:2] not in _KINDS or not sizes:
        raise CorruptModelError(
            f"holds `{name[:80]}`, which is neither numbers nor text (Python objects are not read)"
        )
    return NpzArray(kind, shape)
