"""An ONNX model at the wire level: what it declares, which operators it uses, where its weights are.

Works on a memory-mapped file of any size: the payload of a tensor is never touched. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.outline import LISTS
from ovms_converter.formats.wire import LENGTH, Message, fields
from ovms_converter.formats.words import shown

__all__ = ["DEFAULT_DOMAIN", "ELEMENT_TYPES", "OnnxDescription", "Weight", "describe_onnx", "weights"]

DEFAULT_DOMAIN = "ai.onnx"

ELEMENT_TYPES: Mapping[int, tuple[str, int]] = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8_e4m3fn", 8),
    18: ("float8_e4m3fnuz", 8),
    19: ("float8_e5m2", 8),
    20: ("float8_e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4_e2m1", 4),
    24: ("float8_e8m0", 8),
    25: ("uint2", 2),
    26: ("int2", 2),
}
"""`TensorProto.DataType` → name and bits of one element; a string's size is not known from its type."""

_DEPTH = 64
"""Graphs in attributes of nodes in graphs: deeper than this is no model that somebody made."""

_RANK = 64
"""No tensor has more dimensions than this; a damaged file may claim millions."""

# Fields that hold a GraphProto's, NodeProto's, AttributeProto's and TensorProto's parts.
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_ATTRIBUTE = 5
_A_TENSOR, _A_GRAPH, _A_TENSORS, _A_GRAPHS, _A_SPARSE, _A_SPARSES = 5, 6, 10, 11, 22, 23
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


@dataclass(frozen=True)
class Weight:
    """A tensor that is stored in the model.

    `location` is the file that holds its bytes, as the graph names it, or None if they are in the model;
    `offset` and `length` are bytes in that file, `length` as declared or as the shape tells.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    size: int
    location: str | None = None
    offset: int = 0
    length: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OnnxDescription:
    """What an ONNX model declares.

    `opsets`       domain → version, of the model and of the functions in it
    `inputs`       without initializers that are listed as inputs too (IR versions before 4 do that)
    `functions`    the model's own functions, "domain:name"
    `operations`   domain → operator → count in all graphs and functions, without calls of the model's own
                   functions
    `parameters`   elements of all initializers, `parameter_bytes` their bytes
    `external`     every tensor whose bytes are in another file
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    functions: tuple[str, ...]
    operations: Mapping[str, Mapping[str, int]]
    parameters: int
    parameter_bytes: int
    external: tuple[Weight, ...]


def _element_type(number: int) -> str:
    return ELEMENT_TYPES.get(number, (f"type {number}", 0))[0]


def _dimension(dim: Message) -> int | str | None:
    if dim.all(1):
        size = dim.integers(1)[-1]
        return size if size >= 0 else None
    return dim.text(2) or None


def _value(data: Message) -> TensorSpec:
    kind = data.message(2)
    for number in (1, 8):
        if kind.all(number):
            tensor = kind.message(number)
            shape = tuple(_dimension(dim) for dim in tensor.message(2).messages(1)) if tensor.all(2) else None
            return TensorSpec(data.text(1), _element_type(tensor.integer(1)), shape)
    other = {4: "sequence", 5: "map", 7: "opaque", 9: "optional"}
    return TensorSpec(
        data.text(1), next((name for number, name in other.items() if kind.all(number)), "unknown"), None
    )


def _number(entries: Mapping[str, str], key: str, tensor: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise CorruptModelError(
            f"the external data of tensor {shown(tensor)} has the {key} {shown(text)}, which is no number"
        )
    return int(text)


def _weight(data: memoryview) -> Weight:
    tensor = Message(data)
    name = tensor.text(8)
    shape = tuple(tensor.integers(1))
    element, bits = ELEMENT_TYPES.get(tensor.integer(2), (f"type {tensor.integer(2)}", 0))
    if len(shape) > _RANK or any(size < 0 for size in shape):
        raise CorruptModelError(f"tensor {shown(name)} has an impossible shape")
    size = (math.prod(shape) * bits + 7) // 8 or (
        sum(len(item.data) for item in tensor.all(6)) if not bits else 0
    )
    if tensor.integer(_DATA_LOCATION) != 1:
        return Weight(name, element, shape, size)
    entries = {entry.text(1): entry.text(2) for entry in tensor.messages(_EXTERNAL_DATA)}
    if not entries.get("location"):
        raise CorruptModelError(f"tensor {shown(name)} is external data, and no file is named for it")
    offset, length = _number(entries, "offset", name) or 0, _number(entries, "length", name)
    return Weight(name, element, shape, size, entries["location"], offset, size if length is None else length)


def _tensors(data: memoryview, depth: int) -> Iterator[memoryview]:
    """Every TensorProto in a graph: initializers, attributes, and those of the graphs inside."""
    for part in fields(data):
        if part.wire_type != LENGTH:
            continue
        if part.number == _INITIALIZER:
            yield part.data
        elif part.number == _SPARSE_INITIALIZER:
            yield from _sparse(part.data)
        elif part.number == _NODE:
            yield from _tensors_of_node(part.data, depth)


