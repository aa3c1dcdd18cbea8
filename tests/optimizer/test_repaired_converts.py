"""A conversion of an input to its own type, at which the CPU plugin crashes."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from optimizer_models import converted, names, run, value, write_model
from ovms_converter.optimizer.repairs.converts_to_itself import CONVERTS_TO_ITSELF


def test_no_conversion_to_the_same_type_is_left(tmp_path: Path) -> None:
    """The fault itself, a segmentation fault at the second size or so, is not provoked here."""
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [value("x", ["n", 4, 6, 5])],
        [value("y", ["n", 4, 6, 5])],
    )

    result = converted(path, tmp_path)

    assert result.repairs == (CONVERTS_TO_ITSELF.name,)
    assert names(result) == (["x"], ["y"])
    assert "Convert" not in [node.get_type_name() for node in result.model.get_ops()]
    for rows in (1, 3, 2):
        x = np.random.default_rng(rows).standard_normal((rows, 4, 6, 5)).astype(np.float32)
        assert np.array_equal(run(result, x=x)["y"], x)


def test_other_conversions_stay(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)],
        [value("x", ["n"])],
        [value("y", ["n"], TensorProto.INT32)],
    )
    assert converted(path, tmp_path).repairs == ()
