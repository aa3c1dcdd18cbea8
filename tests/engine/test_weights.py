"""Weights of 8 and 4 bits, and whole models of 8 bits: smaller, near their source, and verified as such."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine_rig import convert, dense, job, value, write
from ovms_converter.engine.tolerance import Tolerance
from ovms_converter.engine.worker.difference import measure
from ovms_converter.errors import RequestError, VerificationError

WIDTH = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of 256 x 256."""
    return dense(tmp_path_factory.mktemp("models") / "m.onnx", width=WIDTH, layers=3)


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.27), ("int4", 0.24)])
def test_compressed_weights_are_smaller_and_near(
    model: Path, tmp_path: Path, kind: str, share: float
) -> None:
    """4 bits halve all layers but the last, which keeps 8."""
    asked = replace(job(model, tmp_path / "out", verify="compare"), weights=kind)
    done = convert(asked, tmp_path / "s")
    assert done.verified.startswith("on average within 0.")
    assert done.bin.stat().st_size < share * model.stat().st_size
    (figures,) = done.comparison
    assert figures.max_abs > 0
    assert figures.cosine > 0.95
    assert [port.name for port in (*done.inputs, *done.outputs)] == ["x", "y"]


def test_the_same_bytes_again(model: Path, tmp_path: Path) -> None:
    results = [
        convert(replace(job(model, tmp_path / name), weights="int4"), tmp_path / f"s{name}")
        for name in ("a", "b")
    ]
    assert results[0].bin.read_bytes() == results[1].bin.read_bytes()
    assert results[0].xml.read_bytes() == results[1].xml.read_bytes()


def test_channels_that_do_not_come_in_groups(tmp_path: Path) -> None:
    odd = dense(tmp_path / "m.onnx", width=100, layers=3)
    done = convert(replace(job(odd, tmp_path / "out", verify="compare"), weights="int4"), tmp_path / "s")
    assert done.verified.startswith("on average within 0.")


def calibrated(model: Path, directory: Path, arrays: Mapping[str, np.ndarray]) -> None:
    data = directory / "data.npz"
    np.savez(data, allow_pickle=False, **dict(arrays))
    asked = replace(job(model, directory / "out", verify="compare"), weights="int8", calibration_data=data)
    done = convert(asked, directory / "s")
    assert done.verified.startswith("on average within 0.")
    assert done.xml.read_text().count('type="FakeQuantize"') >= 3


def test_activations_of_eight_bits(model: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(2).standard_normal((40, WIDTH), dtype=np.float32)
    calibrated(model, tmp_path, {"x": samples})


def test_samples_with_a_batch_of_their_own(model: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(2).standard_normal((10, 2, WIDTH), dtype=np.float32)
    calibrated(model, tmp_path, {"x": samples})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((4, WIDTH), np.float32)}, "no array for the input `x`"),
        ({"x": np.zeros((4, 3), np.float32)}, r"`x` of the shape \[4, 3\] does not fit"),
        ({"x": np.zeros((0, WIDTH), np.float32)}, r"`x` of the shape \[0, 256\] does not fit"),
    ],
)
def test_calibration_data_that_does_not_fit(
    model: Path, tmp_path: Path, arrays: Mapping[str, np.ndarray], words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        calibrated(model, tmp_path, arrays)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_model_that_four_bits_ruin_is_not_published(tmp_path: Path) -> None:
    """One weight in a thousand is huge, so that the others of its group fall on zero."""
    generator = np.random.default_rng(3)
    weights = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    weights[::128] *= 3000
    inverse = np.zeros((WIDTH, WIDTH), np.float32)
    np.fill_diagonal(inverse, 1)
    mask = np.ones((1, WIDTH), np.float32)
    mask[:, ::128] = 0
    nodes = [
        helper.make_node("Mul", ["x", "mask"], ["seen"]),
        helper.make_node("MatMul", ["seen", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "last"], ["y"]),
    ]
    ends = [value(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", "y")]
    path = write(
        tmp_path / "m.onnx", nodes, ends[:1], ends[1:], {"w": weights, "mask": mask, "last": inverse}
    )
    asked = replace(job(path, tmp_path / "out", verify="compare"), weights="int4")
    with pytest.raises(VerificationError, match="so INT4 is the cause") as caught:
        convert(asked, tmp_path / "s")
    assert caught.value.exit_code == 6


def test_without_matrices_there_is_nothing_to_compress(tmp_path: Path) -> None:
    ends = [value(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    path = write(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], ends[:1], ends[1:])
    done = convert(replace(job(path, tmp_path / "out"), weights="int8"), tmp_path / "s")
    assert onnx.load(path).graph.node[0].op_type == "Relu"
    assert done.bin.stat().st_size <= 8


def test_on_average() -> None:
    expected = np.ones(1000, np.float32)
    one_far = expected.copy()
    one_far[0] = 1.5
    assert measure("y", one_far, expected, Tolerance(0.02)).why
    assert not measure("y", one_far, expected, Tolerance(0.02, on_average=True)).why
    assert measure("y", expected * 1.03, expected, Tolerance(0.02, on_average=True)).why
    labels = np.arange(100)
    changed = labels.copy()
    changed[:3] = -1
    assert not measure("y", changed, labels, Tolerance(0.03, on_average=True)).why
    changed[:4] = -1
    assert measure("y", changed, labels, Tolerance(0.03, on_average=True)).why
