"""Functions of an ONNX model's own, put in place of the nodes that call them: OpenVINO knows only operators.

Exporters write them for whole layers (PyTorch's by default). A body takes the names of what it is given and
what it gives, and attributes that it leaves open take the caller's value, else the function's default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.wire import Message, bytes_field, fields
from ovms_converter.optimizer.onnx_graph import (
    ATTRIBUTE_GRAPH,
    ATTRIBUTE_GRAPHS,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    GRAPH_VALUE_INFO,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_INPUT,
    NODE_NAME,
    NODE_OPERATION,
    NODE_OUTPUT,
)
from ovms_converter.optimizer.repairs.base import Repair
from ovms_converter.optimizer.repairs.translation import SUPPORTED

__all__ = ["FUNCTIONS", "MODEL_FUNCTION", "Functions"]

FUNCTIONS = Repair(
    name="onnx-functions",
    fault="refuse the model's own functions",
    issue=SUPPORTED,
    versions="2026.4",
)

MODEL_FUNCTION = 25
_MODEL_OPSET, _OPSET_DOMAIN, _OPSET_VERSION = 8, 1, 2
_NAME, _INPUT, _OUTPUT, _NODE, _OPSETS, _DOMAIN, _DEFAULTS, _OVERLOAD = 1, 4, 5, 7, 9, 10, 11, 13
_NODE_OVERLOAD = 8
_ATTRIBUTE_NAME, _REFERENCE, _TENSOR_NAME, _VALUE_NAME = 1, 21, 8, 1
_OWN = ("", "ai.onnx")
_DEEPEST = 64

Key = tuple[str, str, str]
Rename = Callable[[str], str]


@dataclass
class Functions:
    """The functions of a `ModelProto` that can be put in place: those of the model's own operation set.

    `opsets` are the fields of a `ModelProto` for the domains that their bodies need besides.
    """

    model: memoryview
    opsets: bytes = b""
    _known: dict[Key, Message] = field(default_factory=dict)
    _calls: int = 0

    def __post_init__(self) -> None:
        asked: dict[str, int] = {}
        found: list[Message] = []
        for item in fields(self.model):
            if item.number == _MODEL_OPSET:
                asked |= _opset(Message(item.data))
            elif item.number == MODEL_FUNCTION:
                found.append(Message(item.data))
        for function in found:
            needs = {
                name: version for each in function.messages(_OPSETS) for name, version in _opset(each).items()
            }
            if all(asked.get(name, version) == version for name, version in needs.items()):
                key = (function.text(_DOMAIN), function.text(_NAME), function.text(_OVERLOAD))
                self._known[key] = function
                for each in function.messages(_OPSETS):
                    if not _opset(each).keys() <= asked.keys():
                        asked |= _opset(each)
                        self.opsets += bytes_field(_MODEL_OPSET, each.data)

    def put_in_place(self, graph: memoryview) -> bytes | None:
        """A `GraphProto` without calls of these functions; None if it has none.

        Raises `CorruptModelError` if a function calls itself.
        """
        if not self._known:
            return None
        before = self._calls
        result = self._graph(graph, 0)
        return result if self._calls > before else None

    def _graph(self, graph: memoryview, depth: int) -> bytes:
        parts: list[bytes] = []
        for item in fields(graph):
            if item.number == GRAPH_NODE:
                parts += [bytes_field(GRAPH_NODE, node) for node in self._nodes(item.data, depth)]
            else:
                parts.append(bytes(graph[item.start : item.end]))
        return b"".join(parts)

    def _nodes(self, data: memoryview, depth: int) -> Sequence[bytes]:
        """What a node becomes: the body of what it calls, or itself with its subgraphs gone through."""
        if depth > _DEEPEST:
            raise CorruptModelError("a function of the ONNX model calls itself")
        node = Message(data)
        key = (node.text(NODE_DOMAIN), node.text(NODE_OPERATION), node.text(_NODE_OVERLOAD))
        function = self._known.get(key)
        if function is None:
            return [self._with_subgraphs(data, depth)]
        self._calls += 1
        body = _body(node, function, f"{node.text(NODE_NAME) or key[1]}/{self._calls}")
        return [inner for each in body for inner in self._nodes(memoryview(each), depth + 1)]

    def _with_subgraphs(self, data: memoryview, depth: int) -> bytes:
        def attribute(content: memoryview) -> bytes:
            return b"".join(
                bytes_field(item.number, self._graph(item.data, depth + 1))
                if item.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS)
                else bytes(content[item.start : item.end])
                for item in fields(content)
            )

        return b"".join(
            bytes_field(NODE_ATTRIBUTE, attribute(item.data))
            if item.number == NODE_ATTRIBUTE
            else bytes(data[item.start : item.end])
            for item in fields(data)
        )


def _opset(entry: Message) -> dict[str, int]:
    domain = entry.text(_OPSET_DOMAIN)
    return {"" if domain in _OWN else domain: entry.integer(_OPSET_VERSION)}


def _body(node: Message, function: Message, prefix: str) -> list[bytes]:
    """The nodes of a function as one call of it needs them."""
    names: dict[str, str] = {}
    for formal, actual in ((_INPUT, NODE_INPUT), (_OUTPUT, NODE_OUTPUT)):
        given = node.texts(actual)
        for number, name in enumerate(function.texts(formal)):
            if number < len(given) and given[number]:
                names.setdefault(name, given[number])
            elif formal == _INPUT:
                names.setdefault(name, "")

    def rename(name: str) -> str:
        return names.get(name, f"{prefix}/{name}") if name else ""

    values = {each.text(_ATTRIBUTE_NAME): each for each in function.messages(_DEFAULTS)}
    values |= {each.text(_ATTRIBUTE_NAME): each for each in node.messages(NODE_ATTRIBUTE)}
    return [_renamed_node(item.data, rename, values) for item in function.all(_NODE)]


def _renamed_node(data: memoryview, rename: Rename, values: Mapping[str, Message]) -> bytes:
    parts: list[bytes] = []
    for item in fields(data):
        if item.number in (NODE_INPUT, NODE_OUTPUT, NODE_NAME):
            parts.append(bytes_field(item.number, rename(item.text)))
        elif item.number == NODE_ATTRIBUTE:
            attribute = _bound(Message(item.data), rename, values)
            if attribute is not None:
                parts.append(bytes_field(NODE_ATTRIBUTE, attribute))
        else:
            parts.append(bytes(data[item.start : item.end]))
    return b"".join(parts)


def _bound(attribute: Message, rename: Rename, values: Mapping[str, Message]) -> bytes | None:
    """An attribute with the caller's value where it refers to one; None if nobody gives that."""
    reference = attribute.text(_REFERENCE)
    if reference:
        value = values.get(reference)
        if value is None:
            return None
        kept = (
            bytes(value.data[item.start : item.end])
            for item in fields(value.data)
            if item.number != _ATTRIBUTE_NAME
        )
        return bytes_field(_ATTRIBUTE_NAME, attribute.text(_ATTRIBUTE_NAME)) + b"".join(kept)
    return b"".join(
        bytes_field(item.number, _renamed_graph(item.data, rename, values))
        if item.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS)
        else bytes(attribute.data[item.start : item.end])
        for item in fields(attribute.data)
    )


def _renamed_graph(graph: memoryview, rename: Rename, values: Mapping[str, Message]) -> bytes:
    """A subgraph of a body; its own tensors get new names too, which harms nobody."""
    parts: list[bytes] = []
    for item in fields(graph):
        if item.number == GRAPH_NODE:
            parts.append(bytes_field(GRAPH_NODE, _renamed_node(item.data, rename, values)))
        elif item.number in (GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO):
            parts.append(bytes_field(item.number, _renamed_field(item.data, _VALUE_NAME, rename)))
        elif item.number == GRAPH_INITIALIZER:
            parts.append(bytes_field(item.number, _renamed_field(item.data, _TENSOR_NAME, rename)))
        else:
            parts.append(bytes(graph[item.start : item.end]))
    return b"".join(parts)


def _renamed_field(data: memoryview, number: int, rename: Rename) -> bytes:
    return b"".join(
        bytes_field(number, rename(item.text))
        if item.number == number
        else bytes(data[item.start : item.end])
        for item in fields(data)
    )
