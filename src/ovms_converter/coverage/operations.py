"""The operations of a graph with the names of their nodes: what a conversion would really meet.

A SavedModel holds functions for training and for saving beside those that serve. Only what the outputs of its
signatures need is converted, so only that counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.onnx_graph import DEFAULT_DOMAIN
from ovms_converter.formats.saved_model import MetaGraph
from ovms_converter.formats.wire import Message

__all__ = ["Operations", "onnx_operations", "served_operations"]

_NAMES = 5
"""Nodes of one operation that are named."""

_DEPTH = 64

_CALLS = frozenset(
    {
        "Case", "For", "If", "PartitionedCall", "RemoteCall", "StatefulPartitionedCall", "StatelessCase",
        "StatelessIf", "StatelessWhile", "SymbolicGradient", "While",
    }
)  # fmt: skip
"""Operations of TensorFlow that call functions by their attributes."""

_INLINED = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Calls that are replaced by the operations that they call."""


class _Model:
    """Fields of a `ModelProto` (onnx/onnx.proto), as the four classes below."""

    GRAPH, FUNCTIONS = 7, 25


class _Graph:
    NODES, OUTPUTS = 1, 12
    NAME_OF_OUTPUT = 1


class _Node:
    INPUTS, OUTPUTS, NAME, OPERATION, ATTRIBUTES, DOMAIN = 1, 2, 3, 4, 5, 7
    GRAPHS_OF_ATTRIBUTE = (6, 11)


class _Function:
    NAME, NODES, DOMAIN = 1, 7, 10


class _GraphDef:
    """Fields of TensorFlow's `GraphDef` (graph.proto, function.proto), as the two classes below."""

    NODES, LIBRARY = 1, 2
    FUNCTIONS_OF_LIBRARY = 1


class _NodeDef:
    NAME, OPERATION, INPUTS, ATTRIBUTES = 1, 2, 3, 5
    VALUE_OF_ATTRIBUTE = 2
    LIST, FUNCTION = 1, 10
    FUNCTIONS_OF_LIST = 9
    NAME_OF_FUNCTION = 1


class _FunctionDef:
    SIGNATURE, NODES, RETURNS = 1, 3, 4
    NAME_OF_SIGNATURE = 1
    TENSOR_OF_RETURN = 2


@dataclass
class Operations:
    """Operations by (domain, name): how many there are, and the names of the first few nodes.

    `own` are those that the model defines itself, as ONNX functions; what these do is counted as well.
    """

    own: frozenset[tuple[str, str]] = frozenset()
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    nodes: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, domain: str, operation: str, node: str) -> None:
        """Count a node."""
        key = (domain, operation)
        self.counts[key] += 1
        names = self.nodes.setdefault(key, [])
        if len(names) < _NAMES:
            names.append(node)

    def by_domain(self) -> dict[str, dict[str, int]]:
        """Domain → operation → count, most frequent first."""
        found: dict[str, dict[str, int]] = {}
        for (domain, operation), count in self.counts.most_common():
            found.setdefault(domain, {})[operation] = count
        return found


def onnx_operations(model: Message, *, needed: bool = False) -> Operations:
    """Every operator of a ModelProto, those in graphs of attributes and in its own functions too.

    With `needed`, only what the outputs need, and the functions that this calls. Raises `CorruptModelError`.
    """
    functions = {
        (function.text(_Function.DOMAIN) or DEFAULT_DOMAIN, function.text(_Function.NAME)): function
        for function in model.messages(_Model.FUNCTIONS)
    }
    found = Operations(frozenset(functions))
    waiting = [
        node
        for graph in model.messages(_Model.GRAPH)
        for node in (_needed(graph) if needed else graph.messages(_Graph.NODES))
    ]
    called = set[tuple[str, str]]() if needed else set(functions)
    waiting += [node for key in called for node in functions[key].messages(_Function.NODES)]
    while waiting:
        bodies, waiting = waiting, []
        for node in _onnx_nodes(bodies, 0):
            key = (node.text(_Node.DOMAIN) or DEFAULT_DOMAIN, node.text(_Node.OPERATION))
            found.add(*key, node.text(_Node.NAME) or next(iter(node.texts(_Node.OUTPUTS)), ""))
            if key in functions and key not in called:
                called.add(key)
                waiting += functions[key].messages(_Function.NODES)
    return found


