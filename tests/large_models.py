"""Models that are large enough to go up in parts."""

import functools

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["one_product"]


@functools.cache
def one_product() -> bytes:
    """An ONNX graph with 9 MiB of weights."""
    weights = numpy_helper.from_array(np.ones((1536, 1536), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1536])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1536])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
