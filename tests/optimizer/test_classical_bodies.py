"""Operators of ai.onnx.ml within branches and loops: what ONNX Runtime computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino as ov
import pytest
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import convert

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
ROWS = np.array([[-1.5, 0.5], [2.0, 0.25], [0.5, 1.0]], np.float32)


def ml(operation: str, source: str, *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operation, [source], list(outputs), outputs[0], domain="ai.onnx.ml", **attributes)


def tree(source: str, output: str) -> NodeProto:
    """One threshold: 10 up to 0.75 in the second column, 20 above."""
    return ml(
        "TreeEnsembleRegressor",
        source,
        output,
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_values=[0.75, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        nodes_hitrates=[1.0, 1.0, 1.0],
        nodes_missing_value_tracks_true=[0, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[10.0, 20.0],
    )


def scaler(source: str, output: str) -> NodeProto:
    return ml("Scaler", source, output, offset=[0.5, -1.0], scale=[2.0, 3.0])


def classifier(source: str, label: str, scores: str) -> NodeProto:
    return ml(
        "LinearClassifier",
        source,
        label,
        scores,
        classlabels_ints=[3, 7, 9],
        coefficients=[1.0, -1.0, 0.5, 0.25, -1.0, 2.0],
        intercepts=[0.1, 0.2, -0.3],
        multi_class=0,
        post_transform="SOFTMAX",
    )


def value(name: str, kind: int, shape: Sequence[int | None] | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def body(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto] = (),
) -> GraphProto:
    return helper.make_graph(list(nodes), "body", list(inputs), list(outputs), list(constants))


def constant(name: str, array: npt.NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(array, name)


def model(graph: GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def branches() -> onnx.ModelProto:
    """A branch with a forest and one with a classifier, whose tensors have the same names."""
    then = body(
        [scaler("x", "scaled"), tree("scaled", "found")],
        [],
        [value("found", FLOAT, [None, 1])],
    )
    other = body(
        [
            classifier("x", "label", "scaled"),
            helper.make_node("ReduceMax", ["scaled"], ["found"], axes=[1], keepdims=1),
        ],
        [],
        [value("found", FLOAT, [None, 1])],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", "limit"], ["small"]),
        helper.make_node("If", ["small"], ["y"], then_branch=then, else_branch=other),
    ]
    return model(
        helper.make_graph(
            nodes,
            "g",
            [value("x", FLOAT, [None, 2])],
            [value("y", FLOAT, [None, 1])],
            [constant("limit", np.float32(0))],
        )
    )


def loop() -> onnx.ModelProto:
    """Adds a forest's answer to what goes round, three times; the forest reads a tensor from outside too."""
    inner = body(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["state", "x"], ["moved"]),
            scaler("moved", "scaled"),
            tree("scaled", "found"),
            helper.make_node("Add", ["state", "found"], ["next"]),
        ],
        [value("i", INT, []), value("go", BOOL, []), value("state", FLOAT, [None, 2])],
        [value("on", BOOL, []), value("next", FLOAT, [None, 2]), value("found", FLOAT, [None, 1])],
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["start"]),
        helper.make_node("Loop", ["count", "yes", "start"], ["y", "all"], body=inner),
    ]
    return model(
        helper.make_graph(
            nodes,
            "g",
            [value("x", FLOAT, [None, 2])],
            [value("y", FLOAT, [None, 2]), value("all", FLOAT, [3, None, 1])],
            [constant("count", np.int64(3)), constant("yes", np.array(True))],
        )
    )


def scan() -> onnx.ModelProto:
    """Labels row by row."""
    inner = body(
        [
            helper.make_node("Unsqueeze", ["row", "first"], ["one"]),
            classifier("one", "label", "scores"),
            ml("LabelEncoder", "label", "encoded", keys_int64s=[3, 7, 9], values_floats=[0.5, 1.5, 2.5]),
            helper.make_node("ReduceSum", ["encoded"], ["value"], keepdims=0),
            helper.make_node("Add", ["total", "value"], ["sum"]),
            helper.make_node("Identity", ["scores"], ["out"]),
        ],
        [value("total", FLOAT, []), value("row", FLOAT, [2])],
        [value("sum", FLOAT, []), value("out", FLOAT, [1, 3])],
        [constant("first", np.array([0], np.int64))],
    )
    nodes = [helper.make_node("Scan", ["zero", "x"], ["y", "scores"], num_scan_inputs=1, body=inner)]
    return model(
        helper.make_graph(
            nodes,
            "g",
            [value("x", FLOAT, [None, 2])],
            [value("y", FLOAT, []), value("scores", FLOAT, [None, 1, 3])],
            [constant("zero", np.float32(0))],
        )
    )


def nested() -> onnx.ModelProto:
    """A forest in a branch in a branch."""
    inner = helper.make_node(
        "If",
        ["small"],
        ["found"],
        then_branch=body([tree("x", "deep")], [], [value("deep", FLOAT, [None, 1])]),
        else_branch=body(
            [helper.make_node("ReduceMax", ["x"], ["deep"], axes=[1], keepdims=1)],
            [],
            [value("deep", FLOAT, [None, 1])],
        ),
    )
    proto = branches()
    branch = next(each for node in proto.graph.node for each in node.attribute if each.name == "else_branch")
    branch.g.CopyFrom(
        body(
            [
                helper.make_node("Less", ["limit", "sum"], ["large"]),
                helper.make_node("Not", ["large"], ["no"]),
                helper.make_node("Not", ["no"], ["small"]),
                inner,
            ],
            [],
            [value("found", FLOAT, [None, 1])],
        )
    )
    for node in branch.g.node:
        for position, name in enumerate(node.input):
            node.input[position] = {"small": "inner"}.get(name, name)
        for position, name in enumerate(node.output):
            node.output[position] = {"small": "inner"}.get(name, name)
    return proto


@pytest.mark.parametrize("make", [branches, loop, scan, nested])
@pytest.mark.parametrize("sign", [1, -1])
def test_bodies_compute_what_onnx_runtime_does(make: Any, sign: int, tmp_path: Path) -> None:
    proto, rows = make(), ROWS * np.float32(sign)
    onnx.checker.check_model(proto)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    conversion = convert(path, "onnx", OptimizerArguments.parse({}), tmp_path / "scratch")
    found = ov.Core().compile_model(conversion.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": rows})
    for name, wanted in zip(names, session.run(names, {"x": rows}), strict=True):
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
    assert any(repair.startswith("onnx-ml-") for repair in conversion.repairs)


def test_a_map_in_a_branch_is_refused(tmp_path: Path) -> None:
    proto = branches()
    branch = next(each for node in proto.graph.node for each in node.attribute if each.name == "else_branch")
    branch.g.node[-1].CopyFrom(ml("ZipMap", "scaled", "found", classlabels_int64s=[3, 7, 9]))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedModelError, match=r"`found` is a `ZipMap` .* in a loop"):
        convert(path, "onnx", OptimizerArguments.parse({}), tmp_path / "scratch")
