"""Cutting a graph into parts of bounded weights that run one after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import openvino as ov
from openvino import op

__all__ = ["FED_PART_BYTES", "PART_BYTES", "Key", "Part", "compiled_bytes", "cut", "key_of"]

PART_BYTES = 32 << 20
"""The weights that are compiled into one part, as the plugin holds them."""

FED_PART_BYTES = 192 << 20
"""The weights that are fed to one part. They cost no memory, but in a run the plugin reserves address space
of their size, which a memory limit counts."""

Key: TypeAlias = tuple[str, int]
"""A value in the graph: the unique name of the node that computes it, and the number of the node's output."""

_STATEFUL = frozenset({"ReadValue", "Assign"})


@dataclass
class Part:
    """A slice of the graph: `needs` are the values it takes, in its inputs' order; `gives` its results."""

    model: ov.Model
    needs: list[Key]
    gives: list[Key]


@dataclass(frozen=True)
class _Weight:
    """A weight under a node: a constant with its bytes in the plugin, or a fed input with its bytes."""

    name: str
    compiled: int
    fed: int


_Fixed: TypeAlias = Mapping[str, frozenset[_Weight]]
"""For every node that no input of the model reaches, by name: the weights under it."""


def key_of(output: ov.Output) -> Key:
    """The key of an output of a node."""
    return output.get_node().get_name(), output.get_index()


def compiled_bytes(constant: ov.Node) -> int:
    """Bytes of one weight in the plugin; one whose only use is a Convert is compressed: it expands to f32."""
    stored = int(constant.get_byte_size())
    uses = [target.get_node().get_type_name() for target in constant.output(0).get_target_inputs()]
    if all(use == "Convert" for use in uses):
        return max(stored, 4 * int(np.prod(constant.get_output_shape(0), dtype=np.int64)))
    return stored


def cut(model: ov.Model, fed: Mapping[str, int]) -> list[Part]:
    """Cut a model into parts, in topological order; an empty list if it cannot be cut.

    `fed` tells which of the model's inputs are weights, by unique name, with their bytes. Weights, and what
    is computed from weights alone, belong to no part: they come along with every part that uses them. A
    subgraph operation (If, Loop, TensorIterator) with its body is one operation. The model is changed.
    """
    nodes = model.get_ordered_ops()
    if any(node.get_type_name() in _STATEFUL for node in nodes):
        return []
    fixed = _fixed(nodes, fed)
    results = [result.input_value(0) for result in model.get_results()]
    if any(output.get_node().get_name() in fixed for output in results):
        return []
    groups = list(_groups([node for node in nodes if _computes(node, fixed)], fixed))
    place = {node.get_name(): number for number, group in enumerate(groups) for node in group}
    crossing: dict[Key, ov.Output] = {key_of(output): output for output in results}
    needed: list[dict[Key, list[ov.Input]]] = [{} for _ in groups]
    for number, group in enumerate(groups):
        for target in (target for node in group for target in node.inputs()):
            source = target.get_source_output()
            name = source.get_node().get_name()
            if name not in fixed and place.get(name) != number:
                needed[number].setdefault(key_of(source), []).append(target)
                crossing[key_of(source)] = source
    weights = {node.get_name(): node for node in model.get_parameters() if node.get_name() in fed}
    parts = []
    for number, (group, needs) in enumerate(zip(groups, needed, strict=True)):
        used = sorted({weight.name for node in group for weight in _under(node, fixed) if weight.fed})
        parameters = [_input_for(crossing[key], targets) for key, targets in needs.items()]
        gives = {key: output for key, output in crossing.items() if place.get(key[0]) == number}
        part = ov.Model(
            [op.Result(output) for output in gives.values()],
            parameters + [weights[name] for name in used],
            f"part {number}",
        )
        parts.append(Part(part, [*needs, *((name, 0) for name in used)], list(gives)))
    return parts


def _input_for(source: ov.Output, targets: Sequence[ov.Input]) -> ov.Node:
    """An input that replaces a value of another part where this part uses it."""
    parameter = op.Parameter(source.get_element_type(), source.get_partial_shape())
    for target in targets:
        target.replace_source_output(parameter.output(0))
    return parameter


def _fixed(nodes: Sequence[ov.Node], fed: Mapping[str, int]) -> _Fixed:
    fixed: dict[str, frozenset[_Weight]] = {}
    for node in nodes:
        kind, name = node.get_type_name(), node.get_name()
        if kind == "Constant":
            fixed[name] = frozenset({_Weight(name, compiled_bytes(node), 0)})
        elif name in fed:
            fixed[name] = frozenset({_Weight(name, 0, fed[name])})
        elif kind not in ("Parameter", "Result") and not kind.startswith("Random"):
            sources = [value.get_node().get_name() for value in node.input_values()]
            if sources and all(source in fixed for source in sources):
                fixed[name] = _under(node, fixed)
    return fixed


def _under(node: ov.Node, fixed: _Fixed) -> frozenset[_Weight]:
    """The weights that come along with a node."""
    sources = (value.get_node().get_name() for value in node.input_values())
    return frozenset().union(*(fixed.get(source, frozenset()) for source in sources))


def _computes(node: ov.Node, fixed: _Fixed) -> bool:
    return node.get_type_name() not in ("Parameter", "Result") and node.get_name() not in fixed


def _groups(nodes: Sequence[ov.Node], fixed: _Fixed) -> Iterator[list[ov.Node]]:
    """Consecutive nodes whose weights together keep to the limits, or one node that alone does not."""
    group: list[ov.Node] = []
    weights: frozenset[_Weight] = frozenset()
    for node in nodes:
        together = weights | _under(node, fixed)
        compiled, fed = sum(one.compiled for one in together), sum(one.fed for one in together)
        if group and (compiled > PART_BYTES or fed > FED_PART_BYTES):
            yield group
            group, together = [], _under(node, fixed)
        group.append(node)
        weights = together
    if group:
        yield group
