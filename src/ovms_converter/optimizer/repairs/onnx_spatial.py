"""`ConvTranspose`, `DeformConv`, `GlobalLpPool`, `MaxUnpool`, `Det`, `RoiAlign`, and rounded-up pools."""

from collections.abc import Sequence

from openvino import opset14

from ovms_converter.formats.wire import Message
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.onnx_graph import NODE_INPUT, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.onnx_build import (
    changed,
    integer_attribute,
    integers_attribute,
    without,
)
from ovms_converter.optimizer.repairs.translation import (
    SUPPORTED,
    attribute,
    given,
    int64,
    integer,
    like,
    size,
    translated,
)

__all__ = [
    "AVERAGE_POOL",
    "CONV_TRANSPOSE",
    "DEFORM_CONV",
    "DET",
    "GLOBAL_LP_POOL",
    "MAX_POOL",
    "MAX_UNPOOL",
    "ROI_ALIGN",
]


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


def _rounds_up_and_counts_padding(node: Message) -> bool:
    rounding, counting, padding = (
        attribute(node, name) for name in ("ceil_mode", "count_include_pad", "pads")
    )
    automatic, dilations = attribute(node, "auto_pad"), attribute(node, "dilations")
    return (
        bool(rounding and rounding.integer(3) and counting and counting.integer(3))
        and (padding is not None and any(padding.integers(8)))
        and (automatic is None or automatic.text(4) == "NOTSET")
        and (dilations is None or set(dilations.integers(8)) == {1})
    )


def _average_pool(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """Padded first: then only what lies behind the padding is left out, which is not counted."""
    data, kernel = node.get_input(0), list(node.get_attribute("kernel_shape", [1]))
    rank = len(kernel)
    before, after = _pads(node, rank)
    strides, none = list(node.get_attribute("strides", [1] * rank)), [0] * rank
    padded = opset13.pad(data, int64(0, 0, *before), int64(0, 0, *after), "constant", like(0, data))

    def pooled(values: ov.Output | ov.Node, first: list[int], last: list[int]) -> ov.Node:
        return opset14.avg_pool(values, strides, first, last, kernel, True, "ceil_torch", "explicit")

    result = pooled(padded, none, none)
    if any(end and step > size - end for end, step, size in zip(after, strides, kernel, strict=True)):
        # a window may begin in the padding behind, which is none by the standard
        axes = int64(*range(2, rank + 2))
        shape = opset13.gather(opset13.shape_of(pooled(data, before, after)), axes, integer(0))
        result = opset13.slice(result, int64(*none), shape, int64(*[1] * rank), axes)
    return [result.output(0)]


def _adaptive_sampling(node: Message) -> Sequence[bytes] | None:
    """With the default written out."""
    if attribute(node, "sampling_ratio") is not None:
        return None
    default = Message(memoryview(integer_attribute("sampling_ratio", 0)))
    return [changed(node, node.texts(NODE_INPUT), node.texts(NODE_OUTPUT), [*without(node), default])]


def _explicit_padding(node: Message) -> Sequence[bytes] | None:
    """The result is `stride` times as long, so what is cut off does not depend on the size."""
    automatic, kernel = attribute(node, "auto_pad"), attribute(node, "kernel_shape")
    kind = automatic.text(4) if automatic else ""
    if kernel is None or kind not in ("SAME_UPPER", "SAME_LOWER") or attribute(node, "output_shape"):
        return None

    def given_or(name: str, default: int) -> list[int]:
        found = attribute(node, name)
        return found.integers(8) if found else [default] * len(lengths)

    lengths = kernel.integers(8)
    steps = zip(
        lengths, given_or("strides", 1), given_or("dilations", 1), given_or("output_padding", 0), strict=True
    )
    cut = [(length - 1) * dilation + 1 - stride + more for length, stride, dilation, more in steps]
    if min(cut, default=0) < 0:
        return None
    less, rest = [each // 2 for each in cut], [each - each // 2 for each in cut]
    pads = [*less, *rest] if kind == "SAME_UPPER" else [*rest, *less]
    written = Message(memoryview(integers_attribute("pads", pads)))
    attributes = [*without(node, "auto_pad", "pads"), written]
    return [changed(node, node.texts(NODE_INPUT), node.texts(NODE_OUTPUT), attributes)]


def _global_lp_pool(node: ov.frontend.NodeContext) -> list[ov.Output]:
    data, power = node.get_input(0), node.get_attribute("p", 2)
    axes = int64(*range(2, data.get_partial_shape().rank.get_length()))
    if power in (1, 2):
        reduce = opset13.reduce_l1 if power == 1 else opset13.reduce_l2
        return [reduce(data, axes, True).output(0)]
    total = opset13.reduce_sum(opset13.power(opset13.abs(data), like(power, data)), axes, True)
    return [opset13.power(total, like(1 / power, data)).output(0)]


DEFORM_CONV = translated(
    "DeformConv", _deform_conv, issue="https://github.com/openvinotoolkit/openvino/issues/24635"
)
DET = translated("Det", _det)
GLOBAL_LP_POOL = translated(
    "GlobalLpPool",
    _global_lp_pool,
    "refuse a `GlobalLpPool` whose batch or channels are free",
    needed=lambda node: any(each.is_dynamic for each in list(node.get_input(0).get_partial_shape())[:2]),
)
MAX_UNPOOL = translated("MaxUnpool", _max_unpool)
MAX_POOL = translated(
    "MaxPool",
    _max_pool,
    "let the last window of a `MaxPool` with `ceil_mode` begin in the padding",
    name="onnx-MaxPool-ceil",
    applies=_rounds_up_and_gives_no_indices,
    issue="https://github.com/openvinotoolkit/openvino/issues/18731",
)
AVERAGE_POOL = translated(
    "AveragePool",
    _average_pool,
    "divide by the wrong number at the end of an `AveragePool` with `ceil_mode` that counts the padding",
    name="onnx-AveragePool-ceil",
    applies=_rounds_up_and_counts_padding,
)
CONV_TRANSPOSE = OnnxRepair(
    name="onnx-ConvTranspose-same",
    fault="cut nothing off a `ConvTranspose` with an `auto_pad` of SAME where sizes are free",
    issue=SUPPORTED,
    versions="2026.4",
    operation="ConvTranspose",
    opsets=range(1, 100),
    rewrite=_explicit_padding,
)
ROI_ALIGN = OnnxRepair(
    name="onnx-RoiAlign-sampling",
    fault="sample a `RoiAlign` without `sampling_ratio` once a bin, not as often as its size asks for",
    issue=SUPPORTED,
    versions="2026.4",
    operation="RoiAlign",
    opsets=range(10, 100),
    rewrite=_adaptive_sampling,
)
