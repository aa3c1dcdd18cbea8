"""Comparisons of NaN: what the CPU plugin makes of them, and what is published instead."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from optimizer_models import Array, converted, names, run, value, write_model
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.comparisons_of_nan import COMPARISONS_OF_NAN

COMPARE: Mapping[str, tuple[Callable[..., ov.Node], Callable[..., Array]]] = {
    "Greater": (opset13.greater, np.greater),
    "GreaterEqual": (opset13.greater_equal, np.greater_equal),
    "Less": (opset13.less, np.less),
    "LessEqual": (opset13.less_equal, np.less_equal),
    "Equal": (opset13.equal, np.equal),
    "NotEqual": (opset13.not_equal, np.not_equal),
}
WRONG = ("Greater", "GreaterEqual")
TYPES = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
LENGTHS = (0, 1, 7, 8, 64)  # 0 is a scalar
LEFT = [np.nan, 1, np.nan, 0, 2, -1, np.nan, np.inf, -np.inf]
RIGHT = [1, np.nan, np.nan, 0, 1, np.nan, -np.inf, np.nan, np.nan]


def operands(length: int, type: str) -> tuple[Array, Array]:
    if not length:
        return np.array(np.nan, TYPES[type]), np.array(1, TYPES[type])
    return np.resize(LEFT, length).astype(TYPES[type]), np.resize(RIGHT, length).astype(TYPES[type])


def comparison(operation: str, left: Array, right: Array, form: str) -> tuple[ov.Model, Array]:
    """A model that compares its input with a constant or another input, and what is right."""
    first = opset13.parameter(left.shape, left.dtype.type)
    second = opset13.parameter(right.shape, right.dtype.type)
    make, expect = COMPARE[operation]
    expected = expect(left, right)
    if form == "constant":
        return ov.Model([make(first, opset13.constant(right))], [first]), expected
    compared = make(first, second)
    if form == "fused":
        chosen = opset13.select(compared, opset13.constant(np.float32(1)), opset13.constant(np.float32(-1)))
        return ov.Model([chosen], [first, second]), np.where(expected, 1, -1)
    return ov.Model([compared], [first, second]), expected


def infer(model: ov.Model, *inputs: Array) -> Array:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(list(inputs)[: len(model.inputs)])[0])


@pytest.mark.parametrize("form", ["inputs", "constant", "fused"])
@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("operation", COMPARE)
def test_which_comparisons_of_nan_the_plugin_gets_wrong(operation: str, type: str, form: str) -> None:
    for length in LENGTHS:
        left, right = operands(length, type)
        model, expected = comparison(operation, left, right, form)
        right_by_itself = np.array_equal(infer(model, left, right), expected)
        assert right_by_itself == (operation not in WRONG), (
            f"{ov.get_version()} finds another result for {operation}: look at the repair of comparisons"
        )
        assert COMPARISONS_OF_NAN.apply(model) == (operation in WRONG)
        assert np.array_equal(infer(model, left, right), expected)


def write(path: Path, operation: str) -> Path:
    """`x` and `limit` → `above`, itself an output, and `y`, chosen by it."""
    nodes = [
        helper.make_node(operation, ["x", "limit"], ["above"]),
        helper.make_node("Where", ["above", "x", "limit"], ["y"]),
    ]
    inputs = [value("x", ["N", 3]), value("limit", [3])]
    outputs = [helper.make_tensor_value_info("above", TensorProto.BOOL, ["N", 3]), value("y", ["N", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("operation", ["Greater", "GreaterOrEqual"])
def test_a_repaired_comparison_keeps_names_and_numbers(operation: str, tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", operation)
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ("cpu-comparisons-of-nan",)
    assert any("true where an operand is NaN: repaired" in note for note in result.notes)
    assert names(result) == (["x", "limit"], ["above", "y"])
    x = np.array([[np.nan, 1, 2], [3, np.nan, 1]], np.float32)
    limit = np.array([1, np.nan, 1], np.float32)
    found = run(result, x=x, limit=limit)
    above = np.greater(x, limit) if operation == "Greater" else np.greater_equal(x, limit)
    assert np.array_equal(found["above"], above)
    assert np.array_equal(found["y"], np.where(above, x, limit), equal_nan=True)


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    result = converted(write(tmp_path / "m.onnx", "Greater"), tmp_path / "scratch", repairs="off")
    assert (result.repairs, result.notes) == ((), ())


def test_what_cannot_be_nan_is_left_alone() -> None:
    whole, number = opset13.parameter([3], np.int64), opset13.parameter([3], np.float32)
    position = opset13.unsqueeze(opset13.convert(whole, "f32"), opset13.constant(np.int64(0)))
    one, nan = opset13.constant(np.float32(1)), opset13.constant(np.float32(np.nan))

    def repaired(left: ov.Output, right: ov.Output, *rest: str) -> int:
        return COMPARISONS_OF_NAN.apply(ov.Model([opset13.greater(left, right, *rest)], [whole, number]))

    assert repaired(whole, whole) == 0
    assert repaired(position, one) == 0
    assert repaired(position, nan) == 1
    assert repaired(position, number) == 1
    assert repaired(opset13.convert(number, "f64"), opset13.constant(np.float64(1))) == 1
    assert repaired(number, one, "pdpd") == 0

    for type in ("bf16", "f16", "f64"):
        assert repaired(opset13.convert(whole, type), opset13.constant(1.0, getattr(ov.Type, type))) == 0


@pytest.mark.parametrize("operation", ["If", "Loop"])
def test_comparisons_within_branches_and_loops_are_repaired(operation: str, tmp_path: Path) -> None:
    first, second = value("x", ["n"]), value("z", ["n"])
    found = value("y", ["n"], TensorProto.BOOL)
    inner = value("inner", ["n"], TensorProto.BOOL)
    compare = helper.make_node("Greater", ["x", "z"], ["inner"])
    weights = {"yes": np.array(True), "once": np.array(1, np.int64), "start": np.array([False, False, False])}
    if operation == "If":
        otherwise = helper.make_graph([helper.make_node("Less", ["x", "z"], ["inner"])], "else", [], [inner])
        branch = helper.make_graph([compare], "then", [], [inner])
        condition = value("choice", [], TensorProto.BOOL)
        node = helper.make_node("If", ["choice"], ["y"], then_branch=branch, else_branch=otherwise)
        model = write_model(tmp_path / "m.onnx", [node], [condition, first, second], [found])
    else:
        going = [value(name, [], TensorProto.BOOL) for name in ("going", "goes")]
        goes_on = helper.make_node("Identity", ["going"], ["goes"])
        before = value("before", ["n"], TensorProto.BOOL)
        ends = ([value("step", [], TensorProto.INT64), going[0], before], [going[1], inner])
        body = helper.make_graph([goes_on, compare], "body", *ends)
        node = helper.make_node("Loop", ["once", "yes", "start"], ["y"], body=body)
        model = write_model(tmp_path / "m.onnx", [node], [first, second], [found], weights)

    result = converted(model, tmp_path)

    more = {"choice": np.array(True)} if operation == "If" else {}
    left, right = np.array([np.nan, 2, 1], np.float32), np.array([1, 1, np.nan], np.float32)
    assert result.repairs == (COMPARISONS_OF_NAN.name,)
    assert run(result, x=left, z=right, **more)["y"].tolist() == [False, True, False]
