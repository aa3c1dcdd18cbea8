"""`DeformConv` (opset 19), `MaxUnpool`, `Det`, and `MaxPool` with a rounded-up size."""

from openvino import opset14

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.onnx_graph import NODE_OUTPUT
from ovms_converter.optimizer.repairs.translation import (
    attribute,
    given,
    int64,
    integer,
    like,
    size,
    translated,
)

__all__ = ["DEFORM_CONV", "DET", "MAX_POOL", "MAX_UNPOOL"]


def _pads(node: ov.frontend.NodeContext, rank: int) -> tuple[list[int], list[int]]:
    pads = list(node.get_attribute("pads", [0] * (2 * rank)))
    return pads[:rank], pads[rank:]


def _deform_conv(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, weights, offsets = (node.get_input(number) for number in range(3))
    bias, mask = given(node, 3), given(node, 4)
    before, after = _pads(node, 2)
    more = {} if mask is None else {"mask": mask}
    result = opset13.deformable_convolution(
        data,
        offsets,
        weights,
        list(node.get_attribute("strides", [1, 1])),
        before,
        after,
        list(node.get_attribute("dilations", [1, 1])),
        auto_pad="explicit",
        group=node.get_attribute("group", 1),
        deformable_group=node.get_attribute("offset_group", 1),
        bilinear_interpolation_pad=True,
        **more,
    )
    if bias is not None:
        result = opset13.add(result, opset13.reshape(bias, int64(1, -1, 1, 1), False))
    return list(result.outputs())


def _det(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data = node.get_input(0)
    order = data.get_partial_shape()[-1].get_length()
    rows = [opset13.gather(data, integer(row), integer(-2)) for row in range(order)]
    cells = [[opset13.gather(row, integer(column), integer(-1)) for column in range(order)] for row in rows]
    return list(_determinant(cells).outputs())


def _determinant(cells: list[list[ov.Node]]) -> ov.Node:
    """By the first row; matrices in models are small."""
    if len(cells) == 1:
        return cells[0][0]
    total: ov.Node | None = None
    for column, cell in enumerate(cells[0]):
        minor = [row[:column] + row[column + 1 :] for row in cells[1:]]
        term = opset13.multiply(cell, _determinant(minor))
        if total is None:
            total = term
        else:
            total = opset13.subtract(total, term) if column % 2 else opset13.add(total, term)
    assert total is not None
    return total


def _max_unpool(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """Indices are those into the whole tensor of the smallest size that pools to the given one."""
    data, indices, wanted = node.get_input(0), node.get_input(1), given(node, 2)
    kernel = list(node.get_attribute("kernel_shape", [1]))
    rank = len(kernel)
    strides = list(node.get_attribute("strides", [1] * rank))
    before, after = _pads(node, rank)
    lost = [k - s - b - a for k, s, b, a in zip(kernel, strides, before, after, strict=True)]
    inner = opset13.slice(opset13.shape_of(data), int64(2), int64(2 + rank), int64(1))
    grown = opset13.add(opset13.multiply(inner, int64(*strides)), int64(*lost))
    shape = opset13.concat([size(data, 0), size(data, 1), grown], 0)
    flat = opset13.broadcast(like(0, data), opset13.reduce_prod(shape, int64(0), True))
    vector = int64(-1)
    filled = opset13.scatter_elements_update(
        flat, opset13.reshape(indices, vector, False), opset13.reshape(data, vector, False), integer(0)
    )
    result = opset13.reshape(filled, shape, False)
    if wanted is not None:
        missing = opset13.subtract(opset13.convert(wanted, "i64"), shape)
        result = opset13.pad(result, int64(*([0] * (rank + 2))), missing, "constant", like(0, data))
    return list(result.outputs())


def _rounds_up_and_gives_no_indices(node: Message) -> bool:
    found = attribute(node, "ceil_mode")
    automatic = attribute(node, "auto_pad")
    explicit = automatic is None or automatic.text(4) == "NOTSET"
    return bool(found and found.integer(3)) and explicit and len(node.texts(NODE_OUTPUT)) == 1


def _max_pool(node: ov.frontend.NodeContext) -> list[ov.Output]:
    kernel = list(node.get_attribute("kernel_shape", [1]))
    before, after = _pads(node, len(kernel))
    pooled = opset14.max_pool(
        node.get_input(0),
        list(node.get_attribute("strides", [1] * len(kernel))),
        list(node.get_attribute("dilations", [1] * len(kernel))),
        before,
        after,
        kernel,
        rounding_type="ceil_torch",
        auto_pad="explicit",
    )
    return [pooled.output(0)]


DEFORM_CONV = translated(
    "DeformConv", _deform_conv, issue="https://github.com/openvinotoolkit/openvino/issues/24635"
)
DET = translated("Det", _det)
MAX_UNPOOL = translated("MaxUnpool", _max_unpool)
MAX_POOL = translated(
    "MaxPool",
    _max_pool,
    "let the last window of a `MaxPool` with `ceil_mode` begin in the padding",
    name="onnx-MaxPool-ceil",
    applies=_rounds_up_and_gives_no_indices,
    issue="https://github.com/openvinotoolkit/openvino/issues/18731",
)
