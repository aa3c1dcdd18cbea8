"""The nodes of a SavedModel's main graph, and which of them the front end has no use for.

Half of a Keras model's graph saves it, tells whether its variables are initialised, and gives them their
initial values. The front end holds all that, ten times as large as in the file. It needs what the outputs
depend on, and what leads from the restore function to the variables. Field numbers:
tensorflow/core/framework/{graph,node_def,function}.proto.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from ovms_converter.formats.saved_model import MetaGraph
from ovms_converter.formats.wire import Message, fields

__all__ = ["Node", "needed", "reachable", "read_nodes", "split_tensor", "unused_functions"]

_NAME, _OPERATION, _INPUT = 1, 2, 3
_LIBRARY = 2
_SAVER, _SAVE_CALL = 3, 2
_INITIALISES = "__saved_model_init_op"

_IDLE = frozenset({"Placeholder", "ReadVariableOp", "VarHandleOp", "VarIsInitializedOp"})
"""Operations that do nothing by themselves."""


class Node:
    """A `NodeDef`."""

    __slots__ = ("data", "inputs", "name", "operation")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.name = self.operation = ""
        self.inputs: list[str] = []
        for item in fields(data):
            if item.number == _INPUT:
                self.inputs.append(item.text)
            elif item.number == _NAME:
                self.name = item.text
            elif item.number == _OPERATION:
                self.operation = item.text


def read_nodes(graph: memoryview) -> list[Node]:
    """The nodes of a `GraphDef`, without those of its functions."""
    return [Node(item.data) for item in fields(graph) if item.number == 1]


def split_tensor(tensor: str) -> tuple[str, int]:
    """`node:1` → the node and its output port; `node` is `node:0`."""
    node, colon, port = tensor.rpartition(":")
    return (node, int(port)) if colon and port.isdigit() else (tensor, 0)


def reachable(nodes: Mapping[str, Node], names: Iterable[str]) -> set[str]:
    """The names of the nodes that compute those of some names, and these."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        waiting += [split_tensor(source.removeprefix("^"))[0] for source in nodes[name].inputs]
    return seen


def needed(meta: MetaGraph, nodes: Mapping[str, Node], ends: Iterable[str]) -> set[str]:
    """The names of the nodes that the graph tensors `ends` depend on, or that the front end looks at.

    Left out are the call that saves the model, those of other signatures, initial values of variables that
    are variables themselves, and what only these need.
    """
    ends = [split_tensor(tensor)[0] for tensor in ends]
    calls = {Message(meta.data).message(_SAVER).text(_SAVE_CALL)} | {
        tensor
        for signature in meta.signatures
        if signature.name != _INITIALISES
        for tensor in signature.output_tensors.values()
    }
    idle = {split_tensor(tensor)[0] for tensor in calls}
    busy = (
        name
        for name, node in nodes.items()
        if name not in idle and node.operation not in _IDLE and not _copies_a_variable(node, nodes)
    )
    return reachable(nodes, [*ends, *busy])


def _copies_a_variable(node: Node, nodes: Mapping[str, Node]) -> bool:
    if node.operation != "AssignVariableOp" or len(node.inputs) < 2:
        return False
    value = nodes.get(split_tensor(node.inputs[1])[0])
    return value is not None and value.operation == "ReadVariableOp"


def unused_functions(graph: memoryview, kept: Iterable[Node], dropped: Iterable[Node]) -> frozenset[str]:
    """The functions that only `dropped` nodes of the main graph call."""
    bodies = {
        name: function.data
        for library in fields(graph)
        if library.number == _LIBRARY
        for function in fields(library.data)
        if function.number == 1
        for name in _name_of(function.data)
    }
    if not bodies:
        return frozenset()
    return frozenset(_called(dropped, bodies) - _called(kept, bodies))


def _called(nodes: Iterable[Node], bodies: Mapping[bytes, memoryview]) -> set[str]:
    """The functions whose names occur in nodes, and in the functions that are found so.

    Attributes are not decoded for that: a name that is mentioned otherwise counts as a call.
    """
    # With the longest first, a match may be the begin of what is there, or may hide a shorter name.
    names = sorted(bodies, key=len, reverse=True)
    pattern = re.compile(b"|".join(map(re.escape, names)))
    found: set[bytes] = set()
    waiting = [node.data for node in nodes]
    while waiting:
        for text in set(pattern.findall(waiting.pop())) - found:
            new = {name for name in names if text.startswith(name)} - found
            found |= new
            waiting += [bodies[name] for name in new]
    return {name.decode() for name in found}


def _name_of(function: memoryview) -> Iterator[bytes]:
    """The name in a function's signature."""
    for item in fields(function):
        if item.number == 1:
            yield Message(item.data).text(1).encode()
            return
