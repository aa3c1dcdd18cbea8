"""What OpenVINO computes wrongly and no repair makes right: refused, so that it is not published by mistake.

`RoiAlign` with the mode `max`: ONNX takes the largest weighted corner of all samples, OpenVINO the largest
interpolated sample.
"""

from collections.abc import Sequence

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.wire import Message
from ovms_converter.formats.words import shown
from ovms_converter.optimizer.onnx_graph import NODE_NAME, NODE_OUTPUT
from ovms_converter.optimizer.repairs.base import OnnxRepair
from ovms_converter.optimizer.repairs.translation import SUPPORTED, attribute

__all__ = ["ROI_ALIGN_MAX"]

_TEXT = 4


def _refuse_the_largest(node: Message) -> Sequence[bytes] | None:
    mode = attribute(node, "mode")
    if mode is None or mode.text(_TEXT) != "max":
        return None
    name = node.text(NODE_NAME) or node.texts(NODE_OUTPUT)[0]
    raise UnsupportedModelError(
        "OpenVINO computes other numbers than ONNX asks for: "
        f"`RoiAlign` with the mode `max` (`{shown(name)}`)",
        hint="export it with the mode `avg`; `--repairs off` converts it as it is",
    )


ROI_ALIGN_MAX = OnnxRepair(
    name="onnx-RoiAlign-max",
    fault="compute other numbers for `RoiAlign` with the mode `max`",
    issue=SUPPORTED,
    versions="2026.4",
    operation="RoiAlign",
    opsets=range(10, 100),
    rewrite=_refuse_the_largest,
)
