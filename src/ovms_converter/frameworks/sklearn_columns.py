"""Columns by name and columns of texts: a server gives one matrix of numbers, a column for each feature."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import numpy as np

from ovms_converter.errors import UnsupportedModelError

__all__ = ["prepared", "text_columns"]


def text_columns(signature: Mapping[str, Any] | None) -> list[str]:
    """The inputs of an MLflow signature that are texts."""
    found = []
    for number, spec in enumerate((signature or {}).get("inputs") or ()):
        tensor = spec.get("tensor-spec") or {}
        if spec.get("type") == "string" or str(tensor.get("dtype", "")).startswith(("str", "object", "<U")):
            found.append(str(spec.get("name") or f"number {number + 1}"))
    return found


def prepared(estimator: Any) -> Any:
    """The same estimator, its columns chosen by number.

    Raises `UnsupportedModelError` for encoders of texts.
    """
    from sklearn.pipeline import Pipeline

    for each in _steps(estimator):
        _refuse_texts(each)
    if isinstance(estimator, Pipeline) and estimator.steps:
        changed = copy(estimator)
        name, first = estimator.steps[0]
        changed.steps = [(name, prepared(first)), *estimator.steps[1:]]
        return changed
    if hasattr(estimator, "transformers_") and hasattr(estimator, "feature_names_in_"):
        return _by_number(estimator)
    if getattr(estimator, "flatten_transform", False):
        # concerns `transform` alone, and skl2onnx asks for this
        changed = copy(estimator)
        changed.flatten_transform = False
        return changed
    return estimator


def _steps(estimator: Any) -> Iterator[Any]:
    """The estimator and what it consists of."""
    yield estimator
    for _, step in getattr(estimator, "steps", ()):
        yield from _steps(step)
    for _, step, _ in getattr(estimator, "transformers_", ()):
        yield from _steps(step)
    for _, step in getattr(estimator, "transformer_list", ()):
        yield from _steps(step)


def _refuse_texts(estimator: Any) -> None:
    for categories in getattr(estimator, "categories_", None) or ():
        if np.asarray(categories).dtype.kind not in "biuf":
            raise UnsupportedModelError(
                f"its `{type(estimator).__name__}` encodes texts "
                f"({', '.join(repr(str(each)) for each in list(categories)[:4])}, ...), and OpenVINO "
                "takes none",
                hint="encode them as numbers before the model, and store it without that step",
            )
    if hasattr(estimator, "vocabulary_"):
        raise UnsupportedModelError(
            f"its `{type(estimator).__name__}` takes texts, and OpenVINO takes none",
            hint="vectorize texts before the model, and store it without that step",
        )


def _by_number(transformer: Any) -> Any:
    """A `ColumnTransformer` whose columns were named when it was fitted on a data frame."""
    names = list(transformer.feature_names_in_)
    changed = copy(transformer)
    changed.transformers_ = [
        (name, step, _numbers(columns, names)) for name, step, columns in transformer.transformers_
    ]
    del changed.feature_names_in_
    return changed


def _numbers(columns: Any, names: list[Any]) -> Any:
    if isinstance(columns, str):
        return [names.index(columns)]
    if isinstance(columns, list | tuple | np.ndarray) and all(isinstance(each, str) for each in columns):
        return [names.index(each) for each in columns]
    return columns
