"""What classical operators do with their scores: transforms of ONNX, and class labels.

Where ONNX's text leaves a case open, it is decided as in ONNX Runtime, against which models are tested by
those who export them.
"""

import math

from ovms_converter.optimizer.classical.attributes import Integers, MlNode
from ovms_converter.optimizer.classical.emitter import Emitter

__all__ = ["class_count", "emit_labels", "emit_targets", "emit_transform"]

_NEARLY_ZERO = 1e-7
"""Scores up to this count as zero for SOFTMAX_ZERO."""

_PI, _PROBIT_A = 3.14159, 0.147
"""The numbers of ONNX Runtime's approximation of the inverse error function."""


def emit_transform(emitter: Emitter, scores: str, transform: str, node: MlNode) -> str:
    """Scores `[batch, n]` after a `post_transform`."""
    if transform == "NONE":
        return scores
    if transform == "LOGISTIC":
        return emitter.op("Sigmoid", scores)
    if transform == "SOFTMAX":
        return emitter.op("Softmax", scores, axis=1)
    if transform == "SOFTMAX_ZERO":
        return _emit_softmax_zero(emitter, scores)
    if transform == "PROBIT":
        return _emit_probit(emitter, scores)
    raise node.corrupt(f"has the unknown `post_transform` {transform[:40]}")


def emit_targets(emitter: Emitter, node: MlNode, scores: str, targets: int, transform: str) -> None:
    """The output of a regressor; in ONNX Runtime a single target stays as it is, but for PROBIT."""
    if targets == 1 and transform != "PROBIT":
        transform = "NONE"
    emitter.op("Identity", emit_transform(emitter, scores, transform, node), output=node.outputs[0])


def _emit_softmax_zero(emitter: Emitter, scores: str) -> str:
    """Softmax of which scores of zero take no part; they stay nearly zero."""
    most = emitter.reduce("ReduceMax", scores, 1, keep=True)
    counts = emitter.op("Less", emitter.number(_NEARLY_ZERO), emitter.op("Abs", scores))
    power = emitter.op("Exp", emitter.op("Sub", scores, most))
    total = emitter.reduce("ReduceSum", emitter.op("Where", counts, power, emitter.number(0)), 1, keep=True)
    rest = emitter.op("Mul", scores, emitter.op("Exp", emitter.op("Neg", most)))
    return emitter.op("Div", emitter.op("Where", counts, power, rest), total)


def _emit_probit(emitter: Emitter, scores: str) -> str:
    """The quantile of the normal distribution, by the same approximation as ONNX Runtime's."""
    x = emitter.op("Sub", emitter.op("Mul", scores, emitter.number(2)), emitter.number(1))
    one = emitter.number(1)
    log = emitter.op("Log", emitter.op("Mul", emitter.op("Sub", one, x), emitter.op("Add", one, x)))
    v = emitter.op(
        "Add",
        emitter.number(2 / (_PI * _PROBIT_A)),
        emitter.op("Mul", log, emitter.number(0.5)),
    )
    v2 = emitter.op("Mul", log, emitter.number(1 / _PROBIT_A))
    root = emitter.op("Sqrt", emitter.op("Sub", emitter.op("Mul", v, v), v2))
    size = emitter.op("Sqrt", emitter.op("Sub", root, v))
    negative = emitter.op("Less", x, emitter.number(0))
    signed = emitter.op("Where", negative, emitter.op("Neg", size), size)
    return emitter.op("Mul", signed, emitter.number(math.sqrt(2)))


def class_count(node: MlNode) -> int:
    """How many classes a classifier names."""
    return len(node.strings("classlabels_strings")) or _integers(node).size


def emit_labels(emitter: Emitter, node: MlNode, index: str, count: int) -> None:
    """The label output: for each row the label number `index` (int64 `[batch]`) of `count` ones.

    Raises `UnsupportedModelError` for labels that are texts, unless nobody reads them.
    """
    output = node.outputs[0] if node.outputs else ""
    if not output or output not in node.needed:
        return
    texts = node.strings("classlabels_strings")
    if texts:
        shown = ", ".join(repr(text) for text in texts[:8]) + (", ..." if len(texts) > 8 else "")
        others = [name for name in node.outputs[1:] if name]
        raise node.unsupported(
            f"has text labels ({shown}), and OpenVINO computes no texts",
            hint=f"`--output {others[0] if others else 'probabilities'}` publishes the scores alone, a "
            "column for each label in this order; or train with numbers as labels",
        )
    labels = _integers(node)
    if labels.size < count:
        raise node.corrupt(f"has {labels.size} labels for {count} classes")
    emitter.op("Gather", emitter.constant(labels), index, output=output, axis=0)


def _integers(node: MlNode) -> Integers:
    return node.integers("classlabels_int64s" if node.has("classlabels_int64s") else "classlabels_ints")
