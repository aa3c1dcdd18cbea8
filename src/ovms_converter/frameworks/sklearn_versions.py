"""Estimators that an older scikit-learn stored: which of them mean the same in the one that is installed.

scikit-learn promises nothing about files of other versions: it opens most of them with a warning, and may
then predict something else. What `_SINCE` names was compared: fitted and stored by 0.24 and 1.0 to 1.8,
opened by 1.9, and right to float32's precision. All else is refused.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["carried_over", "opening", "version_of"]

Version = tuple[int, int]

_NEWEST: Version = (1, 9)
"""The newest scikit-learn that older models were compared with."""

_FRACTIONS: Version = (1, 4)
"""From here on a classifier's trees hold the fractions of the classes, before it their weights (#27639)."""

_SINCE: dict[Version, str] = {
    (0, 24): """
        ARDRegression BaggingClassifier BaggingRegressor BayesianRidge BernoulliNB Binarizer
        ColumnTransformer DecisionTreeClassifier DecisionTreeRegressor ElasticNet ElasticNetCV
        ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier ExtraTreesRegressor FeatureUnion
        FunctionTransformer HuberRegressor KBinsDiscretizer KMeans Lars Lasso LassoCV LassoLars
        LinearDiscriminantAnalysis LinearRegression LinearSVC LinearSVR LogisticRegression
        LogisticRegressionCV MaxAbsScaler MiniBatchKMeans MinMaxScaler MLPClassifier MLPRegressor
        MultinomialNB MultiOutputRegressor MultiTaskElasticNet MultiTaskLasso Normalizer NuSVC NuSVR
        OneVsRestClassifier OrthogonalMatchingPursuit PassiveAggressiveClassifier
        PassiveAggressiveRegressor PCA Perceptron Pipeline PowerTransformer
        QuadraticDiscriminantAnalysis QuantileTransformer RandomForestClassifier
        RandomForestRegressor RANSACRegressor Ridge RidgeCV RobustScaler SelectKBest SGDClassifier
        SGDRegressor SimpleImputer StandardScaler SVC SVR TheilSenRegressor TruncatedSVD
        VarianceThreshold VotingClassifier VotingRegressor
    """,
    (1, 0): "AdaBoostRegressor GaussianNB PolynomialFeatures QuantileRegressor",
    (1, 2): "CalibratedClassifierCV OneHotEncoder StackingClassifier",
    (1, 3): "IsolationForest KNeighborsClassifier KNeighborsRegressor OrdinalEncoder",
    (1, 6): "AdaBoostClassifier",
}
"""What was compared, by the version from which on it is right."""

_PARTS = {"LabelBinarizer", "LabelEncoder", "AdamOptimizer", "SGDOptimizer"}
"""What only training needs, or only the labels, whose meaning never changed."""


_RENAMED = {
    "base_estimator": "estimator",
    "base_estimator_": "estimator_",
    "_feature_names_in": "feature_names_in_",
}
"""What is called otherwise since 1.2, and since 1.0."""


def version_of(text: str) -> Version | None:
    """Major and minor number; None if these are no numbers."""
    parts = text.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(map(str.isdecimal, parts)) else None


@contextmanager
def opening() -> Iterator[None]:
    """Let trees be opened whose nodes have no place for missing values, as before scikit-learn 1.3."""
    # what is compiled against the class of trees must have found it before it is exchanged
    import sklearn.ensemble  # noqa: F401
    from sklearn.tree import _tree

    known = _tree.Tree
    _tree.Tree = _tree_of_any_version()
    try:
        yield
    finally:
        _tree.Tree = known


