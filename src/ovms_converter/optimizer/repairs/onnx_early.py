"""Operations as early operation sets had them, which OpenVINO reads as the later ones or not at all.

- `MeanVarianceNormalization` until opset 8: with `across_channels` in place of `axes`, and always over the
  batch; OpenVINO leaves that out.
- `DynamicSlice`, which was `Slice` with inputs until opset 10 had that; PyTorch 1.0 wrote it.
- `BatchNormalization` until opset 8 with `spatial` 0: each element has statistics of its own.
- `PRelu` since opset 7: a slope of one axis is for the last one; OpenVINO takes it for the channels, as until
  opset 6.
"""

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import (
    attribute,
    count,
    given,
    int64,
    like,
    size,
    translated,
)

__all__ = ["BATCH_NORMALIZATION", "DYNAMIC_SLICE", "MEAN_VARIANCE", "P_RELU"]

_INTEGER = 3


def _mean_variance(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    rank = data.get_partial_shape().rank
    if rank.is_dynamic:
        raise ValueError("its input must have a known number of dimensions")
    across = node.get_attribute("across_channels", 0)
    axes = [axis for axis in range(rank.get_length()) if across or axis != 1]
    variance = bool(node.get_attribute("normalize_variance", 1))
    return list(opset13.mvn(data, int64(*axes), variance, 1e-9, "outside_sqrt").outputs())


def _dynamic_slice(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, start, end = (node.get_input(number) for number in range(3))
    axes = given(node, 3)
    if axes is None:
        axes = opset13.convert_like(count(size(start, 0)), start).output(0)
    steps = opset13.broadcast(like(1, start), opset13.shape_of(start))
    return list(opset13.slice(data, start, end, steps, axes).outputs())


def _batch_normalization(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """The statistics are of the shape of an element of the batch, so they broadcast."""
    data, scale, bias, mean, variance = (node.get_input(number) for number in range(5))
    spread = opset13.sqrt(opset13.add(variance, like(node.get_attribute("epsilon", 1e-5), variance)))
    normal = opset13.divide(opset13.subtract(data, mean), spread)
    return list(opset13.add(opset13.multiply(normal, scale), bias).outputs())


def _is_not_spatial(node: Message) -> bool:
    found = attribute(node, "spatial")
    return found is not None and not found.integer(_INTEGER)


def _has_slope_for_the_last_axis(node: ov.frontend.NodeContext) -> bool:
    """Whether the slope is for more than one element, and the last axis is not that of the channels."""
    slope = node.get_input(1).get_partial_shape()
    rank = node.get_input(0).get_partial_shape().rank
    if slope.rank.is_dynamic or slope.rank.get_length() != 1 or slope[0] == ov.Dimension(1):
        return False
    return bool(rank.is_dynamic or rank.get_length() > 2)


def _p_relu(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, slope = node.get_input(0), node.get_input(1)
    if _has_slope_for_the_last_axis(node):
        slope = opset13.unsqueeze(slope, int64(0)).output(0)
    return list(opset13.prelu(data, slope).outputs())


MEAN_VARIANCE = translated(
    "MeanVarianceNormalization",
    _mean_variance,
    "leave the batch out of a `MeanVarianceNormalization` before opset 9",
    name="onnx-MeanVarianceNormalization-batch",
    opsets=range(1, 9),
)
DYNAMIC_SLICE = translated("DynamicSlice", _dynamic_slice, opsets=range(1, 11))
BATCH_NORMALIZATION = translated(
    "BatchNormalization",
    _batch_normalization,
    "refuse a `BatchNormalization` with `spatial` 0",
    name="onnx-BatchNormalization-spatial",
    opsets=range(7, 9),
    applies=_is_not_spatial,
)
P_RELU = translated(
    "PRelu",
    _p_relu,
    "take the slope of a `PRelu` for the channels where it is for the last axis",
    name="onnx-PRelu-last-axis",
    opsets=range(7, 100),
    needed=_has_slope_for_the_last_axis,
)
