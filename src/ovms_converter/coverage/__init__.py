"""What OpenVINO can convert, told from a graph alone: without openvino, and before any weight is here."""

from ovms_converter.coverage.operations import Operations, onnx_operations, served_operations
from ovms_converter.coverage.refusal import refuse_unsupported
from ovms_converter.coverage.rules import Coverage, coverage, has_rule, workaround

__all__ = [
    "Coverage",
    "Operations",
    "coverage",
    "has_rule",
    "onnx_operations",
    "refuse_unsupported",
    "served_operations",
    "workaround",
]
