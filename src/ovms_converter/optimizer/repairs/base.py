"""What a repair is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import Model, ov

__all__ = ["GraphRepair", "OnnxRepair", "Repair", "Translate", "by_operation", "graphs_of", "replacing"]

Translate: TypeAlias = Callable[["ov.frontend.NodeContext"], list["ov.Output"]]
"""Makes OpenVINO's operations of a node; their outputs stand for the node's."""


@dataclass(frozen=True)
class Repair:
    """A known fault of OpenVINO.

    `name`      how the record and notes call it
    `fault`     what goes wrong, as part of a sentence: "OpenVINO would ..."
    `issue`     the upstream report, or the nearest one
    `versions`  the releases of OpenVINO in which the fault was seen
    """

    name: str
    fault: str
    issue: str
    versions: str


@dataclass(frozen=True)
class OnnxRepair(Repair):
    """A fault in reading an ONNX operation of the default domain.

    `opsets`     the versions of the operation set in which the fault shows
    `rewrite`    makes a `NodeProto` into several that compute the same; None if this one is read right
    `translate`  what reads the node that `rewrite` has put into a domain of ours; None if OpenVINO's own
                 rules read what it made
    `needed`     tells, once the types are known, whether OpenVINO's rule would have been wrong there
    """

    operation: str
    opsets: range
    rewrite: Callable[[Message], Sequence[bytes] | None]
    translate: Translate | None = None
    needed: Callable[["ov.frontend.NodeContext"], bool] = lambda _: True


@dataclass(frozen=True)
class GraphRepair(Repair):
    """A fault in running a converted graph. `apply` changes it and tells in how many places."""

    apply: Callable[[Model], int]


def by_operation(repairs: Sequence[OnnxRepair], opset: int) -> Mapping[str, Sequence[OnnxRepair]]:
    """The repairs for an operation set, by operation and in their order."""
    found: dict[str, list[OnnxRepair]] = {}
    for repair in repairs:
        if opset in repair.opsets:
            found.setdefault(repair.operation, []).append(repair)
    return found


def graphs_of(model: Model) -> Iterator[Model]:
    """A graph and those of its loops and branches, inner ones first."""
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "If":
            yield from graphs_of(node.get_function(0))
            yield from graphs_of(node.get_function(1))
        elif kind in ("Loop", "TensorIterator"):
            yield from graphs_of(node.get_function())
    yield model


def replacing(
    is_wrong: Callable[["ov.Node"], bool], replacement: Callable[["ov.Node"], "ov.Node"]
) -> Callable[[Model], int]:
    """What puts another node in the place of every wrong one; it must have as many outputs.

    Loops and branches are gone through as well.
    """

    def apply(model: Model) -> int:
        return sum(_replaced(graph, is_wrong, replacement) for graph in graphs_of(model))

    return apply


def _replaced(
    graph: Model, is_wrong: Callable[["ov.Node"], bool], replacement: Callable[["ov.Node"], "ov.Node"]
) -> int:
    found = [node for node in graph.get_ordered_ops() if is_wrong(node)]
    for node in found:
        for old, new in zip(node.outputs(), replacement(node).outputs(), strict=True):
            for reader in old.get_target_inputs():
                reader.replace_source_output(new)
    if found:
        graph.validate_nodes_and_infer_types()
    return len(found)
