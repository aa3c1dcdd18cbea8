"""`CausalConvWithState` and `LinearAttention` (opset 27), and `TensorScatter` (opset 24).

The layers that carry a state from one part of a sequence to the next, which OpenVINO has no rules for.
"""

from collections.abc import Sequence

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.translation import (
    count,
    given,
    int64,
    integer,
    like,
    size,
    translated,
)

__all__ = ["CAUSAL_CONV", "LINEAR_ATTENTION", "TENSOR_SCATTER"]


def _causal_conv(node: ov.frontend.NodeContext) -> list[ov.Output]:
    """One product a position of the kernel: that many are few, and weights need not be constant."""
    data, weight = node.get_input(0), node.get_input(1)
    bias, past = given(node, 2), given(node, 3)
    kernel = weight.get_partial_shape()[2].get_length()
    if past is None:
        shape = opset13.concat([size(data, 0), size(data, 1), int64(kernel - 1)], 0)
        past = opset13.broadcast(like(0, data), shape).output(0)
    padded = opset13.concat([past, data], 2)
    length = size(data, 2)
    total: ov.Node = like(0, data)
    for step in range(kernel):
        part = opset13.slice(padded, int64(step), opset13.add(length, int64(step)), int64(1), int64(2))
        factor = opset13.squeeze(opset13.gather(weight, int64(step), integer(2)), int64(1))
        total = opset13.add(total, opset13.multiply(part, factor))
    if bias is not None:
        total = opset13.add(total, opset13.unsqueeze(bias, int64(1)))
    if node.get_attribute("activation", "none") in ("silu", "swish"):
        total = opset13.multiply(total, opset13.sigmoid(total))
    state = opset13.slice(padded, length, size(padded, 2), int64(1), int64(2))
    return [total.output(0), state.output(0)]


def _heads(data: ov.Output, heads: int) -> ov.Node:
    """`[B,T,H*D]` → `[T,B,H,D]` in f32."""
    split = opset13.reshape(opset13.convert(data, "f32"), int64(0, 0, heads, -1), True)
    return opset13.transpose(split, int64(1, 0, 2, 3))


def _linear_attention(node: ov.frontend.NodeContext) -> list[ov.Output]:
    query, key, value = (node.get_input(number) for number in range(3))
    past, decay, beta = (given(node, number) for number in (3, 4, 5))
    heads, readers = node.get_attribute("kv_num_heads", 0), node.get_attribute("q_num_heads", 0)
    queries, keys, values = _heads(query, readers), _heads(key, heads), _heads(value, heads)
    sequences = [queries, keys, values]
    if decay is not None:
        sequences.append(_heads(decay, heads))
    if beta is not None:
        width = beta.get_partial_shape()[2].get_length()
        sequences.append(_heads(beta, width))
    if past is None:
        sizes = opset13.concat([size(query, 0), int64(heads), size(keys, 3), size(values, 3)], 0)
        start = opset13.broadcast(opset13.constant(np.float32(0)), sizes)
    else:
        start = opset13.convert(past, "f32")
    last, every = _steps(
        sequences, start, heads, readers, decays=decay is not None, corrects=beta is not None
    )
    scale = node.get_attribute("scale", 0.0)
    if scale:
        every = opset13.multiply(every, opset13.constant(np.float32(scale))).output(0)
    else:
        width_of_key = opset13.convert(size(keys, 3), "f32")
        every = opset13.divide(every, opset13.sqrt(width_of_key)).output(0)
    output = opset13.reshape(opset13.transpose(every, int64(1, 0, 2, 3)), int64(0, 0, -1), True)
    return [
        opset13.convert_like(output, query).output(0),
        opset13.convert_like(last, query if past is None else past).output(0),
    ]


def _steps(
    sequences: Sequence[ov.Node], start: ov.Node, heads: int, readers: int, *, decays: bool, corrects: bool
) -> tuple[ov.Output, ov.Output]:
    """The loop over the `[T,B,H,D]` of queries, keys, values and others: the last state, and all results."""
    state = opset13.parameter(ov.PartialShape([-1, heads, -1, -1]), np.float32)
    inner = [opset13.parameter(ov.PartialShape([1, *_but_first(each)]), np.float32) for each in sequences]
    rows = [opset13.squeeze(each, int64(0)) for each in inner]
    at_query, at_key, at_value = rows[:3]
    current = state
    if decays:
        current = opset13.multiply(current, opset13.unsqueeze(opset13.exp(rows[3]), int64(3)))
    column = opset13.unsqueeze(at_key, int64(3))
    if corrects:
        known = opset13.reduce_sum(opset13.multiply(current, column), int64(2), False)
        at_value = opset13.multiply(rows[-1], opset13.subtract(at_value, known))
    current = opset13.add(current, opset13.multiply(column, opset13.unsqueeze(at_value, int64(2))))
    group = readers // heads
    grouped = opset13.reshape(opset13.unsqueeze(at_query, int64(3)), int64(0, heads, group, -1, 1), True)
    read = opset13.multiply(grouped, opset13.unsqueeze(current, int64(2)))
    result = opset13.reshape(opset13.reduce_sum(read, int64(3), False), int64(0, readers, -1), True)
    body = ov.Model([current, opset13.unsqueeze(result, int64(0))], [state, *inner], "step")

    loop = opset13.tensor_iterator()
    loop.set_body(body)
    for parameter, sequence in zip(inner, sequences, strict=True):
        loop.set_sliced_input(parameter, sequence.output(0), 0, 1, 1, -1, 0)
    loop.set_merged_input(state, start.output(0), current.output(0))
    last = loop.get_iter_value(current.output(0), -1)
    return last, loop.get_concatenated_slices(body.get_results()[1].input_value(0), 0, 1, 1, -1, 0)


def _but_first(sequence: ov.Node) -> list[ov.Dimension]:
    return list(sequence.output(0).get_partial_shape())[1:]


def _tensor_scatter(node: ov.frontend.NodeContext) -> list[ov.Output]:
    cache, update, start = node.get_input(0), node.get_input(1), given(node, 2)
    rank = cache.get_partial_shape().rank.get_length()
    axis = node.get_attribute("axis", -2) % rank
    place = count(size(update, axis))
    if start is None:
        start = opset13.broadcast(integer(0), size(update, 0)).output(0)
    place = opset13.add(
        opset13.unsqueeze(opset13.convert(start, "i64"), int64(1)), opset13.unsqueeze(place, int64(0))
    )
    if node.get_attribute("mode", "linear") == "circular":
        place = opset13.floor_mod(place, size(cache, axis))
    others = [each for each in range(1, rank) if each != axis]
    indices = opset13.broadcast(
        opset13.unsqueeze(place, int64(*others)) if others else place, opset13.shape_of(update)
    )
    return list(opset13.scatter_elements_update(cache, indices, update, integer(axis)).outputs())


CAUSAL_CONV = translated("CausalConvWithState", _causal_conv)
LINEAR_ATTENTION = translated("LinearAttention", _linear_attention)
TENSOR_SCATTER = translated("TensorScatter", _tensor_scatter)
