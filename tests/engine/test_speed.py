"""`benchmark`: how long source and result took to load and to answer."""

from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from engine_rig import convert, dense, job, value, write
from ovms_converter.engine.job import Timing


def test_source_and_result_are_timed(tmp_path: Path) -> None:
    asked = replace(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), benchmark=True)
    before, after = convert(asked, tmp_path / "s").timings
    assert before.runtime.startswith("ONNX Runtime ")
    assert after.runtime.startswith("OpenVINO 20")
    for timing in (before, after):
        assert timing.load > 0
        assert 0 < len(timing.answers) <= 200
        assert min(timing.answers) <= timing.median <= max(timing.answers)


def test_only_the_result_where_the_source_takes_other_inputs(tmp_path: Path) -> None:
    asked = replace(job(dense(tmp_path / "m.onnx"), tmp_path / "out", rename="x=image"), benchmark=True)
    assert [each.runtime[:8] for each in convert(asked, tmp_path / "s").timings] == ["OpenVINO"]


def test_nothing_unless_asked_for(tmp_path: Path) -> None:
    assert convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), tmp_path / "s").timings == ()


def test_a_model_that_runs_with_no_guessed_input_has_no_timing(tmp_path: Path) -> None:
    """Its inputs must be one another's shapes, which no guess of a rank fits."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    ends = [
        value("x", TensorProto.FLOAT, [3, 5]),
        value("shape", TensorProto.INT64, [2]),
        value("y", TensorProto.FLOAT, None),
    ]
    model = write(tmp_path / "m.onnx", nodes, ends[:2], ends[2:])
    asked = replace(job(model, tmp_path / "out", verify="off"), benchmark=True)
    assert convert(asked, tmp_path / "s").timings == ()


@pytest.mark.parametrize(("answers", "median"), [((0.1,), 0.1), ((0.3, 0.1, 0.2), 0.2), ((0.1, 0.3), 0.2)])
def test_median(answers: tuple[float, ...], median: float) -> None:
    assert Timing("", 0.0, answers).median == pytest.approx(median)
