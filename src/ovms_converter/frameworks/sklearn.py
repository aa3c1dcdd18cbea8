"""scikit-learn's estimators, and those of XGBoost and LightGBM that are stored as they are: pickle or skops.

skl2onnx writes most of them; boosted trees are written by this package's own exact way. What comes out is
ONNX with operators of ai.onnx.ml, which `optimizer.classical` writes with plain ones.
"""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.frameworks.base import Exported, ExportJob
from ovms_converter.frameworks.sklearn_boosting import boosted_of
from ovms_converter.frameworks.sklearn_columns import prepared, text_columns
from ovms_converter.frameworks.sklearn_ends import precision_of, repair_ends
from ovms_converter.frameworks.sklearn_versions import carried_over, opening, version_of
from ovms_converter.optimizer.boosters import onnx_of

if TYPE_CHECKING:
    import onnx

    from ovms_converter.frameworks.base import Array

__all__ = ["TRUSTED_TYPES", "export", "run"]

_INPUT = "X"
_OPSETS = {"": 17, "ai.onnx.ml": 3}

TRUSTED_TYPES = frozenset(
    (
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
    )
)
"""What a skops file may hold beyond skops' own list, whatever its `MLmodel` says: state, and no code.

They are what fitted estimators of these libraries consist of.
"""


def export(job: ExportJob) -> Exported:
    """Write ONNX that takes the matrix `X` and gives what the estimator's methods give.

    A classifier gives `label` and `probabilities`, a regressor `variable`, a booster `prediction`.
    """
    text = text_columns(job.signature)
    if text:
        raise UnsupportedModelError(
            f"`{job.model.name}` takes texts ({', '.join(text[:8])}), and OpenVINO takes none",
            hint="encode them as numbers before the model, and log it without that step",
        )
    estimator = _load(job)
    width = _width(estimator, job)
    path = job.output / "model.onnx"
    boosted = boosted_of(estimator)
    if boosted is not None:
        path.write_bytes(onnx_of(boosted))
        return Exported(path, "onnx")
    final = _final_step(estimator)
    boosted = boosted_of(final) if final is not None else None
    made = (
        _converted(estimator, width)
        if boosted is None
        else _joined(_converted(estimator[:-1], width), boosted)
    )
    path.write_bytes(made.SerializeToString())
    return Exported(path, "onnx")


