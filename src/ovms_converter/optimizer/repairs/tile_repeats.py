"""`Tile` of four or more dimensions whose repeats are computed: the CPU plugin writes what was in memory.

With repeats other than 1 for several dimensions, and whether the shape is fixed or free. What has the same
meaning and is right: each dimension gets one before it, which is broadcast to the repeats, and both are one
again. Seen in the graph itself, so it is for models of any format.
"""

import numpy as np

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["TILE_REPEATS"]

_LEAST_RANK = 4


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "Tile" or node.input_value(1).get_node().get_type_name() == "Constant":
        return False
    rank, repeats = node.get_input_partial_shape(0).rank, node.get_input_partial_shape(1)
    if rank.is_dynamic or rank.get_length() < _LEAST_RANK or repeats.rank.is_dynamic:
        return False
    return bool(repeats == ov.PartialShape([rank.get_length()]))


def _replacement(node: ov.Node) -> ov.Node:
    data, rank = node.input_value(0), node.get_input_partial_shape(0).rank.get_length()
    name = node.get_friendly_name()
    shape = opset13.shape_of(data)
    repeats = opset13.convert(node.input_value(1), "i64")
    apart = opset13.unsqueeze(data, opset13.constant(np.arange(0, 2 * rank, 2, dtype=np.int64)))
    pairs = [opset13.unsqueeze(each, opset13.constant(np.int64(1))) for each in (repeats, shape)]
    flat = opset13.constant(np.array([-1], np.int64))
    wide = opset13.broadcast(apart, opset13.reshape(opset13.concat(pairs, 1), flat, False))
    sizes = opset13.multiply(repeats, shape)
    return opset13.reshape(wide, sizes, False, name=f"{name}/repaired")


TILE_REPEATS = GraphRepair(
    name="cpu-tile-repeats",
    fault="leave the result of a `Tile` of computed repeats unwritten",
    issue="https://github.com/openvinotoolkit/openvino/pull/8041",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
