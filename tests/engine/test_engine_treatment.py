"""The arguments that change what inputs and outputs mean: compared all the same, and a mistake is seen."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engine_rig import convert, dense, job, value, write
from ovms_converter.engine.worker import exporting, save, verify
from ovms_converter.engine.worker.treatment import InputTreatment
from ovms_converter.errors import VerificationError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import convert as read

FLOAT = TensorProto.FLOAT


def image(path: Path) -> Path:
    """`image` [N,3,6,6] and `gain` [1] through a convolution to `features`, scaled to `scores`."""
    generator = np.random.default_rng(3)
    return write(
        path,
        [
            helper.make_node("Conv", ["image", "w"], ["features"], name="conv"),
            helper.make_node("Mul", ["features", "gain"], ["scores"], name="gained"),
        ],
        [value("image", FLOAT, ["N", 3, 6, 6]), value("gain", FLOAT, [1])],
        [value("scores", FLOAT, ["N", 5, 4, 4])],
        {"w": generator.standard_normal((5, 3, 3, 3), dtype=np.float32)},
    )


CASES: Mapping[str, Mapping[str, str]] = {
    "mean for each channel": {"mean_values": "image[1,2,3]"},
    "scale for each channel": {"scale_values": "image[2,4,8]"},
    "scale for all": {"scale": "3"},
    "mean and scale": {"mean_values": "image[0.1,0.2,0.3]", "scale_values": "image[2]"},
    "reversed channels": {"reverse_input_channels": "true"},
    "all of them": {
        "mean_values": "image[1,2,3]",
        "scale_values": "image[2,4,8]",
        "reverse_input_channels": "true",
        "layout": "image(nchw->nhwc),scores(nchw->nhwc)",
    },
    "layout of the input": {"layout": "image(nchw->nhwc)"},
    "layout of the output": {"layout": "scores(nchw->nhwc)"},
    "source and target layout": {"source_layout": "image(nchw)", "target_layout": "image(nhwc)"},
    "bytes": {"input": "image{u8},gain", "mean_values": "image[127]", "scale_values": "image[64]"},
    "fixed input": {"freeze_placeholder_with_value": "gain->[2.5]"},
    "fixed in input": {"input": "image,gain->[0.5]"},
    "new names": {"rename": "image=pixels,scores=probabilities", "scale_values": "image[2]"},
    "inner output": {"output": "features"},
    "inner and outer output": {"output": "scores,conv"},
    "inner input": {"input": "features[2,5,4,4],gain"},
    "inner input and output": {"input": "image", "output": "features"},
    "fixed batch": {"input_shape": "[4,3,6,6],[1]"},
}

CHANGING = [name for name in CASES if not name.startswith(("fixed batch", "inner", "new names"))]
"""The cases without which the result has the same names."""


@pytest.mark.parametrize("case", CASES)
def test_the_reference_gets_what_the_arguments_make_of_the_input(case: str, tmp_path: Path) -> None:
    one = job(image(tmp_path / "m.onnx"), tmp_path / "out", verify="compare", **CASES[case])
    result = convert(one, tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime "), result.notes
    assert result.comparison


@pytest.mark.parametrize("case", CHANGING)
def test_an_argument_that_is_applied_wrongly_is_seen(case: str, tmp_path: Path) -> None:
    """The result is made with other values than those that the reference is told of."""
    arguments = OptimizerArguments.parse(CASES[case])
    other = {"freeze_placeholder_with_value": "gain->[2]"} if case.startswith("fixed") else {}
    one = job(image(tmp_path / "m.onnx"), tmp_path / "out", verify="compare")
    converted = read(one.model, "onnx", OptimizerArguments.parse(other), tmp_path)
    written = save.save(converted.model, one, compress_to_fp16=False)
    with pytest.raises(VerificationError):
        verify.verify(written, replace(one, arguments=arguments), exporting.Source(one.model, "onnx"))


def test_a_transformation_that_keeps_the_meaning_is_compared(tmp_path: Path) -> None:
    one = job(image(tmp_path / "m.onnx"), tmp_path / "out", verify="compare", transform="Pruning")
    assert convert(one, tmp_path / "s").verified.startswith("equal to ONNX Runtime ")


def test_a_model_that_keeps_a_state_is_run_and_not_compared(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    model = write(
        tmp_path / "m.onnx",
        [helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "last", "cell"], hidden_size=4)],
        [value("x", FLOAT, [1, 1, 3]), value("h", FLOAT, [1, 1, 4]), value("c", FLOAT, [1, 1, 4])],
        [value("y", FLOAT, [1, 1, 1, 4]), value("last", FLOAT, [1, 1, 4]), value("cell", FLOAT, [1, 1, 4])],
        {
            "w": generator.standard_normal((1, 16, 3), dtype=np.float32),
            "r": generator.standard_normal((1, 16, 4), dtype=np.float32),
        },
    )
    states = "MakeStateful[param_res_names={'h':'last','c':'cell'}]"
    one = job(model, tmp_path / "out", verify="compare", transform=states)
    result = convert(one, tmp_path / "s")
    assert result.verified.startswith("loaded, compiled and run")
    assert any("`transform` MakeStateful makes it keep a state" in note for note in result.notes)


def test_a_layout_that_only_openvino_can_resolve_is_run_and_not_compared(tmp_path: Path) -> None:
    one = job(image(tmp_path / "m.onnx"), tmp_path / "out", verify="compare", layout="image(nc...->...nc)")
    result = convert(one, tmp_path / "s")
    assert any("cannot be told without OpenVINO" in note for note in result.notes), result.verified


@given(
    st.permutations(range(4)),
    st.booleans(),
    st.lists(st.floats(-9, 9), max_size=1) | st.lists(st.floats(-9, 9), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 9), max_size=1) | st.lists(st.floats(0.1, 9), min_size=3, max_size=3),
)
def test_an_example_of_the_source_becomes_an_input_of_the_result_and_back(
    order: list[int], reverse: bool, mean: list[float], scale: list[float]
) -> None:
    steps = InputTreatment("x", tuple(order), 1, reverse, tuple(mean), tuple(scale))
    example = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)
    again = steps.forward(steps.back(example, np.dtype("f4"))).astype(np.float32)
    np.testing.assert_allclose(again, example, atol=1e-4)


def test_the_steps_are_taken_in_model_optimizers_order() -> None:
    """Reversed first, so that the first mean is for what was the last channel."""
    steps = InputTreatment("x", None, 1, reverse=True, mean=(1, 2, 3), scale=(10, 1, 1))
    found = steps.forward(np.array([[5.0, 6.0, 7.0]]))
    assert found.ravel().tolist() == pytest.approx([0.6, 4.0, 2.0])


def test_an_ir_is_compared_with_itself_as_it_came(tmp_path: Path) -> None:
    ir = convert(job(dense(tmp_path / "m.onnx"), tmp_path / "ir"), tmp_path / "s")
    values = {"mean_values": "x[1,2,3,4]", "scale": "2", "rename": "y=scores"}
    one = replace(job(ir.xml, tmp_path / "out", verify="compare", **values), format="openvino.ir")
    result = convert(one, tmp_path / "s")
    assert result.verified.startswith("equal to OpenVINO's reference implementations"), result.notes
    cheaper = convert(replace(one, output=tmp_path / "2", verify="auto"), tmp_path / "s")
    assert cheaper.verified.startswith("loaded")


def test_an_ir_that_has_no_reference_is_run_and_said_so(tmp_path: Path) -> None:
    """OpenVINO has no reference implementation of a convolution."""
    ir = convert(job(image(tmp_path / "m.onnx"), tmp_path / "ir"), tmp_path / "s")
    one = replace(job(ir.xml, tmp_path / "out", verify="compare"), format="openvino.ir")
    result = convert(one, tmp_path / "s")
    assert result.verified.startswith("loaded, compiled and run")
    assert any("OpenVINO cannot evaluate the source" in note for note in result.notes)


def test_a_cut_model_finds_its_external_data(tmp_path: Path) -> None:
    model = onnx.load(image(tmp_path / "m.onnx"))
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    one = job(tmp_path / "e.onnx", tmp_path / "out", verify="compare", output="features")
    assert convert(one, tmp_path / "s").verified.startswith("equal to ONNX Runtime ")
