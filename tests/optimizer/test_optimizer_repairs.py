"""Repairs: what OpenVINO computes wrongly without them, and that every one is still needed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, names, run, value
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs import REPAIRS
from ovms_converter.optimizer.repairs.channels_after_reduce import CHANNELS_AFTER_REDUCE
from ovms_converter.optimizer.repairs.onnx_reduce_axes import REDUCE_AXES

REDUCTIONS = [repair.operation for repair in REDUCE_AXES]
X = np.random.RandomState(0).rand(3, 4, 5).astype(np.float32) * 4 + 0.5


def write_reduction(
    path: Path,
    operation: str,
    opset: int = 17,
    axes: Sequence[int] | None = (1,),
    keepdims: int | None = None,
) -> Path:
    """`x` → the reduction `reduce` → `y`."""
    attributes: dict[str, Any] = {} if axes is None else {"axes": list(axes)}
    if keepdims is not None:
        attributes["keepdims"] = keepdims
    node = helper.make_node(operation, ["x"], ["y"], name="reduce", **attributes)
    return save(path, [node], opset)


def save(path: Path, nodes: Sequence[onnx.NodeProto], opset: int = 17) -> Path:
    shape: list[int | str | None] = ["N", 4, 5]
    graph = helper.make_graph(list(nodes), "g", [value("x", shape)], [value("y", None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def reference(path: Path) -> Array:
    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"x": X})[0])


def plain(path: Path) -> Array:
    """What OpenVINO computes by itself."""
    return infer(ov.convert_model(str(path)), X)


def infer(model: ov.Model, *inputs: Array) -> Array:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(list(inputs))[0])


def equal(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-4, atol=1e-4))


@pytest.mark.parametrize("operation", REDUCTIONS)
@pytest.mark.parametrize("opset", [13, 17])
def test_openvino_still_needs_the_repair_of_axes(operation: str, opset: int, tmp_path: Path) -> None:
    model = write_reduction(tmp_path / "m.onnx", operation, opset)
    assert not equal(plain(model), reference(model)), (
        f"{ov.get_version()} reads {operation} right: narrow the versions of its repair, or remove it"
    )


@pytest.mark.parametrize("operation", REDUCTIONS)
@pytest.mark.parametrize("opset", [13, 15, 17])
@pytest.mark.parametrize(
    ("axes", "keepdims"), [((1,), None), ((-1,), 0), ((0, 2), 1), ((2, 1), 0), (None, 0), (None, None)]
)
def test_a_repaired_reduction_computes_what_onnx_runtime_does(
    operation: str, opset: int, axes: tuple[int, ...] | None, keepdims: int | None, tmp_path: Path
) -> None:
    model = write_reduction(tmp_path / "m.onnx", operation, opset, axes, keepdims)
    result = converted(model, tmp_path / "scratch")
    assert equal(run(result, x=X)["y"], reference(model))
    assert names(result) == (["x"], ["y"])
    assert result.repairs == (() if axes is None else (f"onnx-{operation}-axes",))


@pytest.mark.parametrize("operation", REDUCTIONS)
@pytest.mark.parametrize("opset", [11, 12, 18])
def test_other_operation_sets_are_left_alone(operation: str, opset: int, tmp_path: Path) -> None:
    if opset < 18:
        model = write_reduction(tmp_path / "m.onnx", operation, opset)
    else:
        axes = helper.make_node("Constant", [], ["a"], value_ints=[1])
        model = save(tmp_path / "m.onnx", [axes, helper.make_node(operation, ["x", "a"], ["y"])], opset)
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ()
    assert equal(run(result, x=X)["y"], reference(model))


def test_large_values_do_not_overflow(tmp_path: Path) -> None:
    result = converted(write_reduction(tmp_path / "m.onnx", "ReduceLogSumExp", axes=(2,)), tmp_path)
    assert run(result, x=np.full((1, 4, 5), 500, np.float32))["y"].ravel() == pytest.approx(500 + np.log(5))


def test_a_repair_is_told_and_can_be_switched_off(tmp_path: Path) -> None:
    model = write_reduction(tmp_path / "m.onnx", "ReduceL1")
    told = converted(model, tmp_path / "on", repairs="on")
    assert any("ignore the `axes` of `ReduceL1`" in note for note in told.notes)

    off = converted(model, tmp_path / "off", repairs="off")
    assert (off.repairs, off.notes) == ((), ())
    assert equal(run(off, x=X)["y"], plain(model))


def test_repairs_go_together_with_cuts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="first"),
        helper.make_node("ReduceL1", ["n"], ["r"], name="reduce", axes=[2]),
        helper.make_node("Add", ["r", "r"], ["y"], name="last"),
    ]
    model = save(tmp_path / "m.onnx", nodes)
    expected = np.abs(X).sum(2, keepdims=True)
    cut = converted(model, tmp_path / "cut", input="reduce[3,4,5]", output="last")
    assert names(cut) == (["n"], ["y"])
    assert equal(run(cut, n=X)["y"], 2 * expected)
    assert equal(run(converted(model, tmp_path / "inner", output="reduce"), x=X)["r"], expected)


def test_a_reduction_inside_a_branch_is_repaired(tmp_path: Path) -> None:
    def branch(operation: str) -> onnx.GraphProto:
        node = helper.make_node(operation, ["x"], [operation], axes=[1])
        return helper.make_graph([node], operation, [], [value(operation, None)])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Constant", [], ["limit"], value=helper.make_tensor("", TensorProto.FLOAT, [], [1])),
        helper.make_node("Greater", ["most", "limit"], ["large"]),
        helper.make_node(
            "If", ["large"], ["y"], then_branch=branch("ReduceLogSum"), else_branch=branch("ReduceMax")
        ),
    ]
    model = save(tmp_path / "m.onnx", nodes)
    result = converted(model, tmp_path / "scratch")
    assert {"cpu-comparisons-of-nan", "onnx-ReduceLogSum-axes"} <= set(result.repairs)
    assert equal(run(result, x=X)["y"], reference(model))


def channels(batch: int, operation: str = "reduce_sum", *, keep: bool, free: bool, between: bool) -> ov.Model:
    """`x` [B,6,5] reduced over the last axis, perhaps a Relu, and plus a number a channel."""
    parameter = opset13.parameter([-1 if free else batch, 6, 5], np.float32)
    parameter.output(0).set_names({"x"})
    node = getattr(opset13, operation)(parameter, opset13.constant(np.array([2], np.int64)), keep)
    if between:
        node = opset13.relu(node)
    added = np.arange(6, dtype=np.float32).reshape((1, 6, 1) if keep else (1, 6))
    last = opset13.add(node, opset13.constant(added))
    last.output(0).set_names({"y"})
    return ov.Model([last], [parameter], "channels")


NUMPY: dict[str, Callable[..., Any]] = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
}


def expected_channels(x: Array, operation: str, *, keep: bool) -> Array:
    added = np.arange(6, dtype=np.float32).reshape((1, 6, 1) if keep else (1, 6))
    return np.asarray(NUMPY[operation](x, axis=2, keepdims=keep) + added)


@pytest.mark.parametrize("keep", [False, True])
def test_openvino_still_needs_the_repair_of_channels(keep: bool) -> None:
    x = np.random.RandomState(1).rand(3, 6, 5).astype(np.float32)
    computed = infer(channels(3, keep=keep, free=False, between=False), x)
    assert not equal(computed, expected_channels(x, "reduce_sum", keep=keep)), (
        f"{ov.get_version()} runs it right: narrow the versions of {CHANNELS_AFTER_REDUCE.name}, or remove it"
    )


@pytest.mark.parametrize("operation", NUMPY)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("between", [False, True])
def test_repaired_channels_are_right_for_every_batch(
    operation: str, keep: bool, free: bool, between: bool, tmp_path: Path
) -> None:
    for batch in (1, 2, 3, 4):
        source = channels(batch, operation, keep=keep, free=free, between=between)
        ov.save_model(source, str(tmp_path / f"{batch}.xml"), compress_to_fp16=False)
        result = converted(tmp_path / f"{batch}.xml", tmp_path, "openvino.ir")
        assert result.repairs == ("cpu-channels-after-reduce",)
        x = np.random.RandomState(batch).rand(batch, 6, 5).astype(np.float32)
        assert equal(run(result, x=x)["y"], expected_channels(x, operation, keep=keep)), batch


def test_weights_in_half_precision_are_recognised_too(tmp_path: Path) -> None:
    source = channels(2, keep=False, free=True, between=False)
    ov.save_model(source, str(tmp_path / "m.xml"), compress_to_fp16=True)
    result = converted(tmp_path / "m.xml", tmp_path, "openvino.ir", data_type="FP16")
    assert result.repairs == ("cpu-channels-after-reduce",)


def test_a_reduction_without_channels_after_it_is_left_alone() -> None:
    parameter = opset13.parameter([-1, 6, 5], np.float32)
    mean = opset13.reduce_mean(parameter, opset13.constant(np.array([2], np.int64)), True)
    scaled = opset13.multiply(mean, opset13.constant(np.array(2, np.float32)))
    model = ov.Model([opset13.subtract(parameter, scaled)], [parameter])
    assert CHANNELS_AFTER_REDUCE.apply(model) == 0
    assert [node.get_type_name() for node in model.get_ops()].count("Unsqueeze") == 0


def test_a_layer_normalisation_is_left_alone() -> None:
    parameter = opset13.parameter([-1, 6, 5], np.float32)
    axis = opset13.constant(np.array([2], np.int64))
    centred = opset13.subtract(parameter, opset13.reduce_mean(parameter, axis, True))
    variance = opset13.reduce_mean(opset13.multiply(centred, centred), axis, True)
    small = opset13.constant(np.array(1e-5, np.float32))
    normal = opset13.divide(centred, opset13.sqrt(opset13.add(variance, small)))
    scaled = opset13.multiply(normal, opset13.constant(np.arange(5, dtype=np.float32)))
    assert CHANNELS_AFTER_REDUCE.apply(ov.Model([scaled], [parameter])) == 0


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_left_alone_for_another_input_in_between_is_right(keep: bool) -> None:
    x = np.random.RandomState(1).rand(3, 6, 5).astype(np.float32)
    first, second = opset13.parameter([-1, 6, 5], np.float32), opset13.parameter([-1, 6, 5], np.float32)
    axis = opset13.constant(np.array([2], np.int64))
    both = opset13.add(opset13.reduce_sum(first, axis, keep), opset13.reduce_max(second, axis, keep))
    added = np.arange(6, dtype=np.float32).reshape((1, 6, 1) if keep else (1, 6))
    model = ov.Model([opset13.add(both, opset13.constant(added))], [first, second])
    assert CHANNELS_AFTER_REDUCE.apply(model) == 0
    expected = x.sum(2, keepdims=keep) + x.max(2, keepdims=keep) + added
    assert equal(infer(model, x, x), expected)


def test_every_repair_says_what_it_is_for() -> None:
    assert len({repair.name for repair in REPAIRS}) == len(REPAIRS)
    for repair in REPAIRS:
        assert repair.issue.startswith("https://github.com/openvinotoolkit/openvino/")
        assert repair.versions
        assert repair.fault
