"""Element by element: `SwiGLU` (opset 28), `Celu` of other types than f32, `Mod` of floats, `BitShift`."""

import numpy as np
from openvino import opset15

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import attribute, integer, like, translated

__all__ = ["BIT_SHIFT", "CELU", "MOD", "SWIGLU"]

_WORD = 32
"""Bits of the integers that the CPU plugin computes with."""


def _swiglu(node: ov.frontend.NodeContext) -> list[ov.Output]:
    gate = node.get_input(0)
    scaled = opset13.multiply(gate, like(node.get_attribute("alpha", 1.0), gate))
    swish = opset13.multiply(gate, opset13.sigmoid(scaled))
    return list(opset13.multiply(swish, node.get_input(1)).outputs())


def _celu(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    alpha = like(node.get_attribute("alpha", 1.0), data)
    return list(opset13.multiply(opset13.elu(opset13.divide(data, alpha), 1.0), alpha).outputs())


def _mod(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """The remainder of C, moved to the side of the divisor, which may be infinite."""
    data, divisor = node.get_input(0), node.get_input(1)
    if data.get_element_type() == ov.Type.f64:
        raise ValueError("the CPU plugin has no infinities of f64, which `Mod` may give")
    if not data.get_element_type().is_real():
        return list(opset13.floor_mod(data, divisor).outputs())
    zero = like(0, data)
    itself = opset13.add(data, opset13.subtract(data, data))
    rest = opset13.select(opset13.is_inf(divisor), itself, opset13.mod(data, divisor))
    other_side = opset13.less(opset13.multiply(opset13.sign(rest), opset13.sign(divisor)), zero)
    return list(opset13.select(other_side, opset13.add(rest, divisor), rest).outputs())


def _keeps_sign_of_divisor(node: Message) -> bool:
    found = attribute(node, "fmod")
    return found is None or not found.integer(3)


def _is_misshifted(node: ov.frontend.NodeContext) -> bool:
    """Whether OpenVINO's products and quotients overflow or round where a shift does not."""
    kind = node.get_input(0).get_element_type()
    return bool(kind.is_signed() or kind.bitwidth < _WORD)


def _bit_shift(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """In 32 bits; a shift by at least the width, or by less than 0, leaves the sign alone.

    Larger unsigned integers are as OpenVINO has them.
    """
    value, steps = node.get_input(0), node.get_input(1)
    kind = value.get_element_type()
    left = node.get_attribute("direction", "") == "LEFT"
    if not _is_misshifted(node):
        factor = opset13.power(opset13.convert_like(opset13.constant(np.int32(2)), value), steps)
        return list((opset13.multiply if left else opset13.divide)(value, factor).outputs())
    width = min(int(kind.bitwidth), _WORD)
    powers = np.left_shift(np.int32(1), np.arange(width, dtype=np.int32))
    data, number = opset13.convert(value, "i32"), opset13.convert(steps, "i64")
    limit = width if left or not kind.is_signed() else width - 1
    inside = opset13.logical_and(
        opset13.greater_equal(number, integer(0)), opset13.less(number, integer(limit))
    )
    safe = opset13.select(inside, number, integer(0))
    zero = opset13.constant(np.int32(0))
    outside: ov.Node = zero
    if left:
        shifted = opset13.multiply(data, opset13.gather(opset13.constant(powers), safe, integer(0)))
        if width < _WORD:
            half = opset13.constant(np.int32(1 << (width - 1) if kind.is_signed() else 0))
            whole = opset13.constant(np.int32(1 << width))
            shifted = opset13.subtract(opset13.floor_mod(opset13.add(shifted, half), whole), half)
    else:
        shifted = opset15.bitwise_right_shift(data, opset13.convert(safe, "i32"))
        outside = opset13.select(opset13.less(data, zero), opset13.constant(np.int32(-1)), zero)
    return list(opset13.convert_like(opset13.select(inside, shifted, outside), value).outputs())


SWIGLU = translated("SwiGLU", _swiglu)

CELU = translated(
    "Celu",
    _celu,
    "refuse `Celu` of other types than f32",
    needed=lambda node: node.get_input(0).get_element_type() != ov.Type.f32,
)

MOD = translated(
    "Mod",
    _mod,
    "refuse `Mod` of floats with the sign of the divisor",
    applies=_keeps_sign_of_divisor,
    needed=lambda node: node.get_input(0).get_element_type().is_real(),
)

BIT_SHIFT = translated(
    "BitShift",
    _bit_shift,
    "shift signed and short integers wrongly",
    needed=_is_misshifted,
)
