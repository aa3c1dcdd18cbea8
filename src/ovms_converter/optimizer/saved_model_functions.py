"""Nodes inside the functions of a TensorFlow 2 graph: found by name, and connected to the outside.

A signature calls a function, which calls another one, and so on. To reach a node in there, every function on
the way gets one more argument or result, and every call passes it on. Field numbers:
tensorflow/core/framework/{function,op_def,node_def,attr_value}.proto.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ovms_converter.errors import RequestError
from ovms_converter.formats.wire import (
    Field,
    Message,
    bytes_field,
    bytes_head,
    encode_varint,
    fields,
    varint_field,
)
from ovms_converter.optimizer.saved_model_nodes import Node

__all__ = ["Functions", "InnerNode"]

_FUNCTION = 1
_SIGNATURE, _NODE, _RESULT = 1, 3, 4
_ARGUMENTS, _RESULTS = 2, 3
_NODE_INPUT, _NODE_ATTRIBUTE = 3, 5
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_DEEPEST = 8
_FIRST_OUTPUTS = {"FusedBatchNorm": "y", "FusedBatchNormV2": "y", "FusedBatchNormV3": "y", "TopKV2": "values"}
"""The name of output 0, where the uses of a node do not tell it."""


@dataclass(frozen=True)
class InnerNode:
    """A node in a function: the call in the main graph, further calls and their functions, the node."""

    call: str
    calls: tuple[tuple[str, str], ...]
    function: str
    node: str


@dataclass
class _Edit:
    """What changes in one function."""

    arguments: list[tuple[str, int]] = field(default_factory=list)
    results: list[tuple[str, int, str]] = field(default_factory=list)
    inputs: dict[tuple[str, int], str] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    calls: dict[str, "_Call"] = field(default_factory=lambda: defaultdict(_Call))


@dataclass
class _Call:
    """What a call passes and returns in addition: tensors with their types, and types."""

    passed: list[tuple[str, int]] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)


class Functions:
    """The functions of a graph, and the changes that were asked for."""

    def __init__(self, graph: memoryview) -> None:
        self._data = graph
        self._nodes: dict[str, dict[str, Message]] = {}
        self._edits: dict[str, _Edit] = defaultdict(_Edit)
        self._main_calls: dict[str, _Call] = defaultdict(_Call)

    @cached_property
    def _main(self) -> dict[str, Message]:
        """The nodes of the main graph by name; few conversions look for any."""
        return {node.text(1): node for node in Message(self._data).messages(1)}

    @cached_property
    def _library(self) -> memoryview:
        """The library of functions, empty if there is none."""
        return next((item.data for item in fields(self._data) if item.number == 2), memoryview(b""))

    @cached_property
    def _functions(self) -> dict[str, Message]:
        """The functions by name; few conversions look into any."""
        functions = Message(self._library).messages(1)
        return {function.message(_SIGNATURE).text(1): function for function in functions}

    def find(self, roots: Iterable[str], name: str) -> InnerNode | None:
        """The node of a name like `StatefulPartitionedCall/model/relu/Relu`; calls may be left out."""
        for root in roots:
            function = self._called(self._main.get(root))
            if function is None:
                continue
            for text in (name.removeprefix(f"{root}/"), name):
                found = self._search(function, text, ())
                if found is not None:
                    return InnerNode(root, *found)
        return None

    def node(self, inner: InnerNode) -> Message:
        """The `NodeDef`."""
        return self._nodes_of(inner.function)[inner.node]

    def inputs(self, inner: InnerNode) -> list[str]:
        """What the node reads, without control inputs."""
        return [source for source in self.node(inner).texts(_NODE_INPUT) if not source.startswith("^")]

    def add_output(self, inner: InnerNode, port: int, kind: int) -> str:
        """Return an output of the node from the main graph's call; the tensor that it becomes there."""
        return self.add_result(inner, self._tensor(inner, port), kind)

    def add_result(self, inner: InnerNode, tensor: str, kind: int) -> str:
        """Return a tensor of the node's function from the main graph's call."""
        function, result = inner.function, tensor
        for caller, call in reversed(inner.calls):
            number = self._add_result(function, result, kind)
            self._edits[caller].calls[call].returned.append(kind)
            function, result = caller, f"{call}:output:{number}"
        number = self._add_result(function, result, kind)
        self._main_calls[inner.call].returned.append(kind)
        return f"{inner.call}:{number}"

    def add_input(
        self, inner: InnerNode, in_port: int | None, out_port: int | None, kind: int, tensor: str
    ) -> None:
        """Let a node's input, or all that reads one of its outputs, read a main graph's tensor instead."""
        name = f"cut_{sum(len(edit.arguments) for edit in self._edits.values())}"
        edit = self._edits[inner.function]
        if in_port is not None:
            edit.inputs[inner.node, in_port] = name
        else:
            edit.tensors[self._tensor(inner, out_port or 0)] = name
        function = inner.function
        for caller, call in reversed(inner.calls):
            self._edits[function].arguments.append((name, kind))
            self._edits[caller].calls[call].passed.append((name, kind))
            function = caller
        self._edits[function].arguments.append((name, kind))
        self._main_calls[inner.call].passed.append((tensor, kind))

    def call(self, node: Node) -> Node:
        """A node of the main graph with what its call passes and returns in addition."""
        if node.name not in self._main_calls:
            return node
        data = _rewrite_node(Message(node.data), self._main_calls[node.name], {}, {})
        return Node(memoryview(data))

    def library(self, without: Container[str]) -> list[bytes | memoryview]:
        """The library of functions, changed and without some, as a field of the graph in pieces."""
        library = self._library
        if not library:
            return []
        parts: list[bytes | memoryview] = []
        for item in fields(library):
            if item.number != _FUNCTION:
                parts.append(library[item.start : item.end])
                continue
            name = Message(item.data).message(_SIGNATURE).text(1)
            if name in self._edits:
                parts.append(bytes_field(_FUNCTION, self._rewrite(Message(item.data))))
            elif name not in without:
                parts.append(library[item.start : item.end])
        return [bytes_head(2, sum(map(len, parts))), *parts]

    def _nodes_of(self, function: str) -> dict[str, Message]:
        if function not in self._nodes:
            nodes = self._functions[function].messages(_NODE)
            self._nodes[function] = {node.text(1): node for node in nodes}
        return self._nodes[function]

    def _called(self, node: Message | None) -> str | None:
        """The function that a node calls."""
        if node is None or node.text(2) not in _CALLS:
            return None
        for attribute in node.messages(_NODE_ATTRIBUTE):
            if attribute.text(1) == "f":
                name = attribute.message(2).message(10).text(1)
                return name if name in self._functions else None
        return None

    def _search(
        self, function: str, name: str, calls: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[tuple[str, str], ...], str, str] | None:
        nodes = self._nodes_of(function)
        if name in nodes:
            return calls, function, name
        if len(calls) == _DEEPEST:
            return None
        for call, node in nodes.items():
            called = self._called(node)
            if called is None:
                continue
            way = (*calls, (function, call))
            texts = [name.removeprefix(f"{call}/")] if name.startswith(f"{call}/") else []
            for text in [*texts, name] if call in _CALLS else texts:
                found = self._search(called, text, way)
                if found is not None:
                    return found
        return None

    def _tensor(self, inner: InnerNode, port: int) -> str:
        """An output as functions write it, `node:name:index`; the uses of the node tell the name."""
        uses = {
            use.rpartition(":")[0]
            for use in self._uses(inner.function)
            if use.startswith(f"{inner.node}:") and use.count(":") == inner.node.count(":") + 2
        }
        first = _FIRST_OUTPUTS.get(self.node(inner).text(2))
        if first is not None and port == 0:
            uses = {f"{inner.node}:{first}"}
        if len(uses) != 1:
            raise RequestError(
                f"output {port} of the operation `{inner.node}` inside a TensorFlow function cannot be "
                f"reached",
                hint="name an operation behind it that has a single output",
            )
        return f"{uses.pop()}:{port}"

    def _uses(self, function: str) -> Iterator[str]:
        for node in self._nodes_of(function).values():
            yield from node.texts(_NODE_INPUT)
        for entry in self._functions[function].messages(_RESULT):
            yield entry.text(2)

    def _add_result(self, function: str, tensor: str, kind: int) -> int:
        """Let a function return one more tensor; which result that is."""
        edit = self._edits[function]
        number = len(self._functions[function].message(_SIGNATURE).all(_RESULTS)) + len(edit.results)
        edit.results.append((f"cut_result_{number}", kind, tensor))
        return number

    def _rewrite(self, function: Message) -> bytes:
        edit = self._edits.get(function.message(_SIGNATURE).text(1))
        if edit is None:
            return bytes(function.data)
        parts: list[bytes] = []
        for item in fields(function.data):
            if item.number == _SIGNATURE:
                signature = bytes(item.data)
                signature += b"".join(_argument(_ARGUMENTS, name, kind) for name, kind in edit.arguments)
                signature += b"".join(_argument(_RESULTS, name, kind) for name, kind, _ in edit.results)
                parts.append(bytes_field(_SIGNATURE, signature))
            elif item.number == _NODE:
                node = Message(item.data)
                call = edit.calls.get(node.text(1))
                parts.append(bytes_field(_NODE, _rewrite_node(node, call, edit.inputs, edit.tensors)))
            else:
                parts.append(_rewrite_result(function, item, edit.tensors))
        for name, _, tensor in edit.results:
            parts.append(bytes_field(_RESULT, bytes_field(1, name) + bytes_field(2, tensor)))
        return b"".join(parts)


