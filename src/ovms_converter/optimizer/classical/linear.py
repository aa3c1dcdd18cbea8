"""`LinearClassifier`, `LinearRegressor`, `SVMClassifier` and `SVMRegressor` of ai.onnx.ml."""

import numpy as np

from ovms_converter.optimizer.classical.attributes import Floats, Integers, MlNode
from ovms_converter.optimizer.classical.emitter import Emitter
from ovms_converter.optimizer.classical.scores import class_count, emit_labels, emit_targets, emit_transform

__all__ = [
    "lower_linear_classifier",
    "lower_linear_regressor",
    "lower_svm_classifier",
    "lower_svm_regressor",
]


def lower_linear_regressor(emitter: Emitter, node: MlNode) -> None:
    """`x · coefficients + intercepts`, `[batch, targets]`."""
    targets = node.integer("targets", 1)
    scores = _emit_product(emitter, node, targets)
    intercepts = node.floats("intercepts")
    if intercepts.size == targets:
        scores = emitter.op("Add", scores, emitter.constant(intercepts.astype(np.float32)))
    emit_targets(emitter, node, scores, targets, node.text("post_transform", "NONE"))


def lower_linear_classifier(emitter: Emitter, node: MlNode) -> None:
    """Labels `[batch]` and scores `[batch, classes]`."""
    intercepts = node.floats("intercepts").astype(np.float32)
    rows = intercepts.size
    if not rows:
        raise node.corrupt("has no intercepts")
    scores = emitter.op("Add", _emit_product(emitter, node, rows), emitter.constant(intercepts))
    transform = node.text("post_transform", "NONE")
    if rows == 1:
        result = _emit_one_row(emitter, node, scores, transform)
    else:
        emit_labels(emitter, node, emitter.op("ArgMax", scores, axis=1, keepdims=0), rows)
        result = emit_transform(emitter, scores, transform, node)
    if len(node.outputs) > 1 and node.outputs[1]:
        emitter.op("Identity", result, output=node.outputs[1])


def _emit_one_row(emitter: Emitter, node: MlNode, score: str, transform: str) -> str:
    """One score decides between two classes; with two labels the other class gets a score as well."""
    positive = emitter.greater(score, emitter.number(0))
    index = emitter.reshape(emitter.cast(positive, "i64"), -1)
    if class_count(node) != 2:
        if node.outputs[0] in node.needed:
            emitter.op("Identity", index, output=node.outputs[0])
        return emit_transform(emitter, score, transform, node)
    emit_labels(emitter, node, index, 2)
    if transform == "PROBIT":
        raise node.unsupported("has PROBIT for one score of two classes, which ONNX leaves open")
    if transform == "LOGISTIC":
        both = emitter.op("Concat", emitter.op("Neg", score), score, axis=1)
        return emitter.op("Sigmoid", both)
    return emitter.op("Concat", emitter.op("Sub", emitter.number(1), score), score, axis=1)


def _emit_product(emitter: Emitter, node: MlNode, rows: int) -> str:
    """`x · coefficients`, which are stored a row for each output."""
    weights = node.floats("coefficients").astype(np.float32)
    if rows < 1 or not weights.size or weights.size % rows:
        raise node.corrupt(f"has {weights.size} coefficients for {rows} outputs")
    matrix = np.ascontiguousarray(weights.reshape(rows, -1).T)
    return emitter.op("MatMul", emitter.cast(node.inputs[0], "f32"), emitter.constant(matrix))


def lower_svm_regressor(emitter: Emitter, node: MlNode) -> None:
    """`[batch, 1]`; for a one-class machine 1 or -1."""
    x = emitter.cast(node.inputs[0], "f32")
    weights, rho = node.floats("coefficients").astype(np.float32), node.floats("rho").astype(np.float32)
    if not weights.size or rho.size != 1:
        raise node.corrupt("has no coefficients or not one `rho`")
    supports = node.integer("n_supports")
    if supports:
        x = _emit_kernel(emitter, node, x, supports)
    score = emitter.op("MatMul", x, emitter.constant(weights[:, None]))
    score = emitter.op("Add", score, emitter.constant(rho))
    if node.integer("one_class"):
        inside = emitter.greater(score, emitter.number(0))
        score = emitter.op("Where", inside, emitter.number(1), emitter.number(-1))
    emitter.op("Identity", score, output=node.outputs[0])


