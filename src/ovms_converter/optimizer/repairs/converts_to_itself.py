"""`Convert` of an input to the type that it has, as an output: the CPU plugin ends in a segmentation fault.

It takes the operation out, and where the batch is free goes on reading the memory of an earlier request. A
`Reshape` to the same shape, or nothing in between, is right. Seen in the graph itself, so it is for models of
any format.
"""

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["CONVERTS_TO_ITSELF"]


def _is_wrong(node: ov.Node) -> bool:
    return bool(
        node.get_type_name() == "Convert"
        and node.get_input_element_type(0) == node.get_output_element_type(0)
        and node.input_value(0).get_node().get_type_name() == "Parameter"
        and any(
            reader.get_node().get_type_name() == "Result" for reader in node.output(0).get_target_inputs()
        )
    )


def _replacement(node: ov.Node) -> ov.Node:
    data = node.input_value(0)
    return opset13.reshape(data, opset13.shape_of(data), False, name=f"{node.get_friendly_name()}/repaired")


CONVERTS_TO_ITSELF = GraphRepair(
    name="cpu-converts-to-itself",
    fault="crash at a `Convert` of an input to its own type, where the batch is free",
    issue="https://github.com/openvinotoolkit/openvino/issues",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
