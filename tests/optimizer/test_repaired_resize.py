"""`Resize` with what OpenVINO's rule ignores, against the numbers of the standard's reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, load
from onnx.reference import ReferenceEvaluator

from optimizer_models import Array, converted, run, value, write_model
from ovms_converter.errors import ModelError
from ovms_converter.optimizer.repairs.onnx_resize import RESIZE

IMAGE = np.random.default_rng(3).standard_normal((2, 3, 7, 10)).astype(np.float32)
SMALLER = np.array([1, 1, 0.6, 0.5], np.float32)
LARGER = np.array([1, 1, 2, 1.5], np.float32)
SIZES = np.array([2, 3, 4, 13], np.int64)

SMOOTH = {"mode": "linear", "antialias": 1}
CUBIC = {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}


def resize(path: Path, to: Array, shape: tuple[int | str, ...], **attributes: Any) -> Path:
    given = ["x", "", "to"] if to.dtype == np.float32 else ["x", "", "", "to"]
    node = helper.make_node("Resize", given, ["y"], **attributes)
    return write_model(path, [node], [value("x", shape)], [value("y", None)], {"to": to}, opset=19)


def expected(path: Path, image: Array) -> Array:
    return np.asarray(ReferenceEvaluator(load(str(path))).run(None, {"x": image})[0])


@pytest.mark.parametrize("shape", [IMAGE.shape, ("n", 3, "h", "w")], ids=["static", "dynamic"])
@pytest.mark.parametrize("to", [SMALLER, LARGER, SIZES], ids=["smaller", "larger", "sizes"])
@pytest.mark.parametrize(
    "attributes",
    [
        SMOOTH,
        {**SMOOTH, "exclude_outside": 1, "coordinate_transformation_mode": "asymmetric"},
        {**SMOOTH, "mode": "cubic"},
        {**SMOOTH, "mode": "cubic", "coordinate_transformation_mode": "align_corners"},
        CUBIC,
        {**CUBIC, "coordinate_transformation_mode": "pytorch_half_pixel"},
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
    ],
    ids=lambda attributes: "-".join(map(str, attributes.values())),
)
def test_weights_are_those_of_the_standard(
    attributes: dict[str, Any], to: Array, shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    path = resize(tmp_path / "m.onnx", to, shape, **attributes)

    result = converted(path, tmp_path)

    assert RESIZE.name in result.repairs
    np.testing.assert_allclose(run(result, x=IMAGE)["y"], expected(path, IMAGE), atol=2e-5)


def test_any_axes_can_be_resized(tmp_path: Path) -> None:
    path = resize(tmp_path / "m.onnx", np.array([2, 4], np.int64), IMAGE.shape, axes=[1, 3], **SMOOTH)

    result = converted(path, tmp_path)

    np.testing.assert_allclose(run(result, x=IMAGE)["y"], expected(path, IMAGE), atol=2e-5)


def test_a_size_of_its_own_ratio_is_smoothed_too(tmp_path: Path) -> None:
    """Two repairs of one node, one behind the other."""
    policy = {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]}
    path = resize(tmp_path / "m.onnx", np.array([4, 4], np.int64), IMAGE.shape, **policy, **SMOOTH)

    result = converted(path, tmp_path)

    assert {"onnx-Resize-aspect-ratio", RESIZE.name} <= set(result.repairs)
    assert run(result, x=IMAGE)["y"].shape == expected(path, IMAGE).shape


@pytest.mark.parametrize("attributes", [SMOOTH, CUBIC], ids=["antialias", "exclude_outside"])
def test_openvino_still_ignores_it(attributes: dict[str, Any], tmp_path: Path) -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    path = resize(tmp_path / "m.onnx", SMALLER, IMAGE.shape, **attributes)

    result = run(converted(path, tmp_path, repairs="off"), x=IMAGE)["y"]

    assert np.abs(result - expected(path, IMAGE)).max() > 0.01


def test_openvino_still_does_not_know_symmetric_places(tmp_path: Path) -> None:
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}
    path = resize(tmp_path / "m.onnx", SMALLER, IMAGE.shape, **attributes)

    with pytest.raises(ModelError, match="half_pixel_symmetric"):
        converted(path, tmp_path, repairs="off")
