"""`NegativeLogLikelihoodLoss` with an `ignore_index`, at which OpenVINO's rule fails."""

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import attribute, given, int64, integer, like, translated

__all__ = ["NLL_LOSS"]


def _loss(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, classes, weights = node.get_input(0), opset13.convert(node.get_input(1), "i64"), given(node, 2)
    ignored = opset13.equal(classes, integer(node.get_attribute("ignore_index", 0)))
    safe = opset13.select(ignored, integer(0), classes)
    picked = opset13.squeeze(opset13.gather_elements(data, opset13.unsqueeze(safe, int64(1)), 1), int64(1))
    one = like(1, data) if weights is None else opset13.gather(weights, safe, integer(0))
    each = opset13.select(ignored, like(0, data), one)
    loss = opset13.negative(opset13.multiply(picked, each))
    kind = node.get_attribute("reduction", "mean")
    if kind == "none":
        return list(loss.outputs())
    total = _sum(loss)
    if kind == "sum":
        return list(total.outputs())
    return list(opset13.divide(total, _sum(each)).outputs())


def _sum(data: ov.Node) -> ov.Node:
    return opset13.reduce_sum(opset13.reshape(data, int64(-1), False), int64(0), False)


def _ignores(node: Message) -> bool:
    return attribute(node, "ignore_index") is not None


NLL_LOSS = translated(
    "NegativeLogLikelihoodLoss",
    _loss,
    "fail at the `ignore_index` of `NegativeLogLikelihoodLoss`",
    applies=_ignores,
)
