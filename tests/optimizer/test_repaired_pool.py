"""`Indices` of `MaxPool`: by columns, and with padding that depends on free sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import converted, run, value, write_model
from ovms_converter.optimizer.repairs.onnx_pool_indices import MAX_POOL_INDICES

SIZES = (2, 3, 7, 9, 5)
WRONG: tuple[tuple[Sequence[int | str], dict[str, Any]], ...] = (
    (["n", 3, "h", "w"], {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    (["n", 3, "h", "w"], {"kernel_shape": [3, 2], "strides": [3, 2], "auto_pad": "SAME_LOWER"}),
    (["n", 3, "l"], {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_LOWER"}),
    (["n", 3, 7, 9], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1, "storage_order": 1}),
    ([2, 3, 7, 9], {"kernel_shape": [2, 3], "dilations": [2, 2], "strides": [1, 2], "storage_order": 1}),
    (
        ["n", 3, "d", "h", "w"],
        {"kernel_shape": [3] * 3, "strides": [2] * 3, "auto_pad": "SAME_UPPER", "storage_order": 1},
    ),
)


def pool(path: Path, shape: Sequence[int | str], kind: int = TensorProto.FLOAT, **attributes: Any) -> Path:
    """`x` → MaxPool → `y` and `at`."""
    node = helper.make_node("MaxPool", ["x"], ["y", "at"], **attributes)
    ends = [value("y", None, kind), value("at", None, TensorProto.INT64)]
    return write_model(path, [node], [value("x", shape, kind)], ends)


@pytest.mark.parametrize(("shape", "attributes"), WRONG)
def test_values_and_positions_are_those_of_onnx_runtime(
    shape: Sequence[int | str], attributes: dict[str, Any], tmp_path: Path
) -> None:
    path = pool(tmp_path / "m.onnx", shape, **attributes)
    x = np.random.default_rng(6).standard_normal(SIZES[: len(shape)]).astype(np.float32) - 3
    right = onnxruntime.InferenceSession(path).run(["y", "at"], {"x": x})

    plain = run(converted(path, tmp_path, repairs="off"), x=x)
    result = converted(path, tmp_path)

    assert not np.array_equal(plain["at"], right[1]), "OpenVINO is right by itself: the repair can go"
    assert result.repairs == (MAX_POOL_INDICES.name,)
    found = run(result, x=x)
    assert np.array_equal(found["y"], right[0])
    assert np.array_equal(found["at"], right[1])


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8])
def test_padding_of_bytes_is_never_the_largest(kind: int, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    path = pool(tmp_path / "m.onnx", ["n", 3, "h", "w"], kind, **asked)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    x = (np.random.default_rng(7).integers(-127, 0, SIZES[:4]) % 128).astype(dtype)
    session = onnxruntime.InferenceSession(path)

    found = run(converted(path, tmp_path), x=x)

    for name, right in zip(("y", "at"), session.run(["y", "at"], {"x": x}), strict=True):
        assert np.array_equal(found[name], right)


def test_what_is_read_right_is_not_told_of(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    assert converted(pool(tmp_path / "a.onnx", ["n", 3, "h", "w"], **asked), tmp_path).repairs == ()
    same = pool(tmp_path / "b.onnx", ["n", 3, 7, 9], auto_pad="SAME_UPPER", **asked)
    assert converted(same, tmp_path).repairs == ()


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_global_pool_takes_any_batch(power: int, tmp_path: Path) -> None:
    node = helper.make_node("GlobalLpPool", ["x"], ["y"], p=power)
    path = write_model(tmp_path / "m.onnx", [node], [value("x", ["n", 3, "l"])], [value("y", None)])
    x = np.random.default_rng(1).standard_normal((2, 3, 7)).astype(np.float32)
    result = converted(path, tmp_path)

    right = onnxruntime.InferenceSession(path).run(["y"], {"x": x})[0]
    assert result.repairs == ("onnx-GlobalLpPool",)
    np.testing.assert_allclose(run(result, x=x)["y"], right, rtol=1e-5)
