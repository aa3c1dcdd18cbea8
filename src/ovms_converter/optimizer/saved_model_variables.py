"""Which variable of a SavedModel gets which value, where TensorFlow's front end goes by ambiguous names.

The front end looks a variable up by its name in the checkpoint's object graph, where several variables may
have one name: the last one wins, and the weights are silently wrong. Variables that it does not find there it
follows through the function that restores them, which is right for any name. So where names collide, all
variables get fresh ones.
"""

from collections import Counter
from collections.abc import Mapping

from ovms_converter.formats.saved_model import MetaGraph
from ovms_converter.formats.wire import Message

__all__ = ["fresh_name", "fresh_names"]

_SAVER, _OBJECTS = 3, 7


def fresh_name(handle: str) -> str:
    """The name that a variable gets, which no object of the model has."""
    return f"{handle}__restored"


def fresh_names(meta: MetaGraph) -> Mapping[str, str]:
    """The new name of every `VarHandleOp` that must be read under another one; empty if no names collide.

    A variable that is not restored itself, but was only the initial value of one that is (Keras 3 writes such
    pairs), has the value and so the new name of that one.
    """
    if not _collide(meta):
        return {}
    nodes = {node.text(1): node for node in Message(meta.graph).messages(1)}
    names = {handle: fresh_name(handle) for handle in _restored(meta, nodes)}
    for node in nodes.values():
        if node.text(2) != "AssignVariableOp":
            continue
        target, value = node.texts(3)[:2]
        read = nodes.get(value)
        if target in names and read is not None and read.text(2) == "ReadVariableOp":
            names.setdefault(read.texts(3)[0], fresh_name(target))
    return names


def _collide(meta: MetaGraph) -> bool:
    """Whether two variables of the object graph have one name."""
    counts: Counter[str] = Counter()
    for objects in Message(meta.data).messages(_OBJECTS):
        for node in objects.messages(1):
            counts.update(variable.text(6) for variable in node.messages(7))
    counts.pop("", None)
    return any(count > 1 for count in counts.values())


def _restored(meta: MetaGraph, nodes: Mapping[str, Message]) -> list[str]:
    """The handles that the call of the restore function passes to it."""
    call = nodes.get(Message(meta.data).message(_SAVER).text(3).partition(":")[0])
    inputs = call.texts(3) if call is not None else []
    return [name for name in inputs if name in nodes and nodes[name].text(2) == "VarHandleOp"]
