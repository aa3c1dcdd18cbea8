"""`Resize` with `antialias` or, cubic, with `exclude_outside`, which OpenVINO's rule ignores, and with places
that are `half_pixel_symmetric` (opset 19) or a crop (`tf_crop_and_resize`), which it does not know.

A resize weighs, axis by axis, the values around a place; the weights of all places of an axis are a matrix,
which is constant where the sizes are. It is made as the standard defines it (ONNX, `Resize`), with operations
that compute it where sizes become known only at run time. The nearest value is gathered as it is.

A crop has a region of interest, in parts of each axis; what lies outside of the values, on any axis, becomes
`extrapolation_value`. A place that is outside by no more than rounding may do counts as the edge.
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
    has_input,
    int64,
    integer,
    like,
    size,
    translated,
)

__all__ = ["RESIZE"]

_INTEGER, _TEXT = 3, 4
_CROP = "tf_crop_and_resize"
_ROUNDING = 1e-6
"""The part of an axis by which rounding to f32 moves a place."""
_SUPPORT: Mapping[str, int] = {"linear": 1, "cubic": 2}
"""How far a value reaches to either side, in pixels."""


@dataclass(frozen=True)
class _Axis:
    """What is known of a resized axis, in f32: its lengths, the factor between them, and its part."""

    before: ov.Node
    after: ov.Node
    factor: ov.Node
    start: ov.Node
    end: ov.Node

    @property
    def last(self) -> ov.Node:
        """The place of its last value."""
        return opset13.subtract(self.before, _number(1))

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


def _crop(axis: _Axis, place: ov.Node) -> ov.Node:
    several = opset13.less(_number(1), axis.after)
    steps = opset13.maximum(opset13.subtract(axis.after, _number(1)), _number(1))
    part = opset13.multiply(place, opset13.subtract(axis.end, axis.start))
    apart = opset13.divide(opset13.multiply(part, axis.last), steps)
    among = opset13.add(opset13.multiply(axis.start, axis.last), apart)
    middle = opset13.multiply(opset13.multiply(opset13.add(axis.start, axis.end), _number(0.5)), axis.last)
    return opset13.select(several, among, opset13.add(opset13.multiply(place, _number(0)), middle))


_PLACES: Mapping[str, Callable[[_Axis, ov.Node], ov.Node]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _half_pixel_unless_one,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    _CROP: _crop,
}
"""`coordinate_transformation_mode` → where a place of the new axis lies on the old one."""


_NEAREST: Mapping[str, Callable[[ov.Node], ov.Node]] = {
    "round_prefer_floor": lambda place: opset13.ceiling(opset13.subtract(place, _number(0.5))),
    "round_prefer_ceil": lambda place: opset13.floor(opset13.add(place, _number(0.5))),
    "floor": opset13.floor,
    "ceil": opset13.ceiling,
}
"""`nearest_mode` → which value is the nearest."""


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


def _within(axis: _Axis, places: ov.Node) -> ov.Node:
    return opset13.minimum(opset13.maximum(places, _number(0)), axis.last)


def _transformed(node: ov.frontend.NodeContext, axis: _Axis) -> ov.Node:
    """Where the places of the new axis lie on the old one, or beside it, `[after]`."""
    transform = _PLACES[node.get_attribute("coordinate_transformation_mode", "half_pixel")]
    return transform(axis, opset13.convert(count(opset13.convert(axis.after, "i64")), "f32"))


def _old_places(node: ov.frontend.NodeContext, axis: _Axis) -> ov.Node:
    """The same; of a crop the nearest that are not outside."""
    places = _transformed(node, axis)
    return _within(axis, places) if _is_crop(node) else places


def _is_crop(node: ov.frontend.NodeContext) -> bool:
    return bool(node.get_attribute("coordinate_transformation_mode", "half_pixel") == _CROP)


def _outside(node: ov.frontend.NodeContext, axis: _Axis) -> ov.Node:
    """Which places of a crop have no value, `[after]`."""
    places = _transformed(node, axis)
    slack = opset13.multiply(opset13.maximum(axis.last, _number(1)), _number(_ROUNDING))
    below = opset13.less(places, opset13.negative(slack))
    return opset13.logical_or(below, opset13.less(opset13.add(axis.last, slack), places))


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
    apart = opset13.abs(opset13.subtract(sources, opset13.unsqueeze(_old_places(node, axis), int64(1))))
    weights = _weight(mode, opset13.divide(apart, stretch), node.get_attribute("cubic_coeff_a", -0.75))
    weights = opset13.divide(weights, opset13.reduce_sum(weights, int64(1), True))
    # what lies outside counts as the value at the edge
    inside = _within(axis, sources)
    own = opset13.convert(count(before), "f32")
    edges = opset13.equal(opset13.unsqueeze(inside, int64(1)), own)
    return opset13.matmul(weights, opset13.convert(edges, "f32"), False, False)


def _resize(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    rank = data.get_partial_shape().rank.get_length()
    scales, sizes = (_unless_empty(given(node, number)) for number in (2, 3))
    region = _unless_empty(given(node, 1)) if _is_crop(node) else None
    named = node.get_attribute("axes", list(range(rank)))
    is_nearest = node.get_attribute("mode", "nearest") == "nearest"
    exact = is_nearest or data.get_element_type().is_real()
    result = data if exact else opset13.convert(data, "f32").output(0)
    outside: ov.Node | None = None
    for number, at in enumerate(each % rank for each in named):
        if _stays(data, at, number, scales, sizes) and _is_whole(region, number, len(named)):
            continue
        axis = _axis(data, at, number, scales, sizes, _part(region, number, len(named)))
        if is_nearest:
            round_ = _NEAREST[node.get_attribute("nearest_mode", "round_prefer_floor")]
            nearest = _within(axis, round_(_old_places(node, axis)))
            result = opset13.gather(result, opset13.convert(nearest, "i64"), integer(at)).output(0)
        else:
            weights = opset13.convert_like(_weights(node, axis), result)
            result = _along(result, at, rank, weights)
        if region is not None:
            beside = opset13.unsqueeze(
                _outside(node, axis), int64(*(each for each in range(rank) if each != at))
            )
            outside = beside if outside is None else opset13.logical_or(outside, beside)
    if outside is not None:
        value = like(node.get_attribute("extrapolation_value", 0.0), result)
        result = opset13.select(outside, value, result).output(0)
    if result.get_element_type() != data.get_element_type():
        result = opset13.convert_like(result, data).output(0)
    return [result]


def _axis(
    data: ov.Output,
    at: int,
    number: int,
    scales: ov.Output | None,
    sizes: ov.Output | None,
    part: tuple[ov.Node, ov.Node],
) -> _Axis:
    before = opset13.convert(opset13.squeeze(size(data, at), int64(0)), "f32")
    if scales is not None:
        factor = opset13.convert(opset13.gather(scales, integer(number), integer(0)), "f32")
        after = opset13.floor(opset13.multiply(before, factor))
    else:
        assert sizes is not None
        after = opset13.convert(opset13.gather(sizes, integer(number), integer(0)), "f32")
        factor = opset13.divide(after, before)
    return _Axis(before, after, factor, *part)


def _part(region: ov.Output | None, number: int, count_: int) -> tuple[ov.Node, ov.Node]:
    """Start and end of an axis of a region `[start1, ..., end1, ...]`."""
    if region is None:
        return _number(0), _number(1)
    start, end = (opset13.gather(region, integer(at), integer(0)) for at in (number, number + count_))
    return opset13.convert(start, "f32"), opset13.convert(end, "f32")


def _is_whole(region: ov.Output | None, number: int, count_: int) -> bool:
    """Whether a region is known to be all of an axis."""
    if region is None:
        return True
    if region.get_node().get_type_name() != "Constant":
        return False
    parts = region.get_node().get_data().ravel()
    return bool(parts[number] == 0 and parts[number + count_] == 1)


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
    smoothed = bool(smooth and smooth.integer(_INTEGER))
    if where == _CROP:
        return not smoothed and has_input(node, 1) and (kind in _SUPPORT or kind == "nearest")
    if kind not in _SUPPORT or where not in _PLACES:
        return False
    shut = kind == "cubic" and bool(outside and outside.integer(_INTEGER))
    return smoothed or shut or where == "half_pixel_symmetric"


RESIZE = translated(
    "Resize",
    _resize,
    "ignore `antialias` and `exclude_outside` of `Resize`, and refuse `half_pixel_symmetric` and crops",
    name="onnx-Resize-weights",
    opsets=range(11, 100),
    applies=_is_misread,
)
