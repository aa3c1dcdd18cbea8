"""Estimators that scikit-learn 0.24, 1.0 and 1.3 stored: what they predicted there, or a refusal."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.frameworks.sklearn_versions import carried_over, version_of
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import convert

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
from sklearn import linear_model, tree

from ovms_converter.frameworks import sklearn as driver

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DATA = Path(__file__).parent.parent / "data" / "estimators"
KEPT = [
    *(f"{version}-{name}" for version in ("0.24.2", "1.0.2", "1.3.2") for name in ("tree", "columns")),
    *(f"{version}-{name}" for version in ("0.24.2", "1.0.2", "1.3.2") for name in ("imputer", "logistic")),
    "0.24.2-names",
    "1.0.2-forest",
]
"""Models that the older scikit-learn itself fitted, stored and ran on `X`: `pred`, `proba`."""


def job_for(name: str, output: Path, *, recorded: bool = True) -> ExportJob:
    """The job for a stored model, with or without the version that an `MLmodel` records."""
    version = name.partition("-")[0]
    versions = {"sklearn_version": version} if recorded else {}
    return ExportJob("sklearn.pickle", DATA / f"{name}.pkl", output, trusted=True, versions=versions)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "in-the-pickle"])
@pytest.mark.parametrize("name", KEPT)
def test_a_model_of_an_older_version_computes_what_it_did_there(
    name: str, recorded: bool, tmp_path: Path
) -> None:
    if name.endswith("-names"):
        pytest.importorskip("pandas", reason="it holds a data frame's names as pandas has them")
    job = job_for(name, tmp_path, recorded=recorded)
    wanted: dict[str, Any] = dict(np.load(DATA / f"{name}.npz"))

    model = convert(driver.export(job).path, "onnx", OptimizerArguments(), tmp_path).model
    reference = driver.run(job, {"X": wanted["X"].astype(np.float32)})

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {port.any_name: value for port, value in compiled({"X": wanted["X"].astype(np.float32)}).items()}
    for values in (found, reference):
        if "proba" in wanted:
            np.testing.assert_array_equal(values["label"], wanted["pred"])
            np.testing.assert_allclose(values["probabilities"], wanted["proba"], atol=1e-6)
        else:
            np.testing.assert_allclose(values["variable"], wanted["pred"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("version", ["0.24.2", "1.0.2", "1.3.2"])
def test_one_class_against_the_rest_is_refused_since_newer_ones_compute_softmax(
    version: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match="one of several for one class each") as caught:
        driver.export(job_for(f"{version}-one-vs-rest", tmp_path))
    assert f"stored by scikit-learn {version}" in caught.value.message
    assert caught.value.hint is not None
    assert f"pip install scikit-learn=={version} skl2onnx" in caught.value.hint
    assert "skl2onnx.to_onnx(" in caught.value.hint


def test_what_was_not_compared_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="`GaussianNB` is not among what is known to mean"):
        driver.export(job_for("0.24.2-bayes", tmp_path))


def test_what_cannot_be_opened_any_more_is_refused_with_its_version(tmp_path: Path) -> None:
    broken = tmp_path / "model.pkl"
    broken.write_bytes((DATA / "0.24.2-logistic.pkl").read_bytes().replace(b"_logistic", b"_gonetics"))
    job = ExportJob("sklearn.pickle", broken, tmp_path, trusted=True, versions={"sklearn_version": "0.24.2"})
    with pytest.raises(UnsupportedModelError, match=r"stored by scikit-learn 0\.24\.2.*cannot be opened"):
        driver.export(job)


def test_newer_models_and_unknown_versions_are_not_carried_over() -> None:
    model = linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    assert carried_over(model, "1.8.0", "1.9.1") is None
    for stored, installed in (("1.9.0", "1.8.0"), ("1.8.0", "1.10.0"), ("0.22.2", "1.9.1"), ("x", "1.9.1")):
        assert carried_over(model, stored, installed) is not None


def test_a_tree_that_was_opened_without_care_is_not_carried_over() -> None:
    model = tree.DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    assert carried_over(model, "1.4.0", "1.9.1") is None
    assert carried_over(model, "1.3.2", "1.9.1") is not None


def test_versions_are_compared_by_numbers() -> None:
    assert version_of("1.10.2") == (1, 10)
    assert version_of("1.3.dev0") == (1, 3)
    assert version_of("none") is None


def exported_in_a_fresh_process(model: Path, output: Path, version: str) -> None:
    """Export in a process that has not imported scikit-learn yet. Fails with what it printed."""
    program = (
        "import sys; from pathlib import Path; from ovms_converter.frameworks import sklearn;"
        "from ovms_converter.frameworks.base import ExportJob;"
        "format, model, output, version = sys.argv[1:];"
        "sklearn.export(ExportJob(format, Path(model), Path(output), trusted=format != 'sklearn.skops',"
        "versions={'sklearn_version': version}))"
    )
    format = "sklearn.skops" if model.suffix == ".skops" else "sklearn.pickle"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, format, str(model), str(output), version],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (output / "model.onnx").is_file()


def test_an_older_forest_is_read_alike_in_a_fresh_process(tmp_path: Path) -> None:
    # scikit-learn's compiled modules look for the class of trees when they are first imported
    exported_in_a_fresh_process(DATA / "1.0.2-forest.pkl", tmp_path, "1.0.2")


def test_a_skops_file_is_read_alike_in_a_fresh_process(tmp_path: Path) -> None:
    # skops keeps the class of trees that it finds when it is first imported
    skops_io = pytest.importorskip("skops.io")
    model = tmp_path / "model.skops"
    skops_io.dump(tree.DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]), model)
    exported_in_a_fresh_process(model, tmp_path, sklearn.__version__)
