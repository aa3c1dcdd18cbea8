"""`--weights` and `--calibration-data` from the command line to the record of the published version."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovms_converter.errors import RequestError
from ovms_converter.request import Given, build_request
from served import run_command

WIDTH = 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(1)
    tensors = [
        numpy_helper.from_array(generator.standard_normal((WIDTH, WIDTH), dtype=np.float32) / 11, f"w{layer}")
        for layer in range(2)
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("source") / "dense.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def converted(source: Path, target: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    done = run_command("convert", str(source), str(target), *options, environ=os.environ)
    assert done.returncode == 0, done.stderr
    return done


def record_of(version: Path) -> dict[str, dict[str, object]]:
    record: dict[str, dict[str, object]] = json.loads((version / "conversion.json").read_text())
    return record


def test_a_compressed_version_tells_how_it_was_made(model: Path, tmp_path: Path) -> None:
    converted(model, tmp_path / "out", "--weights", "int8", "--verify", "compare")
    record = record_of(tmp_path / "out/1")
    assert record["parameters"]["weights"] == {"value": "int8", "origin": "flag"}
    assert str(record["versions"]["nncf"]).startswith("3.")
    assert str(record["verification"]).startswith("on average within 0.")
    assert (tmp_path / "out/1/dense.bin").stat().st_size < model.stat().st_size / 3


def test_other_bits_are_another_version(model: Path, tmp_path: Path) -> None:
    converted(model, tmp_path / "out", "--weights", "int8")
    again = converted(model, tmp_path / "out", "--weights", "int8")
    assert "already" in again.stderr
    converted(model, tmp_path / "out", "--weights", "int4")
    converted(model, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2", "3"]


def test_other_samples_are_another_version(model: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    data = tmp_path / "samples.npz"
    options = ("--weights", "int8", "--calibration-data", str(data))
    for number in (1, 1, 2):
        samples = np.random.default_rng(number).standard_normal((20, WIDTH), dtype=np.float32)
        np.savez(data, x=samples)
        converted(model, tmp_path / "out", *options)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2"]
    assert "FakeQuantize" in (tmp_path / "out/1/dense.xml").read_text()
    np.savez(data, y=generator.standard_normal((20, WIDTH), dtype=np.float32))
    done = run_command("convert", str(model), str(tmp_path / "out"), *options, environ=os.environ)
    assert done.returncode == 2
    assert "`calibration_data` does not fit the model: it has no array for the input `x`" in done.stderr


@pytest.mark.parametrize(
    ("given", "parameter", "words"),
    [
        ({"weights": "int2"}, "weights", "int8"),
        ({"weights": "int8", "output_format": "onnx"}, "weights", "publishes them as they are"),
        ({"calibration_data": "s3://b/d.npz"}, "calibration_data", "is not"),
        ({"calibration_data": "s3://b/d.npz", "weights": "int4"}, "calibration_data", "`int4`"),
    ],
)
def test_what_does_not_go_together(given: dict[str, str], parameter: str, words: str) -> None:
    values = {name: Given(value, "flag") for name, value in (given | {"input_model": "s3://b/m"}).items()}
    with pytest.raises(RequestError) as caught:
        build_request(values)
    assert caught.value.parameter == parameter
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_without_nncf_it_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    values = {"input_model": Given("s3://b/m", "flag"), "weights": Given("int8", "flag")}
    with pytest.raises(RequestError) as caught:
        build_request(values)
    assert caught.value.hint == "pip install 'ovms-converter[nncf]'"
