"""`Floor` of a quotient of integers: OpenVINO has cut it off already, so that -7 // 3 is -2.

Front ends write a floor division so for integers too (PyTorch's `aten::floor_divide`, `//`), where `Floor`
does nothing. What is divided is made a multiple of the divisor first: without its `FloorMod`, which is
computed right, nothing is left to cut off. Seen in the graph itself, so it is for models of any format.
"""

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["FLOOR_OF_INTEGERS"]


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "Floor":
        return False
    kind = node.get_input_element_type(0)
    divided = node.input_value(0).get_node()
    return bool(kind.is_integral_number() and kind.is_signed() and divided.get_type_name() == "Divide")


def _replacement(node: ov.Node) -> ov.Node:
    division = node.input_value(0).get_node()
    dividend, divisor = division.input_value(0), division.input_value(1)
    whole = opset13.subtract(dividend, opset13.floor_mod(dividend, divisor))
    return opset13.divide(whole, divisor, name=f"{node.get_friendly_name()}/repaired")


FLOOR_OF_INTEGERS = GraphRepair(
    name="cpu-floor-of-integers",
    fault="cut a quotient of integers off where it shall be rounded down",
    issue="https://github.com/openvinotoolkit/openvino/blob/master/src/frontends/pytorch/src/op/floor_divide.cpp",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
