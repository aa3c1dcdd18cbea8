"""The largest of nothing but -∞ is -∞, and the least float stays what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, run, value, write_model
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.extremes_of_infinities import EXTREMES_OF_INFINITIES

LEAST = np.finfo(np.float32).min
ROWS: Array = np.array(
    [[-np.inf, -np.inf, -np.inf], [LEAST, LEAST, LEAST], [LEAST, -np.inf, LEAST], [1 / 3, -np.inf, -7],
     [np.inf, 1, -np.inf], [-LEAST, 0, 1]], np.float32,
)  # fmt: skip


def test_the_plugin_still_begins_with_a_finite_number() -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    data = opset13.parameter([-1, -1], np.float32)
    largest = opset13.reduce_max(data, opset13.constant(np.int64(1)))
    compiled = ov.Core().compile_model(
        ov.Model([largest], [data]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    assert np.isfinite(compiled([ROWS])[0][0])


def reduction(path: Path, operation: str, shape: list[Any], *, axis: int = 1) -> Path:
    """`x` → ReduceMax or ReduceMin → `y`, and whether it is infinite → `masked`."""
    nodes = [
        helper.make_node(operation, ["x"], ["y"], axes=[axis], keepdims=0),
        helper.make_node("IsInf", ["y"], ["masked"]),
    ]
    outputs = [value("y", None), value("masked", None, TensorProto.BOOL)]
    return write_model(path, nodes, [value("x", shape)], outputs)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [["n", "m"], [6, 3]])
@pytest.mark.parametrize("operation", ["ReduceMax", "ReduceMin"])
def test_infinities_and_the_largest_floats_stay_what_they_are(
    operation: str, shape: list[Any], axis: int, tmp_path: Path
) -> None:
    rows, of = (ROWS, np.max) if operation == "ReduceMax" else (-ROWS, np.min)
    result = converted(reduction(tmp_path / "m.onnx", operation, shape, axis=axis), tmp_path)

    found = run(result, x=rows)

    assert result.repairs == (EXTREMES_OF_INFINITIES.name,)
    assert np.array_equal(found["y"], of(rows, axis))
    assert np.array_equal(found["masked"], np.isinf(of(rows, axis)))


def test_the_largest_of_nothing_is_infinite(tmp_path: Path) -> None:
    result = converted(reduction(tmp_path / "m.onnx", "ReduceMax", ["n", "m"]), tmp_path)
    assert run(result, x=np.zeros((2, 0), np.float32))["y"].tolist() == [-np.inf, -np.inf]


def test_a_softmax_that_is_written_out_stays(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], axes=[1]),
        helper.make_node("Sub", ["x", "most"], ["less"]),
        helper.make_node("Exp", ["less"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "one"], ["sum"]),
        helper.make_node("Div", ["powers", "sum"], ["y"]),
    ]
    path = write_model(
        tmp_path / "m.onnx", nodes, [value("x", ["n", 3])], [value("y", ["n", 3])], {"one": np.array([1])}
    )
    assert converted(path, tmp_path).repairs == ()


def test_what_is_finite_is_left_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMax", ["r"], ["y"], axes=[1]),
    ]
    weights = {"w": np.ones((4, 3, 1, 1), np.float32)}
    path = write_model(
        tmp_path / "m.onnx", nodes, [value("x", ["n", 3, 5, 5])], [value("y", ["n", 1, 5, 5])], weights
    )
    assert converted(path, tmp_path).repairs == ()
