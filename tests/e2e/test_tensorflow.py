"""SavedModels that TensorFlow has just written, from store to store, against TensorFlow's own numbers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from served import assert_computes, download, run_command
from servers import S3Bucket
from tensorflow_models import made_by

MAKER = Path(__file__).parent / "make_savedmodels.py"
KINDS = (
    "keras_cnn",
    "keras_two_inputs",
    "module_with_signature",
    "variables_of_one_name",
    "one_signature_of_another_name",
    "first_generation",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def savedmodels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MAKER, tmp_path_factory.mktemp("savedmodels"))


@pytest.mark.parametrize("kind", KINDS)
def test_savedmodel_computes_what_tensorflow_computes(
    kind: str, savedmodels: Path, s3: S3Bucket, tmp_path: Path
) -> None:
    s3.put_tree("models/source", savedmodels / kind / "model")
    reference = np.load(savedmodels / kind / "reference.npz")

    done = run_command(
        "convert", s3.url("models/source"), s3.url("models/served"), environ=os.environ | s3.environ()
    )

    assert (done.returncode, done.stdout) == (0, f"{s3.url('models/served')}\n"), done.stderr
    version = download(s3, "models/served/1", tmp_path)
    assert sorted(path.name for path in version.iterdir()) == [
        "conversion.json",
        "saved_model.bin",
        "saved_model.xml",
    ]
    assert_computes(
        version,
        {key[3:]: value for key, value in reference.items() if key.startswith("in_")},
        {key[4:]: value for key, value in reference.items() if key.startswith("out_")},
    )
    record = json.loads((version / "conversion.json").read_text())
    assert record["source"]["format"] == "tensorflow.saved_model"


def test_an_output_that_openvino_loses_is_refused(savedmodels: Path, tmp_path: Path) -> None:
    done = run_command(
        "convert",
        str(savedmodels / "constant_output" / "model"),
        str(tmp_path / "served"),
        environ=os.environ,
    )

    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert "loses the output `factor`" in done.stderr
    assert "--output twice" in done.stderr
    assert not (tmp_path / "served").exists()


def test_an_input_that_is_fixed_to_its_default_is_told(savedmodels: Path, tmp_path: Path) -> None:
    done = run_command(
        "convert", str(savedmodels / "input_with_a_default" / "model"), str(tmp_path), environ=os.environ
    )

    assert done.returncode == 0, done.stderr
    assert "takes keep no more" in done.stderr
