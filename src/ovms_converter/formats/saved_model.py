"""TensorFlow SavedModel at the wire level, without TensorFlow: meta graphs, tags, signatures, operations.

Field numbers: tensorflow/core/protobuf/{saved_model,meta_graph}.proto,
tensorflow/core/framework/{graph,node_def,function,tensor_shape,types}.proto.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.wire import LENGTH, Message, fields

__all__ = [
    "DATA_TYPES",
    "MetaGraph",
    "SavedModelDescription",
    "Signature",
    "attribute",
    "bytes_of",
    "count_operations",
    "data_type",
    "describe_saved_model",
    "read_saved_model",
    "tensor_shape",
]

DATA_TYPES: Mapping[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    29: "int4",
    30: "uint4",
}
"""TensorFlow's `DataType` numbers; a reference type is the same number plus 100."""

_RANK = 254

_SIZES = {"bool": 1, "bfloat16": 2, "int8": 1, "uint8": 1, "qint8": 1, "quint8": 1}
_BITS = ("8", "16", "32", "64", "128")


@dataclass(frozen=True)
class Signature:
    """One entry of a meta graph's `signature_def`.

    `inputs` and `outputs` are in the order of the file and named by their keys; `input_tensors` and
    `output_tensors` give the graph tensor (`serving_default_x:0`) of each key, or "" for a sparse or
    composite one.
    """

    name: str
    method: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_tensors: Mapping[str, str]
    output_tensors: Mapping[str, str]


@dataclass(frozen=True)
class MetaGraph:
    """One meta graph. `data` is its message and `graph` its GraphDef: views into the file."""

    tags: tuple[str, ...]
    signatures: tuple[Signature, ...]
    tensorflow_version: str | None
    data: memoryview = field(repr=False, compare=False)
    graph: memoryview = field(repr=False, compare=False)


@dataclass(frozen=True)
class SavedModelDescription:
    """All meta graphs of a SavedModel, and how often each operation occurs in them and their functions."""

    meta_graphs: tuple[MetaGraph, ...]
    operations: Mapping[str, int]

    @property
    def tensorflow_version(self) -> str | None:
        """The TensorFlow that wrote it."""
        return next(
            (graph.tensorflow_version for graph in self.meta_graphs if graph.tensorflow_version), None
        )


def data_type(number: int) -> str:
    """The name of a TensorFlow `DataType`; unknown numbers stay visible as `type 99`."""
    return DATA_TYPES.get(number % 100, f"type {number}")


def bytes_of(kind: str) -> int:
    """Bytes of one element of a type by its name, 0 where that is not fixed."""
    bits = next((bits for bits in reversed(_BITS) if kind.endswith(bits)), None)
    return _SIZES.get(kind) or (int(bits) // 8 if bits else 0)


def attribute(node: Message, name: str) -> Message:
    """The `AttrValue` of a `NodeDef`'s attribute, an empty one if it has none of that name."""
    found = (each.message(2) for each in node.messages(5) if each.text(1) == name)
    return next(found, Message(memoryview(b"")))


def tensor_shape(shape: Message) -> tuple[int | None, ...] | None:
    """A `TensorShapeProto`: None if the rank is unknown, None for a dimension that is.

    Raises `CorruptModelError` for more dimensions than TensorFlow allows.
    """
    if len(shape.all(2)) > _RANK:
        raise CorruptModelError("a tensor has an impossible shape")
    if shape.integer(3):
        return None
    sizes = [sum(dim.integers(1)[-1:]) for dim in shape.messages(2)]
    return tuple(None if size < 0 else size for size in sizes)


def _specs(signature: Message, number: int) -> tuple[tuple[TensorSpec, ...], dict[str, str]]:
    specs: list[TensorSpec] = []
    tensors: dict[str, str] = {}
    for entry in signature.messages(number):
        key, info = entry.text(1), entry.message(2)
        shape = tensor_shape(info.message(3)) if info.all(3) else None
        specs.append(TensorSpec(key, data_type(info.integer(2)), shape))
        tensors[key] = info.text(1)
    return tuple(specs), tensors


def _signature(name: str, message: Message) -> Signature:
    inputs, input_tensors = _specs(message, 1)
    outputs, output_tensors = _specs(message, 2)
    return Signature(name, message.text(3), inputs, outputs, input_tensors, output_tensors)


def _meta_graph(data: memoryview) -> MetaGraph:
    message = Message(data)
    info = message.message(1)
    signatures = sorted(
        (_signature(entry.text(1), entry.message(2)) for entry in message.messages(5)),
        key=lambda found: found.name,
    )
    graphs = message.all(2)
    return MetaGraph(
        tags=tuple(info.texts(4)),
        signatures=tuple(signatures),
        tensorflow_version=info.text(5) or None,
        data=data,
        graph=graphs[-1].data if graphs else memoryview(b""),
    )


def read_saved_model(data: memoryview) -> tuple[MetaGraph, ...]:
    """The meta graphs of a `saved_model.pb`, in the order of the file.

    Raises `CorruptModelError` if the bytes are no SavedModel or hold no graph.
    """
    graphs = tuple(_meta_graph(found.data) for found in Message(data).all(2))
    if not graphs:
        raise CorruptModelError("the SavedModel holds no meta graph")
    return graphs


def _nodes(graph: memoryview) -> Iterator[memoryview]:
    """Every NodeDef of a GraphDef and of the functions in its library."""
    for part in fields(graph):
        if part.wire_type != LENGTH:
            continue
        if part.number == 1:
            yield part.data
        elif part.number == 2:
            for function in fields(part.data):
                if function.number == 1:
                    yield from (item.data for item in fields(function.data) if item.number == 3)


def _operation(node: memoryview) -> str:
    """The operation of a NodeDef, whose attributes are not looked at: most of a graph is that."""
    return next((item.text for item in fields(node) if item.number == 2), "")


def count_operations(graph: memoryview) -> dict[str, int]:
    """How often each operation occurs in a GraphDef and its functions, most frequent first."""
    return dict(Counter(map(_operation, _nodes(graph))).most_common())


def describe_saved_model(data: memoryview) -> SavedModelDescription:
    """Meta graphs and the operations of all of them. Raises `CorruptModelError`."""
    graphs = read_saved_model(data)
    total: Counter[str] = Counter()
    for graph in graphs:
        total.update(count_operations(graph.graph))
    return SavedModelDescription(graphs, dict(total.most_common()))
