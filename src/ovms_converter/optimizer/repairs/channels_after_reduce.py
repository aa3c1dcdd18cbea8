"""A reduction over the last axis of `[B,C,L]`, and an operation per channel after it: wrong for B above 1.

The CPU plugin fuses the two. `ReduceSum(x, 2) + k[1,C]` is right for B = 1 and wrong for every other B; the
same with any reduction, with and without `keep_dims`, with simple operations in between, with static and
dynamic shapes. No other rank and no other axis is affected, so the tensor gets a fourth dimension of size 1,
which is reduced with the last one. Seen in the graph itself, so it is for models of any format.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ovms_converter.optimizer.native import Model, opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, graphs_of

__all__ = ["CHANNELS_AFTER_REDUCE"]

_REDUCTIONS: Mapping[str, Callable[..., ov.Node]] = {
    "ReduceSum": opset13.reduce_sum,
    "ReduceMean": opset13.reduce_mean,
    "ReduceMax": opset13.reduce_max,
    "ReduceMin": opset13.reduce_min,
    "ReduceProd": opset13.reduce_prod,
    "ReduceL1": opset13.reduce_l1,
    "ReduceL2": opset13.reduce_l2,
}

_SIMPLE = frozenset(
    (
        "Abs", "Add", "Ceiling", "Clamp", "Convert", "Divide", "Elu", "Erf", "Exp", "FakeQuantize", "Floor",
        "Gelu", "HSigmoid", "HSwish", "HardSigmoid", "Log", "Maximum", "Minimum", "Mish", "Multiply",
        "Negative", "PRelu", "Power", "Relu", "Round", "Selu", "Sigmoid", "SoftPlus", "SoftSign", "Sqrt",
        "SquaredDifference", "Subtract", "Swish", "Tanh",
    )
)  # fmt: skip
"""Operations that work element by element: one that is not per channel may lie between."""

_LAST = 2


def _apply(model: Model) -> int:
    """Repair every such reduction, those in loops and branches too; how many there were."""
    return sum(map(_applied, graphs_of(model)))


def _applied(model: Model) -> int:
    found = [(node, readers) for node in model.get_ordered_ops() if (readers := _readers(node))]
    for node, readers in found:
        replacement = _replacement(node)
        for reader in readers:
            reader.replace_source_output(replacement.output(0))
    if found:
        model.validate_nodes_and_infer_types()
    return len(found)


def _readers(node: ov.Node) -> list[ov.Input]:
    """Who reads a reduction over the last of three axes on the way to an operation per channel."""
    if node.get_type_name() not in _REDUCTIONS or node.get_input_partial_shape(0).rank != ov.Dimension(3):
        return []
    axes = node.input_value(1).get_node()
    if axes.get_type_name() != "Constant":
        return []
    if [int(axis) % 3 for axis in np.asarray(axes.get_data()).ravel()] != [_LAST]:
        return []
    return [reader for reader in node.output(0).get_target_inputs() if _reaches_channels(reader)]


def _reaches_channels(reader: ov.Input) -> bool:
    """Whether an operation is per channel, or one behind it through element-wise ones is."""
    waiting, seen = [reader], set[str]()
    while waiting:
        at = waiting.pop()
        node = at.get_node()
        if node.get_type_name() not in _SIMPLE or node.get_name() in seen:
            continue
        seen.add(node.get_name())
        sizes = list(_constant_sizes(node, at.get_index()))
        if any(size is not None and size > 1 for size in sizes):
            return True
        if None not in sizes:
            waiting += node.output(0).get_target_inputs()
    return False


def _constant_sizes(node: ov.Node, data: int) -> Iterator[int | None]:
    """The elements of what an operation reads beside its input `data`; None for what is no constant.

    Nothing is fused across that, and it is how a layer normalisation reads the mean, which must stay as it
    is to be recognised by the plugin.
    """
    for position, value in enumerate(node.input_values()):
        if position == data:
            continue
        source = value.get_node()
        if source.get_type_name() == "Convert":
            source = source.input_value(0).get_node()
        constant = source.get_type_name() == "Constant"
        yield int(np.prod(list(source.get_output_shape(0)), dtype=np.int64)) if constant else None


def _replacement(node: ov.Node) -> ov.Node:
    """`[B,C,L]` → `[B,C,1,L]` → `[B,C]`, and → `[B,C,1]` if the axis is kept."""
    wide = opset13.unsqueeze(node.input_value(0), opset13.constant(np.array([_LAST], np.int64)))
    axes = opset13.constant(np.array([_LAST, _LAST + 1], np.int64))
    reduced = _REDUCTIONS[node.get_type_name()](
        wide, axes, False, name=f"{node.get_friendly_name()}/repaired"
    )
    if not node.get_attributes()["keep_dims"]:
        return reduced
    return opset13.unsqueeze(reduced, opset13.constant(np.array([_LAST], np.int64)))


CHANNELS_AFTER_REDUCE = GraphRepair(
    name="cpu-channels-after-reduce",
    fault="run a reduction with an operation per channel after it wrongly for batches above 1",
    issue="https://github.com/openvinotoolkit/openvino/issues/23616",
    versions="2026.4",
    apply=_apply,
)
