"""`QuantizeLinear`: scales for their own axis where sizes are free, and scales that are computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, run, value, write_model
from ovms_converter.optimizer.repairs.onnx_quantize import QUANTIZE

Sizes = Sequence[int | str | None]
SIZES = (4, 3, 5)
KINDS = {
    "u8": (TensorProto.UINT8, np.uint8),
    "i8": (TensorProto.INT8, np.int8),
    "u16": (TensorProto.UINT16, np.uint16),
    "i16": (TensorProto.INT16, np.int16),
}


def quantizing(
    path: Path, shape: Sizes, axis: int, kind: str = "u8", *, length: int | None = None, zero: bool = True
) -> Path:
    """`x` → QuantizeLinear with a scale per element of `axis`, or a number if `length` is 0 → `y`."""
    random = np.random.default_rng(1)
    length = SIZES[axis % len(shape)] if length is None else length
    weights: dict[str, Array] = {"s": np.array(random.random(length or ()) + 0.1, np.float32)}
    if zero:
        weights["z"] = np.array(random.integers(0, 100, length or ()), KINDS[kind][1])
    node = helper.make_node("QuantizeLinear", ["x", *weights], ["y"], axis=axis)
    return write_model(
        path, [node], [value("x", shape)], [value("y", shape, KINDS[kind][0])], weights, opset=21
    )


def data(rank: int) -> Array:
    return (np.random.default_rng(2).standard_normal(SIZES[:rank]) * 20).astype(np.float32)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(
    ("shape", "axis", "is_wrong"),
    [
        (["n", "m"], 0, True),
        (["n", "m"], -2, True),
        ([None, 3], 0, True),
        (["n", 3, "k"], 0, True),
        (["n", 3, "k"], -1, True),
        (["n", 3, "k"], 1, False),
        ([4, 3], 0, False),
        ([None, 3], 1, False),
    ],
)
def test_scales_are_for_their_axis(
    shape: Sizes, axis: int, is_wrong: bool, zero: bool, tmp_path: Path
) -> None:
    path = quantizing(tmp_path / "m.onnx", shape, axis, zero=zero)
    x = data(len(shape))

    result = converted(path, tmp_path)

    assert (QUANTIZE.name in result.repairs) == is_wrong
    assert np.array_equal(run(result, x=x)["y"], onnxruntime.InferenceSession(path).run(None, {"x": x})[0])


def operations(path: Path, scratch: Path, **asked: str) -> list[tuple[str, Any]]:
    """Types, and constants' values, in the order of the inputs."""
    found: list[tuple[str, Any]] = []

    def visit(node: Any) -> None:
        for source in node.input_values():
            visit(source.get_node())
        kind = node.get_type_name()
        given: Array = np.asarray(node.get_data() if kind == "Constant" else ())
        found.append((kind, (given.dtype, given.tolist())))

    visit(converted(path, scratch, **asked).model.get_results()[0])
    return found


@pytest.mark.parametrize("length", [0, 1, None])
@pytest.mark.parametrize(("kind", "zero"), [*((kind, True) for kind in KINDS), ("u8", False)])
def test_what_is_read_right_stays_as_openvino_reads_it(
    kind: str, zero: bool, length: int | None, tmp_path: Path
) -> None:
    path = quantizing(tmp_path / "m.onnx", [None, 3, None], 1, kind, length=length, zero=zero)

    assert operations(path, tmp_path) == operations(path, tmp_path, repairs="off")
    assert converted(path, tmp_path).repairs == ()


@pytest.mark.parametrize("shape", [[], [3]])
def test_scales_that_are_fed_are_divided_by(shape: list[int], tmp_path: Path) -> None:
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=1)
    inputs = [value("x", ["n", 3]), value("s", shape), value("z", shape, TensorProto.UINT8)]
    outputs = [value("y", ["n", 3], TensorProto.UINT8)]
    path = write_model(tmp_path / "m.onnx", [node], inputs, outputs, opset=13)
    session, result = onnxruntime.InferenceSession(path), converted(path, tmp_path)
    random = np.random.default_rng(3)

    for steps in range(1, 40):
        feed: dict[str, Array] = {
            "x": (random.integers(-40, 40, (8, 3)) / 4).astype(np.float32),
            "s": np.full(shape, steps / 255, np.float32),
            "z": np.full(shape, 100, np.uint8),
        }
        assert np.array_equal(run(result, **feed)["y"], session.run(None, feed)[0])
