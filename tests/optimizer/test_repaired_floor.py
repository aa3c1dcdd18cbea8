"""A floor division of integers: rounded down, also where it is negative."""

from pathlib import Path

import numpy as np
import pytest

from optimizer_models import Array, converted, run
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.floor_of_integers import FLOOR_OF_INTEGERS

NUMBERS = np.arange(-9, 10)


def floor_division(kind: type, divisor: Array) -> ov.Model:
    data = opset13.parameter([-1], kind, name="x")
    data.output(0).get_tensor().set_names({"x"})
    result = opset13.floor(opset13.divide(data, opset13.constant(divisor.astype(kind))))
    result.output(0).get_tensor().set_names({"y"})
    return ov.Model([result], [data])


def test_openvino_still_cuts_off() -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    compiled = ov.Core().compile_model(floor_division(np.int64, np.array(3)), "CPU")

    assert np.any(compiled([NUMBERS])[0] != NUMBERS // 3)


@pytest.mark.parametrize("kind", [np.int64, np.int32])
@pytest.mark.parametrize("divisor", [3, -4, 1])
def test_quotients_are_rounded_down(kind: type, divisor: int, tmp_path: Path) -> None:
    ov.save_model(floor_division(kind, np.array(divisor)), tmp_path / "m.xml", compress_to_fp16=False)

    result = converted(tmp_path / "m.xml", tmp_path, "openvino.ir")

    assert result.repairs == (FLOOR_OF_INTEGERS.name,)
    found = run(result, x=NUMBERS.astype(kind))["y"]
    assert found.dtype == kind
    assert found.tolist() == (NUMBERS // divisor).tolist()


def test_numbers_with_a_point_are_left_alone(tmp_path: Path) -> None:
    ov.save_model(floor_division(np.float32, np.array(4)), tmp_path / "m.xml", compress_to_fp16=False)

    result = converted(tmp_path / "m.xml", tmp_path, "openvino.ir")

    assert FLOOR_OF_INTEGERS.name not in result.repairs
