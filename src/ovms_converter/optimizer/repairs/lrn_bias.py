"""`LRN` with a bias that is no whole number: the CPU plugin cuts it off.

`(bias + a)^beta` is `bias^beta * (1 + a / bias)^beta`, so a bias of 1 does with another `alpha` and a factor
behind. Seen in the graph itself, so it is for models of any format.
"""

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["LRN_BIAS"]


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "LRN":
        return False
    bias = node.get_attributes()["bias"]
    return bool(bias > 0 and bias != int(bias))


def _replacement(node: ov.Node) -> ov.Node:
    values = node.get_attributes()
    bias, beta = values["bias"], values["beta"]
    normal = opset13.lrn(
        node.input_value(0), node.input_value(1), values["alpha"] / bias, beta, 1.0, values["size"]
    )
    factor = opset13.convert_like(opset13.constant(np.float32(bias**-beta)), node.input_value(0))
    return opset13.multiply(normal, factor, name=f"{node.get_friendly_name()}/repaired")


LRN_BIAS = GraphRepair(
    name="cpu-lrn-bias",
    fault="cut the fraction off the bias of an `LRN`",
    issue="https://github.com/openvinotoolkit/openvino/issues",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
