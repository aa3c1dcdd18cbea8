"""A SavedModel with other ends: `saved_model.pb` rewritten at the wire level, its variables linked.

TensorFlow's front end offers no way to choose a signature or tags and cannot cut a graph open, so the file
that it reads is changed instead: one meta graph whose only signature, `serving_default`, is what was asked
for. Field numbers: tensorflow/core/protobuf/meta_graph.proto and
tensorflow/core/framework/{graph,node_def,attr_value}.proto.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.formats.saved_model import MetaGraph
from ovms_converter.formats.wire import Message, bytes_field, bytes_head, fields, varint_field
from ovms_converter.optimizer.saved_model_functions import Functions
from ovms_converter.optimizer.saved_model_nodes import (
    Node,
    needed,
    reachable,
    split_tensor,
    unused_functions,
)
from ovms_converter.optimizer.saved_model_variables import fresh_name

__all__ = [
    "TYPE_NUMBERS",
    "GraphCut",
    "meta_graph_around",
    "write_saved_model",
]

_META_INFO, _GRAPH, _SIGNATURES = 1, 2, 5
_NODE_NAME, _NODE_OPERATION, _NODE_INPUT, _NODE_ATTRIBUTE = 1, 2, 3, 5

TYPE_NUMBERS: Mapping[str, int] = {
    "f32": 1, "f64": 2, "i32": 3, "u8": 4, "i16": 5, "i8": 6, "i64": 9, "boolean": 10, "bf16": 14, "u16": 17,
    "f16": 19, "u32": 22, "u64": 23,
}  # fmt: skip
"""openvino's name of an element type → TensorFlow's `DataType`."""


@dataclass(frozen=True)
class GraphCut:
    """A `Placeholder` that takes the place of input `in_port` of `node`, or of its output `out_port`.

    `key` is its name in the signature; `shape` is None if the rank is unknown. The node of an `inner` cut is
    in a function, whose calls pass the placeholder on.
    """

    key: str
    node: str
    in_port: int | None
    out_port: int | None
    type: str
    shape: tuple[int | None, ...] | None
    inner: bool = False

    @property
    def placeholder(self) -> str:
        """The name of the new node, as Model Optimizer 2021 called it."""
        if self.out_port is not None:
            return f"{self.node}/placeholder_out_port_{self.out_port}"
        return f"{self.node}/placeholder_port_{self.in_port}"


def meta_graph_around(graph: memoryview) -> MetaGraph:
    """The meta graph of a frozen `GraphDef`, without a signature."""
    info = bytes_field(_META_INFO, bytes_field(4, "serve"))
    return MetaGraph(("serve",), (), None, memoryview(info), graph)


def write_saved_model(
    meta: MetaGraph,
    nodes: Mapping[str, Node],
    original: Path,
    directory: Path,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    cuts: Sequence[GraphCut],
    fresh: Mapping[str, str],
    functions: Functions,
) -> None:
    """Write a SavedModel of one meta graph whose ends are the given graph tensors, and the `cuts`.

    `nodes` are those of its main graph, by name.
    Inputs that the outputs do not depend on any more are left out, and what the front end has no use for.
    `variables` and `assets` are symbolic links.
    """
    keep = needed(meta, nodes, [*inputs.values(), *outputs.values()])
    kept = [node for name, node in nodes.items() if name in keep]
    unused = unused_functions(meta.graph, kept, (node for name, node in nodes.items() if name not in keep))
    rewritten = _Rewrite([cut for cut in cuts if not cut.inner], fresh)
    new_nodes = [rewritten.node(functions.call(node)) for node in kept]
    if cuts:
        new = (Node(memoryview(data)) for data in new_nodes)
        live = reachable(
            {node.name: node for node in new}, [split_tensor(tensor)[0] for tensor in outputs.values()]
        )
        inputs = {key: tensor for key, tensor in inputs.items() if split_tensor(tensor)[0] in live}
    ends = {**inputs, **{cut.key: f"{cut.placeholder}:0" for cut in cuts}}
    # In pieces: a frozen graph holds its weights, and every join would copy them.
    graph: list[bytes | memoryview] = [bytes_field(1, _placeholder(cut)) for cut in cuts]
    for data in new_nodes:
        graph += _field(1, [data])
    graph += functions.library(unused)
    graph += [meta.graph[item.start : item.end] for item in fields(meta.graph) if item.number > 2]
    message = Message(meta.data)
    others = [item for item in fields(message.data) if item.number not in (_META_INFO, _GRAPH, _SIGNATURES)]
    entry = bytes_field(1, "serving_default") + bytes_field(2, _signature(ends, outputs))
    patched = [
        *(bytes_field(_META_INFO, item.data) for item in message.all(_META_INFO)),
        *_field(_GRAPH, graph),
        *(message.data[item.start : item.end] for item in others),
        bytes_field(_SIGNATURES, entry),
    ]
    with (directory / "saved_model.pb").open("wb") as file:
        file.writelines([varint_field(1, 1), *_field(2, patched)])
    for name in ("variables", "assets"):
        if (original / name).is_dir():
            (directory / name).symlink_to((original / name).resolve(), target_is_directory=True)


def _field(number: int, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A length-delimited field whose payload is in pieces: its key and length, and the pieces."""
    return [bytes_head(number, sum(map(len, parts))), *parts]


