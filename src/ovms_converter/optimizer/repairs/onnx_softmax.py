"""`Softmax` of opset 11 and 12 on more than the last axis: OpenVINO takes it for that of opset 13.

Until opset 12, `axis` (1 if not given) is where the shape is cut in two: everything from there on is one row.
OpenVINO reads opset 1 to 10 so, and `LogSoftmax` and `Hardmax` of all, but not these two.
"""

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import int64, translated

__all__ = ["SOFTMAX"]


def _is_on_more_than_the_last_axis(node: ov.frontend.NodeContext) -> bool:
    rank = node.get_input(0).get_partial_shape().rank
    axis = node.get_attribute("axis", 1)
    return bool(axis != -1 and (rank.is_dynamic or axis % max(rank.get_length(), 1) != rank.get_length() - 1))


def _softmax(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, axis = node.get_input(0), node.get_attribute("axis", 1)
    if not _is_on_more_than_the_last_axis(node):
        return list(opset13.softmax(data, -1).outputs())
    shape = opset13.shape_of(data)
    before = int64(1)
    if axis:
        before = opset13.reduce_prod(
            opset13.slice(shape, int64(0), int64(axis), int64(1), int64(0)), int64(0), True
        )
    rows = opset13.reshape(data, opset13.concat([before, int64(-1)], 0), False)
    return list(opset13.reshape(opset13.softmax(rows, 1), shape, False).outputs())


SOFTMAX = translated(
    "Softmax",
    _softmax,
    "normalise a `Softmax` of opset 11 or 12 over one axis, not over all from there on",
    opsets=range(11, 13),
    needed=_is_on_more_than_the_last_axis,
)
