"""Starts and ends of a `Slice` that are fed as 64-bit integers: the CPU plugin keeps their lower 32 bits.

2^63 - 1, "as far as it goes" by the standard, becomes -1, which leaves the last element out. Any operation on
integers comes too late, but a conversion of the input to floats is computed from all 64 bits. So what is
beyond 2^30 is taken from there, and ends at what 32 bits hold: no axis is as long. Seen in the graph itself,
so it is for models of any format.
"""

import numpy as np

from ovms_converter.optimizer.native import Model, opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair

__all__ = ["SLICE_ENDS"]

_ENDS = (1, 2)
"""The inputs of a slice that are positions."""

_SLICES = frozenset(("Slice", "StridedSlice"))

_MOVING = frozenset(("Concat", "Convert", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"))
"""Operations whose integers are those of their first inputs."""

_EXACT = 1 << 30
_LEAST, _MOST = -(2**31), 2**31 - 128
"""The 32-bit integers farthest from 0 that are floats as well."""


def _apply(model: Model) -> int:
    """Repair what is read of every input that a slice of the main graph ends at; how many there were."""
    found = [
        (parameter, readers)
        for parameter in model.get_parameters()
        if parameter.get_element_type() == ov.Type.i64 and (readers := _readers(parameter))
    ]
    for parameter, readers in found:
        bounded = _bounded(parameter)
        for reader in readers:
            reader.replace_source_output(bounded.output(0))
    if found:
        model.validate_nodes_and_infer_types()
    return len(found)


def _readers(parameter: ov.Node) -> list[ov.Input]:
    """Who reads an input on its way to the ends of a slice."""
    return [reader for reader in parameter.output(0).get_target_inputs() if _reaches_ends(reader)]


def _reaches_ends(reader: ov.Input) -> bool:
    waiting = [reader]
    while waiting:
        at = waiting.pop()
        node = at.get_node()
        kind = node.get_type_name()
        if kind in _SLICES and at.get_index() in _ENDS:
            return True
        if kind in _MOVING and (at.get_index() == 0 or kind == "Concat"):
            waiting += [behind for output in node.outputs() for behind in output.get_target_inputs()]
    return False


def _bounded(parameter: ov.Node) -> ov.Node:
    whole = opset13.convert(parameter, "f32")
    is_exact = opset13.less(opset13.abs(whole), opset13.constant(np.float32(_EXACT)))
    last = opset13.convert(opset13.clamp(whole, _LEAST, _MOST), "i64")
    return opset13.select(is_exact, parameter, last)


SLICE_ENDS = GraphRepair(
    name="cpu-slice-ends",
    fault="take the end of a `Slice` that is fed as 2^63 - 1, which is as far as it goes, for -1",
    issue="https://github.com/openvinotoolkit/openvino/pull/30906",
    versions="2026.4",
    apply=_apply,
)
