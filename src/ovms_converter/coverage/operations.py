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
        (function.text(10) or DEFAULT_DOMAIN, function.text(1)): function for function in model.messages(25)
    }
    found = Operations(frozenset(functions))
    waiting = [
        node for graph in model.messages(7) for node in (_needed(graph) if needed else graph.messages(1))
    ]
    called = set[tuple[str, str]]() if needed else set(functions)
    waiting += [node for key in called for node in functions[key].messages(7)]
    while waiting:
        bodies, waiting = waiting, []
        for node in _onnx_nodes(bodies, 0):
            key = (node.text(7) or DEFAULT_DOMAIN, node.text(4))
            found.add(*key, node.text(3) or next(iter(node.texts(2)), ""))
            if key in functions and key not in called:
                called.add(key)
                waiting += functions[key].messages(7)
    return found


def _needed(graph: Message) -> list[Message]:
    """The nodes of a GraphProto that its outputs depend on; graphs inside take names from around them."""
    nodes = graph.messages(1)
    makers = {name: index for index, node in enumerate(nodes) for name in node.texts(2) if name}
    waiting = [port.text(1) for port in graph.messages(12)]
    seen: set[int] = set()
    while waiting:
        index = makers.get(waiting.pop())
        if index is not None and index not in seen:
            seen.add(index)
            waiting += [name for node in _onnx_nodes([nodes[index]], 0) for name in node.texts(1)]
    return [nodes[index] for index in sorted(seen)]


def _onnx_nodes(nodes: Sequence[Message], depth: int) -> Iterator[Message]:
    if depth > _DEPTH:
        raise CorruptModelError(f"its graphs are nested more than {_DEPTH} deep")
    for node in nodes:
        yield node
        for attribute in node.messages(5):
            for number in (6, 11):
                for graph in attribute.messages(number):
                    yield from _onnx_nodes(graph.messages(1), depth + 1)


def served_operations(graph: MetaGraph, outputs: Sequence[str]) -> Operations:
    """The operations that the given output tensors of a meta graph need, each function counted once.

    `outputs` are names of graph tensors, such as `StatefulPartitionedCall:0`.
    """
    message = Message(graph.graph)
    library = {
        function.message(1).text(1): function for part in message.messages(2) for function in part.messages(1)
    }
    found = Operations()
    waiting = _visit(found, {node.text(1): node for node in message.messages(1)}, outputs, library)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        function = library.get(name)
        if name in seen or function is None:
            continue
        seen.add(name)
        returned = [entry.text(2) for entry in function.messages(4)]
        waiting += _visit(found, {node.text(1): node for node in function.messages(3)}, returned, library)
    return found


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
        operation = node.text(2)
        if operation in library:
            calls.append(operation)
        elif operation not in _INLINED:
            found.add("tensorflow", operation, name)
        if operation in _CALLS:
            calls += _called(node)
        waiting += [_node_of(source) for source in node.texts(3) if not source.startswith("^")]
    return calls


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _called(node: Message) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for attribute in node.messages(5):
        value = attribute.message(2)
        for function in [*value.messages(10), *value.message(1).messages(9)]:
            yield function.text(1)
