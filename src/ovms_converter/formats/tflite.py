"""What a TensorFlow Lite model says about itself, read without TensorFlow.

Tables and fields: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import math
from collections.abc import Mapping, Sequence

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.contents import Contents, Node, Numbers
from ovms_converter.formats.flatbuffer import Table, root
from ovms_converter.formats.tree import Window

__all__ = ["read_tflite"]

_TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
    "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16",
)  # fmt: skip

_OPERATIONS = (
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE",
    "DEQUANTIZE", "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION",
    "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D",
    "MUL", "RELU", "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX",
    "SPACE_TO_DEPTH", "SVDF", "TANH", "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM",
    "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT", "LOG_SOFTMAX", "DELEGATE",
    "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS", "NEG",
    "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT",
    "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT",
    "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE",
    "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU",
    "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N",
    "GATHER_ND", "COS", "WHERE", "RANK", "ELU", "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE",
    "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE", "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM", "BATCH_MATMUL",
    "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D",
    "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE",
    "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS",
    "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU",
    "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX",
    "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR",
    "RIGHT_SHIFT", "STABLEHLO_LOGISTIC", "STABLEHLO_ADD", "STABLEHLO_DIVIDE", "STABLEHLO_MULTIPLY",
    "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE", "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE",
    "STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_CONVOLUTION", "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND", "STABLEHLO_COSINE", "STABLEHLO_EXPONENTIAL",
    "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM", "STABLEHLO_NEGATE", "STABLEHLO_OR",
    "STABLEHLO_POWER", "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT", "STABLEHLO_SUBTRACT",
    "STABLEHLO_TANH", "STABLEHLO_SCATTER", "STABLEHLO_COMPARE", "STABLEHLO_CONVERT",
    "STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA",
    "STABLEHLO_DOT_GENERAL", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE",
    "STABLEHLO_GATHER", "STABLEHLO_TRANSPOSE", "DILATE", "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW",
    "STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT", "STABLEHLO_CBRT",
)  # fmt: skip
"""`BuiltinOperator` by number."""

_CUSTOM = 32


def read_tflite(file: Window) -> Contents:
    """Inputs, outputs, operations and weights; payloads of weights are not read.

    A dimension of -1 in a tensor's `shape_signature` is dynamic. Raises `CorruptModelError`.
    """
    model = root(file)
    graphs = model.tables(2)
    if not graphs:
        raise CorruptModelError("it holds no graph")
    codes = [_operation(code) for code in model.tables(1)]
    held = [buffer.length(0) or buffer.integer(2, "Q") for buffer in model.tables(4)]
    nodes: list[Node] = []
    numbers: dict[int, Numbers] = {}
    main: list[TensorSpec] = []
    for graph in graphs:
        tensors = graph.tables(0)
        specs = [_spec(tensor) for tensor in tensors]
        main = main or specs
        nodes += [_node(operator, codes, specs) for operator in graph.tables(3)]
        for tensor, spec in zip(tensors, specs, strict=True):
            number = tensor.integer(2, "I")
            if number < len(held) and held[number]:
                numbers[number] = Numbers(spec.type, _elements(spec), held[number])
    return Contents(
        inputs=_chosen(main, graphs[0].numbers(1, "i")),
        outputs=_chosen(main, graphs[0].numbers(2, "i")),
        domain="tflite",
        nodes=tuple(nodes),
        weights=tuple(numbers.values()),
        producer=model.text(3) or None,
        signatures=_signatures(model, main),
    )


def _operation(code: Table) -> str:
    """The name of an operation: since 2020 its number has a field of its own, which old files lack."""
    number = max(code.integer(3, "i"), code.integer(0, "b"))
    if number == _CUSTOM:
        return code.text(1) or "CUSTOM"
    return _OPERATIONS[number] if 0 <= number < len(_OPERATIONS) else f"operation {number}"


def _node(operator: Table, codes: Sequence[str], specs: Sequence[TensorSpec]) -> Node:
    code = operator.integer(0, "I")
    results = _chosen(specs, operator.numbers(2, "i"))
    if code >= len(codes):
        raise CorruptModelError(f"a node is of the operation {code} of {len(codes)}")
    return Node(codes[code], results[0].name if results else "")


def _spec(tensor: Table) -> TensorSpec:
    number = tensor.integer(1, "b")
    kind = _TYPES[number] if 0 <= number < len(_TYPES) else f"type {number}"
    sizes = tensor.numbers(7, "i") or tensor.numbers(0, "i") or ()
    return TensorSpec(tensor.text(3), kind, tuple(None if size < 0 else size for size in sizes))


def _elements(spec: TensorSpec) -> int:
    return math.prod(size if isinstance(size, int) else 0 for size in spec.shape or ())


def _chosen(specs: Sequence[TensorSpec], indices: Sequence[int] | None) -> tuple[TensorSpec, ...]:
    """Tensors by their numbers; -1 stands for an optional one that is not there."""
    if any(index >= len(specs) for index in indices or ()):
        raise CorruptModelError("a node names a tensor that is not there")
    return tuple(specs[index] for index in indices or () if index >= 0)


def _signatures(
    model: Table, specs: Sequence[TensorSpec]
) -> Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]:
    """The signatures of the main graph, with the names that they give to its tensors."""
    return {
        signature.text(2): (_named(signature.tables(0), specs), _named(signature.tables(1), specs))
        for signature in model.tables(7)
        if not signature.integer(4, "I")
    }


def _named(entries: Sequence[Table], specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    found = [(entry.text(0), _chosen(specs, [entry.integer(1, "I")])[0]) for entry in entries]
    return tuple(TensorSpec(name, spec.type, spec.shape) for name, spec in found)
