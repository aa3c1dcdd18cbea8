"""Where OpenVINO is known to compute wrong numbers, and what it gets instead: a module each, and their list.

A repair goes when the oldest OpenVINO that is supported no longer needs it; a test tells when the
installed one does not.
"""

from ovms_converter.optimizer.repairs.base import GraphRepair, OnnxRepair, Repair, by_operation
from ovms_converter.optimizer.repairs.channels_after_reduce import CHANNELS_AFTER_REDUCE
from ovms_converter.optimizer.repairs.onnx_classical import CLASSICAL
from ovms_converter.optimizer.repairs.onnx_reduce_axes import REDUCE_AXES

__all__ = ["GRAPH_REPAIRS", "ONNX_REPAIRS", "REPAIRS", "GraphRepair", "OnnxRepair", "Repair", "by_operation"]

ONNX_REPAIRS: tuple[OnnxRepair, ...] = REDUCE_AXES
"""Applied to ONNX nodes before a front end reads them."""

GRAPH_REPAIRS: tuple[GraphRepair, ...] = (CHANNELS_AFTER_REDUCE,)
"""Applied to the converted graph, of whatever format the source was."""

REPAIRS: tuple[Repair, ...] = (*ONNX_REPAIRS, *CLASSICAL.values(), *GRAPH_REPAIRS)
"""All of them."""
