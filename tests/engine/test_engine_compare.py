"""The comparison with the source: what is equal, what is not, and what cannot be compared."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engine_rig import convert, dense, job, value, write
from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.tolerance import FULL_PRECISION, Tolerance
from ovms_converter.engine.worker import exporting, save, verify
from ovms_converter.engine.worker.difference import measure
from ovms_converter.errors import VerificationError
from ovms_converter.optimizer.conversion import convert as read

FLOAT = TensorProto.FLOAT


def test_an_equal_result_is_told_with_its_figures(tmp_path: Path) -> None:
    result = convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime ")
    assert result.verified.endswith(" with a batch of 1 and 2")
    (figures,) = result.comparison
    assert figures.name == "y"
    assert figures.max_abs < 1e-5
    assert figures.cosine > 0.9999


def test_auto_compares_a_small_model(tmp_path: Path) -> None:
    result = convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="auto"), tmp_path / "s")
    assert result.comparison


def test_a_tie_of_a_quantized_model_may_be_rounded_either_way(tmp_path: Path) -> None:
    """As `onnxruntime.quantization.quantize_dynamic` writes a dense layer."""
    weights = np.random.default_rng(0).integers(-127, 127, (32, 32)).astype(np.int8)
    model = write(
        tmp_path / "m.onnx",
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["q", "w", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["floats"], to=FLOAT),
            helper.make_node("Mul", ["floats", "scale"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 32])],
        [value("y", FLOAT, ["N", 32])],
        {"w": weights},
    )
    result = convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime ")


def test_how_often_a_loop_runs_is_never_made_up_negative(tmp_path: Path) -> None:
    """OpenVINO runs such a loop for ever, and nobody asks for that."""
    scalar = (value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []))
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Tanh", ["v"], ["next"])],
        "body",
        [*scalar, value("v", FLOAT, ["N", 4])],
        [value("still", TensorProto.BOOL, []), value("next", FLOAT, ["N", 4])],
    )
    model = write(
        tmp_path / "m.onnx",
        [helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)],
        [value("times", TensorProto.INT64, []), value("x", FLOAT, ["N", 4])],
        [value("y", FLOAT, ["N", 4])],
        {"yes": np.array(True)},
    )
    result = convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime ")


def test_what_openvino_computes_wrongly_is_not_published(tmp_path: Path) -> None:
    """SpaceToDepth of ONNX's backend tests: OpenVINO 2026.4 orders the blocks otherwise."""
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"):
        cases = {case.name: case.model for case in collect_testcases(None)}
    (tmp_path / "m.onnx").write_bytes(cases["test_spacetodepth_crd_mode_example"].SerializeToString())
    with pytest.raises(
        VerificationError, match="computes something else than its source: of output `y`"
    ) as caught:
        convert(job(tmp_path / "m.onnx", tmp_path / "out", verify="compare", repairs="off"), tmp_path / "s")
    assert caught.value.exit_code == 6
    assert "the conversion is the cause" in caught.value.message


def test_a_repair_makes_the_difference(tmp_path: Path) -> None:
    """`ReduceL1` of ONNX opset 13 to 17: OpenVINO 2026.4 ignores its axes."""
    reduce = helper.make_node("ReduceL1", ["x"], ["y"], axes=[1], keepdims=1)
    ends = [value("x", FLOAT, ["N", 3, 4])], [value("y", FLOAT, None)]
    model = write(tmp_path / "m.onnx", [reduce], *ends)
    result = convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime ")
    assert result.repairs == ("onnx-ReduceL1-axes",)

    unrepaired = job(model, tmp_path / "off", verify="compare", repairs="off")
    with pytest.raises(VerificationError):
        convert(unrepaired, tmp_path / "s")


def test_fp16_is_named_when_it_is_the_cause(tmp_path: Path) -> None:
    """Weights that cancel out: in FP16 nothing is left of their difference."""
    weights = {"w": np.array([[1.0001], [-1.0]], np.float32)}
    model = write(
        tmp_path / "m.onnx",
        [
            helper.make_node("Concat", ["x", "x"], ["xx"], axis=1),
            helper.make_node("MatMul", ["xx", "w"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 1])],
        [value("y", FLOAT, ["N", 1])],
        weights,
    )
    assert convert(job(model, tmp_path / "full", verify="compare"), tmp_path / "s").comparison
    with pytest.raises(VerificationError, match="with FP32 weights it is right, so FP16 is the cause"):
        convert(job(model, tmp_path / "half", verify="compare", data_type="FP16"), tmp_path / "s")


