"""Which variable of a SavedModel gets which value, where TensorFlow's front end goes by ambiguous names.

The front end looks a variable up by its name in the checkpoint's object graph, where several variables may
have one name: the last one wins, and the weights are silently wrong. Variables that it does not find there it
follows through the function that restores them, which is right for any name. So where names collide, all
variables get fresh ones.
"""

from collections.abc import Iterator, Mapping

from ovms_converter.formats.saved_model import MetaGraph
from ovms_converter.formats.wire import Message, fields
from ovms_converter.optimizer.saved_model_nodes import Node

__all__ = ["fresh_name", "fresh_names", "names_collide"]

_SAVER, _OBJECTS = 3, 7


def fresh_name(handle: str) -> str:
    """The name that a variable gets, which no object of the model has."""
    return f"{handle}__restored"


def fresh_names(meta: MetaGraph, nodes: Mapping[str, Node]) -> Mapping[str, str]:
    """The new name of every `VarHandleOp` of a graph with these nodes, so that no names collide.

    A variable that is not restored itself, but was only the initial value of one that is (Keras 3 writes such
    pairs), has the value and so the new name of that one.
    """
    names = {handle: fresh_name(handle) for handle in _restored(meta, nodes)}
    for node in nodes.values():
        if node.operation != "AssignVariableOp":
            continue
        target, value = node.inputs[:2]
        read = nodes.get(value)
        if target in names and read is not None and read.operation == "ReadVariableOp":
            names.setdefault(read.inputs[0], fresh_name(target))
    return names


def names_collide(meta: MetaGraph) -> bool:
    """Whether two variables of the object graph have one name."""
    names = [
        entry.data.tobytes()
        for objects in _parts(meta.data, _OBJECTS)
        for node in _parts(objects, 1)
        for variable in _parts(node, 7)
        for entry in fields(variable)
        if entry.number == 6 and entry.data
    ]
    return len(set(names)) < len(names)


def _parts(data: memoryview, number: int) -> Iterator[memoryview]:
    return (item.data for item in fields(data) if item.number == number)


def _restored(meta: MetaGraph, nodes: Mapping[str, Node]) -> list[str]:
    """The handles that the call of the restore function passes to it."""
    call = nodes.get(Message(meta.data).message(_SAVER).text(3).partition(":")[0])
    inputs = call.inputs if call is not None else []
    return [name for name in inputs if name in nodes and nodes[name].operation == "VarHandleOp"]
