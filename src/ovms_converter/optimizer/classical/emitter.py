"""Writes plain ONNX nodes and constants, in the way that the model's version of the operation set wants."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ovms_converter.formats.wire import bytes_field, varint_field
from ovms_converter.optimizer.onnx_graph import (
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OPERATION,
    NODE_OUTPUT,
    TYPE_NUMBERS,
    encode_tensor,
)

__all__ = ["Emitter"]

_Array: TypeAlias = npt.NDArray[np.generic]

_TYPES = {"float32": "f32", "int64": "i64", "bool": "boolean"}
_NAME, _INTEGER, _INTEGERS, _TYPE = 1, 3, 8, 20
_IS_INTEGER, _IS_INTEGERS = 2, 7
_SUM_AXES, _SHAPE_AXES, _REDUCE_AXES = 13, 13, 18
"""The opsets from which `ReduceSum`, `Unsqueeze`, and the other reductions have their axes as an input."""


class Emitter:
    """The nodes and constants that stand for one node; new tensors are named `<prefix>/<number>`."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self._prefix = prefix
        self._opset = opset
        self._count = 0
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, values: _Array) -> str:
        """The name of a constant; one that is there already is used again."""
        raw = np.ascontiguousarray(values).tobytes()
        key = (values.dtype.name, values.shape, raw)
        if key not in self._known:
            self._known[key] = self._new("constant")
            self.constants.append(
                encode_tensor(self._known[key], _TYPES[values.dtype.name], values.shape, raw)
            )
        return self._known[key]

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """A list of int64 numbers."""
        return self.constant(np.array(values, np.int64))

    def op(
        self, operation: str, *inputs: str, output: str | None = None, **attributes: int | Sequence[int]
    ) -> str:
        """A node with one output, whose name is returned."""
        name = output or self._new(operation)
        self.nodes.append(
            b"".join(
                [
                    *(bytes_field(NODE_INPUT, each) for each in inputs),
                    bytes_field(NODE_OUTPUT, name),
                    bytes_field(NODE_NAME, name),
                    bytes_field(NODE_OPERATION, operation),
                    *(bytes_field(NODE_ATTRIBUTE, _attribute(key, at)) for key, at in attributes.items()),
                ]
            )
        )
        return name

    def cast(self, value: str, element_type: str, output: str | None = None) -> str:
        """A tensor as another type, by OpenVINO's name of it."""
        return self.op("Cast", value, output=output, to=TYPE_NUMBERS[element_type])

    def reduce(self, operation: str, value: str, axis: int, *, keep: bool) -> str:
        """`ReduceSum`, `ReduceMax` ... over one axis."""
        since = _SUM_AXES if operation == "ReduceSum" else _REDUCE_AXES
        if self._opset >= since:
            return self.op(operation, value, self.integers(axis), keepdims=int(keep))
        return self.op(operation, value, axes=[axis], keepdims=int(keep))

    def unsqueeze(self, value: str, axis: int) -> str:
        """A tensor with one more axis."""
        if self._opset >= _SHAPE_AXES:
            return self.op("Unsqueeze", value, self.integers(axis))
        return self.op("Unsqueeze", value, axes=[axis])

    def reshape(self, value: str, *sizes: int) -> str:
        """A tensor in another shape, -1 for the size that follows from the others."""
        return self.op("Reshape", value, self.integers(*sizes))

    def greater(self, left: str, right: str) -> str:
        """`left > right`; never `Greater`, which OpenVINO's CPU plugin finds true for NaN."""
        return self.op("Less", right, left)

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}/{kind}_{self._count}"


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        encoded = varint_field(_INTEGER, value) + varint_field(_TYPE, _IS_INTEGER)
    else:
        encoded = b"".join(varint_field(_INTEGERS, each) for each in value)
        encoded += varint_field(_TYPE, _IS_INTEGERS)
    return bytes_field(_NAME, name) + encoded
