"""Which operations of TensorFlow compute and do nothing else.

A TensorFlow graph is a program: `WriteFile` writes, `PrintV2` can, `DebugIdentity` connects, `Abort` ends the
process, and neither loading nor a list of the bad ones is a defence, for TensorFlow has some 1,500 operations
and marks only part of these as stateful. So a graph is run only if all of it is on this list: what OpenVINO
2026.4's front end has rules for, without what writes files, and what restores variables.
"""

__all__ = ["HARMLESS"]

HARMLESS = frozenset({
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "AdjustContrastv2", "AdjustHue", "AdjustSaturation",
    "All", "Angle", "Any", "ApproximateEqual", "ArgMax", "ArgMin", "Asin", "Asinh", "Assert", "Assign",
    "AssignAdd", "AssignAddVariableOp", "AssignSub", "AssignSubVariableOp", "AssignVariableOp", "Atan",
    "Atan2", "Atanh", "AvgPool", "AvgPool3D", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3",
    "BatchMatrixInverse", "BatchToSpaceND", "BiasAdd", "Bincount", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
    "BlockLSTM", "BroadcastArgs", "BroadcastTo", "Bucketize", "CTCGreedyDecoder", "CTCLoss", "Cast", "Ceil",
    "CheckNumerics", "CheckNumericsV2", "ClipByValue", "Complex", "ComplexAbs", "Concat", "ConcatV2", "Conj",
    "ConjugateTranspose", "Const", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "Cos",
    "Cosh", "CropAndResize", "Cumsum", "DepthToSpace", "DepthwiseConv2dNative", "Div", "DivNoNan",
    "DynamicPartition", "DynamicStitch", "Einsum", "Elu", "EmptyTensorList", "EnsureShape", "Enter", "Equal",
    "Erf", "Erfc", "EuclideanNorm", "Exit", "Exp", "ExpandDims", "Expm1", "ExtractImagePatches", "FFT",
    "FFT2D", "FFT3D", "FIFOQueue", "FIFOQueueV2", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel", "Fill", "Floor", "FloorDiv", "FloorMod", "FusedBatchNorm",
    "FusedBatchNormV2", "FusedBatchNormV3", "GRUBlockCell", "Gather", "GatherNd", "GatherV2", "Greater",
    "GreaterEqual", "HSVToRGB", "HashTable", "HashTableV2", "IFFT", "IFFT2D", "IFFT3D", "IRFFT", "IRFFT2D",
    "IRFFT3D", "Identity", "IdentityN", "If", "Imag", "InitializeTable", "InitializeTableV2", "Inv", "Invert",
    "InvertPermutation", "IsFinite", "IsInf", "IsNan", "IsVariableInitialized", "L2Loss", "LRN", "LeakyRelu",
    "LeftShift", "Less", "LessEqual", "LinSpace", "ListDiff", "Log", "Log1p", "LogSoftmax", "LogicalAnd",
    "LogicalNot", "LogicalOr", "LogicalXor", "LookupTableFind", "LookupTableFindV2", "LookupTableImport",
    "LookupTableImportV2", "LookupTableInsert", "LookupTableInsertV2", "LookupTableSize", "LookupTableSizeV2",
    "LoopCond", "MatMul", "MatrixBandPart", "MatrixDiag", "MatrixInverse", "Max", "MaxPool", "MaxPool3D",
    "MaxPoolV2", "MaxPoolWithArgmax", "Maximum", "Mean", "Merge", "Min", "Minimum", "MirrorPad", "Mod", "Mul",
    "MulNoNan", "Multinomial", "MutableHashTable", "MutableHashTableV2", "Neg", "NextIteration", "NoOp",
    "NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4",
    "NonMaxSuppressionV5", "NotEqual", "OneHot", "OnesLike", "Pack", "Pad", "PadV2", "ParallelDynamicStitch",
    "PartitionedCall", "Placeholder", "PlaceholderWithDefault", "Pow", "PreventGradient", "Prod", "RFFT",
    "RFFT2D", "RFFT3D", "RGBToHSV", "RandomUniform", "RandomUniformInt", "Range", "Rank", "ReadVariableOp",
    "Real", "RealDiv", "Reciprocal", "Relu", "Relu6", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor",
    "ResourceGather", "RestoreV2", "Reverse", "ReverseSequence", "ReverseV2", "RightShift", "Rint", "Roll",
    "Round", "Rsqrt", "ScatterNd", "SegmentMax", "SegmentSum", "Select", "SelectV2", "Selu", "Shape",
    "ShapeN", "ShardedFilename", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Snapshot", "Softmax",
    "Softplus", "Softsign", "SpaceToBatchND", "SpaceToDepth", "SparseFillEmptyRows", "SparseReshape",
    "SparseSegmentMean", "SparseSegmentSqrtN", "SparseSegmentSum", "SparseTensorDenseAdd",
    "SparseTensorDenseMatMul", "SparseToDense", "Split", "SplitV", "Sqrt", "Square", "SquaredDifference",
    "Squeeze", "StatefulPartitionedCall", "StatelessIf", "StatelessWhile", "StaticRegexFullMatch",
    "StopGradient", "StridedSlice", "StringJoin", "Sub", "Sum", "Switch", "Tan", "Tanh", "TensorArrayCloseV3",
    "TensorArrayConcatV3", "TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3",
    "TensorArraySizeV3", "TensorArrayV3", "TensorArrayWriteV3", "TensorListConcatV2", "TensorListFromTensor",
    "TensorListGetItem", "TensorListLength", "TensorListPushBack", "TensorListReserve", "TensorListResize",
    "TensorListSetItem", "TensorListStack", "TensorScatterAdd", "TensorScatterUpdate", "Tile", "TopK",
    "TopKV2", "Transpose", "TruncateDiv", "TruncateMod", "Unique", "UniqueWithCounts", "Unpack",
    "UnravelIndex", "UnsortedSegmentMax", "UnsortedSegmentSum", "VarHandleOp", "VarIsInitializedOp",
    "Variable", "VariableV2", "Where", "While", "Xdivy", "Xlog1py", "Xlogy", "ZerosLike",
})  # fmt: skip
"""The names of the operations, from TensorFlow's own registry."""
