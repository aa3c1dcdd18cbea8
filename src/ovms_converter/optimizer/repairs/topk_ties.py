"""`TopK` with equal values: the CPU plugin returns the index of any of them.

ONNX and TensorFlow promise the lowest index; scores of 8 bits and saturated ones are often equal. OpenVINO
promises it of `TopK` with `stable`, as its front ends make of `ArgMax`; there the CPU plugin sorts by
exchange, whose time grows with the length of the axis times `k`: 300 of 8400 take 20 ms, where they took 0.4.
So it is asked for where one value is wanted or the product is small, and an index is looked at. Seen in the
graph itself, so it is for models of any format.
"""

from openvino import opset11

from ovms_converter.optimizer.native import ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["TOPK_TIES"]

MOST_STEPS = 1 << 15
"""Axis length times `k` up to which a sort by exchange costs nothing that counts (about 0.2 ms)."""


def _is_wrong(node: ov.Node) -> bool:
    if node.get_type_name() != "TopK" or not node.output(1).get_target_inputs():
        return False
    asked, k = node.get_attributes(), node.input_value(1).get_node()
    if asked.get("stable") or asked["sort"] == "index" or k.get_type_name() != "Constant":
        return False
    wanted = int(k.get_data().item())
    if wanted == 1:
        return True
    shape = node.get_input_partial_shape(0)
    if shape.rank.is_dynamic or shape[asked["axis"]].is_dynamic:
        return False
    return bool(shape[asked["axis"]].get_length() * wanted <= MOST_STEPS and asked["sort"] == "value")


def _replacement(node: ov.Node) -> ov.Node:
    asked = node.get_attributes()
    return opset11.topk(
        node.input_value(0),
        node.input_value(1),
        asked["axis"],
        asked["mode"],
        "value",
        asked["index_element_type"],
        stable=True,
        name=f"{node.get_friendly_name()}/repaired",
    )


TOPK_TIES = GraphRepair(
    name="cpu-topk-ties",
    fault="return the index of any of several equal values from `TopK`",
    issue="https://github.com/openvinotoolkit/openvino/pull/33646",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
