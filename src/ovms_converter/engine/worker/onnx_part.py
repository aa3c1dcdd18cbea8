"""The part of an ONNX model between the places where it was cut, for a runtime that knows no cuts."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["part_of"]

_CUT = "/ovms-converter/cut"


def part_of(path: Path, cuts: Iterable[str], outputs: Sequence[str]) -> bytes:
    """A model whose outputs are `outputs`, tensors of any place, and whose further inputs are `cuts`.

    External data stays where it is. Needs the package onnx; raises what that raises.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    types = _types(model)
    graph = model.graph
    replaced = set(cuts)
    for node in graph.node:
        # The tensor's readers now read the new input of the same name.
        for index, name in enumerate(node.output):
            if name in replaced:
                node.output[index] = name + _CUT
    nodes, tensors = _needed(graph, outputs)
    inputs = [value for value in graph.input if value.name in tensors and value.name not in replaced]
    inputs += [onnx.ValueInfoProto(name=name, type=types.get(name)) for name in sorted(replaced & tensors)]
    for field, kept in (("node", nodes), ("input", inputs)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(kept)
    for field in ("output", "value_info"):
        del getattr(graph, field)[:]
    graph.output.extend(onnx.ValueInfoProto(name=name, type=types.get(name)) for name in outputs)
    return bytes(model.SerializeToString())


def _types(model: Any) -> dict[str, Any]:
    """The type of every tensor that can be told, without its shape, which cuts may change."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = onnx.TypeProto()
        kind.CopyFrom(value.type)
        kind.tensor_type.ClearField("shape")
        found[value.name] = kind
    return found


def _needed(graph: Any, outputs: Sequence[str]) -> tuple[list[Any], set[str]]:
    """The nodes that compute `outputs`, in their order, and the names of all tensors that these read."""
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    used, tensors, waiting = set[int](), set[str](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in tensors:
            continue
        tensors.add(name)
        index = producers.get(name)
        if index is not None and index not in used:
            used.add(index)
            waiting += _read_by(graph.node[index])
    return [graph.node[index] for index in sorted(used)], tensors


def _read_by(node: Any) -> Iterator[str]:
    """What a node and its subgraphs read; some of the latter are their own, which does no harm."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)
