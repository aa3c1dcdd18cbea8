"""Boosted trees as an ONNX model of plain operators, with the shapes of the booster's own `predict`."""

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.boosters import read_booster
from ovms_converter.formats.boosting.model import Boosted, Link
from ovms_converter.formats.wire import bytes_field, varint_field
from ovms_converter.optimizer.classical.emitter import Emitter
from ovms_converter.optimizer.classical.ensemble import BELOW, MEMBER, NOT_ABOVE, Ensemble, emit_scores
from ovms_converter.optimizer.onnx_graph import (
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    OnnxValue,
    encode_value,
)
from ovms_converter.optimizer.onnx_source import OnnxSource
from ovms_converter.optimizer.repairs.onnx_nodes import opset_import

__all__ = ["FORMATS", "BoosterSource", "onnx_of"]

FORMATS = ("xgboost", "lightgbm")
"""The formats that are read here."""

_INPUT, _LABEL, _PROBABILITIES = "X", "label", "probabilities"
_OPSET, _IR_VERSION = 17, 8
_MODEL_IR_VERSION, _GRAPH_NAME = 1, 2


class BoosterSource(OnnxSource):
    """A booster's file, as the ONNX model that it becomes."""

    def __init__(self, path: Path) -> None:
        directory = Path(tempfile.mkdtemp(prefix="booster-"))
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        made = directory / f"{path.stem}.onnx"
        made.write_bytes(onnx_of(read_booster(path.read_bytes())))
        super().__init__(made)


def onnx_of(model: Boosted) -> bytes:
    """A `ModelProto` that takes `X`, float32 `[?, features]`.

    It gives `prediction`, `[?]` for one output and `[?, groups]` for several; a classifier gives `label`,
    int64 `[?]`, and `probabilities`, `[?, classes]`. Raises `CorruptModelError`.
    """
    emitter = Emitter("booster", _OPSET)
    scores = _emit_linear(emitter, model) if model.linear is not None else _emit_trees(emitter, model)
    base = np.array(model.base, np.float32)
    if base.any():
        scores = emitter.op("Add", scores, emitter.constant(base[None]))
    if model.scale != 1:
        scores = emitter.op("Mul", scores, emitter.number(model.scale))
    outputs = (
        _emit_classes(emitter, model, scores)
        if model.classifier
        else _emit_prediction(emitter, model, scores)
    )
    graph = b"".join(
        [
            *(bytes_field(GRAPH_NODE, node) for node in emitter.nodes),
            bytes_field(_GRAPH_NAME, model.library),
            *(bytes_field(GRAPH_INITIALIZER, each) for each in emitter.constants),
            bytes_field(GRAPH_INPUT, encode_value(OnnxValue(_INPUT, "f32", (None, model.features)))),
            *(bytes_field(GRAPH_OUTPUT, encode_value(value)) for value in outputs),
        ]
    )
    return (
        varint_field(_MODEL_IR_VERSION, _IR_VERSION) + bytes_field(MODEL_GRAPH, graph) + opset_import(_OPSET)
    )


