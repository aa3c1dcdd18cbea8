"""`Divide` before a rounding: as ONNX Runtime and numpy divide, not by a product with the reciprocal."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, names, run, value, write_model
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.divide_rounding import DIVIDE_ROUNDING
from test_onnx_rules import node_cases

MULTIPLES = np.arange(1, 4000)
F32 = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.mark.parametrize("length", [-1, 3999])
def test_the_plugin_still_multiplies_with_the_reciprocal(length: int) -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    data = opset13.parameter([length], np.float32)
    whole = opset13.floor(opset13.divide(data, opset13.constant(np.float32(41))))
    compiled = ov.Core().compile_model(ov.Model([whole], [data]), "CPU", F32)

    assert np.any(compiled([(MULTIPLES * 41).astype(np.float32)])[0] != MULTIPLES)


@pytest.mark.parametrize("length", ["n", 3999])
@pytest.mark.parametrize("rounding", ["Floor", "Ceil", "Cast"])
@pytest.mark.parametrize("divisor", [41, 255, 0.3, "d"])
def test_exact_multiples_are_divided_exactly(
    divisor: float | str, rounding: str, length: int | str, tmp_path: Path
) -> None:
    fed = isinstance(divisor, str)
    kind = TensorProto.INT32 if rounding == "Cast" else TensorProto.FLOAT
    last = helper.make_node(rounding, ["q"], ["y"], **({"to": kind} if rounding == "Cast" else {}))
    inputs = [value("x", [length]), *([value("d", [1])] if fed else [])]
    by = np.array([47 if fed else divisor], np.float32)
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Div", ["x", "d"], ["q"]), last],
        inputs,
        [value("y", [length], kind)],
        {} if fed else {"d": by},
    )
    feed = {"x": (MULTIPLES * by).astype(np.float32), **({"d": by} if fed else {})}

    result = converted(path, tmp_path)

    right = onnxruntime.InferenceSession(path).run(["y"], feed)[0]
    assert result.repairs == (DIVIDE_ROUNDING.name,)
    assert names(result) == (list(feed), ["y"])
    assert np.array_equal(run(result, **feed)["y"], right)


@pytest.mark.parametrize("data_type", ["FP32", "FP16"])
def test_it_is_as_exact_when_read_back_with_weights_of_either_size(data_type: str, tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Div", ["x", "d"], ["q"]), helper.make_node("Floor", ["q"], ["y"])],
        [value("x", ["n"])],
        [value("y", ["n"])],
        {"d": np.array(41, np.float32)},
    )
    result = converted(path, tmp_path, data_type=data_type)
    ov.save_model(result.model, tmp_path / "m.xml", compress_to_fp16=result.compress_to_fp16)

    compiled = ov.Core().compile_model(tmp_path / "m.xml", "CPU")
    assert np.array_equal(compiled([(MULTIPLES * 41).astype(np.float32)])[0], MULTIPLES)


@pytest.mark.parametrize("divisor", [41.0, 1e-5, 1e20])
def test_what_is_not_finite_stays_what_it_is(divisor: float, tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Div", ["x", "d"], ["q"]), helper.make_node("Floor", ["q"], ["y"])],
        [value("x", ["n"])],
        [value("y", ["n"])],
        {"d": np.array(divisor, np.float32)},
    )
    x = np.array([np.nan, np.inf, -np.inf, 0, 3e38, -3e38, 1e-38], np.float32)
    with np.errstate(over="ignore"):
        expected = np.floor(x / np.float32(divisor))

    found = run(converted(path, tmp_path), x=x)["y"]

    assert np.allclose(found, expected, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize(("divisor", "last"), [(41, "Softmax"), (41, "Exp"), (64, "Floor"), (-0.25, "Floor")])
def test_divisions_that_are_right_or_not_rounded_stay(divisor: float, last: str, tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Div", ["x", "d"], ["q"]), helper.make_node(last, ["q"], ["y"])],
        [value("x", ["n", 3])],
        [value("y", ["n", 3])],
        {"d": np.array(divisor, np.float32)},
    )
    assert converted(path, tmp_path).repairs == ()


@pytest.mark.parametrize(
    "name", ["dynamicquantizelinear", "dynamicquantizelinear_expanded", "dynamicquantizelinear_max_adjusted"]
)
def test_the_standard_s_cases_of_dynamic_quantization_are_equal(name: str, tmp_path: Path) -> None:
    case = node_cases()[name]
    onnx.save(case.model, tmp_path / "m.onnx")

    found = run(converted(tmp_path / "m.onnx", tmp_path / "scratch"), x=case.data_sets[0][0][0])

    for port, right in zip(case.model.graph.output, case.data_sets[0][1], strict=True):
        assert np.array_equal(found[port.name], right), port.name


@pytest.mark.parametrize("shape", [[None, 8], [3, 8]])
def test_dynamic_quantization_is_that_of_onnx_runtime_at_ties_too(
    shape: list[int | None], tmp_path: Path
) -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    outputs = [value("y", shape, TensorProto.UINT8), value("s", []), value("z", [], TensorProto.UINT8)]
    path = write_model(tmp_path / "m.onnx", [node], [value("x", shape)], outputs)
    session = onnxruntime.InferenceSession(path)
    result = converted(path, tmp_path)
    random = np.random.default_rng(4)

    for _ in range(40):
        x: Array = (random.integers(-20, 20, (3, 8)) / 4).astype(np.float32)
        found = run(result, x=x)
        for name, right in zip(("y", "s", "z"), session.run(["y", "s", "z"], {"x": x}), strict=True):
            assert np.array_equal(found[name], right), name
