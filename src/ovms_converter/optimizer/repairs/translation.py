"""Rules of our own for ONNX operations that OpenVINO's front end has none for, or a wrong one.

A node that needs one is moved into a domain of ours, so that all other nodes of its operation keep
OpenVINO's rule; the front end is given our rule for that domain. A rule sees types and shapes as far as they
are known, and builds OpenVINO operations that are computed right.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from openvino.frontend.onnx import ConversionExtension

from ovms_converter.formats.wire import Message, bytes_field, fields, varint_field
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.onnx_graph import NODE_ATTRIBUTE, NODE_INPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair, Translate

__all__ = [
    "OPSET_IMPORT",
    "SUPPORTED",
    "attribute",
    "count",
    "extensions",
    "given",
    "has_input",
    "int64",
    "integer",
    "like",
    "size",
    "translated",
]

_DOMAIN = "ovms-converter"
_NODE_DOMAIN = 7

OPSET_IMPORT = bytes_field(8, bytes_field(1, _DOMAIN) + varint_field(2, 1))
"""The field of a `ModelProto` without which no node may be of our domain."""

SUPPORTED = "https://github.com/openvinotoolkit/openvino/blob/master/src/frontends/onnx/docs/supported_ops.md"


def translated(
    operation: str,
    translate: Translate,
    fault: str | None = None,
    *,
    name: str | None = None,
    opsets: range = range(1, 100),
    applies: Callable[[Message], bool] = lambda _: True,
    needed: Callable[[ov.frontend.NodeContext], bool] = lambda _: True,
    issue: str = SUPPORTED,
) -> OnnxRepair:
    """A repair by a rule of our own, for the nodes of an operation for which `applies` holds.

    Without a `fault`, OpenVINO has no rule at all.
    """

    def rewrite(node: Message) -> Sequence[bytes] | None:
        return [_moved(node.data)] if applies(node) else None

    return OnnxRepair(
        name=name or f"onnx-{operation}",
        fault=fault or f"refuse `{operation}`, which it has no rule for",
        issue=issue,
        versions="2026.4",
        operation=operation,
        opsets=opsets,
        rewrite=rewrite,
        translate=translate,
        needed=needed,
    )


def _moved(node: memoryview) -> bytes:
    """The same node, in our domain."""
    kept = (bytes(node[item.start : item.end]) for item in fields(node) if item.number != _NODE_DOMAIN)
    return b"".join(kept) + bytes_field(_NODE_DOMAIN, _DOMAIN)


def extensions(repairs: Iterable[OnnxRepair], used: set[str]) -> Iterator[ConversionExtension]:
    """What a front end needs to read the nodes that these repairs have moved.

    The names of those that turn out to be needed are put into `used`, while it reads.
    """
    for repair in repairs:
        if repair.translate is not None:
            yield ConversionExtension(repair.operation, _DOMAIN, _telling(repair, repair.translate, used))


def _telling(repair: OnnxRepair, translate: Translate, used: set[str]) -> Translate:
    def translated_node(node: ov.frontend.NodeContext) -> list[ov.Output]:
        if repair.needed(node):
            used.add(repair.name)
        given_nodes = {
            node.get_input(number).get_node().get_name() for number in range(node.get_input_size())
        }
        # The front end names what comes back: what came in has its own name already.
        return [
            opset13.convert_like(each, each).output(0) if each.get_node().get_name() in given_nodes else each
            for each in translate(node)
        ]

    return translated_node


def attribute(node: Message, name: str) -> Message | None:
    """An `AttributeProto` of a `NodeProto`."""
    return next((each for each in node.messages(NODE_ATTRIBUTE) if each.text(1) == name), None)


def has_input(node: Message, position: int) -> bool:
    """Whether a `NodeProto` is given an optional input."""
    names = node.texts(NODE_INPUT)
    return position < len(names) and bool(names[position])


def given(node: ov.frontend.NodeContext, position: int) -> ov.Output | None:
    """An optional input of a node that is being translated."""
    if position >= node.get_input_size():
        return None
    value = node.get_input(position)
    return None if value.get_node().get_type_name() in ("NullNode", "FrameworkNode") else value


def int64(*values: int) -> ov.Node:
    """A vector of integers."""
    return opset13.constant(np.array(values, np.int64))


def integer(value: int) -> ov.Node:
    """An integer without dimensions."""
    return opset13.constant(np.int64(value))


def size(data: ov.Output | ov.Node, axis: int) -> ov.Node:
    """The size of one dimension, as a vector of one integer."""
    return opset13.gather(opset13.shape_of(data), int64(axis), integer(0))


def count(length: ov.Node, start: int = 0) -> ov.Node:
    """The integers from `start` to below `length`, which is an integer or a vector of one."""
    return opset13.range(integer(start), opset13.reshape(length, int64(), False), integer(1), "i64")


def like(value: float, other: ov.Output | ov.Node) -> ov.Node:
    """A number of the type of another tensor."""
    return opset13.convert_like(opset13.constant(np.float32(value)), other)
