"""scikit-learn's estimators, and boosters out of pickles: ONNX that computes what their own methods do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest

from native_library import library_or_skip
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import convert

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
skops_io = pytest.importorskip("skops.io")
import joblib
from sklearn import (
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    impute,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from ovms_converter.frameworks import sklearn as driver

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
Array = npt.NDArray[Any]

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 4)).astype(np.float32).astype(np.float64)
UNSEEN = RANDOM.normal(size=(1000, 4)).astype(np.float32)
SCORE = X[:, 0] + X[:, 1] * X[:, 2] / 2
TARGETS = {"two": (SCORE > 0).astype(int), "three": np.digitize(SCORE, [-0.5, 0.5]) + 4, "number": SCORE}


def made(kind: type, target: str, *steps: Any, **options: Any) -> Any:
    estimator = kind(**options)
    if steps:
        estimator = pipeline.make_pipeline(*steps, estimator)
    return estimator.fit(X, TARGETS[target])


ESTIMATORS = [
    ("three", linear_model.LogisticRegression, (preprocessing.StandardScaler(),)),
    ("two", linear_model.LogisticRegression, ()),
    ("number", linear_model.LinearRegression, (preprocessing.PolynomialFeatures(),)),
    ("three", linear_model.LogisticRegression, (decomposition.PCA(2),)),
    ("three", tree.DecisionTreeClassifier, (impute.SimpleImputer(),)),
    ("two", ensemble.RandomForestClassifier, ()),
    ("three", ensemble.RandomForestClassifier, ()),
    ("number", ensemble.ExtraTreesRegressor, ()),
    ("three", ensemble.GradientBoostingClassifier, ()),
    ("number", ensemble.HistGradientBoostingRegressor, ()),
    ("three", ensemble.HistGradientBoostingClassifier, (preprocessing.StandardScaler(),)),
    ("two", svm.SVC, ()),
    ("three", svm.SVC, ()),
    ("number", svm.SVR, ()),
    ("three", neighbors.KNeighborsClassifier, ()),
    ("three", naive_bayes.GaussianNB, ()),
    ("number", neural_network.MLPRegressor, ()),
]


def exported(estimator: Any, directory: Path, *, trusted: bool = True, **job: Any) -> tuple[ExportJob, Path]:
    """The job for a pickled estimator, and the ONNX file that it gives."""
    path = directory / "model.pkl"
    joblib.dump(estimator, path)
    output = directory / "output"
    output.mkdir(exist_ok=True)
    asked = ExportJob("sklearn.pickle", path, output, trusted=trusted, **job)
    return asked, driver.export(asked).path


def computed(path: Path, x: Array, scratch: Path) -> dict[str, Array]:
    found = convert(path, "onnx", OptimizerArguments(), scratch).model
    compiled = ov.Core().compile_model(found, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled({"X": x})
    return {port.any_name: np.array(results[port]) for port in compiled.outputs}


@pytest.mark.parametrize(
    ("target", "kind", "steps"), ESTIMATORS, ids=lambda value: getattr(value, "__name__", None)
)
def test_an_estimator_computes_what_its_methods_do(
    target: str, kind: type, steps: tuple[Any, ...], tmp_path: Path
) -> None:
    options = {"n_estimators": 20} if kind.__name__.startswith(("RandomForest", "ExtraTrees")) else {}
    job, path = exported(made(kind, target, *steps, **options), tmp_path)
    found, wanted = computed(path, UNSEEN, tmp_path), driver.run(job, {"X": UNSEEN})
    assert found.keys() == ({"variable"} if target == "number" else {"label", "probabilities"})
    for name, values in found.items():
        assert values.shape == wanted[name].shape
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4, atol=3e-5)
        if name == "label":
            assert (values == wanted[name]).all()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (discriminant_analysis.LinearDiscriminantAnalysis, TARGETS["two"]),
        (neural_network.MLPClassifier, np.stack([SCORE > 0, X[:, 0] > 0], 1).astype(int)),
        (neural_network.MLPClassifier, np.stack([SCORE > 0, X[:, 0] > 0, X[:, 1] > 0], 1).astype(int)),
        (neural_network.MLPRegressor, np.stack([SCORE, X[:, 3], -SCORE], 1)),
    ],
    ids=["discriminant", "two-labels", "three-labels", "numbers"],
)
def test_ends_that_skl2onnx_writes_otherwise_are_the_methods_own(
    kind: type, target: Array, tmp_path: Path
) -> None:
    model = kind().fit(X, target)
    job, path = exported(model, tmp_path)
    found, wanted = computed(path, UNSEEN, tmp_path), driver.run(job, {"X": UNSEEN})
    for name, values in found.items():
        assert values.shape == wanted[name].shape
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_clusters_are_compared_in_the_precision_they_were_found_in(precision: type, tmp_path: Path) -> None:
    model = cluster.KMeans(3, n_init=1, random_state=0).fit(X.astype(precision))
    job, path = exported(model, tmp_path)
    found, wanted = computed(path, UNSEEN, tmp_path), driver.run(job, {"X": UNSEEN})
    assert (found["label"] == wanted["label"]).all()
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-4)


@pytest.mark.parametrize(
    "kind", [ensemble.IsolationForest, svm.OneClassSVM, partial(neighbors.LocalOutlierFactor, novelty=True)]
)
def test_scores_of_outliers_are_the_methods_own(kind: Callable[[], Any], tmp_path: Path) -> None:
    job, path = exported(kind().fit(X), tmp_path)
    found, wanted = computed(path, UNSEEN, tmp_path), driver.run(job, {"X": UNSEEN})
    assert (found["label"] == wanted["label"]).all()
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-4)


def test_columns_by_name_become_columns_by_number(tmp_path: Path) -> None:
    columns = compose.ColumnTransformer(
        [("scaled", preprocessing.StandardScaler(), ["a", "c"])], remainder="passthrough"
    )
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression())
    pandas = pytest.importorskip("pandas")
    model.fit(pandas.DataFrame(X, columns=list("abcd")), TARGETS["three"])
    _, path = exported(model, tmp_path)
    wanted = model.predict(pandas.DataFrame(UNSEEN, columns=list("abcd")))
    assert (computed(path, UNSEEN, tmp_path)["label"] == wanted).all()


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_booster_at_the_end_of_a_pipeline(library: str, tmp_path: Path) -> None:
    module = library_or_skip(library)
    kind = module.XGBClassifier if library == "xgboost" else module.LGBMClassifier
    options = {} if library == "xgboost" else {"verbose": -1}
    model = made(kind, "two", preprocessing.StandardScaler(), n_estimators=10, **options)
    _, path = exported(model, tmp_path)
    found = computed(path, UNSEEN, tmp_path)
    assert (found["label"] == model.predict(UNSEEN)).all()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(UNSEEN), atol=1e-5)


def test_a_pickle_of_another_version_is_refused_with_what_to_install(tmp_path: Path) -> None:
    model = made(ensemble.GradientBoostingClassifier, "two", n_estimators=2)
    with pytest.raises(UnsupportedModelError, match=r"stored by scikit-learn 1\.3\.2") as caught:
        exported(model, tmp_path, versions={"sklearn_version": "1.3.2"})
    assert caught.value.hint is not None
    assert "pip install scikit-learn==1.3.2" in caught.value.hint


def test_the_version_inside_of_a_pickle_counts_as_well(tmp_path: Path) -> None:
    class Old(ensemble.GradientBoostingClassifier):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            state = {**self.__getstate__(), "_sklearn_version": "1.2.0"}
            return (ensemble.GradientBoostingClassifier, (), state)

    with pytest.raises(UnsupportedModelError, match=r"stored by scikit-learn 1\.2\.0"):
        exported(made(Old, "two", n_estimators=2), tmp_path)


def test_a_pickle_is_not_opened_unless_its_source_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="runs its author's code"):
        exported(made(tree.DecisionTreeClassifier, "two"), tmp_path, trusted=False)


def skops_job(estimator: Any, directory: Path, *, trusted: bool) -> ExportJob:
    path = directory / "model.skops"
    skops_io.dump(estimator, path)
    output = directory / "output"
    output.mkdir()
    return ExportJob("sklearn.skops", path, output, trusted=trusted)


def test_a_skops_file_loads_with_the_fixed_list_alone(tmp_path: Path) -> None:
    job = skops_job(made(ensemble.RandomForestClassifier, "three", n_estimators=5), tmp_path, trusted=False)
    found = computed(driver.export(job).path, UNSEEN, tmp_path)
    assert (found["label"] == driver.run(job, {"X": UNSEEN})["label"]).all()


def test_a_skops_file_with_other_types_is_refused_by_their_names(tmp_path: Path) -> None:
    model = pipeline.make_pipeline(preprocessing.FunctionTransformer(Path), linear_model.LinearRegression())
    job = skops_job(model, tmp_path, trusted=False)
    with pytest.raises(UnsupportedModelError, match="may run code when they are loaded: pathlib"):
        driver.export(job)


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ({"inputs": [{"type": "string", "name": "city"}]}, r"texts \(city\)"),
        ({"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1]}}]}, "number 1"),
    ],
)
def test_inputs_of_texts_are_refused_by_name(signature: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        exported(made(tree.DecisionTreeClassifier, "two"), tmp_path, signature=signature)


def test_an_encoder_of_texts_is_refused_by_name(tmp_path: Path) -> None:
    encoder = preprocessing.OneHotEncoder().fit(np.array([["red"], ["green"]]))
    with pytest.raises(UnsupportedModelError, match=r"`OneHotEncoder` encodes texts \('green', 'red'"):
        exported(encoder, tmp_path)
