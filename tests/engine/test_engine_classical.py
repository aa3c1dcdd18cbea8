"""Classical models through the engine: converted, and equal to what their own library computes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from engine_rig import convert, job


def test_a_map_of_scores_is_compared_as_the_matrix_that_it_becomes(tmp_path: Path) -> None:
    labels = {"classlabels_int64s": [0, 1, 2]}
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=[0.5, -1.0, 2.0, 0.25, 1.0, -0.5],
            intercepts=[0.1, -0.1, 0.0],
            post_transform="SOFTMAX",
            classlabels_ints=[0, 1, 2],
        ),
        helper.make_node("ZipMap", ["scores"], ["probability"], domain="ai.onnx.ml", **labels),
    ]
    zipped = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_value_info("probability", zipped),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    result = convert(job(tmp_path / "m.onnx", tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime ")
    assert [str(port.shape) for port in result.outputs] == ["[?]", "[?,3]"]
    assert result.repairs == ("onnx-ml-LinearClassifier", "onnx-ml-ZipMap")
