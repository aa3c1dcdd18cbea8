"""What the variables of a SavedModel hold: those that its signatures read, or all that its checkpoint lists.

Keras 3 stores most variables twice, and a checkpoint may hold an optimizer's: the graph tells which ones
count. Field numbers: tensorflow/core/framework/{graph,node_def,attr_value}.proto.
"""

import math
import posixpath
from collections.abc import Iterable, Iterator

from ovms_converter.formats.checkpoint import Checkpoint, read_checkpoint
from ovms_converter.formats.contents import Numbers
from ovms_converter.formats.saved_model import MetaGraph, attribute, bytes_of, data_type, tensor_shape
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.wire import Message
from ovms_converter.formats.words import naming

__all__ = ["VARIABLES", "variables"]

VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
"""The operations that are variables."""

_BOOKKEEPING = (
    "_CHECKPOINTABLE_OBJECT_GRAPH",
    "save_counter",
    "optimizer/",
    "/.OPTIMIZER_SLOT/",
    "keras_api/",
)


def variables(
    tree: Tree, directory: str, graph: MetaGraph | None, tensors: Iterable[str]
) -> tuple[Numbers, ...] | None:
    """The variables that some tensors of a graph (`StatefulPartitionedCall:0`) depend on.

    Where the graph does not tell their sizes, those of the checkpoint without an optimizer's; None if that
    does not tell either. Raises `CorruptModelError` if the checkpoint's index is damaged.
    """
    path = posixpath.join(directory, "variables/variables.index")
    if path not in tree:
        return ()
    served = _served(graph, tensors) if graph else ()
    if served:
        return served
    with naming(path):
        checkpoint = read_checkpoint(memoryview(tree.files.read(path)))
    return None if checkpoint is None else tuple(_kept(checkpoint))


def _served(graph: MetaGraph, tensors: Iterable[str]) -> tuple[Numbers, ...]:
    """One entry a variable that the tensors depend on; none if the size of one is not known."""
    nodes = {node.text(1): node for node in Message(graph.graph).messages(1)}
    waiting = [tensor.partition(":")[0] for tensor in tensors]
    seen: set[str] = set()
    found: list[Numbers] = []
    while waiting:
        name = waiting.pop()
        node = nodes.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        waiting += [source.partition(":")[0] for source in node.texts(3) if not source.startswith("^")]
        if node.text(2) in VARIABLES:
            kind = data_type(attribute(node, "dtype").integer(6))
            shape = tensor_shape(attribute(node, "shape").message(7))
            if shape is None or None in shape or not bytes_of(kind):
                return ()
            count = math.prod(size or 0 for size in shape)
            found.append(Numbers(kind, count, count * bytes_of(kind)))
    return tuple(found)


def _kept(checkpoint: Checkpoint) -> Iterator[Numbers]:
    for stored in checkpoint.tensors:
        if not any(part in stored.name for part in _BOOKKEEPING):
            yield Numbers(stored.type, math.prod(size or 0 for size in stored.shape or ()), stored.size)