def _sparse(data: memoryview) -> Iterator[memoryview]:
    yield from (part.data for part in fields(data) if part.number in (1, 2) and part.wire_type == LENGTH)


def _attributes(node: memoryview) -> Iterator[memoryview]:
    yield from (part.data for part in fields(node) if part.number == _ATTRIBUTE and part.wire_type == LENGTH)


def _tensors_of_node(node: memoryview, depth: int) -> Iterator[memoryview]:
    for attribute in _attributes(node):
        for part in fields(attribute):
            if part.number in LISTS:
                break
            if part.wire_type != LENGTH:
                continue
            if part.number in (_A_TENSOR, _A_TENSORS):
                yield part.data
            elif part.number in (_A_SPARSE, _A_SPARSES):
                yield from _sparse(part.data)
            elif part.number in (_A_GRAPH, _A_GRAPHS):
                yield from _tensors(part.data, _deeper(depth))


def _deeper(depth: int) -> int:
    if depth >= _DEPTH:
        raise CorruptModelError(f"its graphs are nested more than {_DEPTH} deep")
    return depth + 1


def _graphs(model: Message) -> Iterator[memoryview]:
    """The model's graph and those of its training information."""
    yield from (item.data for item in model.all(7))
    for training in model.messages(20):
        yield from (item.data for number in (1, 2) for item in training.all(number))


def weights(model: Message) -> Iterator[Weight]:
    """Every tensor that is stored in a ModelProto. Raises `CorruptModelError`."""
    for graph in _graphs(model):
        yield from (_weight(data) for data in _tensors(graph, 0))
    for function in model.messages(25):
        for node in function.all(7):
            yield from (_weight(data) for data in _tensors_of_node(node.data, 0))


def _count(nodes: Iterator[memoryview], counts: Counter[tuple[str, str]], depth: int) -> None:
    for data in nodes:
        node = Message(data)
        counts[node.text(7) or DEFAULT_DOMAIN, node.text(4)] += 1
        for attribute in _attributes(data):
            for part in fields(attribute):
                if part.number in LISTS:
                    break
                if part.number in (_A_GRAPH, _A_GRAPHS):
                    _count(_nodes_of(part.data), counts, _deeper(depth))


def _nodes_of(graph: memoryview) -> Iterator[memoryview]:
    yield from (part.data for part in fields(graph) if part.number == _NODE and part.wire_type == LENGTH)


def _operations(model: Message) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    counts: Counter[tuple[str, str]] = Counter()
    for graph in model.all(7):
        _count(_nodes_of(graph.data), counts, 0)
    functions = set()
    for function in model.messages(25):
        functions.add((function.text(10) or DEFAULT_DOMAIN, function.text(1)))
        _count((item.data for item in function.all(7)), counts, 0)
    operations: dict[str, dict[str, int]] = {}
    for (domain, name), count in counts.most_common():
        if (domain, name) not in functions:
            operations.setdefault(domain, {})[name] = count
    return operations, tuple(sorted(f"{domain}:{name}" for domain, name in functions))


def _opsets(model: Message) -> dict[str, int]:
    found: dict[str, int] = {}
    sets = [*model.messages(8), *(entry for function in model.messages(25) for entry in function.messages(9))]
    for entry in sets:
        domain = entry.text(1) or DEFAULT_DOMAIN
        found[domain] = max(found.get(domain, 0), entry.integer(2))
    return found


def describe_onnx(data: memoryview) -> OnnxDescription:
    """Everything that a ModelProto declares. Raises `CorruptModelError`."""
    model = Message(data)
    graphs = model.all(7)
    if not graphs:
        raise CorruptModelError("there is no graph in it")
    initializers: set[str] = set()
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for part in fields(graphs[-1].data):
        if part.number == _INITIALIZER:
            initializers.add(Message(part.data).text(8))
        elif part.number == _SPARSE_INITIALIZER:
            initializers.add(Message(part.data).message(1).text(8))
        elif part.number == 11:
            inputs.append(_value(Message(part.data)))
        elif part.number == 12:
            outputs.append(_value(Message(part.data)))
    stored = list(weights(model))
    operations, functions = _operations(model)
    return OnnxDescription(
        ir_version=model.integer(1),
        producer=" ".join(filter(None, (model.text(2), model.text(3)))),
        opsets=_opsets(model),
        inputs=tuple(value for value in inputs if value.name not in initializers),
        outputs=tuple(outputs),
        functions=functions,
        operations=operations,
        parameters=sum(weight.elements for weight in stored),
        parameter_bytes=sum(weight.size for weight in stored),
        external=tuple(weight for weight in stored if weight.location is not None),
    )
