"""Loading a written model: what is said of a batch of two where it is not run."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import convert, job, value, write
from ovms_converter.engine.worker import cutting, execution
from ovms_converter.engine.worker.load import load
from ovms_converter.engine.worker.verification import Verified
from ovms_converter.optimizer.native import ov


def loaded(directory: Path, shape: list[int]) -> Verified:
    """A convolution and a reshape to `shape` before the last product, loaded in parts."""
    weights = {
        "k0": np.ones((8, 3, 3, 3), np.float32),
        "k1": np.ones((8, 8, 3, 3), np.float32),
        "to": np.array(shape),
        "w": np.ones((32, 4), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["a"]),
        helper.make_node("Conv", ["a", "k1"], ["b"]),
        helper.make_node("Reshape", ["b", "to"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    inputs = [value("x", TensorProto.FLOAT, ["N", 3, 6, 6])]
    outputs = [value("y", TensorProto.FLOAT, None)]
    source = write(directory / "m.onnx", nodes, inputs, outputs, weights)
    xml = convert(job(source, directory / "out", verify="off"), directory / "s").xml
    return load(xml, ov.Core().read_model(str(xml)), ())


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "LOADED_BYTES", 0)
    monkeypatch.setattr(cutting, "PART_BYTES", 1000)


def test_a_batch_of_two_is_told_by_the_shapes(tmp_path: Path) -> None:
    done = loaded(tmp_path, [-1, 32])
    assert "parts" in done.text
    assert done.text.endswith("with a batch of 1; its shapes fit together with one of 2 as well")
    assert not done.notes


def test_a_batch_that_is_free_by_declaration_only_is_told(tmp_path: Path) -> None:
    done = loaded(tmp_path, [1, -1])
    assert done.text.endswith("with a batch of 1")
    (note,) = done.notes
    assert note.startswith("the batch is free, but the model runs with one of 1 and not with one of 2: ")


def test_what_is_run_whole_is_run_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "LOADED_BYTES", 1 << 20)
    assert loaded(tmp_path, [-1, 32]).text == "loaded, compiled and run with a batch of 1 and of 2"
