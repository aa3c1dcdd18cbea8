"""A protobuf file read from afar: everything in it but the payload of large tensors.

So a model of any size in a store can be described from a few small reads, and a truncated file is recognised
as one before it is fetched.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.tree import Window
from ovms_converter.formats.wire import FIXED32, FIXED64, LENGTH, VARINT, bytes_field

__all__ = ["LISTS", "Header", "graph_outline", "headers", "onnx_outline"]

_Parts: TypeAlias = "dict[int, _Parts]"

_SMALL = 1024
"""A message up to this many bytes is copied whole."""

_PAYLOADS = (4, 5, 6, 7, 9, 10, 11)
"""The fields of a TensorProto that hold its numbers, ONNX's and TensorFlow's."""


LISTS = (7, 8, 9)
"""The fields of an AttributeProto that hold lists of numbers and texts: nothing but its type comes after."""

_ATTRIBUTE: _Parts = {5: {}, 10: {}}
"""The fields of an AttributeProto that hold tensors."""


class Header(NamedTuple):
    """A field of a message in a file: where it starts, where its payload is and where it ends."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int


def headers(file: Window, start: int, end: int) -> Iterator[Header]:
    """The fields between two offsets, payloads unread; raises `CorruptModelError` where there are none."""
    at = start
    while at < end:
        here = at
        key, at = _varint(file, at, end)
        number, wire_type = key >> 3, key & 7
        payload = at
        if wire_type == VARINT:
            _, at = _varint(file, at, end)
        elif wire_type == LENGTH:
            length, payload = _varint(file, at, end)
            at = payload + length
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
        else:
            raise CorruptModelError(f"there is no field at byte {here}")
        if number == 0:
            raise CorruptModelError(f"there is no field at byte {here}")
        if at > end:
            raise CorruptModelError(
                f"a part that starts at byte {here} should end at byte {at}, and the data ends at {end}"
            )
        yield Header(number, wire_type, here, payload, at)


def _varint(file: Window, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for byte in file.bytes(at, min(10, end - at)):
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise CorruptModelError(f"the data breaks off at byte {at}")


def onnx_outline(file: Window) -> bytes:
    """A ModelProto like the one in the file, without what the large tensors of its graph hold.

    Large attributes of numbers or texts end before these; the trees of ai.onnx.ml have millions.
    """
    return _copy(file, 0, file.size, {7: {1: {5: _ATTRIBUTE}, 5: {}}})


def graph_outline(file: Window) -> bytes:
    """A TensorFlow GraphDef like the one in the file, without what its large constants hold."""
    return _copy(file, 0, file.size, {1: {5: {2: {8: {}}}}})


def _copy(file: Window, start: int, end: int, parts: _Parts) -> bytes:
    """Copy a message; large fields in `parts` are gone through field by field, down to the tensors."""
    copied = bytearray()
    for header in headers(file, start, end):
        if parts is _ATTRIBUTE and header.number in LISTS:
            break
        if header.wire_type == LENGTH and header.end - header.payload > _SMALL:
            if not parts and header.number in _PAYLOADS:
                continue
            if header.number in parts:
                inner = _copy(file, header.payload, header.end, parts[header.number])
                copied += bytes_field(header.number, inner)
                continue
        copied += file.bytes(header.start, header.end - header.start)
    return bytes(copied)
