"""`Resize` with `antialias` or, cubic, with `exclude_outside`, which OpenVINO's rule ignores, and with places
that are `half_pixel_symmetric` (opset 19), which it does not know.

A resize weighs, axis by axis, the values around a place; the weights of all places of an axis are a matrix,
which is constant where the sizes are. It is made as the standard defines it (ONNX, `Resize`), with operations
that compute it where sizes become known only at run time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import (
    attribute,
    count,
    given,
    int64,
    integer,
    size,
    translated,
)

__all__ = ["RESIZE"]

_INTEGER, _TEXT = 3, 4
_SUPPORT: Mapping[str, int] = {"linear": 1, "cubic": 2}
"""How far a value reaches to either side, in pixels."""


@dataclass(frozen=True)
class _Axis:
    """What is known of a resized axis, in f32: its two lengths, and the factor between them."""

    before: ov.Node
    after: ov.Node
    factor: ov.Node

    @property
    def exact(self) -> ov.Node:
        """The new length before it was rounded down."""
        return opset13.multiply(self.before, self.factor)


def _number(value: float) -> ov.Node:
    return opset13.constant(np.float32(value))


def _half_pixel(axis: _Axis, place: ov.Node) -> ov.Node:
    middle = opset13.add(place, _number(0.5))
    return opset13.subtract(opset13.divide(middle, axis.factor), _number(0.5))


def _half_pixel_unless_one(axis: _Axis, place: ov.Node) -> ov.Node:
    alone = opset13.equal(axis.exact, _number(1))
    return opset13.select(alone, _number(-0.5), _half_pixel(axis, place))


def _half_pixel_symmetric(axis: _Axis, place: ov.Node) -> ov.Node:
    rounding = opset13.subtract(_number(1), opset13.divide(axis.after, axis.exact))
    middle = opset13.multiply(axis.before, _number(0.5))
    return opset13.add(opset13.multiply(middle, rounding), _half_pixel(axis, place))


def _align_corners(axis: _Axis, place: ov.Node) -> ov.Node:
    one = _number(1)
    steps = opset13.subtract(axis.exact, one)
    apart = opset13.divide(opset13.multiply(place, opset13.subtract(axis.before, one)), steps)
    return opset13.select(opset13.equal(steps, _number(0)), _number(0), apart)


def _asymmetric(axis: _Axis, place: ov.Node) -> ov.Node:
    return opset13.divide(place, axis.factor)


_PLACES: Mapping[str, Callable[[_Axis, ov.Node], ov.Node]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _half_pixel_unless_one,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}
"""`coordinate_transformation_mode` → where a place of the new axis lies on the old one."""


def _weight(mode: str, distance: ov.Node, coefficient: float) -> ov.Node:
    """The weight of a value at a distance of so many pixels, not negative."""
    if mode == "linear":
        return opset13.relu(opset13.subtract(_number(1), distance))
    a = coefficient
    near = _polynomial(distance, (a + 2, -(a + 3), 0, 1))
    far = _polynomial(distance, (a, -5 * a, 8 * a, -4 * a))
    outer = opset13.select(opset13.less(distance, _number(2)), far, _number(0))
    return opset13.select(opset13.less_equal(distance, _number(1)), near, outer)


def _polynomial(x: ov.Node, coefficients: tuple[float, ...]) -> ov.Node:
    first, *others = coefficients
    total = _number(first)
    for each in others:
        total = opset13.add(opset13.multiply(total, x), _number(each))
    return total


def _weights(node: ov.frontend.NodeContext, axis: _Axis) -> ov.Node:
    """The weights of an axis, `[after,before]`."""
    mode = node.get_attribute("mode", "nearest")
    stretch = _number(1)
    if node.get_attribute("antialias", 0):
        stretch = opset13.maximum(stretch, opset13.divide(stretch, axis.factor))
    before = opset13.convert(axis.before, "i64")
    margin = integer(0)
    if not node.get_attribute("exclude_outside", 0):
        reach = opset13.ceiling(opset13.multiply(stretch, _number(_SUPPORT[mode])))
        margin = opset13.add(opset13.convert(reach, "i64"), integer(1))
    end = opset13.add(before, margin)
    sources = opset13.range(opset13.negative(margin), end, integer(1), "f32")
    places = opset13.unsqueeze(opset13.convert(count(opset13.convert(axis.after, "i64")), "f32"), int64(1))
    transform = _PLACES[node.get_attribute("coordinate_transformation_mode", "half_pixel")]
    apart = opset13.abs(opset13.subtract(sources, transform(axis, places)))
    weights = _weight(mode, opset13.divide(apart, stretch), node.get_attribute("cubic_coeff_a", -0.75))
    weights = opset13.divide(weights, opset13.reduce_sum(weights, int64(1), True))
    # what lies outside counts as the value at the edge
    last = opset13.subtract(axis.before, _number(1))
    inside = opset13.minimum(opset13.maximum(sources, _number(0)), last)
    own = opset13.convert(count(before), "f32")
    edges = opset13.equal(opset13.unsqueeze(inside, int64(1)), own)
    return opset13.matmul(weights, opset13.convert(edges, "f32"), False, False)


def _resize(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    rank = data.get_partial_shape().rank.get_length()
    scales, sizes = (_unless_empty(given(node, number)) for number in (2, 3))
    named = node.get_attribute("axes", list(range(rank)))
    result = data if data.get_element_type().is_real() else opset13.convert(data, "f32").output(0)
    for number, axis in enumerate(each % rank for each in named):
        if _stays(data, axis, number, scales, sizes):
            continue
        before = opset13.convert(opset13.squeeze(size(data, axis), int64(0)), "f32")
        if scales is not None:
            factor = opset13.convert(opset13.gather(scales, integer(number), integer(0)), "f32")
            after = opset13.floor(opset13.multiply(before, factor))
        else:
            assert sizes is not None
            after = opset13.convert(opset13.gather(sizes, integer(number), integer(0)), "f32")
            factor = opset13.divide(after, before)
        weights = opset13.convert_like(_weights(node, _Axis(before, after, factor)), result)
        result = _along(result, axis, rank, weights)
    if result.get_element_type() != data.get_element_type():
        result = opset13.convert_like(result, data).output(0)
    return [result]


def _unless_empty(value: ov.Output | None) -> ov.Output | None:
    return None if value is None or value.get_partial_shape() == ov.PartialShape([0]) else value


def _stays(
    data: ov.Output, axis: int, number: int, scales: ov.Output | None, sizes: ov.Output | None
) -> bool:
    """Whether an axis keeps its length. Of sizes that are computed, batch and channels are taken to."""
    if scales is not None and scales.get_node().get_type_name() == "Constant":
        return bool(scales.get_node().get_data().ravel()[number] == 1)
    length = data.get_partial_shape()[axis]
    if sizes is not None and sizes.get_node().get_type_name() == "Constant" and length.is_static:
        return bool(sizes.get_node().get_data().ravel()[number] == length.get_length())
    return bool(axis < 2 < data.get_partial_shape().rank.get_length())


def _along(data: ov.Output, axis: int, rank: int, weights: ov.Node) -> ov.Output:
    """Every row of an axis, weighed: its product with the weights."""
    if axis == rank - 1:
        return opset13.matmul(data, weights, False, True).output(0)
    if axis == rank - 2:
        return opset13.matmul(weights, data, False, False).output(0)
    order = [each for each in range(rank) if each != axis] + [axis]
    turned = opset13.matmul(opset13.transpose(data, int64(*order)), weights, False, True)
    return opset13.transpose(turned, int64(*np.argsort(order).tolist())).output(0)


def _is_misread(node: Message) -> bool:
    mode, place, smooth, outside = (
        attribute(node, name)
        for name in ("mode", "coordinate_transformation_mode", "antialias", "exclude_outside")
    )
    kind = mode.text(_TEXT) if mode else "nearest"
    where = place.text(_TEXT) if place else "half_pixel"
    if kind not in _SUPPORT or where not in _PLACES:
        return False
    smoothed = bool(smooth and smooth.integer(_INTEGER))
    shut = kind == "cubic" and bool(outside and outside.integer(_INTEGER))
    return smoothed or shut or where == "half_pixel_symmetric"


RESIZE = translated(
    "Resize",
    _resize,
    "ignore `antialias` and `exclude_outside` of `Resize`, and refuse `half_pixel_symmetric`",
    name="onnx-Resize-weights",
    opsets=range(11, 100),
    applies=_is_misread,
)
