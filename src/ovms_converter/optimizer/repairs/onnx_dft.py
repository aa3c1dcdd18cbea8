"""`DFT` (opset 17): of a one-sided transform, OpenVINO's rule gives another rank, and it ignores an axis that
is no constant.

A transform over an axis of up to `_LONGEST` elements, or one that is only known at run time, is a product
with a matrix; its zeros are exact. A longer one is OpenVINO's operation with the rank set right.
"""

import math

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import (
    count,
    given,
    int64,
    integer,
    like,
    translated,
)

__all__ = ["DFT"]

_LONGEST = 256


def _dft(node: ov.frontend.NodeContext, default: int) -> list[ov.Output]:
    """`default` is the axis if there is no input for it."""
    data, length, axis = node.get_input(0), given(node, 1), given(node, 2)
    inverse, half = bool(node.get_attribute("inverse", 0)), bool(node.get_attribute("onesided", 0))
    shape = opset13.shape_of(data)
    at = int64(default) if axis is None else opset13.reshape(opset13.convert(axis, "i64"), int64(1), False)
    at = opset13.floor_mod(at, opset13.shape_of(shape))
    number = None if length is None else opset13.reshape(opset13.convert(length, "i64"), int64(1), False)
    short = _static_length(data, default if axis is None else _constant(axis))
    complete = _complex(data)
    transform = _by_matrix if short is None or short <= _LONGEST else _by_operation
    return list(transform(complete, at, number, inverse=inverse, half=half).outputs())


def _constant(value: ov.Output) -> int | None:
    node = value.get_node()
    return int(np.ravel(node.get_data())[0]) if node.get_type_name() == "Constant" else None


def _static_length(data: ov.Output, axis: int | None) -> int | None:
    """The size of the axis, None if it or the axis is not known: then no operation of OpenVINO's fits."""
    shape = data.get_partial_shape()
    if axis is None:
        return None
    return int(shape[axis].get_length()) if shape[axis].is_static else _LONGEST + 1


def _complex(data: ov.Output) -> ov.Node:
    """With an imaginary part."""
    last = data.get_partial_shape()[-1]
    if last.is_static and last.get_length() == 1:
        return opset13.concat([data, opset13.multiply(data, like(0, data))], -1)
    return opset13.concat([data], -1)


def _by_operation(
    data: ov.Node, axis: ov.Node, length: ov.Node | None, *, inverse: bool, half: bool
) -> ov.Node:
    if inverse and half:
        return opset13.unsqueeze(opset13.irdft(data, axis, length), int64(-1))
    result = (opset13.idft if inverse else opset13.dft)(data, axis, length)
    if not half:
        return result
    kept = _one_side(opset13.gather(opset13.shape_of(result), axis, integer(0)))
    return opset13.slice(result, int64(0), kept, int64(1), axis)


def _one_side(length: ov.Node) -> ov.Node:
    return opset13.add(opset13.divide(length, int64(2)), int64(1))


def _by_matrix(data: ov.Node, axis: ov.Node, length: ov.Node | None, *, inverse: bool, half: bool) -> ov.Node:
    shape = opset13.shape_of(data)
    present = opset13.gather(shape, axis, integer(0))
    both = inverse and half
    if length is None:
        length = opset13.multiply(opset13.subtract(present, int64(1)), int64(2)) if both else present
    used = opset13.minimum(present, _one_side(length) if both else length)
    data = opset13.slice(data, int64(0), used, int64(1), axis)
    before = opset13.slice(shape, int64(0), axis, int64(1))
    front = opset13.reduce_prod(before, int64(0), True)
    rows = opset13.reshape(data, opset13.concat([front, used, int64(-1), int64(2)], 0), False)
    parts = [opset13.gather(rows, integer(part), integer(3)) for part in range(2)]

    made = _one_side(length) if half and not inverse else length
    turn = opset13.multiply(
        opset13.unsqueeze(count(made), int64(1)), opset13.unsqueeze(count(used), int64(0))
    )
    cosine, sine = _table(opset13.floor_mod(turn, length), length, data)
    if not inverse:
        sine = opset13.negative(sine)
    if both:
        twice = _twice(used, length, data)
        cosine, sine = opset13.multiply(cosine, twice), opset13.multiply(sine, twice)
    real = opset13.subtract(_product(cosine, parts[0]), _product(sine, parts[1]))
    results = [real]
    if not both:
        results.append(opset13.add(_product(sine, parts[0]), _product(cosine, parts[1])))
    result = opset13.concat([opset13.unsqueeze(each, int64(3)) for each in results], 3)
    if inverse:
        result = opset13.divide(result, opset13.convert_like(length, data))
    ends = opset13.scatter_elements_update(shape, axis, made, integer(0))
    ends = opset13.scatter_elements_update(ends, int64(-1), int64(len(results)), integer(0))
    return opset13.reshape(result, ends, False)


def _product(table: ov.Node, rows: ov.Node) -> ov.Node:
    return opset13.matmul(table, rows, False, False)


def _table(turn: ov.Node, length: ov.Node, data: ov.Node) -> tuple[ov.Node, ov.Node]:
    """Cosine and sine of `turn` of `length` parts of a circle, with zeros that are exact."""
    share = opset13.divide(opset13.convert(turn, "f32"), opset13.convert(length, "f32"))
    angle = opset13.multiply(share, opset13.constant(np.float32(2 * math.pi)))
    halves = _whole(turn, length, 2)
    quarters = opset13.logical_and(_whole(turn, length, 4), opset13.logical_not(halves))
    zero = opset13.constant(np.float32(0))
    cosine = opset13.select(quarters, zero, opset13.cos(angle))
    sine = opset13.select(halves, zero, opset13.sin(angle))
    return opset13.convert_like(cosine, data), opset13.convert_like(sine, data)


def _whole(turn: ov.Node, length: ov.Node, times: int) -> ov.Node:
    return opset13.equal(opset13.floor_mod(opset13.multiply(turn, int64(times)), length), integer(0))


def _twice(used: ov.Node, length: ov.Node, data: ov.Node) -> ov.Node:
    """How often each of one side's elements is in the whole: once at the ends, else twice."""
    place = count(used)
    end = opset13.logical_or(
        opset13.equal(place, integer(0)),
        opset13.equal(opset13.multiply(place, int64(2)), length),
    )
    return opset13.select(end, like(1, data), like(2, data))


def _until_19(node: ov.frontend.NodeContext) -> list[ov.Output]:
    return _dft(node, node.get_attribute("axis", 1))


def _since_20(node: ov.frontend.NodeContext) -> list[ov.Output]:
    return _dft(node, -2)


_FAULT = "give a one-sided `DFT` another rank, or ignore its axis"

DFT = (
    translated("DFT", _until_19, _FAULT, name="onnx-DFT-19", opsets=range(17, 20)),
    translated("DFT", _since_20, _FAULT, name="onnx-DFT", opsets=range(20, 100)),
)
