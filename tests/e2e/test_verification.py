"""Verification as a user asks for it: given data from a store, recorded outputs, MLflow's input example."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from served import run_command
from servers import S3Bucket

DATA = Path(__file__).parent.parent / "data" / "mlflow"
ONNX = DATA / "3.18.0-onnx-single"


def recorded(path: Path, *, off: float = 0) -> Path:
    """The inputs and outputs that MLflow's own framework computed, as `verify_data` takes them."""
    with np.load(ONNX / "reference_input.npz") as inputs, np.load(ONNX / "reference_output.npz") as outputs:
        wanted = {f"output:{name}": values + np.float32(off) for name, values in outputs.items()}
        arrays = {**inputs, **wanted}
    np.savez(path, **arrays)
    return path


def test_data_and_recorded_outputs_come_from_a_store(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree("run/model", ONNX / "model")
    s3.put("run/data.npz", recorded(tmp_path / "data.npz").read_bytes())
    done = run_command(
        *("convert", s3.url("run/model"), str(tmp_path / "served"), "--verify-data", s3.url("run/data.npz")),
        environ=os.environ | s3.environ(),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "served" / "1" / "conversion.json").read_text())
    assert "equal to ONNX Runtime" in record["verification"]
    assert "equal to the outputs in `verify_data`" in record["verification"]
    assert record["parameters"]["verify_data"]["value"] == s3.url("run/data.npz")
    assert all(each["cosine"] > 0.999 for each in record["comparison"])


def test_nothing_is_published_if_a_recorded_output_differs(tmp_path: Path) -> None:
    data = recorded(tmp_path / "data.npz", off=0.5)
    done = run_command(
        *("convert", str(ONNX / "model"), str(tmp_path / "served"), "--verify-data", str(data)),
        environ=os.environ,
    )
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert "computes something else than `verify_data` tells" in done.stderr
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize("example", ["input_example.json", "serving_input_example.json"])
def test_mlflows_input_example_is_fetched_and_compared_on(example: str, s3: S3Bucket, tmp_path: Path) -> None:
    """Of seven rows, which nothing else would try."""
    rows = np.random.default_rng(0).random((7, 4)).tolist()
    s3.put_tree("run/model", ONNX / "model")
    for name in ("input_example.json", "serving_input_example.json"):
        s3.client.delete_object(Bucket=s3.name, Key=f"run/model/{name}")
    s3.put(f"run/model/{example}", json.dumps({"inputs": {"x": rows}}).encode())
    done = run_command(
        *("convert", s3.url("run/model"), str(tmp_path / "served"), "--json"),
        environ=os.environ | s3.environ(),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "served" / "1" / "conversion.json").read_text())
    assert "7" in record["verification"].rpartition("batch of")[2]
    assert not any("example" in file["path"] for file in record["source"]["files"])


@pytest.mark.parametrize(
    ("write", "code", "told"),
    [
        (lambda path: path.write_bytes(b"text"), 2, "is no `.npz` of numpy"),
        (lambda path: np.savez(path, x=np.array([{}], dtype=object)), 2, "Python objects are not read"),
        (lambda path: path.mkdir(), 2, "no file"),
        (lambda path: None, 3, "there is no `"),
    ],
    ids=["no npz", "objects", "a directory", "nothing there"],
)
def test_a_wrong_file_is_refused_before_any_work(write: object, code: int, told: str, tmp_path: Path) -> None:
    assert callable(write)
    write(tmp_path / "data.npz")
    done = run_command(
        *("convert", str(ONNX / "model"), str(tmp_path / "served")),
        *("--verify-data", str(tmp_path / "data.npz")),
        environ=os.environ,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert told in done.stderr
    assert not (tmp_path / "served").exists()


def test_a_name_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", pixels=np.ones((1, 4), np.float32))
    done = run_command(
        *("convert", str(ONNX / "model"), str(tmp_path / "served"), "--json"),
        *("--verify-data", str(tmp_path / "data.npz")),
        environ=os.environ,
    )
    assert done.returncode == 2, done.stderr
    assert "holds `pixels`, and the result has no such input" in done.stdout + done.stderr