def lower_svm_classifier(emitter: Emitter, node: MlNode) -> None:
    """Labels by the votes of each pair of classes, and the scores of the pairs."""
    classes = class_count(node)
    per_class = node.integers("vectors_per_class")
    if not per_class.sum():
        raise node.unsupported("is a linear one without support vectors, which no exporter is known to write")
    if node.floats("prob_a").size:
        raise node.unsupported(
            "computes probabilities by pairwise coupling, which goes on until it is good enough",
            hint="train it with `probability=False`, or calibrate it with `CalibratedClassifierCV`",
        )
    if per_class.size != classes or classes < 2 or (per_class < 0).any():
        raise node.corrupt(f"has {per_class.size} counts of vectors for {classes} classes")
    vectors = int(per_class.sum())
    kernel = _emit_kernel(emitter, node, emitter.cast(node.inputs[0], "f32"), vectors)
    matrix, pairs = _pairwise(node, per_class, vectors)
    rho = node.floats("rho").astype(np.float32)
    if rho.size < len(pairs):
        raise node.corrupt(f"has {rho.size} `rho` for {len(pairs)} pairs of classes")
    scores = emitter.op("MatMul", kernel, emitter.constant(matrix.astype(np.float32)))
    scores = emitter.op("Add", scores, emitter.constant(rho[: len(pairs)]))
    _emit_votes(emitter, node, scores, pairs, classes)
    if len(node.outputs) < 2 or not node.outputs[1]:
        return
    transform = node.text("post_transform", "NONE")
    if classes == 2:
        if transform != "NONE":
            raise node.unsupported(f"has {transform} for one score of two classes, which ONNX leaves open")
        emitter.op("Concat", emitter.op("Neg", scores), scores, output=node.outputs[1], axis=1)
    else:
        result = emit_transform(emitter, scores, transform, node)
        emitter.op("Identity", result, output=node.outputs[1])


def _emit_votes(
    emitter: Emitter, node: MlNode, scores: str, pairs: list[tuple[int, int]], classes: int
) -> None:
    """The first of the classes with the most votes; a score above 0 is a vote for the first of a pair."""
    first, second = (np.zeros((len(pairs), classes), np.float32) for _ in range(2))
    for number, (one, other) in enumerate(pairs):
        first[number, one] = second[number, other] = 1
    won = emitter.unsqueeze(emitter.greater(scores, emitter.number(0)), -1)
    votes = emitter.op("Where", won, emitter.constant(first[None]), emitter.constant(second[None]))
    total = emitter.reduce("ReduceSum", votes, 1, keep=False)
    emit_labels(emitter, node, emitter.op("ArgMax", total, axis=1, keepdims=0), classes)


def _pairwise(node: MlNode, per_class: Integers, vectors: int) -> tuple[Floats, list[tuple[int, int]]]:
    """The weight of each vector for the score of each pair, and the pairs in their order.

    Coefficients come as in libsvm, `[classes - 1, vectors]`: of a vector of class i, row j - 1 is for the
    pair (i, j) if j > i, and row j for the pair (j, i) if j < i.
    """
    classes = per_class.size
    stored = node.floats("coefficients")
    if stored.size != (classes - 1) * vectors:
        raise node.corrupt(f"has {stored.size} coefficients for {classes} classes and {vectors} vectors")
    stored = stored.reshape(classes - 1, vectors)
    starts = np.concatenate(([0], np.cumsum(per_class)))
    pairs = [(one, other) for one in range(classes) for other in range(one + 1, classes)]
    matrix = np.zeros((vectors, len(pairs)))
    for number, (one, other) in enumerate(pairs):
        own, others = slice(starts[one], starts[one + 1]), slice(starts[other], starts[other + 1])
        matrix[own, number] = stored[other - 1, own]
        matrix[others, number] = stored[one, others]
    return matrix, pairs


def _emit_kernel(emitter: Emitter, node: MlNode, x: str, vectors: int) -> str:
    """The kernel between each row and each support vector: `[batch, vectors]`."""
    support = node.floats("support_vectors").astype(np.float32)
    if vectors < 1 or not support.size or support.size % vectors:
        raise node.corrupt(f"has {support.size} numbers for {vectors} support vectors")
    support = support.reshape(vectors, -1)
    parameters = node.floats("kernel_params")
    gamma, offset, degree = (float(each) for each in (*parameters, 0, 0, 0)[:3])
    kind = node.text("kernel_type", "LINEAR")
    if kind == "RBF":
        # the squares of differences, as in ONNX Runtime: |x|² - 2xv + |v|² would lose digits
        difference = emitter.op("Sub", emitter.unsqueeze(x, 1), emitter.constant(support[None]))
        squares = emitter.op("Mul", difference, difference)
        ones = emitter.constant(np.ones((support.shape[1], 1), np.float32))
        distance = emitter.reshape(emitter.op("MatMul", squares, ones), -1, vectors)
        return emitter.op("Exp", emitter.op("Mul", distance, emitter.number(-gamma)))
    product = emitter.op("MatMul", x, emitter.constant(np.ascontiguousarray(support.T)))
    if kind == "LINEAR":
        return product
    if kind not in ("POLY", "SIGMOID"):
        raise node.corrupt(f"has the unknown `kernel_type` {kind[:40]}")
    product = emitter.op("Mul", product, emitter.number(gamma))
    product = emitter.op("Add", product, emitter.number(offset))
    if kind == "SIGMOID":
        return emitter.op("Tanh", product)
    return emitter.op("Pow", product, emitter.number(degree))
