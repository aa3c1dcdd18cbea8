"""What opset 1 to 6 had and OpenVINO does not read as it was, as it reads the same of later ones.

- `Equal`, `Greater`, `Less`, `Or`, `Pow` and `Xor` with `broadcast` and `axis`, which tells where the second
  input's axes lie in the first; of `Add` and its like, OpenVINO knows that.
- `Tile` until opset 5, with a number of tiles and an axis as inputs.
- `Cast` until opset 5, with the name of a type.
- `Concat` until opset 3, with an `axis` that need not be given.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.onnx_graph import NODE_INPUT, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.onnx_build import changed, integer_attribute, without
from ovms_converter.optimizer.repairs.translation import (
    SUPPORTED,
    attribute,
    int64,
    integer,
    size,
    translated,
)

__all__ = ["FIRST"]

_INTEGER, _TEXT = 3, 4

_BROADCAST: Mapping[str, Callable[..., ov.Node]] = {
    "Equal": opset13.equal,
    "Greater": opset13.greater,
    "Less": opset13.less,
    "Or": opset13.logical_or,
    "Pow": opset13.power,
    "Xor": opset13.logical_xor,
}

_TYPES: Mapping[str, int] = {
    "FLOAT": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "STRING": 8,
    "BOOL": 9, "FLOAT16": 10, "DOUBLE": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip
"""`TensorProto.DataType` by name."""


def _has_axis(node: Message) -> bool:
    broadcast = attribute(node, "broadcast")
    return broadcast is not None and bool(broadcast.integer(_INTEGER)) and attribute(node, "axis") is not None


def _broadcast(operation: str, node: ov.frontend.NodeContext) -> list[ov.Output]:
    """Axes of size 1 behind those of the second input, as many as the first has behind them."""
    first, second = node.get_input(0), node.get_input(1)
    ranks = [each.get_partial_shape().rank for each in (first, second)]
    if any(rank.is_dynamic for rank in ranks):
        raise ValueError("its inputs must have a known number of dimensions")
    length, other = (rank.get_length() for rank in ranks)
    axis = node.get_attribute("axis", 0)
    behind = length - (axis % length if length else 0) - other
    if behind > 0:
        second = opset13.unsqueeze(second, int64(*range(other, other + behind))).output(0)
    return list(_BROADCAST[operation](first, second).outputs())


def _tile(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, tiles, axis = node.get_input(0), *(opset13.convert(node.get_input(at), "i64") for at in (1, 2))
    rank = size(opset13.shape_of(data), 0)
    ones = opset13.broadcast(integer(1), rank)
    vectors = [opset13.reshape(each, int64(1), False) for each in (axis, tiles)]
    repeats = opset13.scatter_elements_update(ones, *vectors, integer(0))
    return list(opset13.tile(data, repeats).outputs())


def _named_type(node: Message) -> Sequence[bytes] | None:
    """The number of the type in place of its name."""
    to = attribute(node, "to")
    number = _TYPES.get(to.text(_TEXT)) if to else None
    return None if number is None else [_with(node, "to", number)]


def _first_axis(node: Message) -> Sequence[bytes] | None:
    """With the default written out."""
    return None if attribute(node, "axis") is not None else [_with(node, "axis", 1)]


def _with(node: Message, name: str, value: int) -> bytes:
    added = Message(memoryview(integer_attribute(name, value)))
    return changed(node, node.texts(NODE_INPUT), node.texts(NODE_OUTPUT), [*without(node, name), added])


FIRST = (
    *(
        translated(
            operation,
            partial(_broadcast, operation),
            f"ignore the `axis` of `{operation}` before opset 7",
            name=f"onnx-{operation}-axis",
            opsets=range(1, 7),
            applies=_has_axis,
        )
        for operation in _BROADCAST
    ),
    translated(
        "Tile",
        _tile,
        "take the tiles of a `Tile` before opset 6 for those of the last axis",
        name="onnx-Tile-axis",
        opsets=range(1, 6),
    ),
    OnnxRepair(
        name="onnx-Cast-name",
        fault="refuse a `Cast` to a type by its name, before opset 6",
        issue=SUPPORTED,
        versions="2026.4",
        operation="Cast",
        opsets=range(1, 6),
        rewrite=_named_type,
    ),
    OnnxRepair(
        name="onnx-Concat-axis",
        fault="refuse a `Concat` without `axis`, before opset 4",
        issue=SUPPORTED,
        versions="2026.4",
        operation="Concat",
        opsets=range(1, 4),
        rewrite=_first_axis,
    ),
)
