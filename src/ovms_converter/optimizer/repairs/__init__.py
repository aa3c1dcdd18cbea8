"""Where OpenVINO refuses or computes wrong numbers, and what it gets instead: a module each, and their list.

A repair goes when the oldest OpenVINO that is supported no longer needs it; a test tells when the
installed one does not.
"""

from ovms_converter.optimizer.repairs.base import GraphRepair, OnnxRepair, Repair, by_operation
from ovms_converter.optimizer.repairs.channels_after_reduce import CHANNELS_AFTER_REDUCE
from ovms_converter.optimizer.repairs.comparisons_of_nan import COMPARISONS_OF_NAN
from ovms_converter.optimizer.repairs.converts_to_itself import CONVERTS_TO_ITSELF
from ovms_converter.optimizer.repairs.divide_rounding import DIVIDE_ROUNDING
from ovms_converter.optimizer.repairs.extremes_of_infinities import EXTREMES_OF_INFINITIES
from ovms_converter.optimizer.repairs.floor_of_integers import FLOOR_OF_INTEGERS
from ovms_converter.optimizer.repairs.lrn_bias import LRN_BIAS
from ovms_converter.optimizer.repairs.onnx_activations import BIT_SHIFT, CELU, MOD, SWIGLU
from ovms_converter.optimizer.repairs.onnx_attention import ATTENTION
from ovms_converter.optimizer.repairs.onnx_classical import CLASSICAL
from ovms_converter.optimizer.repairs.onnx_cumulative import CUM_PROD
from ovms_converter.optimizer.repairs.onnx_dft import DFT
from ovms_converter.optimizer.repairs.onnx_early import (
    BATCH_NORMALIZATION,
    DYNAMIC_SLICE,
    MEAN_VARIANCE,
    P_RELU,
)
from ovms_converter.optimizer.repairs.onnx_first import FIRST
from ovms_converter.optimizer.repairs.onnx_functions import FUNCTIONS
from ovms_converter.optimizer.repairs.onnx_loss import NLL_LOSS
from ovms_converter.optimizer.repairs.onnx_pool_indices import MAX_POOL_INDICES
from ovms_converter.optimizer.repairs.onnx_quantize import DYNAMIC_QUANTIZE, QUANTIZE
from ovms_converter.optimizer.repairs.onnx_recurrent import RECURRENT
from ovms_converter.optimizer.repairs.onnx_reduce_axes import REDUCE_AXES
from ovms_converter.optimizer.repairs.onnx_refused import ROI_ALIGN_MAX
from ovms_converter.optimizer.repairs.onnx_resize import RESIZE
from ovms_converter.optimizer.repairs.onnx_rewritten import REWRITTEN
from ovms_converter.optimizer.repairs.onnx_softmax import SOFTMAX
from ovms_converter.optimizer.repairs.onnx_spatial import (
    AVERAGE_POOL,
    CONV_TRANSPOSE,
    DEFORM_CONV,
    DET,
    GLOBAL_LP_POOL,
    MAX_POOL,
    MAX_UNPOOL,
    ROI_ALIGN,
)
from ovms_converter.optimizer.repairs.onnx_state import CAUSAL_CONV, LINEAR_ATTENTION, TENSOR_SCATTER
from ovms_converter.optimizer.repairs.prelu_slopes import PRELU_SLOPES
from ovms_converter.optimizer.repairs.slice_ends import SLICE_ENDS
from ovms_converter.optimizer.repairs.tile_repeats import TILE_REPEATS
from ovms_converter.optimizer.repairs.topk_ties import TOPK_TIES

__all__ = ["GRAPH_REPAIRS", "ONNX_REPAIRS", "REPAIRS", "GraphRepair", "OnnxRepair", "Repair", "by_operation"]

ONNX_REPAIRS: tuple[OnnxRepair, ...] = (
    *REDUCE_AXES,
    *REWRITTEN,
    *RECURRENT,
    *FIRST,
    *DFT,
    ATTENTION,
    AVERAGE_POOL,
    BATCH_NORMALIZATION,
    BIT_SHIFT,
    CAUSAL_CONV,
    CELU,
    CONV_TRANSPOSE,
    CUM_PROD,
    DEFORM_CONV,
    DET,
    DYNAMIC_QUANTIZE,
    DYNAMIC_SLICE,
    GLOBAL_LP_POOL,
    LINEAR_ATTENTION,
    MAX_POOL,
    MAX_POOL_INDICES,
    MAX_UNPOOL,
    MEAN_VARIANCE,
    MOD,
    NLL_LOSS,
    P_RELU,
    QUANTIZE,
    RESIZE,
    ROI_ALIGN_MAX,
    ROI_ALIGN,
    SOFTMAX,
    SWIGLU,
    TENSOR_SCATTER,
)
"""Applied to ONNX nodes before a front end reads them."""

GRAPH_REPAIRS: tuple[GraphRepair, ...] = (
    CHANNELS_AFTER_REDUCE,
    COMPARISONS_OF_NAN,
    CONVERTS_TO_ITSELF,
    DIVIDE_ROUNDING,
    EXTREMES_OF_INFINITIES,
    FLOOR_OF_INTEGERS,
    LRN_BIAS,
    PRELU_SLOPES,
    SLICE_ENDS,
    TILE_REPEATS,
    TOPK_TIES,
)
"""Applied to the converted graph, of whatever format the source was."""

REPAIRS: tuple[Repair, ...] = (FUNCTIONS, *ONNX_REPAIRS, *CLASSICAL.values(), *GRAPH_REPAIRS)
"""All of them."""