def _needed(graph: Message) -> list[Message]:
    """The nodes of a GraphProto that its outputs depend on; graphs inside take names from around them."""
    nodes = graph.messages(_Graph.NODES)
    makers = {name: index for index, node in enumerate(nodes) for name in node.texts(_Node.OUTPUTS) if name}
    waiting = [port.text(_Graph.NAME_OF_OUTPUT) for port in graph.messages(_Graph.OUTPUTS)]
    seen: set[int] = set()
    while waiting:
        index = makers.get(waiting.pop())
        if index is not None and index not in seen:
            seen.add(index)
            waiting += [name for node in _onnx_nodes([nodes[index]], 0) for name in node.texts(_Node.INPUTS)]
    return [nodes[index] for index in sorted(seen)]


def _onnx_nodes(nodes: Sequence[Message], depth: int) -> Iterator[Message]:
    if depth > _DEPTH:
        raise CorruptModelError(f"its graphs are nested more than {_DEPTH} deep")
    for node in nodes:
        yield node
        for attribute in node.messages(_Node.ATTRIBUTES):
            for number in _Node.GRAPHS_OF_ATTRIBUTE:
                for graph in attribute.messages(number):
                    yield from _onnx_nodes(graph.messages(_Graph.NODES), depth + 1)


def served_operations(graph: MetaGraph, outputs: Sequence[str]) -> Operations:
    """The operations that the given output tensors of a meta graph need, each function counted once.

    `outputs` are names of graph tensors, such as `StatefulPartitionedCall:0`.
    """
    message = Message(graph.graph)
    library = {
        function.message(_FunctionDef.SIGNATURE).text(_FunctionDef.NAME_OF_SIGNATURE): function
        for part in message.messages(_GraphDef.LIBRARY)
        for function in part.messages(_GraphDef.FUNCTIONS_OF_LIBRARY)
    }
    found = Operations()
    waiting = _visit(found, _by_name(message.messages(_GraphDef.NODES)), outputs, library)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        function = library.get(name)
        if name in seen or function is None:
            continue
        seen.add(name)
        returned = [
            entry.text(_FunctionDef.TENSOR_OF_RETURN) for entry in function.messages(_FunctionDef.RETURNS)
        ]
        waiting += _visit(found, _by_name(function.messages(_FunctionDef.NODES)), returned, library)
    return found


def _by_name(nodes: Sequence[Message]) -> dict[str, Message]:
    return {node.text(_NodeDef.NAME): node for node in nodes}


def _visit(
    found: Operations, nodes: Mapping[str, Message], outputs: Sequence[str], library: Mapping[str, Message]
) -> list[str]:
    """Count the nodes of one body that its outputs need; gives the functions that they call."""
    calls: list[str] = []
    waiting = [_node_of(output) for output in outputs]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = nodes.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        operation = node.text(_NodeDef.OPERATION)
        if operation in library:
            calls.append(operation)
        elif operation not in _INLINED:
            found.add("tensorflow", operation, name)
        if operation in _CALLS:
            calls += _called(node)
        waiting += [_node_of(source) for source in node.texts(_NodeDef.INPUTS) if not source.startswith("^")]
    return calls


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _called(node: Message) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for attribute in node.messages(_NodeDef.ATTRIBUTES):
        value = attribute.message(_NodeDef.VALUE_OF_ATTRIBUTE)
        listed = value.message(_NodeDef.LIST).messages(_NodeDef.FUNCTIONS_OF_LIST)
        for function in [*value.messages(_NodeDef.FUNCTION), *listed]:
            yield function.text(_NodeDef.NAME_OF_FUNCTION)
