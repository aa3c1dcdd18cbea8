"""Repairs of ONNX nodes, wherever they are in a graph."""

from collections.abc import Container, Mapping, Sequence

from ovms_converter.formats.wire import Message, bytes_field, fields, varint_field
from ovms_converter.optimizer.onnx_graph import (
    ATTRIBUTE_GRAPH,
    ATTRIBUTE_GRAPHS,
    GRAPH_NODE,
    MODEL_OPSETS,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_OPERATION,
    is_classical,
)
from ovms_converter.optimizer.repairs.base import OnnxRepair

__all__ = ["asked_opset", "opset_import", "repaired_graph"]

_DOMAIN, _VERSION = 1, 2
_DEFAULT = ("", "ai.onnx")


def asked_opset(model: memoryview, domains: Container[str] = _DEFAULT) -> int | None:
    """The version of an operation set, ONNX's own, that a `ModelProto` asks for; None if it asks for none."""
    found: int | None = None
    for item in fields(model):
        if item.number == MODEL_OPSETS:
            opset = Message(item.data)
            if opset.text(_DOMAIN) in domains:
                found = opset.integer(_VERSION, 1)
    return found


def opset_import(version: int) -> bytes:
    """The field of a `ModelProto` that asks for a version of ONNX's own operation set."""
    return bytes_field(MODEL_OPSETS, varint_field(_VERSION, version))


def repaired_graph(
    graph: memoryview, repairs: Mapping[str, Sequence[OnnxRepair]]
) -> tuple[bytes, frozenset[str]] | None:
    """A `GraphProto` with its nodes rewritten, and the names of the repairs; None if it needs none.

    `repairs` are by operation; each gets what the one before it made. Subgraphs are gone through, functions
    of the model are not.
    """
    if not repairs:
        return None
    parts: list[bytes] = []
    used: set[str] = set()
    for item in fields(graph):
        nodes = _repaired_node(item.data, repairs, used) if item.number == GRAPH_NODE else None
        if nodes is None:
            parts.append(bytes(graph[item.start : item.end]))
        else:
            parts += [bytes_field(GRAPH_NODE, node) for node in nodes]
    return (b"".join(parts), frozenset(used)) if used else None


def _repaired_node(
    data: memoryview, repairs: Mapping[str, Sequence[OnnxRepair]], used: set[str]
) -> list[bytes] | None:
    """The nodes in place of a `NodeProto`; None if it stays as it is."""
    if is_classical(data):
        return None
    for number, repair in enumerate(found := _repairs_of(data, repairs)):
        nodes = repair.rewrite(Message(data))
        if nodes is not None:
            used.add(repair.name)
            others = {repair.operation: found[number + 1 :]}
            return [
                made for node in nodes for made in _repaired_node(memoryview(node), others, used) or [node]
            ]
    attributes = [
        (item, _repaired_attribute(item.data, repairs, used) if item.number == NODE_ATTRIBUTE else None)
        for item in fields(data)
    ]
    if all(changed is None for _, changed in attributes):
        return None
    return [
        b"".join(
            bytes(data[item.start : item.end]) if changed is None else bytes_field(NODE_ATTRIBUTE, changed)
            for item, changed in attributes
        )
    ]


def _repairs_of(data: memoryview, repairs: Mapping[str, Sequence[OnnxRepair]]) -> Sequence[OnnxRepair]:
    """Those that a `NodeProto` may need."""
    node = Message(data)
    return repairs.get(node.text(NODE_OPERATION), ()) if node.text(NODE_DOMAIN) in _DEFAULT else ()


def _repaired_attribute(
    data: memoryview, repairs: Mapping[str, Sequence[OnnxRepair]], used: set[str]
) -> bytes | None:
    """An `AttributeProto` with its graphs rewritten; None if it stays as it is."""
    graphs = [
        (
            item,
            repaired_graph(item.data, repairs)
            if item.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS)
            else None,
        )
        for item in fields(data)
    ]
    if all(found is None for _, found in graphs):
        return None
    for _, found in graphs:
        used.update(found[1] if found else ())
    return b"".join(
        bytes(data[item.start : item.end]) if found is None else bytes_field(item.number, found[0])
        for item, found in graphs
    )
