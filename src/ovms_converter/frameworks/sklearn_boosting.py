"""Boosted trees of estimators in memory: XGBoost's, LightGBM's and scikit-learn's histogram ones."""

from dataclasses import replace
from typing import Any

import numpy as np

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.boosters import read_booster
from ovms_converter.formats.boosting.model import Boosted, Link, Tree

__all__ = ["boosted_of"]

_HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
_FORESTS = tuple(
    f"{kind}{task}"
    for kind in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
    for task in ("Classifier", "Regressor")
)
_LOSSES = {"HalfPoissonLoss": Link.EXP, "HalfGammaLoss": Link.EXP}


def boosted_of(estimator: Any) -> Boosted | None:
    """The trees of an estimator that is a booster; None if it is something else."""
    kind, library = type(estimator).__name__, type(estimator).__module__.partition(".")[0]
    if library == "xgboost":
        return _xgboost(estimator, kind)
    if library == "lightgbm":
        return _lightgbm(estimator, kind)
    if kind in _HISTOGRAM:
        return _histogram(estimator)
    return _forest(estimator, kind) if library == "sklearn" and kind in _FORESTS else None


def _xgboost(estimator: Any, kind: str) -> Boosted:
    if kind == "Booster":
        return read_booster(bytes(estimator.save_raw("ubj")))
    missing = getattr(estimator, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise UnsupportedModelError(
            f"its `{kind}` takes {missing} for a missing value, and XGBoost's file does not tell that",
            hint="give it NaN for missing values (`missing=numpy.nan`)",
        )
    booster = estimator.get_booster()
    found = read_booster(bytes(booster.save_raw("ubj")))
    last = (
        getattr(booster, "best_iteration", None)
        if getattr(estimator, "early_stopping_rounds", None)
        else None
    )
    if last is not None:
        found = read_booster(bytes(booster[: last + 1].save_raw("ubj")))
    return (
        _with_classes(found, estimator) if kind.endswith("Classifier") else replace(found, classifier=False)
    )


def _lightgbm(estimator: Any, kind: str) -> Boosted:
    booster = estimator if kind == "Booster" else estimator.booster_
    found = read_booster(booster.model_to_string().encode())
    return _with_classes(found, estimator) if kind.endswith("Classifier") else found


def _with_classes(found: Boosted, estimator: Any) -> Boosted:
    """With the labels of the classes, which the booster itself does not know."""
    classes = np.asarray(estimator.classes_)
    whole = classes.dtype.kind in "biu" or (
        classes.dtype.kind == "f" and bool((classes == np.floor(classes)).all())
    )
    if not whole:
        raise UnsupportedModelError(
            f"its class labels are texts ({', '.join(map(repr, classes[:4].tolist()))}, ...), and OpenVINO "
            "computes no texts",
            hint="train it with numbers as labels, or store its booster alone, which gives probabilities",
        )
    link = Link.SOFTMAX if found.link is Link.ARGMAX else found.link
    return replace(found, classifier=True, labels=tuple(int(each) for each in classes), link=link)


def _histogram(estimator: Any) -> Boosted:
    """Trees over float64 thresholds; `<=` goes to the left."""
    if getattr(estimator, "is_categorical_", None) is not None:
        raise UnsupportedModelError(
            f"its `{type(estimator).__name__}` encodes categories of its own",
            hint="train it with `categorical_features=None` on numbers",
        )
    groups = int(estimator.n_trees_per_iteration_)
    classes = getattr(estimator, "classes_", None)
    link = _LOSSES.get(type(estimator._loss).__name__, Link.IDENTITY)
    if classes is not None:
        link = Link.SIGMOID if groups == 1 else Link.SOFTMAX
    found = Boosted(
        library="scikit-learn",
        objective=str(estimator.loss),
        features=int(estimator.n_features_in_),
        groups=groups,
        strict=False,
        trees=tuple(
            _tree(predictor.nodes, group)
            for predictors in estimator._predictors
            for group, predictor in enumerate(predictors)
        ),
        base=tuple(float(each) for each in np.ravel(estimator._baseline_prediction)),
        link=link,
        output="variable",
    )
    return _with_classes(found, estimator) if classes is not None else found


def _forest(estimator: Any, kind: str) -> Boosted | None:
    """The mean of what the trees' leaves hold; None for several outputs with classes.

    skl2onnx divides what each leaf holds by the number of trees first, so that sums that are equal in
    scikit-learn differ in their last digit, and with them the label.
    """
    classifier = kind.endswith("Classifier")
    if classifier and estimator.n_outputs_ > 1:
        return None
    trees = [each.tree_ for each in getattr(estimator, "estimators_", [estimator])]
    groups = len(estimator.classes_) if classifier else int(estimator.n_outputs_)
    found = Boosted(
        library="scikit-learn",
        objective=kind,
        features=int(estimator.n_features_in_),
        groups=groups,
        strict=False,
        trees=tuple(_tree_of(each, groups, classifier=classifier) for each in trees),
        base=(0.0,) * groups,
        link=Link.IDENTITY,
        average=len(trees) > 1,
        output="variable",
    )
    return _with_classes(found, estimator) if classifier and groups > 1 else None if classifier else found


def _tree_of(tree: Any, groups: int, *, classifier: bool) -> Tree:
    leaf = tree.children_left < 0
    held = tree.value.reshape(-1, groups)
    if classifier:
        total = held.sum(axis=1, keepdims=True)
        held = held / np.where(total == 0, 1, total)
    return Tree(
        group=0,
        feature=np.where(leaf, 0, tree.feature).tolist(),
        threshold=np.where(leaf, 0.0, tree.threshold).tolist(),
        yes=tree.children_left.astype(np.int64).tolist(),
        no=tree.children_right.astype(np.int64).tolist(),
        missing=tree.missing_go_to_left.astype(bool).tolist(),
        value=np.zeros(leaf.size).tolist(),
        vectors={int(node): held[node].tolist() for node in np.flatnonzero(leaf)},
    )


def _tree(nodes: Any, group: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        group=group,
        feature=np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]).tolist(),
        yes=np.where(leaf, -1, nodes["left"].astype(np.int64)).tolist(),
        no=np.where(leaf, -1, nodes["right"].astype(np.int64)).tolist(),
        missing=nodes["missing_go_to_left"].astype(bool).tolist(),
        value=nodes["value"].tolist(),
    )
