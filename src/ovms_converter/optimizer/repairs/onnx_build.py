"""Writing ONNX nodes, for the repairs that put other nodes in the place of one."""

from collections.abc import Sequence

from ovms_converter.formats.wire import Message, bytes_field, fields, varint_field
from ovms_converter.optimizer.onnx_graph import (
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OPERATION,
    NODE_OUTPUT,
    encode_tensor,
)

__all__ = [
    "changed",
    "constant",
    "integer_attribute",
    "integers",
    "integers_attribute",
    "node",
    "step",
    "without",
]

_NAME, _INTEGER, _TENSOR, _INTEGERS, _TYPE = 1, 3, 5, 8, 20
_IS_INTEGER, _IS_TENSOR, _IS_INTEGERS = 2, 4, 7


def node(
    operation: str, inputs: Sequence[str], outputs: Sequence[str], name: str, *attributes: bytes
) -> bytes:
    """A `NodeProto` of ONNX's own domain."""
    return b"".join(
        [
            *(bytes_field(NODE_INPUT, each) for each in inputs),
            *(bytes_field(NODE_OUTPUT, each) for each in outputs),
            bytes_field(NODE_NAME, name),
            bytes_field(NODE_OPERATION, operation),
            *(bytes_field(NODE_ATTRIBUTE, attribute) for attribute in attributes),
        ]
    )


def step(operation: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    """A node of one output, which also names it."""
    return node(operation, inputs, [output], output, *attributes)


def integer_attribute(name: str, value: int) -> bytes:
    """An `AttributeProto` with a number."""
    return bytes_field(_NAME, name) + varint_field(_INTEGER, value) + varint_field(_TYPE, _IS_INTEGER)


def integers_attribute(name: str, values: Sequence[int]) -> bytes:
    """An `AttributeProto` with numbers."""
    numbers = b"".join(varint_field(_INTEGERS, value) for value in values)
    return bytes_field(_NAME, name) + numbers + varint_field(_TYPE, _IS_INTEGERS)


def constant(output: str, kind: str, shape: Sequence[int], raw: bytes) -> bytes:
    """A `Constant` node; `raw` are the elements, little-endian."""
    value = bytes_field(_NAME, "value") + bytes_field(_TENSOR, encode_tensor("", kind, shape, raw))
    return node("Constant", [], [output], output, value + varint_field(_TYPE, _IS_TENSOR))


def integers(output: str, values: Sequence[int]) -> bytes:
    """A `Constant` node with a list of 64-bit integers."""
    raw = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    return constant(output, "i64", [len(values)], raw)


def changed(
    original: Message,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Sequence[Message],
    operation: str | None = None,
) -> bytes:
    """A node with other inputs, outputs and attributes, and all else as it is."""
    replaced = (NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE, *((NODE_OPERATION,) if operation else ()))
    kept = [
        bytes(original.data[item.start : item.end])
        for item in fields(original.data)
        if item.number not in replaced
    ]
    return b"".join(
        [
            *(bytes_field(NODE_INPUT, each) for each in inputs),
            *(bytes_field(NODE_OUTPUT, each) for each in outputs),
            *kept,
            *([bytes_field(NODE_OPERATION, operation)] if operation else []),
            *(bytes_field(NODE_ATTRIBUTE, attribute.data) for attribute in attributes),
        ]
    )


def without(original: Message, *names: str) -> list[Message]:
    """The attributes of a node but for those of these names."""
    return [each for each in original.messages(NODE_ATTRIBUTE) if each.text(_NAME) not in names]
