"""`TopK` with equal values: the CPU plugin returns the index of any of them.

ONNX and TensorFlow promise the lowest index; scores of 8 bits and saturated ones are often equal. OpenVINO
promises it of `TopK` with `stable`, as its front ends make of `ArgMax`; there the CPU plugin sorts by
exchange, whose time grows with the length of the axis times `k`: 300 of 8400 take 20 ms, where they took 0.4.
So it is asked for where one value is wanted or the product is small, and an index is looked at. Seen in the
graph itself, so it is for models of any format.
"""

from openvino import opset11

from ovms_converter.optimizer.native import Model, ov
from ovms_converter.optimizer.repairs.base import GraphRepair

__all__ = ["TOPK_TIES"]

MOST_STEPS = 1 << 15
"""Axis length times `k` up to which a sort by exchange costs nothing that counts (about 0.2 ms)."""


def _apply(model: Model) -> int:
    """Repair every such node of the main graph; how many there were."""
    found = [node for node in model.get_ordered_ops() if _is_wrong(node)]
    for node in found:
        asked = node.get_attributes()
        stable = opset11.topk(
            node.input_value(0),
            node.input_value(1),
            asked["axis"],
            asked["mode"],
            "value",
            asked["index_element_type"],
            stable=True,
            name=f"{node.get_friendly_name()}/repaired",
        )
        for number, output in enumerate(node.outputs()):
            for reader in output.get_target_inputs():
                reader.replace_source_output(stable.output(number))
    return len(found)


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


TOPK_TIES = GraphRepair(
    name="cpu-topk-ties",
    fault="return the index of any of several equal values from `TopK`",
    issue="https://github.com/openvinotoolkit/openvino/issues",
    versions="2026.4",
    apply=_apply,
)
