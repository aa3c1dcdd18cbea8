"""`PRelu` with slopes that are computed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from optimizer_models import converted, run, value, write_model
from ovms_converter.optimizer.repairs.prelu_slopes import PRELU_SLOPES

X = np.random.default_rng(8).standard_normal((2, 4, 6)).astype(np.float32)


def relu(path: Path, shape: Sequence[int | str], slopes: Sequence[int | str]) -> Path:
    """`x`, and the sigmoid of `s` as the slope → `y`."""
    nodes = [helper.make_node("Sigmoid", ["s"], ["slope"]), helper.make_node("PRelu", ["x", "slope"], ["y"])]
    return write_model(path, nodes, [value("x", shape), value("s", slopes)], [value("y", None)])


@pytest.mark.parametrize("slopes", [["n", 4, 6], ["n", 1, 6], ["n", 4, 1], ["n", 1, 1]])
def test_slopes_are_those_that_are_computed(slopes: list[int | str], tmp_path: Path) -> None:
    path = relu(tmp_path / "m.onnx", ["n", 4, 6], slopes)
    sizes = [2 if size == "n" else int(size) for size in slopes]
    feed = {"x": X, "s": np.random.default_rng(9).standard_normal(sizes).astype(np.float32)}
    right = onnxruntime.InferenceSession(path).run(["y"], feed)[0]

    result = converted(path, tmp_path)

    assert result.repairs == (PRELU_SLOPES.name,)
    np.testing.assert_allclose(run(result, **feed)["y"], right, rtol=1e-5)
    plain = run(converted(path, tmp_path, repairs="off"), **feed)["y"]
    assert not np.allclose(plain, right), "the plugin is right by itself: the repair can go"


@pytest.mark.parametrize("slopes", [[6], [1]])
def test_a_slope_of_one_axis_is_for_the_last_one(slopes: list[int], tmp_path: Path) -> None:
    path = relu(tmp_path / "m.onnx", ["n", 4, 6], slopes)
    feed = {"x": X, "s": np.random.default_rng(9).standard_normal(slopes).astype(np.float32)}
    right = onnxruntime.InferenceSession(path).run(["y"], feed)[0]

    np.testing.assert_allclose(run(converted(path, tmp_path), **feed)["y"], right, rtol=1e-5)


def test_constants_and_fixed_shapes_stay(tmp_path: Path) -> None:
    fixed = relu(tmp_path / "a.onnx", [2, 4, 6], [2, 4, 6])
    constant = write_model(
        tmp_path / "b.onnx",
        [helper.make_node("PRelu", ["x", "s"], ["y"])],
        [value("x", ["n", 4, 6])],
        [value("y", None)],
        {"s": np.ones((4, 1), np.float32)},
    )
    assert converted(fixed, tmp_path).repairs == ()
    assert converted(constant, tmp_path).repairs == ()
