"""What an output's shape is declared to be, where the model computes shapes while it runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from optimizer_models import converted, run, value, write_model
from ovms_converter.optimizer.native import ov
from ovms_converter.optimizer.output_shapes import narrow_output_shapes

WEIGHTS = np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)
"""2 KiB: a weight, which is no place to compute shapes from."""


def flattening(path: Path, shape: list[int | str]) -> Path:
    """`y = x.view(x.shape[0], -1, 4) @ ...` as exporters write it, then a product with a weight."""
    nodes: list[Any] = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batches"]),
        helper.make_node("Concat", ["batches", "rest"], ["flat"], axis=0),
        helper.make_node("MatMul", ["x", "weights"], ["product"]),
        helper.make_node("Reshape", ["product", "flat"], ["y"]),
    ]
    constants = {
        "zero": np.array(0),
        "axis": np.array([0]),
        "rest": np.array([-1]),
        "weights": WEIGHTS,
    }
    return write_model(path, nodes, [value("x", shape)], [value("y", None)], constants)


@pytest.mark.parametrize(
    ("shape", "values", "declared"),
    [
        (["N", 3, 32], {}, "[?,48]"),
        (["N", 3, 32], {"input_shape": "[1..4,3,32]"}, "[1..4,48]"),
        (["N", 3, 32], {"mean_values": "[1]", "layout": "n..."}, "[?,48]"),
        (["N", "M", 32], {}, "[?,?]"),
        ([2, 3, 32], {}, "[2,48]"),
    ],
)
def test_only_what_is_free_is_declared_free(
    tmp_path: Path, shape: list[int | str], values: dict[str, str], declared: str
) -> None:
    result = converted(flattening(tmp_path / "model.onnx", shape), tmp_path, **values)
    ov.save_model(result.model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    written = ov.Core().read_model(str(tmp_path / "model.xml"))

    assert str(written.output("y").get_partial_shape()) == declared

    data = np.random.default_rng(1).standard_normal((2, 3, 32)).astype(np.float32)
    mean = np.float32(1 if "mean_values" in values else 0)
    expected = ((data - mean) @ WEIGHTS).reshape(2, -1)
    np.testing.assert_allclose(run(result, x=data)["y"], expected, rtol=1e-5, atol=1e-5)


def test_a_given_layout_stays(tmp_path: Path) -> None:
    model = flattening(tmp_path / "model.onnx", ["N", 3, 32])
    result = converted(model, tmp_path, layout="x(ncw)")
    assert str(result.model.get_parameters()[0].layout) == "[N,C,W]"
    assert str(result.model.output("y").get_partial_shape()) == "[?,48]"


def test_weights_stay_where_they_are(tmp_path: Path) -> None:
    """They are neither copied nor turned, only the operations on shapes go."""
    model = ov.Core().read_model(str(flattening(tmp_path / "model.onnx", ["N", 3, 32])))
    narrowed = narrow_output_shapes(model)
    assert narrowed is not model

    before, after = (
        [
            node
            for node in each.get_ops()
            if node.get_type_name() == "Constant" and node.get_byte_size() > 1024
        ]
        for each in (model, narrowed)
    )
    assert len(before) == len(after) == 1
    assert before[0].get_tensor_view().data.ctypes.data == after[0].get_tensor_view().data.ctypes.data
    assert [port.get_any_name() for port in narrowed.inputs] == ["x"]
    assert "ShapeOf" not in {node.get_type_name() for node in narrowed.get_ops()}


def test_a_model_that_cannot_be_known_better_is_left_alone(tmp_path: Path) -> None:
    model = ov.Core().read_model(str(flattening(tmp_path / "model.onnx", ["N", "M", 32])))
    assert narrow_output_shapes(model) is model