def _emit_trees(emitter: Emitter, model: Boosted) -> str:
    """The sums over the trees, `[batch, groups]`."""
    scores = emit_scores(emitter, _INPUT, ensemble_of(model), model.groups).total
    if not model.average:
        return scores
    whole = any(tree.vectors is not None for tree in model.trees)
    rounds = max(len(model.trees) // (1 if whole else model.groups), 1)
    return emitter.op("Div", scores, emitter.number(rounds))


def _emit_linear(emitter: Emitter, model: Boosted) -> str:
    assert model.linear is not None
    known = emitter.op("Where", emitter.op("IsNaN", _INPUT), emitter.number(0), _INPUT)
    weights = np.array(model.linear.weights, np.float32)
    product = emitter.op("MatMul", known, emitter.constant(weights))
    return emitter.op("Add", product, emitter.constant(np.array(model.linear.bias, np.float32)[None]))


def _emit_link(emitter: Emitter, link: Link, scores: str) -> str:
    if link is Link.SIGMOID:
        return emitter.op("Sigmoid", scores)
    if link is Link.SOFTMAX:
        return emitter.op("Softmax", scores, axis=1)
    if link is Link.EXP:
        return emitter.op("Exp", scores)
    if link is Link.SOFTPLUS:
        return emitter.op("Softplus", scores)
    if link is Link.SIGNED_SQUARE:
        return emitter.op("Mul", scores, emitter.op("Abs", scores))
    if link is Link.POSITIVE:
        return emitter.cast(emitter.greater(scores, emitter.number(0)), "f32")
    if link is Link.ARGMAX:
        return emitter.cast(emitter.op("ArgMax", scores, axis=1, keepdims=1), "f32")
    return scores


def _emit_prediction(emitter: Emitter, model: Boosted, scores: str) -> tuple[OnnxValue, ...]:
    found = _emit_link(emitter, model.link, scores)
    if model.groups == 1 or model.link is Link.ARGMAX:
        emitter.op("Reshape", found, emitter.integers(-1), output=model.output)
        return (OnnxValue(model.output, "f32", (None,)),)
    emitter.op("Identity", found, output=model.output)
    return (OnnxValue(model.output, "f32", (None, model.groups)),)


def _emit_classes(emitter: Emitter, model: Boosted, scores: str) -> tuple[OnnxValue, ...]:
    """What an estimator's `predict` and `predict_proba` give."""
    classes = max(model.groups, 2)
    found = _emit_link(emitter, model.link, scores)
    if model.groups == 1:
        positive = emitter.greater(found, emitter.number(0.5))
        index = emitter.reshape(emitter.cast(positive, "i64"), -1)
        other = emitter.op("Sub", emitter.number(1), found)
        emitter.op("Concat", other, found, output=_PROBABILITIES, axis=1)
    else:
        index = emitter.op("ArgMax", found, axis=1, keepdims=0)
        emitter.op("Identity", found, output=_PROBABILITIES)
    labels = model.labels or range(classes)
    if len(labels) != classes:
        raise CorruptModelError(f"it has {len(labels)} labels for {classes} classes")
    emitter.op("Gather", emitter.constant(np.array(labels, np.int64)), index, output=_LABEL, axis=0)
    return (
        OnnxValue(_LABEL, "i64", (None,)),
        OnnxValue(_PROBABILITIES, "f32", (None, classes)),
    )


def ensemble_of(model: Boosted) -> Ensemble:
    """All trees in one list of nodes; a model without trees has one leaf that gives nothing."""
    sizes = [len(tree.yes) for tree in model.trees] or [1]
    starts = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    total = sum(sizes)
    feature, threshold, value = np.zeros(total, np.int64), np.zeros(total), np.zeros(total)
    yes, no, column = (np.zeros(total, np.int64) for _ in range(3))
    missing = np.zeros(total, np.bool_)
    first, categories = np.zeros(total, np.int64), np.zeros(total, np.int64)
    mode = np.full(total, BELOW if model.strict else NOT_ABOVE)
    tables = [np.zeros(1, np.bool_)]
    place = 1
    for tree, start in zip(model.trees, starts.tolist(), strict=False):
        here = slice(start, start + len(tree.yes))
        feature[here], threshold[here], value[here] = tree.feature, tree.threshold, tree.value
        missing[here], column[here] = tree.missing, tree.group
        own_yes, own_no = np.array(tree.yes), np.array(tree.no)
        itself = np.arange(len(tree.yes))
        yes[here] = np.where(own_yes < 0, itself, own_yes) + start
        no[here] = np.where(own_yes < 0, itself, own_no) + start
        for node, members in tree.categories.items():
            table = np.zeros(max(members, default=0) + 1, np.bool_)
            table[list(members)] = True
            tables.append(table)
            mode[start + node] = MEMBER
            first[start + node], categories[start + node] = place, table.size
            place += table.size
    if not model.trees:
        yes[0] = no[0] = 0
    leaf = np.flatnonzero((yes == np.arange(total)) & (no == np.arange(total)))
    column, weight = column[leaf], value[leaf]
    vectors = [
        (start + node, numbers)
        for tree, start in zip(model.trees, starts.tolist(), strict=False)
        for node, numbers in (tree.vectors or {}).items()
    ]
    if vectors:
        leaf = np.repeat([node for node, _ in vectors], model.groups)
        column = np.tile(np.arange(model.groups), len(vectors))
        weight = np.ravel([numbers for _, numbers in vectors])
    return Ensemble(
        feature=feature, threshold=threshold, mode=mode, yes=yes, no=no, missing=missing, roots=starts,
        leaf=leaf, column=column, weight=weight,
        first_category=first, categories=categories, member=np.concatenate(tables),
        truncates=not model.strict,
    )  # fmt: skip
