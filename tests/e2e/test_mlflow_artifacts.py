"""Artifacts that real MLflow versions logged, from store to store, against their framework's numbers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from served import assert_computes, download, run_command
from servers import S3Bucket

DATA = Path(__file__).parent.parent / "data" / "mlflow"
ARTIFACTS = [
    DATA / name
    for name in (
        "1.20.2-keras-tf-trained",
        "1.20.2-tensorflow-cnn",
        "1.30.1-keras-tf-trained",
        "1.30.1-keras-tf-two",
        "1.30.1-onnx",
        "2.9.2-onnx-external",
        "2.22.1-keras-exported",
        "2.22.1-tensorflow-module-signature",
        "3.18.0-onnx-external",
        "3.18.0-onnx-single",
    )
]


# MLflow exports Keras 3 models without a specification: the signature forgets the layers' names.
SIGNATURE_KEYS = {"2.22.1-keras-exported": {"features": "inputs", "probs": "output_0"}}


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: path.name)
def test_artifact_computes_what_its_framework_computed(artifact: Path, s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree("run/artifacts/model", artifact / "model")

    done = run_command(
        "convert",
        s3.url("run/artifacts/model"),
        s3.url("run/artifacts/model/ovms"),
        environ=os.environ | s3.environ(),
    )

    assert (done.returncode, done.stdout) == (0, f"{s3.url('run/artifacts/model/ovms')}\n"), done.stderr
    version = download(s3, "run/artifacts/model/ovms/1", tmp_path)
    record = json.loads((version / "conversion.json").read_text())
    assert record["source"]["mlflow"]["mlflow_version"] == _logged_version(artifact)
    names = SIGNATURE_KEYS.get(artifact.name, {})
    inputs = {
        names.get(name, name): value for name, value in np.load(artifact / "reference_input.npz").items()
    }
    outputs = {
        names.get(name, name): value for name, value in np.load(artifact / "reference_output.npz").items()
    }
    assert_computes(version, inputs, outputs)


def test_converting_again_publishes_nothing(s3: S3Bucket) -> None:
    s3.put_tree("model", ARTIFACTS[0] / "model")
    environ = os.environ | s3.environ()
    assert run_command("convert", s3.url("model"), s3.url("model/ovms"), environ=environ).returncode == 0
    before = s3.keys()

    again = run_command("convert", s3.url("model"), s3.url("model/ovms"), environ=environ)

    assert (again.returncode, again.stdout) == (0, f"{s3.url('model/ovms')}\n"), again.stderr
    assert s3.keys() == before
    assert "is there already" in again.stderr


def test_another_parameter_makes_another_version(s3: S3Bucket) -> None:
    s3.put_tree("model", ARTIFACTS[0] / "model")
    environ = os.environ | s3.environ()
    assert run_command("convert", s3.url("model"), s3.url("out"), environ=environ).returncode == 0

    assert (
        run_command("convert", s3.url("model"), s3.url("out"), "--batch", "3", environ=environ).returncode
        == 0
    )

    assert s3.keys("out/2/conversion.json")
    assert json.loads(s3.get("out/2/conversion.json"))["inputs"][0]["shape"].startswith("[3,")


def test_parameters_without_an_effect_are_told_once_and_make_no_version(tmp_path: Path) -> None:
    model, served = str(ARTIFACTS[0] / "model"), tmp_path / "served"
    command = ("convert", model, str(served), "--extra-args", "--silent --disable_fusing")

    done = run_command(*command, environ=os.environ)
    record = json.loads((served / "1" / "conversion.json").read_text())
    again = run_command("convert", model, str(served), environ=os.environ)

    assert done.stderr.count("accepted without an effect: disable_fusing, silent") == 1, done.stderr
    assert record["without_effect"] == ["disable_fusing", "silent"]
    assert not any("without an effect" in note for note in record["notes"])
    assert "is there already" in again.stderr


def _logged_version(artifact: Path) -> str | None:
    lines = (artifact / "model" / "MLmodel").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("mlflow_version:")), None)
