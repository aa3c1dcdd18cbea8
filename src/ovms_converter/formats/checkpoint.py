"""The index of a TensorFlow checkpoint, a sorted string table: which tensor is where in which shard.

Sources: tensorflow/core/lib/io/{format,block}.cc, tensorflow/core/protobuf/tensor_bundle.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.saved_model import data_type, tensor_shape
from ovms_converter.formats.wire import Message, read_varint

__all__ = ["TABLE", "Checkpoint", "Stored", "read_checkpoint", "shard_count"]

TABLE = struct.pack("<Q", 0xDB4775248B80FB57)
"""The last bytes of a sorted string table."""

_FOOTER = 48

_KEY = 4096
"""Bytes of a variable's longest name: a damaged index could otherwise make each name longer than the last."""


@dataclass(frozen=True)
class Stored:
    """One tensor: `size` bytes from `offset` on in shard number `shard`."""

    name: str
    type: str
    shape: tuple[int | None, ...] | None
    shard: int
    offset: int
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """All tensors of a checkpoint, by name in order, and the number of its data files."""

    shards: int
    tensors: tuple[Stored, ...]


def shard_count(head: bytes) -> int | None:
    """The number of data files as the first bytes of an index tell it; None if they do not."""
    if head[:2] != b"\0\0" or len(head) < 3:
        return None
    try:
        length, at = read_varint(memoryview(head), 2)
        return Message(memoryview(head)[at : at + length]).integer(1) or None
    except CorruptModelError:
        return None


class _CompressedError(Exception):
    """A block is compressed."""


def read_checkpoint(data: memoryview) -> Checkpoint | None:
    """Read a `variables.index`; None if it is compressed, which TensorFlow allows and does not do by itself.

    Raises `CorruptModelError`.
    """
    try:
        return _read(data)
    except _CompressedError:
        return None


def _read(data: memoryview) -> Checkpoint:
    if len(data) < _FOOTER or bytes(data[-8:]) != TABLE:
        raise CorruptModelError("the checkpoint's index does not end as one")
    at = len(data) - _FOOTER
    _, at = read_varint(data, at)
    _, at = read_varint(data, at)
    shards, tensors = 1, []
    unread = len(data)
    for _, handle in _entries(_block(data, at)):
        block = _block(handle, 0, data)
        unread -= len(block)
        if unread < 0:
            raise CorruptModelError("the checkpoint's index has blocks that overlap")
        for key, value in _entries(block):
            message = Message(value)
            if not key:
                shards = message.integer(1)
            else:
                tensors.append(_stored(key, message))
    return Checkpoint(shards, tuple(tensors))


def _stored(key: bytes, entry: Message) -> Stored:
    return Stored(
        name=key.decode("utf-8", "replace"),
        type=data_type(entry.integer(1)),
        shape=tensor_shape(entry.message(2)),
        shard=entry.integer(3),
        offset=entry.integer(4),
        size=entry.integer(5),
    )


def _block(handle: memoryview, at: int, data: memoryview | None = None) -> memoryview:
    """The block that a handle (offset, size) at `at` points to, without its trailer."""
    data = handle if data is None else data
    offset, at = read_varint(handle, at)
    size, _ = read_varint(handle, at)
    if size < 4 or offset + size + 1 > len(data):
        raise CorruptModelError("the checkpoint's index is truncated")
    if data[offset + size] != 0:
        raise _CompressedError
    block = data[offset : offset + size]
    restarts = int(struct.unpack_from("<I", block, size - 4)[0])
    if 4 * (restarts + 1) > size:
        raise CorruptModelError("the checkpoint's index is damaged")
    return block[: size - 4 * (restarts + 1)]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys, which share beginnings with the one before, and values."""
    at, key = 0, b""
    while at < len(block):
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or shared + fresh > _KEY or at + fresh + length > len(block):
            raise CorruptModelError("the checkpoint's index is damaged")
        key = key[:shared] + bytes(block[at : at + fresh])
        at += fresh + length
        yield key, block[at - length : at]
