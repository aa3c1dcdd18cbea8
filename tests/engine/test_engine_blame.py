"""The message of a comparison that failed: which outputs, whose fault, and what to try next."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import convert, job, value, write
from ovms_converter.errors import VerificationError

FLOAT = TensorProto.FLOAT


def failure(asked: Any, tmp_path: Path) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        convert(asked, tmp_path / "s")
    return caught.value


def reduction(tmp_path: Path) -> Path:
    """OpenVINO ignores the axes of `ReduceL1` of this operation set: `a` and `b` are wrong, `c` is right."""
    nodes = [
        helper.make_node("ReduceL1", ["x"], ["a"], axes=[1]),
        helper.make_node("ReduceL1", ["x"], ["b"], axes=[2]),
        helper.make_node("Neg", ["x"], ["c"]),
    ]
    outputs = [value(name, FLOAT, None) for name in ("c", "a", "b")]
    return write(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["N", 3, 4])], outputs)


def test_how_many_outputs_differ_is_told_and_that_repairs_are_off(tmp_path: Path) -> None:
    error = failure(job(reduction(tmp_path), tmp_path / "out", verify="compare", repairs="off"), tmp_path)
    assert "of output `a`: " in error.message
    assert "; 2 of 3 outputs differ; the conversion is the cause" in error.message
    assert error.hint is not None
    assert error.hint.startswith("leave out `--repairs off`")


def test_a_tolerance_below_rounding_is_its_own_cause(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Exp", ["h"], ["y"])]
    ends = [value("x", FLOAT, ["N", 64])], [value("y", FLOAT, ["N", 8])]
    weights = {"w": np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
    model = write(tmp_path / "m.onnx", nodes, *ends, weights)
    error = failure(replace(job(model, tmp_path / "out", verify="compare"), tolerance=1e-12), tmp_path)
    assert "within the usual tolerance of 0.0005, so the smaller tolerance is the cause" in error.message
    assert error.hint == "leave out `--tolerance`, or give a larger one"


def test_half_precision_can_be_left_or_accepted(tmp_path: Path) -> None:
    weights = {"w": np.array([[7e4, 1.0], [1.0, 7e4]], np.float32)}
    ends = [value("x", FLOAT, ["N", 2])], [value("y", FLOAT, ["N", 2])]
    model = write(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], *ends, weights)
    error = failure(job(model, tmp_path / "out", verify="compare", data_type="FP16"), tmp_path)
    assert "so FP16 is the cause" in error.message
    assert error.hint is not None
    assert "`--data_type FP32`" in error.hint
    assert "`--tolerance`" in error.hint


def test_recorded_outputs_that_the_source_does_not_give_are_the_cause(tmp_path: Path) -> None:
    model = write(
        tmp_path / "m.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", FLOAT, ["N", 2])],
        [value("y", FLOAT, ["N", 2])],
    )
    data, x = tmp_path / "data.npz", np.ones((3, 2), np.float32)
    np.savez(data, **dict[str, Any]({"x": x, "output:y": x}))
    asked = replace(job(model, tmp_path / "out", verify="compare"), verify_data=data)
    error = failure(asked, tmp_path)
    assert "something else than `verify_data` tells" in error.message
    assert error.message.endswith("so the outputs in `verify_data` are the cause")
    assert error.hint is not None
    assert "record them again" in error.hint