def carried_over(estimator: Any, stored: str, installed: str) -> str | None:
    """Bring an estimator of an older version to the installed one; why that cannot be done, or None.

    Parameters that it does not know yet get their defaults, which by scikit-learn's rules mean no change.
    """
    old, new = version_of(stored), version_of(installed)
    if old is None or new is None or not old < new <= _NEWEST:
        return "nobody compared these versions"
    known = {name for since, names in _SINCE.items() if old >= since for name in names.split()}
    for each in _estimators(estimator):
        name = type(each).__name__
        if name in _PARTS:
            continue
        if not type(each).__module__.startswith("sklearn.") or name not in known:
            return f"`{name}` is not among what is known to mean the same in both"
        if name.startswith("LogisticRegression") and not _softmax_is_meant(each):
            return (
                f"its `{name}` is one of several for one class each, which {installed} does not know any more"
            )
        if not _trees_fit(each, old):
            return f"the tree of `{name}` holds counts of a single class"
        _complete(each)
    return None


def _estimators(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Every estimator in a value: itself, and those in its attributes, lists, mappings and arrays."""
    from sklearn.base import BaseEstimator

    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, BaseEstimator):
        yield value
        parts = list(vars(value).values())
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        parts = value.ravel().tolist()
    else:
        return
    for part in parts:
        yield from _estimators(part, seen)


def _complete(estimator: Any) -> None:
    """Give an estimator the names and the parameters, with their defaults, that its class has got since."""
    for former, name in _RENAMED.items():
        if vars(estimator).get(former) is not None and not hasattr(estimator, name):
            setattr(estimator, name, vars(estimator)[former])
    for name in ("_fit_dtype", "_fill_dtype") if hasattr(estimator, "statistics_") else ():
        if not hasattr(estimator, name):
            setattr(estimator, name, np.asarray(estimator.statistics_).dtype)
    if any(part[1] == "passthrough" for part in getattr(estimator, "transformers_", ())):
        from sklearn.preprocessing import FunctionTransformer

        estimator.transformers_ = [
            (name, FunctionTransformer() if step == "passthrough" else step, columns)
            for name, step, columns in estimator.transformers_
        ]
    for name, parameter in inspect.signature(type(estimator).__init__).parameters.items():
        if parameter.default is not inspect.Parameter.empty and not hasattr(estimator, name):
            setattr(estimator, name, parameter.default)


def _softmax_is_meant(estimator: Any) -> bool:
    """Whether probabilities are what scikit-learn 1.8 computes of scores, whatever the parameters say.

    That is a sigmoid for two classes, softmax for more. `multi_class` chose before; `liblinear` always
    fitted one against the rest.
    """
    if not hasattr(estimator, "classes_"):
        return True
    asked = getattr(estimator, "multi_class", "auto")
    if len(estimator.classes_) <= 2:
        return bool(asked != "multinomial")
    return bool(asked in ("auto", "multinomial", "deprecated") and estimator.solver != "liblinear")


def _trees_fit(estimator: Any, old: Version) -> bool:
    """Whether a tree was brought over: those of classifiers before 1.4 were, where `opening` saw them."""
    tree = getattr(estimator, "tree_", None)
    if tree is None or old >= _FRACTIONS:
        return True
    if not hasattr(tree, "brought_over"):
        return False
    return not hasattr(estimator, "classes_") or bool(np.max(estimator.n_classes_) > 1)


def _tree_of_any_version() -> type:
    """scikit-learn's tree, which takes the state of older ones: with shorter nodes, and with weights."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    class AnyTree(Tree):  # type: ignore[misc]  # scikit-learn has no types
        """A tree whose nodes and values are made the installed version's while it is opened."""

        brought_over = True

        def __setstate__(self, state: dict[str, Any]) -> None:
            nodes, values = state["nodes"], state["values"]
            if nodes.dtype.names != NODE_DTYPE.names:
                longer = np.zeros(len(nodes), NODE_DTYPE)
                for name in nodes.dtype.names:
                    longer[name] = nodes[name]
                nodes = longer
            sums = values.sum(axis=-1, keepdims=True)
            if values.shape[-1] > 1 and not np.allclose(sums, 1, rtol=0, atol=1e-9):
                values = np.ascontiguousarray(values / np.where(sums == 0, 1, sums))
            super().__setstate__({**state, "nodes": nodes, "values": values})

    return AnyTree
