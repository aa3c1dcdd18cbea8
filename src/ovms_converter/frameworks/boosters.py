"""XGBoost and LightGBM as the reference for their own files, which are converted without them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.boosters import read_booster
from ovms_converter.formats.boosting.xgboost_binary import binary_evidence
from ovms_converter.frameworks.base import Exported, ExportJob

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = ["export", "run"]


def export(job: ExportJob) -> Exported:
    """Never asked for: the files are read without their library."""
    raise UnsupportedModelError(f"`{job.model.name}` needs no export")


def run(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What the booster's own `predict` gives; for an estimator of classes also the classes.

    Raises `UnsupportedModelError` if the library is not installed, or does not read its own old files.
    """
    x = inputs["X"].astype(np.float32)
    try:
        if job.format == "lightgbm":
            import lightgbm

            return {"prediction": lightgbm.Booster(model_file=str(job.model)).predict(x.astype(np.float64))}
        return _xgboost(job, x)
    except ImportError:
        raise UnsupportedModelError(f"the library of `{job.format}` models is not installed here") from None


def _xgboost(job: ExportJob, x: "Array") -> "dict[str, Array]":
    import xgboost

    try:
        booster = xgboost.Booster(model_file=str(job.model))
    except (xgboost.core.XGBoostError, UnicodeDecodeError) as error:
        # its message quotes the first bytes of a file that it does not know
        old = binary_evidence(job.model.read_bytes())
        raise UnsupportedModelError(
            f"XGBoost {xgboost.__version__} does not read it: {old or str(error).splitlines()[0]}"
        ) from None
    best = booster.attr("best_iteration")
    wrapped = booster.attr("scikit_learn") is not None
    rounds = (0, int(best) + 1) if wrapped and best else (0, 0)
    # categories are compared as the numbers that they are
    predicted = booster.predict(
        xgboost.DMatrix(x, feature_types=booster.feature_types), iteration_range=rounds
    )
    found = read_booster(job.model.read_bytes())
    if not found.classifier:
        return {"prediction": predicted}
    probabilities = predicted if predicted.ndim > 1 else np.stack([1 - predicted, predicted], axis=1)
    label = predicted.argmax(axis=1) if predicted.ndim > 1 else (predicted > 0.5).astype(np.int64)
    labels = np.array(found.labels or range(probabilities.shape[1]))
    return {"label": labels[label], "probabilities": probabilities}
