"""The attributes of a `NodeProto` as arrays: a forest has millions of them, and Python reads none one by one.

Field numbers: `AttributeProto` and `TensorProto` of onnx.proto3 of ONNX.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.wire import LENGTH, Message, fields
from ovms_converter.optimizer.onnx_graph import (
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OPERATION,
    NODE_OUTPUT,
)

__all__ = ["Floats", "Integers", "MlNode", "read_node"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

_NAME, _FLOAT, _INTEGER, _STRING, _TENSOR, _FLOATS, _INTEGERS, _STRINGS = 1, 2, 3, 4, 5, 7, 8, 9
_REPEATED = (_FLOATS, _INTEGERS, _STRINGS)
_TYPE, _TENSOR_FLOATS, _TENSOR_SMALL, _TENSOR_INTEGERS, _RAW, _TENSOR_DOUBLES = 2, 4, 5, 7, 9, 10
_TENSOR_TYPES: Mapping[int, tuple[int, str]] = {
    1: (_TENSOR_FLOATS, "<f4"),
    2: (_TENSOR_SMALL, "u1"),
    7: (_TENSOR_INTEGERS, "<i8"),
    11: (_TENSOR_DOUBLES, "<f8"),
}
"""`TensorProto.DataType` → the field of its elements if they are not raw, and how raw ones lie."""

_LONGEST_VARINT = 10


@dataclass(frozen=True)
class MlNode:
    """A node of the domain `ai.onnx.ml` with what the rest of the graph says of it.

    `shapes`  of the graph's tensors, as far as the file declares them
    `needed`  the names that the graph's outputs or another node read
    `version` of the domain that the model asks for
    """

    operation: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int | None, ...] | None]
    needed: frozenset[str]
    version: int
    _attributes: Mapping[str, memoryview] = field(repr=False)

    def has(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self._attributes

    def floats(self, name: str) -> Floats:
        """Numbers of a `FLOATS` or `TENSOR` attribute; none if it is not given."""
        data = self._attributes.get(name)
        if data is None:
            return np.zeros(0, np.float64)
        message = _Attribute(data)
        return (message.tensor() if message.is_tensor else message.floats()).astype(np.float64).ravel()

    def integers(self, name: str) -> Integers:
        """Numbers of an `INTS` or `TENSOR` attribute; none if it is not given."""
        data = self._attributes.get(name)
        if data is None:
            return np.zeros(0, np.int64)
        message = _Attribute(data)
        return message.tensor().astype(np.int64).ravel() if message.is_tensor else message.integers()

    def strings(self, name: str) -> tuple[str, ...]:
        """Texts of a `STRINGS` attribute; none if it is not given."""
        data = self._attributes.get(name)
        return () if data is None else tuple(item.text for item in fields(data) if item.number == _STRINGS)

    def words(self, name: str, known: tuple[str, ...]) -> Integers:
        """Texts of a `STRINGS` attribute, each as its position in `known`.

        Raises `CorruptModelError` if one is not among them.
        """
        data = self._attributes.get(name)
        return np.zeros(0, np.int64) if data is None else _Attribute(data).words(known, name)

    def integer(self, name: str, default: int = 0) -> int:
        """An `INT` attribute."""
        data = self._attributes.get(name)
        found = Message(data).integers(_INTEGER) if data is not None else []
        return found[-1] if found else default

    def float(self, name: str, default: float = 0.0) -> float:
        """A `FLOAT` attribute."""
        data = self._attributes.get(name)
        found = Message(data).all(_FLOAT) if data is not None else []
        return float(np.frombuffer(found[-1].data, "<f4")[0]) if found else default

    def text(self, name: str, default: str = "") -> str:
        """A `STRING` attribute."""
        data = self._attributes.get(name)
        return default if data is None else Message(data).text(_STRING, default)

    def unsupported(self, what: str, hint: str | None = None) -> UnsupportedModelError:
        """The error for something of this node that cannot be written with plain operators."""
        return UnsupportedModelError(f"the node `{self.name}` ({self.operation}) {what}", hint=hint)

    def corrupt(self, what: str) -> CorruptModelError:
        """The error for a node that contradicts itself."""
        return CorruptModelError(f"the node `{self.name}` ({self.operation}) {what}")


def read_node(
    node: Message,
    shapes: Mapping[str, tuple[int | None, ...] | None],
    needed: frozenset[str],
    version: int,
) -> MlNode:
    """A `NodeProto`; the elements of its attributes are not looked at yet."""
    outputs = tuple(node.texts(NODE_OUTPUT))
    attributes: dict[str, memoryview] = {}
    for item in node.all(NODE_ATTRIBUTE):
        attributes[_Attribute(item.data).name] = item.data
    return MlNode(
        operation=node.text(NODE_OPERATION),
        name=node.text(NODE_NAME) or next(filter(None, outputs), ""),
        inputs=tuple(node.texts(NODE_INPUT)),
        outputs=outputs,
        shapes=shapes,
        needed=needed,
        version=version,
        _attributes=attributes,
    )


class _Attribute:
    """An `AttributeProto`; the run of its elements is decoded at once where it lies in one piece."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.name = ""
        self.is_tensor = False
        self._start: int | None = None
        for item in fields(data):
            if item.number == _NAME:
                self.name = item.text
            self.is_tensor |= item.number == _TENSOR
            if item.number in _REPEATED:
                self._start = item.start
                break

    def floats(self) -> npt.NDArray[np.float32]:
        """The elements of `floats`, packed or each with its key."""
        run = self._run(_FLOATS << 3 | 5, 5)
        if run is not None:
            return np.ascontiguousarray(run.reshape(-1, 5)[:, 1:]).view("<f4").ravel()
        packed = b"".join(bytes(item.data) for item in fields(self._data) if item.number == _FLOATS)
        return _numbers(packed, "<f4").astype(np.float32)

    def integers(self) -> Integers:
        """The elements of `ints`, packed or each with its key."""
        run = self._rest()
        if run is not None and run.size and run[0] == _INTEGERS << 3:
            numbers = _varints(run)
            if numbers is not None and numbers.size % 2 == 0 and (numbers[::2] == _INTEGERS << 3).all():
                return numbers[1::2]
        return np.array(Message(self._data).integers(_INTEGERS), np.int64)

    def words(self, known: tuple[str, ...], called: str) -> Integers:
        """The elements of `strings` as positions in `known`."""
        run = self._rest()
        if run is not None:
            packed = run.tobytes()
            for position, word in enumerate(known):
                token = bytes((_STRINGS << 3 | LENGTH, len(word))) + word.encode()
                packed = packed.replace(token, bytes((position,)))
            codes = np.frombuffer(packed, np.uint8)
            if (codes < len(known)).all():
                return codes.astype(np.int64)
        positions = {word: position for position, word in enumerate(known)}
        found = [item.text for item in fields(self._data) if item.number == _STRINGS]
        unknown = [word for word in found if word not in positions]
        if unknown:
            raise CorruptModelError(f"`{called}` holds the unknown word `{unknown[0][:40]}`")
        return np.array([positions[word] for word in found], np.int64)

    def tensor(self) -> npt.NDArray[np.float64]:
        """The elements of `t`, a tensor of numbers stored in the model."""
        tensor = Message(self._data).message(_TENSOR)
        kind = tensor.integer(_TYPE)
        if kind not in _TENSOR_TYPES:
            raise CorruptModelError(f"the attribute `{self.name}` is a tensor of an unexpected type")
        number, layout = _TENSOR_TYPES[kind]
        if tensor.all(_RAW):
            values = _numbers(bytes(tensor.all(_RAW)[-1].data), layout)
        elif number in (_TENSOR_SMALL, _TENSOR_INTEGERS):
            values = np.array(tensor.integers(number))
        else:
            values = _numbers(b"".join(bytes(item.data) for item in tensor.all(number)), layout)
        return values.astype(np.float64)

    def _rest(self) -> _Bytes | None:
        """The bytes of all elements and their keys, if only the type of the attribute comes after them."""
        if self._start is None:
            return None
        rest = np.frombuffer(self._data[self._start :], np.uint8)
        has_type = rest.size > 3 and bytes(rest[-3:-1]) == b"\xa0\x01"
        return rest[:-3] if has_type else rest

    def _run(self, key: int, width: int) -> _Bytes | None:
        """Elements of a fixed width with their keys; None if there is something else between them."""
        rest = self._rest()
        if rest is None or rest.size % width or not (rest[::width] == key).all():
            return None
        return rest


def _numbers(data: bytes, layout: str) -> npt.NDArray[np.generic]:
    if len(data) % np.dtype(layout).itemsize:
        raise CorruptModelError("an attribute holds a broken number")
    return np.frombuffer(data, layout)


def _varints(data: _Bytes) -> Integers | None:
    """Consecutive varints as two's complement numbers; None if the bytes are none."""
    ends = np.flatnonzero(data < 0x80)
    if not ends.size or ends[-1] != data.size - 1:
        return None
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_VARINT:
        return None
    values = np.zeros(ends.size, np.uint64)
    for position in range(int(lengths.max())):
        longer = lengths > position
        part = (data[starts[longer] + position] & 0x7F).astype(np.uint64)
        values[longer] |= part << np.uint64(7 * position)
    return values.view(np.int64)