def test_a_weight_beyond_fp16_is_named_as_its_fault(tmp_path: Path) -> None:
    """70000 is infinite in FP16."""
    weights = {"w": np.array([[7e4, 1.0], [1.0, 7e4]], np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [value("x", FLOAT, ["N", 2])], [value("y", FLOAT, ["N", 2])]
    model = write(tmp_path / "m.onnx", nodes, *ends, weights)
    assert convert(job(model, tmp_path / "full", verify="compare"), tmp_path / "s").comparison
    with pytest.raises(VerificationError, match="so FP16 is the cause"):
        convert(job(model, tmp_path / "half", verify="compare", data_type="FP16"), tmp_path / "s")


def test_a_fault_of_the_plugin_above_a_batch_of_one_is_told_as_its_own(tmp_path: Path) -> None:
    """OpenVINO 2026.4 adds the wrong values to a reduction over the last axis in every batch above 1."""
    weights: dict[str, np.ndarray] = {
        "axes": np.array([-1]),
        "k": np.arange(3, dtype=np.float32).reshape(1, 3),
    }
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "k"], ["y"]),
    ]
    ends = [value("x", FLOAT, ["N", 3, 5])], [value("y", FLOAT, ["N", 3])]
    model = write(tmp_path / "m.onnx", nodes, *ends, weights)
    assert convert(job(model, tmp_path / "on", verify="compare"), tmp_path / "s").repairs
    with pytest.raises(VerificationError, match="the IR is right, and OpenVINO's CPU plugin is the cause"):
        convert(job(model, tmp_path / "off", verify="compare", repairs="off"), tmp_path / "s")


def test_where_nothing_else_tells_the_rows_by_themselves_show_the_plugins_fault(tmp_path: Path) -> None:
    """The same behind a convolution, of which OpenVINO has no reference implementation."""
    weights: dict[str, np.ndarray] = {
        "w": np.random.default_rng(0).random((3, 3, 2), dtype=np.float32),
        "axes": np.array([-1]),
        "k": np.arange(3, dtype=np.float32).reshape(1, 3),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("ReduceSum", ["c", "axes"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "k"], ["y"]),
    ]
    ends = [value("x", FLOAT, ["N", 3, 6])], [value("y", FLOAT, ["N", 3])]
    model = write(tmp_path / "m.onnx", nodes, *ends, weights)
    assert convert(job(model, tmp_path / "on", verify="compare"), tmp_path / "s").repairs
    with pytest.raises(VerificationError, match="each row by itself is right, so OpenVINO's CPU plugin is"):
        convert(job(model, tmp_path / "off", verify="compare", repairs="off"), tmp_path / "s")


def test_a_wrong_constant_in_the_result_is_told_as_the_conversions_fault(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="compare")
    written = save.save(read(one.model, "onnx", one.arguments, tmp_path).model, one, compress_to_fp16=False)
    weights = bytearray(written.bin.read_bytes())
    weights[3] ^= 0x80  # the sign of the first weight
    written.bin.write_bytes(weights)
    with pytest.raises(VerificationError, match="the conversion is the cause"):
        verify.verify(written, one, exporting.Source(one.model, "onnx"))


