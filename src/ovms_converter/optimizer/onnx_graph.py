"""An ONNX graph at the wire level: what it is made of, and which part of it is needed.

Nothing is copied: the file is mapped into memory and weights are never touched. Field numbers: onnx.proto3
of ONNX.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.onnx import CLASSICAL_DOMAIN
from ovms_converter.formats.wire import Field, Message, bytes_field, fields, varint_field

__all__ = [
    "ELEMENT_TYPES",
    "TYPE_NUMBERS",
    "OnnxGraph",
    "OnnxNode",
    "OnnxValue",
    "check_computable",
    "encode_tensor",
    "encode_value",
    "initializer_name",
    "is_classical",
    "needed",
    "read_graph",
    "read_value",
]

MODEL_GRAPH, MODEL_OPSETS = 7, 8
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OPERATION, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11

TYPE_NUMBERS: Mapping[str, int] = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7, "boolean": 9, "f16": 10, "f64": 11,
    "u32": 12, "u64": 13, "bf16": 16, "string": 8,
}  # fmt: skip
"""openvino's name of an element type → ONNX's `TensorProto.DataType`."""

ELEMENT_TYPES: Mapping[int, str] = {number: name for name, number in TYPE_NUMBERS.items()}


@dataclass(frozen=True)
class OnnxNode:
    """One operation. A node without a name goes by the name of its first output, as in Model Optimizer.

    `captured` are the tensors that its subgraphs take from outside, or at least all of those.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: frozenset[str]
    place: Field = field(repr=False)


@dataclass(frozen=True)
class OnnxValue:
    """A declared tensor; type, shape and sizes are None where the file does not tell them."""

    name: str
    type: str | None
    shape: tuple[int | None, ...] | None
    place: Field | None = field(default=None, repr=False)


@dataclass(frozen=True)
class OnnxGraph:
    """The main graph of a model; `inputs` are those that no initializer gives a value."""

    data: memoryview = field(repr=False)
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: frozenset[str]
    values: Mapping[str, OnnxValue]

    @property
    def producers(self) -> dict[str, OnnxNode]:
        """The node that computes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}


def read_graph(model: memoryview) -> OnnxGraph:
    """Read the main graph of a model. Raises `CorruptModelError` if the bytes are no ONNX model."""
    graphs = Message(model).all(MODEL_GRAPH)
    if not graphs:
        raise CorruptModelError("the ONNX model holds no graph")
    data = graphs[-1].data
    graph = Message(data)
    initializers = frozenset(initializer_name(item) for item in graph.all(GRAPH_INITIALIZER)) | frozenset(
        Message(Message(item.data).message(1).data).text(8) for item in graph.all(GRAPH_SPARSE)
    )
    declared = [read_value(item) for item in graph.all(GRAPH_INPUT)]
    outputs = tuple(read_value(item) for item in graph.all(GRAPH_OUTPUT))
    hints = [read_value(item) for item in graph.all(GRAPH_VALUE_INFO)]
    return OnnxGraph(
        data=data,
        inputs=tuple(value for value in declared if value.name not in initializers),
        outputs=outputs,
        nodes=tuple(_node(item) for item in graph.all(GRAPH_NODE)),
        initializers=initializers,
        values={value.name: value for value in (*hints, *declared, *outputs)},
    )


def needed(graph: OnnxGraph, outputs: Iterable[str], stops: Iterable[str]) -> tuple[set[int], set[str]]:
    """What computes `outputs` from `stops`: the starts of the nodes' fields, and the names of the tensors."""
    producers, ends = graph.producers, set(stops)
    nodes: set[int] = set()
    tensors: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if not name or name in tensors:
            continue
        tensors.add(name)
        node = producers.get(name)
        if node is None or name in ends or node.place.start in nodes:
            continue
        nodes.add(node.place.start)
        waiting += node.inputs
        waiting += node.captured
    return nodes, tensors


