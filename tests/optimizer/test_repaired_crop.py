"""`Resize` of a region of interest (`tf_crop_and_resize`), which OpenVINO refuses, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, run, value, write_model
from ovms_converter.errors import ModelError
from ovms_converter.optimizer.repairs.onnx_resize import RESIZE

IMAGE = np.random.default_rng(3).standard_normal((2, 3, 7, 10)).astype(np.float32)
CROP = {"coordinate_transformation_mode": "tf_crop_and_resize"}
LINEAR = {**CROP, "mode": "linear"}
INSIDE = np.array([0, 0, 0.1, 0.3, 1, 1, 0.7, 0.9], np.float32)
BESIDE = np.array([0, 0, -0.4, 0.35, 1, 1, 0.6, 1.3], np.float32)
BACKWARDS = np.array([0, 0, 0.8, 0.17, 1, 1, 0.2, 0.93], np.float32)
WHOLE = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)
SIZES = np.array([2, 3, 5, 13], np.int64)
SCALES = np.array([1, 1, 0.6, 1.7], np.float32)


def crop(
    path: Path, region: Array, to: Array, shape: tuple[int | str, ...], kind: int, **attributes: Any
) -> Path:
    given = ["x", "region", "to"] if to.dtype == np.float32 else ["x", "region", "", "to"]
    node = helper.make_node("Resize", given, ["y"], **attributes)
    ends = [value("x", shape, kind)], [value("y", None, kind)]
    return write_model(path, [node], *ends, {"region": region, "to": to}, opset=18)


def expected(path: Path, image: Array) -> Array:
    return np.asarray(onnxruntime.InferenceSession(str(path)).run(None, {"x": image})[0])


@pytest.mark.parametrize("shape", [IMAGE.shape, ("n", 3, "h", "w")], ids=["static", "dynamic"])
@pytest.mark.parametrize("to", [SIZES, SCALES], ids=["sizes", "scales"])
@pytest.mark.parametrize(
    "region", [INSIDE, BESIDE, BACKWARDS, WHOLE], ids=["inside", "beside", "backwards", "whole"]
)
@pytest.mark.parametrize(
    "attributes",
    [
        LINEAR,
        {**LINEAR, "extrapolation_value": 10.0},
        {**CROP, "mode": "nearest", "extrapolation_value": -3.0},
        {**CROP, "mode": "nearest", "nearest_mode": "floor"},
        {**CROP, "mode": "nearest", "nearest_mode": "ceil"},
        {**CROP, "mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        {**CROP, "mode": "cubic", "extrapolation_value": 2.0},
    ],
    ids=lambda attributes: "-".join(map(str, list(attributes.values())[1:])),
)
def test_a_region_is_resized_as_onnx_runtime_does(
    attributes: dict[str, Any], region: Array, to: Array, shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    path = crop(tmp_path / "m.onnx", region, to, shape, TensorProto.FLOAT, **attributes)

    result = converted(path, tmp_path)

    assert RESIZE.name in result.repairs
    np.testing.assert_allclose(run(result, x=IMAGE)["y"], expected(path, IMAGE), atol=2e-5)


def test_one_value_is_that_in_the_middle(tmp_path: Path) -> None:
    to = np.array([2, 3, 1, 4], np.int64)
    path = crop(tmp_path / "m.onnx", INSIDE, to, IMAGE.shape, TensorProto.FLOAT, **LINEAR)

    np.testing.assert_allclose(run(converted(path, tmp_path), x=IMAGE)["y"], expected(path, IMAGE), atol=2e-5)


def test_axes_that_are_named_alone_have_a_region(tmp_path: Path) -> None:
    region, to = np.array([0.2, 0.1, 0.9, 1.2], np.float32), np.array([4, 5], np.int64)
    path = crop(tmp_path / "m.onnx", region, to, IMAGE.shape, TensorProto.FLOAT, axes=[3, 2], **LINEAR)

    # ONNX Runtime wants axes in their order
    ordered = crop(
        tmp_path / "ordered.onnx",
        region[[1, 0, 3, 2]],
        to[::-1].copy(),
        IMAGE.shape,
        TensorProto.FLOAT,
        axes=[2, 3],
        **LINEAR,
    )
    found = run(converted(path, tmp_path), x=IMAGE)["y"]
    np.testing.assert_allclose(found, expected(ordered, IMAGE), atol=2e-5)


def test_the_nearest_of_large_integers_is_not_rounded(tmp_path: Path) -> None:
    image = np.arange(2 * 3 * 7 * 10, dtype=np.int32).reshape(IMAGE.shape) + (1 << 28) + 1
    attributes = {**CROP, "mode": "nearest"}
    path = crop(tmp_path / "m.onnx", INSIDE, SIZES, IMAGE.shape, TensorProto.INT32, **attributes)

    np.testing.assert_array_equal(run(converted(path, tmp_path), x=image)["y"], expected(path, image))


def test_a_region_that_is_smoothed_is_still_refused(tmp_path: Path) -> None:
    path = crop(tmp_path / "m.onnx", INSIDE, SIZES, IMAGE.shape, TensorProto.FLOAT, antialias=1, **LINEAR)

    with pytest.raises(ModelError, match="tf_crop_and_resize"):
        converted(path, tmp_path)


def test_openvino_still_knows_no_regions(tmp_path: Path) -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    path = crop(tmp_path / "m.onnx", INSIDE, SIZES, IMAGE.shape, TensorProto.FLOAT, **LINEAR)

    with pytest.raises(ModelError, match="tf_crop_and_resize"):
        converted(path, tmp_path, repairs="off")
