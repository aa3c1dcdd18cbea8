"""`Attention` with a window (opset 25), or with a past, a mask and a causal mask together.

OpenVINO's rule ignores `left_window_size` and `right_window_size`, and adds the causal mask as if there were
no past where a mask is given as well. The steps of the standard are put in its place; a row that may attend
nothing is 0, and not NaN.
"""

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

__all__ = ["ATTENTION"]

_MASK, _PAST_KEY, _PAST_VALUE, _LENGTHS = 3, 4, 5, 6
_BIASED, _PROBABILITIES = 2, 3
_TYPES = {1: "f32", 10: "f16", 11: "f64", 16: "bf16"}


def _is_misread(node: Message) -> bool:
    windows = (attribute(node, name) for name in ("left_window_size", "right_window_size"))
    causal = attribute(node, "is_causal")
    return any(each is not None and each.integers(3)[-1] >= 0 for each in windows) or bool(
        causal and causal.integer(3) and has_input(node, _MASK) and has_input(node, _PAST_KEY)
    )


def _attention(node: ov.frontend.NodeContext) -> list[ov.Output]:
    flat = node.get_input(0).get_partial_shape().rank.get_length() == 3
    readers, heads = node.get_attribute("q_num_heads", 0), node.get_attribute("kv_num_heads", 0)
    parts = [node.get_input(number) for number in range(3)]
    if flat:
        parts = [_split(part, number) for part, number in zip(parts, (readers, heads, heads), strict=True)]
    query, key, value = parts
    past = given(node, _PAST_KEY), given(node, _PAST_VALUE)
    if past[0] is not None and past[1] is not None:
        key = opset13.concat([past[0], key], 2).output(0)
        value = opset13.concat([past[1], value], 2).output(0)
    present = [key, value]
    key, value = (_repeated(each, query) for each in (key, value))

    scale = node.get_attribute("scale", 0.0)
    factor = (
        like(scale, query)
        if scale
        else opset13.divide(like(1, query), opset13.sqrt(opset13.convert_like(size(query, 3), query)))
    )
    scores = opset13.multiply(opset13.matmul(query, key, False, True), factor)
    shown = scores
    cap = node.get_attribute("softcap", 0.0)
    if cap:
        scores = opset13.multiply(opset13.tanh(opset13.divide(scores, like(cap, query))), like(cap, query))
    mode = node.get_attribute("qk_matmul_output_mode", 0)
    shown = scores if mode == 1 else shown

    bias = _bias(node, query, key, past[0])
    if bias is not None:
        scores = opset13.add(scores, bias)
    shown = scores if mode == _BIASED else shown
    precision = _TYPES.get(node.get_attribute("softmax_precision", 0))
    probabilities = _softmax(opset13.convert(scores, precision) if precision else scores, bias)
    probabilities = opset13.convert_like(probabilities, query)
    shown = probabilities if mode == _PROBABILITIES else shown
    result = opset13.matmul(probabilities, value, False, False)
    if flat:
        result = opset13.reshape(opset13.transpose(result, int64(0, 2, 1, 3)), int64(0, 0, -1), True)
    return [result.output(0), *present, shown.output(0)]


def _split(data: ov.Output, heads: int) -> ov.Output:
    """`[B,L,H*D]` → `[B,H,L,D]`."""
    split = opset13.reshape(data, int64(0, 0, heads, -1), True)
    return opset13.transpose(split, int64(0, 2, 1, 3)).output(0)


def _repeated(data: ov.Output, query: ov.Output) -> ov.Output:
    """Keys or values once for every head of the query, which share them in groups."""
    number, readers = (each.get_partial_shape()[1].get_length() for each in (data, query))
    if number == readers:
        return data
    tiled = opset13.tile(opset13.unsqueeze(data, int64(2)), int64(1, 1, readers // number, 1, 1))
    ends = [size(data, 0), int64(readers), size(data, 2), size(data, 3)]
    return opset13.reshape(tiled, opset13.concat(ends, 0), False).output(0)


def _bias(
    node: ov.frontend.NodeContext, query: ov.Output, key: ov.Output, past: ov.Output | None
) -> ov.Node | None:
    """What is added to the scores, of rank 4: 0 where a key may be attended, minus infinity elsewhere."""
    biases: list[ov.Node] = []
    mask, lengths = given(node, _MASK), given(node, _LENGTHS)
    if mask is not None:
        biases.append(_mask(mask, query, key))
    rows = opset13.unsqueeze(count(size(query, 2)), int64(1))
    keys = opset13.unsqueeze(count(size(key, 2)), int64(0))
    if past is not None:
        rows = opset13.add(rows, size(past, 2))
    elif lengths is not None:
        offset = opset13.subtract(opset13.convert(lengths, "i64"), size(query, 2))
        rows = opset13.add(opset13.unsqueeze(offset, int64(1, 2, 3)), rows)
    allowed = []
    before, after = node.get_attribute("left_window_size", -1), node.get_attribute("right_window_size", -1)
    if node.get_attribute("is_causal", 0):
        allowed.append(opset13.less_equal(keys, rows))
    if before >= 0:
        allowed.append(opset13.less_equal(opset13.subtract(rows, integer(before)), keys))
    if after >= 0:
        allowed.append(opset13.less_equal(keys, opset13.add(rows, integer(after))))
    if lengths is not None:
        valid = opset13.unsqueeze(opset13.convert(lengths, "i64"), int64(1, 2, 3))
        allowed.append(opset13.less(keys, valid))
    biases += [_where(each, query) for each in allowed]
    total = None
    for each in biases:
        total = each if total is None else opset13.add(total, each)
    return total


def _where(allowed: ov.Node, query: ov.Output) -> ov.Node:
    return opset13.select(allowed, like(0, query), like(-np.inf, query))


def _mask(mask: ov.Output, query: ov.Output, key: ov.Output) -> ov.Node:
    """A given mask as a bias, with what it is too short for shut off."""
    bias = _where(mask, query) if mask.get_element_type() == ov.Type.boolean else opset13.convert(mask, "f32")
    bias = opset13.convert_like(bias, query)
    rank = mask.get_partial_shape().rank.get_length()
    missing = opset13.subtract(size(key, 2), size(mask, rank - 1))
    ends = opset13.concat([int64(*([0] * (rank - 1))), missing], 0) if rank > 1 else missing
    return opset13.pad(bias, int64(*([0] * rank)), ends, "constant", like(-np.inf, query))


def _softmax(scores: ov.Node, bias: ov.Node | None) -> ov.Node:
    """Over the last axis; 0 in a row whose bias is minus infinity everywhere."""
    if bias is None:
        return opset13.softmax(scores, -1)
    shut = opset13.less(opset13.reduce_max(opset13.convert(bias, "f32"), int64(-1), True), _least())
    most = opset13.reduce_max(scores, int64(-1), True)
    most = opset13.select(shut, like(0, scores), most)
    powers = opset13.exp(opset13.subtract(scores, most))
    powers = opset13.select(shut, like(0, scores), powers)
    total = opset13.select(shut, like(1, scores), opset13.reduce_sum(powers, int64(-1), True))
    return opset13.divide(powers, total)


def _least() -> ov.Node:
    return opset13.constant(np.float32(-3.4e38))


ATTENTION = translated(
    "Attention",
    _attention,
    "ignore the window of `Attention`, or its past beside a mask",
    opsets=range(23, 100),
    applies=_is_misread,
    issue="https://github.com/openvinotoolkit/openvino/pull/36689",
)
