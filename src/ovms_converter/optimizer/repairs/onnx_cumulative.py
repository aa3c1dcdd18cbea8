"""`CumProd` (opset 26): OpenVINO has `CumSum` alone.

Each element is the product of a row in which all that do not belong to it are 1; a mask of the size of the
axis squared tells which do.
"""

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import count, int64, integer, like, translated

__all__ = ["CUM_PROD"]


def _cum_prod(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    axis = opset13.reshape(opset13.convert(node.get_input(1), "i64"), int64(1), False)
    shape = opset13.shape_of(data)
    axis = opset13.floor_mod(axis, opset13.shape_of(shape))
    length = opset13.gather(shape, axis, integer(0))
    before = opset13.reduce_prod(opset13.slice(shape, int64(0), axis, int64(1)), int64(0), True)
    rows = opset13.reshape(data, opset13.concat([before, length, int64(-1)], 0), False)

    steps = count(length)
    of, other = opset13.unsqueeze(steps, int64(1)), opset13.unsqueeze(steps, int64(0))
    if node.get_attribute("reverse", 0):
        of, other = other, of
    compare = opset13.less if node.get_attribute("exclusive", 0) else opset13.less_equal
    mask = opset13.unsqueeze(compare(other, of), int64(2))
    factors = opset13.select(mask, opset13.unsqueeze(rows, int64(1)), like(1, data))
    product = opset13.reduce_prod(factors, int64(2), False)
    return list(opset13.reshape(product, shape, False).outputs())


CUM_PROD = translated("CumProd", _cum_prod)
