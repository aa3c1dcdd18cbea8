"""Small models for the tests of `inspect`, made at the wire level."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ovms_converter.formats.wire import bytes_field, varint_field

DATA = Path(__file__).parent.parent / "data"


def onnx_model(
    nodes: list[onnx.NodeProto] | None = None,
    *,
    shape: tuple[int | str, ...] = ("batch", 4),
    weight: onnx.TensorProto | None = None,
    imports: tuple[tuple[str, int], ...] = (("", 17),),
) -> bytes:
    """A model from `x` to `y`, by default `y = x @ w`."""
    weight = weight or helper.make_tensor("w", TensorProto.FLOAT, [4, 2], [0.5] * 8)
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in imports]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")
    data: bytes = model.SerializeToString()
    return data


def external_weight(location: str, rows: int) -> onnx.TensorProto:
    """A weight `[rows, 1024]` of floats in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows, 1024])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(rows * 4096))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def inline_weight(rows: int) -> onnx.TensorProto:
    """The same weight in the model itself, all zeros."""
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows, 1024], raw_data=bytes(rows * 4096))


def _node(name: str, operation: str, *inputs: str, function: str = "") -> bytes:
    node = (
        bytes_field(1, name) + bytes_field(2, operation) + b"".join(bytes_field(3, each) for each in inputs)
    )
    if function:
        called = bytes_field(2, bytes_field(10, bytes_field(1, function)))
        node += bytes_field(5, bytes_field(1, "f") + called)
    return node


def _function(name: str, output: str, *nodes: bytes) -> bytes:
    body = b"".join(bytes_field(3, node) for node in nodes)
    returned = bytes_field(4, bytes_field(1, "out") + bytes_field(2, output))
    return bytes_field(1, bytes_field(1, bytes_field(1, name)) + body + returned)


def _info(tensor: str) -> bytes:
    dimension = bytes_field(2, varint_field(1, -1)) + bytes_field(2, varint_field(1, 4))
    return bytes_field(1, tensor) + varint_field(2, 1) + bytes_field(3, dimension)


def _signature(name: str, output: str) -> bytes:
    value = bytes_field(1, bytes_field(1, "a") + bytes_field(2, _info("x:0")))
    value += bytes_field(2, bytes_field(1, "b") + bytes_field(2, _info(output)))
    return bytes_field(5, bytes_field(1, name) + bytes_field(2, value))


def saved_model(*signatures: str, served: str = "Relu") -> bytes:
    """A SavedModel without variables.

    Its signatures call `serve`, which does `served` and a Tanh; `train`, which nobody calls, does a
    ReadFile. A control input leads to a WriteFile.
    """
    nodes = [
        _node("x", "Placeholder"),
        _node("call", "StatefulPartitionedCall", "x", "^written", function="serve"),
        _node("written", "WriteFile"),
        _node("other", "StatefulPartitionedCall", "x", function="train"),
    ]
    library = _function("serve", "t:y:0", _node("inner", served, "arg"), _node("t", "Tanh", "inner:y:0"))
    library += _function("train", "r:y:0", _node("r", "ReadFile", "arg"))
    graph = b"".join(bytes_field(1, node) for node in nodes) + bytes_field(2, library)
    meta = bytes_field(1, bytes_field(4, "serve") + bytes_field(5, "2.17.0")) + bytes_field(2, graph)
    meta += b"".join(_signature(name, "call:0") for name in signatures or ("serving_default",))
    return varint_field(1, 1) + bytes_field(2, meta)
