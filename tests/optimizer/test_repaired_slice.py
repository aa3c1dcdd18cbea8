"""`Slice` whose ends are inputs: all of 64 bits count."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, names, run, value, write_model
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.slice_ends import SLICE_ENDS

LARGEST, LEAST = 2**63 - 1, -(2**63)
ENDS = (3, -2, 0, 10, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 5, LARGEST, LEAST, -(2**31) - 5)


def test_the_plugin_still_cuts_off_the_upper_half() -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    data, end = opset13.parameter([10], np.float32), opset13.parameter([1], np.int64)
    start, step = (opset13.constant(np.array([number], np.int64)) for number in (0, 1))
    compiled = ov.Core().compile_model(ov.Model([opset13.slice(data, start, end, step)], [data, end]), "CPU")

    found = compiled([np.arange(10, dtype=np.float32), np.array([LARGEST])])[0]

    assert len(found) < 10


def slicing(path: Path, *, apart: bool) -> Path:
    """`x` from `start` to `end`, both fed; `apart`: as numbers that become vectors."""
    before = [helper.make_node("Unsqueeze", [name, "zero"], [f"{name}s"]) for name in ("start", "end")]
    ends = ["starts", "ends"] if apart else ["start", "end"]
    shape: Sequence[int] = [] if apart else [1]
    return write_model(
        path,
        [*(before if apart else []), helper.make_node("Slice", ["x", *ends, "zero"], ["y"])],
        [value("x", ["n"]), *(value(name, shape, TensorProto.INT64) for name in ("start", "end"))],
        [value("y", ["m"])],
        {"zero": np.array([0], np.int64)},
    )


@pytest.mark.parametrize("apart", [False, True])
def test_ends_that_are_fed_go_as_far_as_they_say(apart: bool, tmp_path: Path) -> None:
    result = converted(slicing(tmp_path / "m.onnx", apart=apart), tmp_path)
    x: Array = np.arange(10, dtype=np.float32)
    assert result.repairs == (SLICE_ENDS.name,)
    assert names(result) == (["x", "start", "end"], ["y"])

    for end in ENDS:
        for start in (0, 2, -3, LEAST):
            fed = {"start": np.array([start]), "end": np.array([end])}
            if apart:
                fed = {name: number.reshape(()) for name, number in fed.items()}
            assert run(result, x=x, **fed)["y"].tolist() == x[start:end].tolist(), (start, end)


def test_other_integers_are_left_alone(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [value("ids", ["n"], TensorProto.INT64)],
        [value("y", ["n", 2])],
        {"table": np.zeros((4, 2), np.float32)},
    )
    assert converted(path, tmp_path).repairs == ()