class _Rewrite:
    """Rewrites nodes: inputs come from the placeholders of cuts, variables get their fresh names."""

    def __init__(self, cuts: Sequence[GraphCut], fresh: Mapping[str, str]) -> None:
        self._inputs = {(cut.node, cut.in_port): cut for cut in cuts if cut.in_port is not None}
        self._outputs = {(cut.node, cut.out_port): cut for cut in cuts if cut.out_port is not None}
        self._fresh = fresh

    def node(self, node: Node) -> bytes | memoryview:
        """The node with its new inputs and name."""
        own = self._fresh.get(node.name) == fresh_name(node.name) and node.operation == "VarHandleOp"
        fresh = fresh_name(node.name) if own else None
        inputs = [self._input(node.name, port, source) for port, source in enumerate(node.inputs)]
        if fresh is None and inputs == node.inputs:
            return node.data
        parts: list[bytes] = []
        sources = iter(inputs)
        for item in fields(node.data):
            if item.number == _NODE_INPUT:
                parts.append(bytes_field(_NODE_INPUT, next(sources)))
            elif fresh is not None and item.number == _NODE_NAME:
                parts.append(bytes_field(_NODE_NAME, fresh))
            elif fresh is not None and item.number == _NODE_ATTRIBUTE and _key(item.data) == "shared_name":
                value = bytes_field(2, bytes_field(2, fresh))
                parts.append(bytes_field(_NODE_ATTRIBUTE, bytes_field(1, "shared_name") + value))
            else:
                parts.append(bytes(node.data[item.start : item.end]))
        return b"".join(parts)

    def _input(self, node: str, port: int, source: str) -> str:
        if source.startswith("^"):
            return "^" + self._fresh.get(source[1:], source[1:])
        producer, out_port = split_tensor(source)
        cut = self._inputs.get((node, port)) or self._outputs.get((producer, out_port))
        return cut.placeholder if cut is not None else self._fresh.get(producer, source)


def _key(attribute: memoryview) -> str:
    return Message(attribute).text(1)


def _signature(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bytes:
    """A `SignatureDef` of graph tensors by key."""
    parts = [
        bytes_field(number, bytes_field(1, key) + bytes_field(2, bytes_field(1, tensor)))
        for number, ends in ((1, inputs), (2, outputs))
        for key, tensor in ends.items()
    ]
    return b"".join(parts) + bytes_field(3, "tensorflow/serving/predict")


def _placeholder(cut: GraphCut) -> bytes:
    """The `NodeDef` of a cut's placeholder."""
    if cut.shape is None:
        shape = varint_field(3, 1)
    else:
        sizes = (varint_field(1, -1 if size is None else size) for size in cut.shape)
        shape = b"".join(bytes_field(2, size) for size in sizes)
    attributes = {"dtype": varint_field(6, TYPE_NUMBERS[cut.type]), "shape": bytes_field(7, shape)}
    encoded = bytes_field(_NODE_NAME, cut.placeholder) + bytes_field(_NODE_OPERATION, "Placeholder")
    return encoded + b"".join(
        bytes_field(_NODE_ATTRIBUTE, bytes_field(1, key) + bytes_field(2, value))
        for key, value in attributes.items()
    )
