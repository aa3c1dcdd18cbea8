"""`ReduceMax` of nothing but -∞, or of nothing: the CPU plugin returns the least finite number instead.

The same with `ReduceMin`. Masks of attention ask whether a row is -∞ throughout. The least number itself must
stay what it is, as masks are made of it too. So the halves are reduced, which are above that beginning for
every number, and the result is doubled: then the beginning becomes an infinity, and numbers come back as they
were.

Only where the result is compared, or is an output, and something infinite can come: what is subtracted, as in
a softmax or a logarithm of sums that is written out, is for the plugin to recognise, and no infinity does
better there. Seen in the graph itself, so it is for models of any format.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing
from ovms_converter.optimizer.repairs.translation import like

__all__ = ["EXTREMES_OF_INFINITIES"]

_REDUCTIONS: Mapping[str, Callable[..., ov.Node]] = {
    "ReduceMax": opset13.reduce_max,
    "ReduceMin": opset13.reduce_min,
}

_FINITE = frozenset(
    (
        "Clamp", "Convolution", "ConvolutionBackpropData", "FakeQuantize", "GroupConvolution", "HardSigmoid",
        "MVN", "MatMul", "ShapeOf", "Sigmoid", "Softmax", "SoftSign", "Tanh",
    )
)  # fmt: skip
"""What finite numbers come of, but for overflows."""

_COMPARING = frozenset(
    (
        "Equal",
        "Greater",
        "GreaterEqual",
        "IsFinite",
        "IsInf",
        "IsNaN",
        "Less",
        "LessEqual",
        "NotEqual",
        "Result",
    )
)

_PASSING = frozenset(("Abs", "Convert", "Negative", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))

_INFINITE = frozenset(("Divide", "Exp", "Log", "Parameter", "Power", "ReadValue"))


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() not in _REDUCTIONS or not node.get_output_element_type(0).is_real():
        return False
    return _is_compared(node) and _may_be_infinite(node.input_value(0))


def _is_compared(node: ov.Node) -> bool:
    for reader in node.output(0).get_target_inputs():
        behind = reader.get_node()
        kind = behind.get_type_name()
        if kind in _COMPARING or (kind in _PASSING and _is_compared(behind)):
            return True
    return False


def _may_be_infinite(value: ov.Output) -> bool:
    waiting, seen = [value], set[str]()
    while waiting:
        node = waiting.pop().get_node()
        kind = node.get_type_name()
        if kind in _INFINITE:
            return True
        if kind == "Constant" and np.isinf(node.get_data(dtype=np.float32)).any():
            return True
        if kind not in _FINITE and node.get_name() not in seen:
            seen.add(node.get_name())
            waiting += [each for each in node.input_values() if each.get_element_type().is_real()]
    return False


def _replacement(node: ov.Node) -> ov.Node:
    data = node.input_value(0)
    reduced = _REDUCTIONS[node.get_type_name()](
        opset13.multiply(data, like(0.5, data)), node.input_value(1), node.get_attributes()["keep_dims"]
    )
    return opset13.multiply(reduced, like(2, data), name=f"{node.get_friendly_name()}/repaired")


EXTREMES_OF_INFINITIES = GraphRepair(
    name="cpu-extremes-of-infinities",
    fault="find the largest of nothing but -∞, or of nothing, to be a finite number",
    issue="https://github.com/openvinotoolkit/openvino/pull/5475",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
