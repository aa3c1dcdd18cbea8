"""`Divide` before a rounding: OpenVINO multiplies with the reciprocal, which is off in the last bit.

`Floor(x / 41)` is 0 for x = 41, and 39 of 100 multiples of 41 come out one too small; the same with
`Ceiling`, `Round` and conversions to integers, so that indices and quantized numbers are one step off. The
transformation (`ConvertDivide`) takes divisions by constants and by computed numbers; what forbids it is an
attribute that IR does not keep. So the quotient is put right: the remainder of the product is computed
exactly, from halves of both factors' digits (Dekker, 1971), which fused multiplications and additions do not
change, and its share is added. Where that is none of a few last bits (overflow, infinity), the quotient stays
as it is.

Only where a rounding follows, by operations element by element or that move elements: elsewhere a last bit is
within every tolerance. Seen in the graph itself, so it is for models of any format.
"""

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing
from ovms_converter.optimizer.repairs.translation import like

__all__ = ["DIVIDE_ROUNDING"]

_ROUNDING = frozenset(("Ceiling", "Floor", "FloorMod", "Mod", "Round"))

_PASSING = frozenset(
    (
        "Abs", "Add", "Broadcast", "Clamp", "Concat", "Divide", "Gather", "Maximum", "Minimum", "Multiply",
        "Negative", "Relu", "Reshape", "Select", "Slice", "Squeeze", "StridedSlice", "Subtract", "Transpose",
        "Unsqueeze",
    )
)  # fmt: skip
"""Behind these, a number that was one bit off may still be one bit below a whole one."""

_HALF = 1 << 13
"""Splits the 24 digits of a float into 12 and the others; a power of two is exact in FP16 weights too."""

_LAST_BITS = 2.0**-20
"""The part of a quotient that a correction may be."""


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "Divide" or not node.get_output_element_type(0).is_real():
        return False
    if node.get_attributes()["auto_broadcast"] not in ("numpy", "none"):
        return False
    dividend, divisor = (node.input_value(number).get_node() for number in (0, 1))
    if dividend.get_type_name() == "Constant" or _has_exact_reciprocals(divisor):
        return False
    return _is_rounded(node)


def _has_exact_reciprocals(divisor: ov.Node) -> bool:
    """Whether all are powers of two."""
    if divisor.get_type_name() != "Constant":
        return False
    fractions, _ = np.frexp(divisor.get_data(dtype=np.float32))
    return bool(np.all(np.abs(fractions) == 0.5))


def _is_rounded(node: ov.Node) -> bool:
    waiting, seen = [node], set[str]()
    while waiting:
        for reader in waiting.pop().output(0).get_target_inputs():
            behind = reader.get_node()
            kind = behind.get_type_name()
            whole = kind == "Convert" and behind.get_output_element_type(0).is_integral_number()
            if kind in _ROUNDING or whole:
                return True
            if (kind in _PASSING or kind == "Convert") and behind.get_name() not in seen:
                seen.add(behind.get_name())
                waiting.append(behind)
    return False


def _replacement(node: ov.Node) -> ov.Node:
    dividend, divisor = node.input_value(0), node.input_value(1)
    share = opset13.power(divisor, like(-1, divisor))
    quotient = opset13.multiply(dividend, share)
    factors = _halves(quotient), _halves(divisor)
    remainder: ov.Output | ov.Node = dividend
    for one in factors[0]:
        for other in factors[1]:
            remainder = opset13.subtract(remainder, opset13.multiply(one, other))
    correction = opset13.multiply(remainder, share)
    allowed = opset13.multiply(opset13.abs(quotient), like(_LAST_BITS, quotient))
    return opset13.select(
        opset13.less(opset13.abs(correction), allowed),
        opset13.add(quotient, correction),
        quotient,
        name=f"{node.get_friendly_name()}/repaired",
    )


def _halves(value: ov.Output | ov.Node) -> tuple[ov.Node, ov.Node]:
    """The upper and the lower digits of numbers, so that a product of two such is exact."""
    wide = opset13.multiply(value, like(_HALF, value))
    upper = opset13.subtract(wide, opset13.subtract(wide, value))
    return upper, opset13.subtract(value, upper)


DIVIDE_ROUNDING = GraphRepair(
    name="cpu-divide-rounding",
    fault="multiply with a reciprocal where a quotient is rounded, so that multiples come out too small",
    issue="https://github.com/openvinotoolkit/openvino/pull/9561",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
