"""`Convert` to the type that is there already, as an output: the CPU plugin crashes.

It takes the operation out, and where that leaves an input, or one in another shape, and the batch is free, it
goes on reading the memory that an earlier request was given, as servers give theirs. A `Reshape` to the same
shape is right. Seen in the graph itself, so it is for models of any format.
"""

from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.base import GraphRepair, replacing

__all__ = ["CONVERTS_TO_ITSELF"]


def _is_wrong(node: ov.Node) -> bool:
    readers = (reader.get_node().get_type_name() for reader in node.output(0).get_target_inputs())
    return _changes_nothing(node) and "Result" in readers


def _changes_nothing(node: ov.Node) -> bool:
    return bool(
        node.get_type_name() == "Convert"
        and node.get_input_element_type(0) == node.get_output_element_type(0)
    )


def _replacement(node: ov.Node) -> ov.Node:
    data = node.input_value(0)
    while _changes_nothing(data.get_node()):
        data = data.get_node().input_value(0)
    return opset13.reshape(data, opset13.shape_of(data), False, name=f"{node.get_friendly_name()}/repaired")


CONVERTS_TO_ITSELF = GraphRepair(
    name="cpu-converts-to-itself",
    fault="crash at an output that is a `Convert` to its own type, where the batch is free",
    issue="https://github.com/openvinotoolkit/openvino/issues",
    versions="2026.4",
    apply=replacing(_is_wrong, _replacement),
)
