"""What a frozen TensorFlow graph (a GraphDef whose variables are constants) says about itself.

Field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto.
"""

import math
from collections.abc import Iterator, Sequence

from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.contents import Contents, Node, Numbers
from ovms_converter.formats.outline import graph_outline
from ovms_converter.formats.saved_model import DATA_TYPES, attribute, bytes_of, data_type, tensor_shape
from ovms_converter.formats.tree import Window
from ovms_converter.formats.wire import Message

__all__ = ["graph_ends", "read_frozen"]

_SILENT = ("Const", "NoOp", "Placeholder", "Assert", "Print")
"""Operations whose results nobody waits for, or that are no results."""


def read_frozen(file: Window) -> Contents:
    """Inputs, outputs, operations and weights; payloads of constants are not read.

    Raises `CorruptModelError`.
    """
    graph = Message(memoryview(graph_outline(file)))
    nodes = graph.messages(1)
    inputs, outputs = graph_ends(nodes)
    versions = graph.message(4).integer(1)
    return Contents(
        inputs=inputs,
        outputs=tuple(TensorSpec(name, "unknown", None) for name in outputs),
        domain="tensorflow",
        nodes=tuple(Node(node.text(2), node.text(1)) for node in nodes),
        weights=tuple(_weights(nodes)),
        producer=f"TensorFlow, GraphDef version {versions}" if versions else None,
    )


def graph_ends(nodes: Sequence[Message]) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """The placeholders, and the names of the nodes that no other takes, both in the order of the graph."""
    consumed = {source.removeprefix("^").partition(":")[0] for node in nodes for source in node.texts(3)}
    inputs = tuple(_placeholder(node) for node in nodes if node.text(2) == "Placeholder")
    outputs = tuple(
        node.text(1) for node in nodes if node.text(2) not in _SILENT and node.text(1) not in consumed
    )
    return inputs, outputs


def _placeholder(node: Message) -> TensorSpec:
    kind = attribute(node, "dtype").integer(6)
    shape = attribute(node, "shape")
    known = shape.all(7) and not shape.message(7).integer(3)
    return TensorSpec(
        node.text(1), DATA_TYPES.get(kind, ""), tensor_shape(shape.message(7)) if known else None
    )


def _weights(nodes: Sequence[Message]) -> Iterator[Numbers]:
    for node in nodes:
        if node.text(2) == "Const":
            tensor = attribute(node, "value").message(8)
            kind = data_type(tensor.integer(1))
            shape = tensor_shape(tensor.message(2)) or ()
            count = math.prod(size if isinstance(size, int) else 0 for size in shape)
            yield Numbers(kind, count, count * bytes_of(kind))
