"""The oldest OpenVINO, and so OpenVINO Model Server, that can read a graph.

An operation set is complete in the release that OpenVINO's documentation names for it ("Available Operation
Sets"). Some operations came later, or ran on the CPU only later; those were measured with the runtimes of
the years. A server has the release number of the OpenVINO inside it.
"""

from ovms_converter.repository.graph import Graph

__all__ = ["minimum_openvino"]

_IR_VERSIONS = {10: "2020.1", 11: "2022.1"}
_OPSETS = {
    **dict.fromkeys(
        ("opset1", "opset2", "opset3", "opset4", "opset5", "opset6", "opset7", "opset8"), "2022.1"
    ),
    "opset9": "2022.2",
    "opset10": "2022.3",
    "opset11": "2023.0",
    "opset12": "2023.1",
    "opset13": "2023.2",
    "opset14": "2024.0",
    "opset15": "2024.5",
    "opset16": "2025.4",
    "opset17": "2026.4",
}
"""Operation set → release. IR version 11 itself needs 2022.1. The documentation says nothing of opset16 and
opset17: the releases are those in which one of their operations was seen to run.
"""
_OPERATIONS = {
    ("ScaledDotProductAttention", "opset13"): "2023.3",
    ("AvgPool", "opset14"): "2024.2",
    ("BitwiseLeftShift", "opset15"): "2024.4",
    ("SliceScatter", "opset15"): "2024.6",
}


def minimum_openvino(graph: Graph) -> tuple[str, str] | None:
    """The release, such as "2023.3", and what in the graph asks for it.

    None if the graph holds something that no release is known to read: an older IR, or an operation of an
    extension.
    """
    found = [(_IR_VERSIONS.get(graph.ir_version), f"IR version {graph.ir_version}")]
    for operation in sorted(graph.operations):
        release = _OPERATIONS.get(operation) or _OPSETS.get(operation[1])
        found.append((release, f"{operation[0]} of {operation[1]}"))
    known = [(release, why) for release, why in found if release]
    if len(known) < len(found):
        return None
    highest = max(release for release, _ in known)
    return next(item for item in known if item[0] == highest)
