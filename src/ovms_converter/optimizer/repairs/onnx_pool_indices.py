"""`MaxPool` with `Indices` (opset 8): by columns, and of padding that depends on free sizes.

OpenVINO's rule turns the axes of the indices around for `storage_order` 1, and its CPU plugin loses an
`auto_pad` of SAME where sizes are free, for values and indices.
"""

import numpy as np
from openvino import opset14

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.onnx_graph import NODE_OUTPUT
from ovms_converter.optimizer.repairs.translation import attribute, count, int64, integer, size, translated

__all__ = ["MAX_POOL_INDICES"]

_INTEGER, _TEXT = 3, 4


def _may_be_wrong(node: Message) -> bool:
    outputs = node.texts(NODE_OUTPUT)
    if len(outputs) < 2 or not outputs[1]:
        return False
    order, automatic = attribute(node, "storage_order"), attribute(node, "auto_pad")
    by_columns = order is not None and order.integer(_INTEGER) == 1
    return by_columns or (automatic is not None and automatic.text(_TEXT).startswith("SAME"))


def _is_wrong(node: ov.frontend.NodeContext) -> bool:
    return bool(node.get_attribute("storage_order", 0)) or any(
        each.is_dynamic for each in list(node.get_input(0).get_partial_shape())[2:]
    )


def _max_pool(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """Padded first, then pooled; the positions are told apart by axes, moved, and put together again."""
    data, kernel = node.get_input(0), list(node.get_attribute("kernel_shape", [1]))
    rank = len(kernel)
    ones, none = [1] * rank, [0] * rank
    strides, dilations = (list(node.get_attribute(name, ones)) for name in ("strides", "dilations"))
    pads = list(node.get_attribute("pads", none * 2))
    kind = node.get_attribute("auto_pad", "NOTSET")
    before: ov.Node = int64(*none)
    padded, first, last = data, pads[:rank], pads[rank:]
    if kind == "VALID":
        first, last = none, none
    elif kind.startswith("SAME"):
        first, last = none, none
        lengths = [(length - 1) * apart + 1 for length, apart in zip(kernel, dilations, strict=True)]
        before, after = _same(_sizes(data), int64(*lengths), int64(*strides), upper=kind == "SAME_UPPER")
        ends = [opset13.concat([int64(0, 0), each], 0) for each in (before, after)]
        padded = opset13.pad(data, *ends, "constant", _least(data.get_element_type())).output(0)
    rounding = "ceil_torch" if node.get_attribute("ceil_mode", 0) else "floor"
    pooled = opset14.max_pool(
        padded, strides, dilations, first, last, kernel, rounding, "explicit", "i64", axis=2
    )
    by_columns = bool(node.get_attribute("storage_order", 0))
    return [pooled.output(0), _moved(pooled.output(1), data, padded, before, by_columns).output(0)]


def _sizes(data: ov.Output) -> ov.Node:
    """The sizes behind batch and channels."""
    rank = data.get_partial_shape().rank.get_length()
    return opset13.gather(opset13.shape_of(data), int64(*range(2, rank)), integer(0))


def _same(sizes: ov.Node, lengths: ov.Node, strides: ov.Node, *, upper: bool) -> tuple[ov.Node, ov.Node]:
    """The padding before and behind, so that there are as many windows as strides begin."""
    one = int64(1)
    windows = opset13.divide(opset13.subtract(opset13.add(sizes, strides), one), strides)
    covered = opset13.add(opset13.multiply(opset13.subtract(windows, one), strides), lengths)
    total = opset13.maximum(opset13.subtract(covered, sizes), int64(0))
    less = opset13.divide(total, int64(2))
    more = opset13.subtract(total, less)
    return (less, more) if upper else (more, less)


def _least(kind: ov.Type) -> ov.Node:
    """What padding is made of, which no window takes."""
    dtype = np.dtype(kind.to_dtype())
    return opset13.constant(dtype.type(-np.inf if kind.is_real() else np.iinfo(dtype).min))


def _moved(
    indices: ov.Output, data: ov.Output, padded: ov.Output, before: ov.Node, by_columns: bool
) -> ov.Node:
    """Positions in a padded channel as positions in the whole tensor without padding."""
    rank = data.get_partial_shape().rank.get_length()
    rest: ov.Node = opset13.convert(indices, "i64")
    place: list[ov.Node] = []
    for axis in reversed(range(2, rank)):
        length = size(padded, axis)
        here = opset13.floor_mod(rest, length)
        rest = opset13.divide(opset13.subtract(rest, here), length)
        place.append(opset13.subtract(here, opset13.gather(before, int64(axis - 2), integer(0))))
    axes = list(range(2, rank)) if by_columns else list(reversed(range(2, rank)))
    stride: ov.Node = int64(1)
    total: ov.Node | None = None
    for axis in axes:
        step = opset13.multiply(place[rank - 1 - axis], stride)
        total = step if total is None else opset13.add(total, step)
        stride = opset13.multiply(stride, size(data, axis))
    channels = opset13.multiply(count(opset13.multiply(size(data, 0), size(data, 1))), stride)
    shape = opset13.concat([size(data, 0), size(data, 1), int64(*[1] * (rank - 2))], 0)
    return opset13.add(total, opset13.reshape(channels, shape, False))


MAX_POOL_INDICES = translated(
    "MaxPool",
    _max_pool,
    "number the `Indices` of a `MaxPool` otherwise, or lose its padding where sizes are free",
    name="onnx-MaxPool-indices",
    opsets=range(8, 100),
    applies=_may_be_wrong,
    needed=_is_wrong,
)