def _rewrite_result(function: Message, item: Field, tensors: Mapping[str, str]) -> bytes:
    entry = Message(item.data).text(2) if item.number == _RESULT else ""
    if entry in tensors:
        name = Message(item.data).text(1)
        return bytes_field(_RESULT, bytes_field(1, name) + bytes_field(2, tensors[entry]))
    return bytes(function.data[item.start : item.end])


def _rewrite_node(
    node: Message, call: _Call | None, inputs: Mapping[tuple[str, int], str], tensors: Mapping[str, str]
) -> bytes:
    name, old = node.text(1), node.texts(_NODE_INPUT)
    new = [inputs.get((name, port)) or tensors.get(source, source) for port, source in enumerate(old)]
    if call is None and new == old:
        return bytes(node.data)
    data = [source for source in new if not source.startswith("^")]
    control = [source for source in new if source.startswith("^")]
    passed: Sequence[tuple[str, int]] = call.passed if call else ()
    parts = [
        bytes_field(_NODE_INPUT, source) for source in (*data, *(tensor for tensor, _ in passed), *control)
    ]
    for item in fields(node.data):
        if item.number == _NODE_INPUT:
            continue
        key = Message(item.data).text(1) if item.number == _NODE_ATTRIBUTE and call else ""
        added = {"Tin": [kind for _, kind in passed], "Tout": call.returned if call else []}.get(key, [])
        if added:
            # a second occurrence of the list is merged with the first one
            types = bytes_field(1, bytes_field(6, b"".join(map(encode_varint, added))))
            value = bytes(Message(item.data).message(2).data) + types
            parts.append(bytes_field(_NODE_ATTRIBUTE, bytes_field(1, key) + bytes_field(2, value)))
        else:
            parts.append(bytes(node.data[item.start : item.end]))
    return b"".join(parts)


def _argument(number: int, name: str, kind: int) -> bytes:
    """An `ArgDef` of a function's signature."""
    return bytes_field(number, bytes_field(1, name) + varint_field(3, kind))