def check_computable(graph: OnnxGraph) -> None:
    """Refuse a graph whose outputs need a tensor that nobody gives, or their own value.

    OpenVINO makes further inputs of such tensors instead. Raises `CorruptModelError`.
    """
    producers = graph.producers
    done = {value.name for value in graph.inputs} | graph.initializers
    under_way: set[str] = set()
    waiting = [value.name for value in graph.outputs]
    while waiting:
        name = waiting[-1]
        if not name or name in done:
            waiting.pop()
        elif name in under_way:
            # All that it needs was found since it was seen first.
            done.add(waiting.pop())
            under_way.discard(name)
        elif name in producers:
            under_way.add(name)
            needed_by_it = [each for each in producers[name].inputs if each not in done]
            if under_way.intersection(needed_by_it):
                raise CorruptModelError(f"the tensor `{name}` of the graph is computed from itself")
            waiting += needed_by_it
        else:
            raise CorruptModelError(f"the graph takes the tensor `{name}`, and nothing in it computes that")


def encode_value(value: OnnxValue) -> bytes:
    """A `ValueInfoProto` of a tensor; a type or shape that is not known is left out."""
    encoded = bytes_field(1, value.name)
    if value.type is None or value.type not in TYPE_NUMBERS:
        return encoded
    tensor = varint_field(1, TYPE_NUMBERS[value.type])
    if value.shape is not None:
        sizes = (varint_field(1, size) if size is not None else b"" for size in value.shape)
        tensor += bytes_field(2, b"".join(bytes_field(1, size) for size in sizes))
    return encoded + bytes_field(2, bytes_field(1, tensor))


def encode_tensor(name: str, element_type: str, shape: Iterable[int], raw: bytes) -> bytes:
    """A `TensorProto` whose elements are `raw`, little-endian."""
    sizes = b"".join(varint_field(1, size) for size in shape)
    return sizes + varint_field(2, TYPE_NUMBERS[element_type]) + bytes_field(8, name) + bytes_field(9, raw)


def initializer_name(item: Field) -> str:
    """The name of a `TensorProto` field, whose weights are not looked at."""
    for part in fields(item.data):
        if part.number == 8:
            return part.text
    return ""


def is_classical(node: memoryview) -> bool:
    """Whether a `NodeProto` is of ai.onnx.ml: its attributes may hold millions of numbers, and no graph."""
    return any(part.number == NODE_DOMAIN and part.text == CLASSICAL_DOMAIN for part in fields(node))


def read_value(item: Field) -> OnnxValue:
    """What a `ValueInfoProto` field declares."""
    message = Message(item.data)
    tensor = message.message(2).message(1)
    shape: tuple[int | None, ...] | None = None
    if tensor.all(2):
        dimensions = tensor.message(2).messages(1)
        # a size of 0 or below was once written for an unknown one
        shape = tuple(size if (size := dim.integer(1)) and size >> 63 == 0 else None for dim in dimensions)
    return OnnxValue(message.text(1), ELEMENT_TYPES.get(tensor.integer(1)), shape, item)


def _node(item: Field) -> OnnxNode:
    message = Message(item.data)
    outputs = tuple(message.texts(NODE_OUTPUT))
    return OnnxNode(
        name=message.text(NODE_NAME) or next(filter(None, outputs), ""),
        operation=message.text(NODE_OPERATION),
        inputs=tuple(message.texts(NODE_INPUT)),
        outputs=outputs,
        captured=frozenset(() if is_classical(item.data) else _used_in_subgraphs(message)),
        place=item,
    )


def _used_in_subgraphs(node: Message) -> Iterator[str]:
    """Every tensor that the node's subgraphs read by name; some are their own, which does no harm."""
    for attribute in node.messages(NODE_ATTRIBUTE):
        for graph in (*attribute.messages(ATTRIBUTE_GRAPH), *attribute.messages(ATTRIBUTE_GRAPHS)):
            for inner in graph.messages(GRAPH_NODE):
                yield from inner.texts(NODE_INPUT)
                yield from _used_in_subgraphs(inner)
            for output in graph.messages(GRAPH_OUTPUT):
                yield output.text(1)