def test_the_tolerance_can_be_set(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx", width=64), tmp_path / "out", verify="compare", data_type="FP16")
    strict = ConversionJob(one.format, one.model, one.arguments, one.stem, one.output, one.verify, 1e-7)
    with pytest.raises(VerificationError, match="FP16 is the cause"):
        convert(strict, tmp_path / "s")


def test_a_random_model_cannot_be_compared(tmp_path: Path) -> None:
    model = write(
        tmp_path / "m.onnx",
        [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        [value("x", FLOAT, [4])],
        [value("y", FLOAT, [4])],
    )
    with pytest.raises(VerificationError, match=r"draws random numbers \(`RandomNormalLike`\)"):
        convert(job(model, tmp_path / "compared", verify="compare"), tmp_path / "s")
    result = convert(job(model, tmp_path / "out", verify="auto"), tmp_path / "s")
    assert any("draws random numbers" in note for note in result.notes)


def test_infinities_and_nan_are_compared_where_nothing_is_computed(tmp_path: Path) -> None:
    """OpenVINO 2026.4's CPU plugin makes the largest f32 of an infinity that becomes f64."""
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)
    model = write(
        tmp_path / "m.onnx", [cast], [value("x", FLOAT, [8])], [value("y", TensorProto.DOUBLE, [8])]
    )
    with pytest.raises(VerificationError, match="NaN or infinite"):
        convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")


def test_what_onnx_runtime_lacks_is_compared_with_the_specification(tmp_path: Path) -> None:
    """A batchwise GRU: ONNX Runtime refuses it, OpenVINO takes it and gives another shape."""
    nodes = [helper.make_node("GRU", ["x", "w", "r"], ["", "y"], hidden_size=6, layout=1)]
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.standard_normal((1, 18, 2), dtype=np.float32),
        "r": generator.standard_normal((1, 18, 6), dtype=np.float32),
    }
    inputs, outputs = [value("x", FLOAT, [3, 1, 2])], [value("y", FLOAT, None)]
    model = write(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    with pytest.raises(VerificationError, match="its shape is"):
        convert(job(model, tmp_path / "out", verify="compare", repairs="off"), tmp_path / "s")


def test_a_source_that_runs_nowhere_is_published_by_auto_only(tmp_path: Path) -> None:
    """A shape of 0-D and 2-D that no runtime broadcasts: every guess fails in the source."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = write(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, [1, "L"])],
        [value("y", FLOAT, [13, 17])],
        {"shape": np.array([13, 17])},
    )
    with pytest.raises(VerificationError, match="cannot be compared with its source"):
        convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")
    result = convert(job(model, tmp_path / "auto", verify="auto"), tmp_path / "s")
    assert result.verified.startswith("loaded and compiled; not run")


ARRAYS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8).map(
    lambda v: np.array(v, np.float32)
)
STRANGE = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1.0]), min_size=1, max_size=6)


@given(ARRAYS)
def test_everything_equals_itself(array: np.ndarray) -> None:
    seen = measure("y", array, array, Tolerance(0))
    assert (seen.why, seen.figures.max_abs, seen.figures.max_rel) == ("", 0, 0)
    assert seen.figures.cosine == pytest.approx(1)


@given(STRANGE)
def test_nan_equals_nan_and_an_infinity_itself(values: list[float]) -> None:
    assert measure("y", np.array(values), np.array(values), Tolerance(0)).why == ""


@given(STRANGE)
def test_an_infinity_is_no_number(values: list[float]) -> None:
    array = np.array(values)
    other = np.where(np.isfinite(array), np.inf, 0.0)
    assert "NaN or infinite" in measure("y", array, other, Tolerance(1e9)).why


@given(ARRAYS, st.integers(0, 7))
def test_an_element_that_is_off_is_seen(array: np.ndarray, place: int) -> None:
    scale = float(np.sqrt(np.mean(array.astype(np.float64) ** 2))) + float(np.abs(array).max()) + 1e-3
    other = array.astype(np.float64)
    other[place % len(other)] += 3 * FULL_PRECISION.relative * scale
    seen = measure("y", other, array, FULL_PRECISION)
    assert "differs by up to" in seen.why
    assert seen.figures.max_abs > 0


def test_integers_and_text_are_equal_exactly_and_shapes_as_well() -> None:
    assert measure("y", np.array([1, 2]), np.array([1, 3]), Tolerance(10.0)).why
    assert measure("y", np.array([True]), np.array([False]), Tolerance(10.0)).why
    assert measure("y", np.array(["a"]), np.array(["b"]), Tolerance(10.0)).why == "its text differs"
    assert not measure("y", np.array(["a"]), np.array(["a"]), Tolerance(0)).why
    assert measure("y", np.zeros((1, 2)), np.zeros((2, 1)), Tolerance(0)).why.startswith(
        "its shape is [1, 2]"
    )
    assert not measure("y", np.zeros((0, 2)), np.zeros((0, 2)), Tolerance(0)).why


def test_few_samples_are_held_of_a_model_with_large_outputs(tmp_path: Path) -> None:
    """An output of 32 MiB, of which forty and what the result makes of them would be 2.5 GiB."""
    nodes = [helper.make_node("Tile", ["x", "n"], ["t"]), helper.make_node("Sin", ["t"], ["y"])]
    ends = [value("x", TensorProto.FLOAT, [128, 1024]), value("y", TensorProto.FLOAT, None)]
    model = write(tmp_path / "m.onnx", nodes, ends[:1], ends[1:], {"n": np.array([64, 1])})
    result = convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s", memory_limit=800 << 20)
    assert result.verified.startswith("equal to ONNX Runtime")
    assert " on 2 samples" in result.verified
