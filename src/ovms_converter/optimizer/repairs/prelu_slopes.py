"""`PRelu` with a slope that is computed: where sizes are free, the CPU plugin swaps it with the data.

It fuses what computes the slope with the `PRelu`, and forgets which operand that was. Right are slopes that
are constant or inputs, and shapes that are fixed. What has the same meaning is a choice between
`x` and `slope * x`. Seen in the graph itself, so it is for models of any format.
"""

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing
from ovms_converter.optimizer.repairs.translation import int64, like

__all__ = ["PRELU_SLOPES"]


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "PRelu":
        return False
    data, slope = node.get_input_partial_shape(0), node.get_input_partial_shape(1)
    if data.rank.is_dynamic or slope.rank.is_dynamic or _is_known(node.input_value(1)):
        return False
    return bool(data.is_dynamic or slope.is_dynamic)


def _is_known(value: ov.Output) -> bool:
    """Whether it is an input, or constants alone make it."""
    node = value.get_node()
    if node.get_type_name() in ("Constant", "Parameter"):
        return True
    return node.get_input_size() > 0 and all(map(_is_folded, node.input_values()))


def _is_folded(value: ov.Output) -> bool:
    node = value.get_node()
    if node.get_input_size():
        return all(map(_is_folded, node.input_values()))
    return bool(node.get_type_name() == "Constant")


def _replacement(node: ov.Node) -> ov.Node:
    data, slope = node.input_value(0), node.input_value(1)
    rank = node.get_input_partial_shape(0).rank.get_length()
    length = node.get_input_partial_shape(1)
    if rank > 1 and length.rank == ov.Dimension(1):  # that of the channels
        slope = opset13.unsqueeze(slope, int64(*np.arange(1, rank - 1))).output(0) if rank > 2 else slope
    return opset13.select(
        opset13.less(data, like(0, data)),
        opset13.multiply(data, slope),
        data,
        name=f"{node.get_friendly_name()}/repaired",
    )


PRELU_SLOPES = GraphRepair(
    name="cpu-prelu-slopes",
    fault="swap the data and a computed slope of a `PRelu` where sizes are free",
    issue="https://github.com/openvinotoolkit/openvino/issues",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
