"""The ends of what skl2onnx writes, where they are not what the estimator's own methods give."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from ovms_converter.frameworks.base import Array

__all__ = ["precision_of", "repair_ends"]

_PAIR = 2


def precision_of(last: Any) -> "np.dtype[Any]":
    """What an estimator takes: clusters are compared in their centers' precision, and in no other."""
    centers = getattr(last, "cluster_centers_", None)
    return np.dtype(np.float64) if centers is None else np.asarray(centers).dtype


def repair_ends(made: "onnx.ModelProto", estimator: Any, last: Any, width: int) -> None:
    """Let the outputs be what the estimator's own methods give; `last` is its last step, or itself.

    Where `predict` gives a list, skl2onnx may write a matrix of one column, and of a network for several
    numbers as well. Of a support vector machine for two classes it gives the scores with their signs
    exchanged, of a linear discriminant for two classes the softmax of two scores, which is no probability,
    and of a network for two labels the probabilities of their absence as well.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = np.asarray(estimator.predict(np.zeros((2, width), precision_of(last))))
    kind = type(last).__name__
    _shape_first(made, predicted)
    classes = getattr(last, "classes_", ())
    if kind in ("SVC", "NuSVC") and len(classes) == _PAIR and not len(last.probA_):
        _append(made, made.graph.output[1].name, "Neg")
    if kind == "LinearDiscriminantAnalysis" and len(classes) == _PAIR:
        _let_scores_be_logistic(made)
    if kind == "MLPClassifier" and predicted.ndim == _PAIR == len(classes):
        bounds = (np.array([each], np.int64) for each in (_PAIR, 2 * _PAIR, 1))
        _append(made, made.graph.output[1].name, "Slice", *bounds)


def _shape_first(made: "onnx.ModelProto", predicted: "Array") -> None:
    """Give the first output the rank of `predict`'s result, and as many columns."""
    output = made.graph.output[0]
    shape = output.type.tensor_type.shape.dim
    if predicted.ndim == 1 and len(shape) != 1:
        _append(made, output.name, "Reshape", np.array([-1], np.int64))
        del shape[1:]
    elif predicted.ndim == _PAIR == len(shape) and shape[1].dim_value not in (0, predicted.shape[1]):
        _append(made, output.name, "Reshape", np.array([-1, predicted.shape[1]], np.int64))
        _declare(output, predicted.shape[1])


def _declare(output: "onnx.ValueInfoProto", columns: int) -> None:
    output.type.tensor_type.shape.dim[1].dim_value = columns


def _let_scores_be_logistic(made: "onnx.ModelProto") -> None:
    for node in made.graph.node:
        if node.op_type == "LinearClassifier":
            for attribute in node.attribute:
                if attribute.name == "post_transform":
                    attribute.s = b"LOGISTIC"


def _append(made: "onnx.ModelProto", output: str, operation: str, *constants: "Array") -> None:
    """Put an operation behind an output, which keeps its name."""
    from onnx import helper, numpy_helper

    inner = f"{output}/inner"
    for node in made.graph.node:
        node.output[:] = [inner if name == output else name for name in node.output]
        node.input[:] = [inner if name == output else name for name in node.input]
    names = [f"{output}/constant_{number}" for number, _ in enumerate(constants)]
    for name, values in zip(names, constants, strict=True):
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    made.graph.node.append(helper.make_node(operation, [inner, *names], [output]))
