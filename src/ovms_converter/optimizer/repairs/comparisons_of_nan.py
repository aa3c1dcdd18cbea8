"""`Greater` and `GreaterEqual` of floats: the CPU plugin finds them true where an operand is NaN.

For every shape and every type of floats, whatever the comparison is fused with; the constant folding of a
graph gets it right, so what comes out depends on what is constant. `Less`, `LessEqual`, `Equal` and
`NotEqual` are right, and `a > b` is `b < a` for NaN too. Seen in the graph itself, so it is for models of any
format.

Comparisons of what cannot be NaN are left alone: constants, and integers that became floats.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["COMPARISONS_OF_NAN"]

_MIRRORED: Mapping[str, Callable[..., ov.Node]] = {
    "Greater": opset13.less,
    "GreaterEqual": opset13.less_equal,
}

_MOVING = frozenset(("Broadcast", "Gather", "Reshape", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"))
"""Operations whose numbers are those of their first input."""


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() not in _MIRRORED or not node.get_input_element_type(0).is_real():
        return False
    # That of PaddlePaddle fits the second operand to the first, and so cannot be mirrored.
    if node.get_attributes()["auto_broadcast"] not in ("numpy", "none"):
        return False
    return any(_may_be_nan(node.input_value(number)) for number in (0, 1))


def _replacement(node: ov.Node) -> ov.Node:
    return _MIRRORED[node.get_type_name()](
        node.input_value(1),
        node.input_value(0),
        node.get_attributes()["auto_broadcast"],
        name=f"{node.get_friendly_name()}/repaired",
    )


def _may_be_nan(value: ov.Output) -> bool:
    node = value.get_node()
    while node.get_type_name() in _MOVING:
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant":
        return bool(np.isnan(node.get_data(dtype=np.float32)).any())
    return node.get_type_name() != "Convert" or bool(node.get_input_element_type(0).is_real())


COMPARISONS_OF_NAN = GraphRepair(
    name="cpu-comparisons-of-nan",
    fault="find `Greater` and `GreaterEqual` true where an operand is NaN",
    issue="https://github.com/openvinotoolkit/openvino/issues/31196",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
