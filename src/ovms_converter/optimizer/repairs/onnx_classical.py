"""Operators of ai.onnx.ml, of which OpenVINO has none: what it is called when one is written with plain ones.

The rewriting itself takes the whole graph and is in `optimizer/classical/`.
"""

from collections.abc import Mapping

from ovms_converter.formats.onnx import CLASSICAL_OPERATIONS
from ovms_converter.optimizer.repairs.base import Repair

__all__ = ["CLASSICAL"]

CLASSICAL: Mapping[str, Repair] = {
    operation: Repair(
        name=f"onnx-ml-{operation}",
        fault=f"not read `{operation}` of ai.onnx.ml",
        issue="https://github.com/openvinotoolkit/openvino/issues/26700",
        versions="2026.4",
    )
    for operation in sorted(CLASSICAL_OPERATIONS)
}
"""By operator."""
