"""`QuantizeLinear` (opset 10) and `DynamicQuantizeLinear` (opset 11).

OpenVINO's rule for the first makes a `FakeQuantize`. It takes a scale per axis for one of the last axis where
the size of the axis is free, and where the scale is computed, it is another arithmetic than a division by
it. The rule for the second does not divide by the scale that it returns.
"""

from collections.abc import Mapping

import numpy as np

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import attribute, count, given, int64, size, translated

__all__ = ["DYNAMIC_QUANTIZE", "QUANTIZE"]

_STEPS = 255


def _dynamic_quantize(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """The function of the standard; what `Divide` becomes on the CPU is another repair's."""
    data = node.get_input(0)
    zero, steps = opset13.constant(np.float32(0)), opset13.constant(np.float32(_STEPS))
    axes = count(size(opset13.shape_of(data), 0))
    least = opset13.minimum(opset13.reduce_min(data, axes, False), zero)
    most = opset13.maximum(opset13.reduce_max(data, axes, False), zero)
    scale = opset13.divide(opset13.subtract(most, least), steps)
    start = opset13.clamp(opset13.subtract(zero, opset13.divide(least, scale)), 0, _STEPS)
    point = opset13.round(start, "half_to_even")
    whole = opset13.round(opset13.divide(data, scale), "half_to_even")
    quantized = opset13.clamp(opset13.add(whole, point), 0, _STEPS)
    return [
        opset13.convert(quantized, "u8").output(0),
        scale.output(0),
        opset13.convert(point, "u8").output(0),
    ]


_BANDS: Mapping[str, tuple[int, int]] = {
    "i8": (-128, 127),
    "u8": (0, 255),
    "i16": (-32768, 32767),
    "u16": (0, 65535),
}
"""The least and the largest number of types that are quantized to."""


def _is_plain(node: Message) -> bool:
    return not any(attribute(node, name) for name in ("block_size", "output_dtype", "precision"))


def _quantize(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, scale, zero = node.get_input(0), node.get_input(1), given(node, 2)
    if zero is None:
        zero = opset13.constant(np.uint8(0)).output(0)
    kind = zero.get_element_type()
    shape = _of_axis(node)
    band = _BANDS.get(kind.get_type_name())
    if band is None or _is_read_wrong(node):
        return _by_the_standard(data, _shaped(scale, shape), _shaped(zero, shape), kind, band)
    low, high = band
    steps = scale.get_node().get_data()
    start = zero.get_node().get_data().astype(steps.dtype)
    least, most = ((limit - start) * steps for limit in (steps.dtype.type(low), steps.dtype.type(high)))
    ranges = [opset13.constant(limit.reshape(shape or limit.shape)) for limit in (least, most)]
    ends = [opset13.constant(steps.dtype.type(limit)) for limit in band]
    quantized = opset13.fake_quantize(data, *ranges, *ends, high - low + 1)
    return [opset13.convert(quantized, kind.get_type_name()).output(0)]


def _of_axis(node: ov.frontend.NodeContext) -> list[int]:
    """The shape of a scale, so that it is for its axis; that of a number has no dimensions."""
    length = node.get_input(1).get_partial_shape()
    if length.rank == ov.Dimension(0) or length == ov.PartialShape([1]):
        return []
    rank = node.get_input(0).get_partial_shape().rank
    if rank.is_dynamic:
        raise ValueError("`QuantizeLinear` with a scale per axis needs a known number of dimensions")
    axis = node.get_attribute("axis", 1) % rank.get_length()
    return [-1 if each == axis else 1 for each in range(rank.get_length())]


def _shaped(value: ov.Output, shape: list[int]) -> ov.Node:
    return opset13.reshape(value, int64(*shape), False)


def _is_read_wrong(node: ov.frontend.NodeContext) -> bool:
    data, scale, zero = node.get_input(0), node.get_input(1), given(node, 2)
    if any(each.get_node().get_type_name() != "Constant" for each in (scale, zero) if each is not None):
        return True
    if scale.get_element_type().get_type_name() not in ("f16", "f32"):
        return True
    shape = _of_axis(node)
    return bool(shape) and data.get_partial_shape()[shape.index(-1)].is_dynamic


def _by_the_standard(
    data: ov.Output, scale: ov.Node, zero: ov.Node, kind: ov.Type, band: tuple[int, int] | None
) -> list[ov.Output]:
    whole = opset13.round(opset13.divide(data, scale), "half_to_even")
    moved = opset13.add(whole, opset13.convert_like(zero, data))
    if band is not None:
        moved = opset13.clamp(moved, *band)
    return [opset13.convert(moved, kind.get_type_name()).output(0)]


QUANTIZE = translated(
    "QuantizeLinear",
    _quantize,
    "take the scales of a `QuantizeLinear` for those of another axis, or divide by something else",
    applies=_is_plain,
    needed=_is_read_wrong,
)
DYNAMIC_QUANTIZE = translated(
    "DynamicQuantizeLinear",
    _dynamic_quantize,
    "divide by something else than the scale that `DynamicQuantizeLinear` returns",
)