def run(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What the estimator's own methods give, in the precision that scikit-learn computes in."""
    estimator = _load(job)
    x = inputs[_INPUT].astype(precision_of(_final_step(estimator) or estimator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = {}
        if not hasattr(estimator, "predict"):
            return {"variable": np.asarray(estimator.transform(x))}
        predicted = estimator.predict(x)
        for name in ("label", "variable", "prediction"):
            found[name] = predicted
        if hasattr(estimator, "predict_proba"):
            found["probabilities"] = estimator.predict_proba(x)
        elif hasattr(estimator, "decision_function"):
            scores = estimator.decision_function(x)
            if scores.ndim == 1:
                one = type(_final_step(estimator) or estimator).__name__ == "LinearSVC"
                scores = scores[:, None] if one else np.stack([-scores, scores], axis=1)
            found["probabilities"] = scores
        found |= _scores(estimator, x)
    return {
        name: np.asarray(value) for name, value in found.items() if np.asarray(value).dtype.kind in "biuf"
    }


def _scores(estimator: Any, x: "Array") -> dict[str, Any]:
    """What skl2onnx gives beside the labels of clusters and of outliers."""
    from sklearn.base import is_outlier_detector

    if hasattr(_final_step(estimator) or estimator, "cluster_centers_"):
        return {"scores": estimator.transform(x)}
    return {"scores": estimator.decision_function(x)[:, None]} if is_outlier_detector(estimator) else {}


def _load(job: ExportJob) -> Any:
    """The estimator. Raises `UnsupportedModelError` if its version or what it holds does not fit."""
    import sklearn
    from sklearn.exceptions import InconsistentVersionWarning

    versions = {job.versions.get("sklearn_version") or sklearn.__version__}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", InconsistentVersionWarning)
        try:
            estimator = _read(job)
        except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
            older = _other_than(sklearn.__version__, versions)
            if older is None:
                raise
            raise _other_version(job, older, f"it cannot be opened: {_first_line(error)}") from None
    if type(estimator).__module__.partition(".")[0] == "sklearn":
        versions |= {
            each.message.original_sklearn_version
            for each in told
            if isinstance(each.message, InconsistentVersionWarning)
        }
    if hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    older = _other_than(sklearn.__version__, versions)
    if older is not None:
        fault = carried_over(estimator, older, sklearn.__version__)
        if fault is not None:
            raise _other_version(job, older, fault)
    return prepared(estimator)


def _read(job: ExportJob) -> Any:
    if job.format.endswith(".skops"):
        import skops.io

        try:
            untrusted = set(skops.io.get_untrusted_types(file=job.model))
        except (KeyError, ValueError, EOFError, OSError) as error:
            raise CorruptModelError(f"`{job.model.name}` is no skops file: {error}") from None
        unknown = sorted(untrusted - TRUSTED_TYPES)
        if unknown and not job.trusted:
            raise UnsupportedModelError(
                f"`{job.model.name}` holds types that may run code when they are loaded: "
                f"{', '.join(unknown[:8])}",
                hint="if you trust whoever wrote it, `--trust-source` loads it in a process without network "
                "and credentials",
            )
        return skops.io.load(job.model, trusted=sorted(untrusted))
    if not job.trusted:
        raise UnsupportedModelError(
            f"`{job.model.name}` is a pickle, which runs its author's code when it is loaded",
            hint="if you trust whoever wrote it, `--trust-source` runs it",
        )
    import joblib

    with opening():
        return joblib.load(job.model)


def _other_than(installed: str, versions: set[str]) -> str | None:
    """The oldest of the versions that differ from the installed one by more than a repair."""
    others = [version for version in versions if version_of(version) != version_of(installed)]
    return min(others, key=lambda version: version_of(version) or (0, 0), default=None)


def _other_version(job: ExportJob, version: str, fault: str) -> UnsupportedModelError:
    import sklearn

    return UnsupportedModelError(
        f"`{job.model.name}` was stored by scikit-learn {version}, and {sklearn.__version__} is installed: "
        f"it may load such a file and predict something else ({fault})",
        hint=f"where it was trained (`pip install scikit-learn=={version} skl2onnx`), write ONNX and convert "
        "that: `skl2onnx.to_onnx(model, X[:1], options={'zipmap': False})`; or train it again with "
        f"{sklearn.__version__}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _width(estimator: Any, job: ExportJob) -> int:
    """How many columns the estimator takes."""
    found = getattr(estimator, "n_features_in_", None)
    if found is None and job.signature:
        columns = list(job.signature.get("inputs") or ())
        spec = columns[0].get("tensor-spec") if len(columns) == 1 else None
        found = spec["shape"][-1] if spec else len(columns)
    if not isinstance(found, int) or found < 1:
        raise UnsupportedModelError(
            f"`{job.model.name}` does not tell how many features it takes; it seems not to be fitted",
            hint="fit it before it is stored",
        )
    return found


def _final_step(estimator: Any) -> Any:
    """The last step of a pipeline that has others before it."""
    from sklearn.pipeline import Pipeline

    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) and len(estimator.steps) > 1 else None


def _converted(estimator: Any, width: int) -> "onnx.ModelProto":
    """The model as skl2onnx writes it, with outputs in the shapes of the estimator's own methods."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.base import is_classifier

    write = partial(
        skl2onnx.to_onnx,
        estimator,
        initial_types=[(_INPUT, FloatTensorType([None, width]))],
        target_opset=_OPSETS,
    )
    try:
        try:
            made = write(options={id(estimator): {"zipmap": False}} if is_classifier(estimator) else None)
        except NameError:  # what skl2onnx raises for a classifier that makes no maps of its own
            made = write()
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError) as error:
        raise UnsupportedModelError(
            f"skl2onnx cannot write `{type(estimator).__name__}` as ONNX: {_first_line(error)}",
            hint="serve this model with a server for its library, such as MLServer",
        ) from None
    if hasattr(estimator, "predict"):
        repair_ends(made, estimator, _final_step(estimator) or estimator, width)
    return made


def _joined(first: "onnx.ModelProto", boosted: Any) -> "onnx.ModelProto":
    """What prepares the features, and boosted trees behind it."""
    import onnx
    from onnx import compose

    second = compose.add_prefix(onnx.load_from_string(onnx_of(boosted)), "booster/")
    first.ir_version = second.ir_version
    wanted = [output.name.removeprefix("booster/") for output in second.graph.output]
    joined = compose.merge_models(
        first, second, io_map=[(first.graph.output[0].name, second.graph.input[0].name)]
    )
    for output, name in zip(joined.graph.output, wanted, strict=True):
        for node in joined.graph.node:
            node.output[:] = [name if each == output.name else each for each in node.output]
        output.name = name
    return joined
