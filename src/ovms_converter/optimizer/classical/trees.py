"""`TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble` of ai.onnx.ml."""

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ovms_converter.optimizer.classical.attributes import Floats, Integers, MlNode
from ovms_converter.optimizer.classical.emitter import Emitter
from ovms_converter.optimizer.classical.ensemble import (
    BELOW,
    EQUAL,
    MEMBER,
    NOT_ABOVE,
    Ensemble,
    emit_scores,
)
from ovms_converter.optimizer.classical.scores import class_count, emit_labels, emit_targets, emit_transform

__all__ = ["lower_tree_classifier", "lower_tree_ensemble", "lower_tree_regressor"]

_Flags: TypeAlias = npt.NDArray[np.bool_]
_Singles: TypeAlias = npt.NDArray[np.float32]

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "LEAF")
_LEQ, _LT, _GTE, _GT, _EQ, _NEQ, _LEAF = range(len(_MODES))
_MEMBER = 6
"""`TreeEnsemble` has no leaves among its nodes; its 6 is set membership."""

_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_CATEGORIES = 1 << 20
"""The largest category of a set."""


def lower_tree_regressor(emitter: Emitter, node: MlNode) -> None:
    """Scores `[batch, targets]`."""
    targets = node.integer("n_targets", 1)
    aggregate = node.text("aggregate_function", "SUM")
    if aggregate not in _AGGREGATES:
        raise node.corrupt(f"has the unknown `aggregate_function` {aggregate[:40]}")
    _emit_regression(
        emitter, node, _read(node, "target"), targets, aggregate, node.text("post_transform", "NONE")
    )


def _emit_regression(
    emitter: Emitter, node: MlNode, trees: Ensemble, targets: int, aggregate: str, transform: str
) -> None:
    if targets < 1:
        raise node.corrupt(f"has {targets} targets")
    scores, present = emit_scores(emitter, emitter.cast(node.inputs[0], "f32"), trees, targets, aggregate)
    base = _base_values(node)
    if base.size not in (0, targets):
        raise node.corrupt(f"has {base.size} base values for {targets} targets")
    scores = _plus(emitter, scores, base.astype(np.float32))
    if base.size and present is not None and targets > 1:
        # a target that no tree gives anything to is 0 in ONNX Runtime
        scores = emitter.op("Where", present, scores, emitter.number(0))
    emit_targets(emitter, node, scores, targets, transform)


def lower_tree_classifier(emitter: Emitter, node: MlNode) -> None:
    """Labels `[batch]` and scores `[batch, classes]`."""
    classes = class_count(node)
    if classes < 2:
        raise node.corrupt(f"names {classes} classes")
    trees = _read(node, "class")
    scores, present = emit_scores(emitter, emitter.cast(node.inputs[0], "f32"), trees, classes)
    base = _base_values(node).astype(np.float32)
    transform = node.text("post_transform", "NONE")
    if classes > 2:
        if base.size:
            if base.size != classes:
                raise node.corrupt(f"has {base.size} base values for {classes} classes")
            scores, present = _plus(emitter, scores, base), None
        chosen = scores
        if present is not None:
            least = emitter.number(float(np.finfo(np.float32).min))
            chosen = emitter.op("Where", present, scores, least)
        emit_labels(emitter, node, emitter.op("ArgMax", chosen, axis=1, keepdims=0), classes)
        result = emit_transform(emitter, scores, transform, node)
    else:
        result = _emit_binary(emitter, node, scores, base, trees, transform)
    if len(node.outputs) > 1 and node.outputs[1]:
        emitter.op("Identity", result, output=node.outputs[1])


def lower_tree_ensemble(emitter: Emitter, node: MlNode) -> None:
    """`TreeEnsemble`, the one operator of ai.onnx.ml 5 for both: scores `[batch, targets]`."""
    aggregate = _chosen(node, "aggregate_function", _AGGREGATES, 1)
    transform = _chosen(node, "post_transform", _TRANSFORMS, 0)
    if transform in ("SOFTMAX", "LOGISTIC"):
        raise node.unsupported(
            "has a `post_transform` of 1 or 2, which ONNX and ONNX Runtime read differently"
        )
    _emit_regression(emitter, node, _read_compact(node), node.integer("n_targets", 1), aggregate, transform)


def _chosen(node: MlNode, name: str, words: tuple[str, ...], default: int) -> str:
    number = node.integer(name, default)
    if not 0 <= number < len(words):
        raise node.corrupt(f"has the unknown `{name}` {number}")
    return words[number]


def _emit_binary(
    emitter: Emitter, node: MlNode, scores: str, base: _Singles, trees: Ensemble, transform: str
) -> str:
    """Two classes, as ONNX Runtime does it: the leaves may be for one of them or for both."""
    given = set(trees.column.tolist())
    if base.size > 2:
        raise node.corrupt(f"has {base.size} base values for 2 classes")
    first = emitter.op("Gather", scores, emitter.integers(0), axis=1)
    second = emitter.op("Gather", scores, emitter.integers(1), axis=1)
    if given == {0} and base.size < 2:
        return _emit_one_score(emitter, node, _plus(emitter, first, base[:1]), trees, transform)
    zero = emitter.op("Mul", emitter.op("Sub", first, first), emitter.number(1))
    if given == {0}:
        first, second, decides = _plus(emitter, first, base[:1]), zero, None
    elif base.size == 2:
        second = _plus(emitter, first, base[1:])
        first, decides = (zero if given == {1} else emitter.op("Neg", second)), second
    else:
        first, decides = (zero if given == {1} else _plus(emitter, first, base[:1])), second
    positive = emitter.greater(decides or first, emitter.number(_limit(trees) if len(given) == 1 else 0))
    if len(given) == 1:
        _emit_binary_labels(emitter, node, positive)
    elif node.outputs[0] in node.needed:
        # with leaves for both classes ONNX Runtime gives 0 or 1, whatever the labels are
        if node.strings("classlabels_strings"):
            emit_labels(emitter, node, "", 2)
        emitter.op("Reshape", emitter.cast(positive, "i64"), emitter.integers(-1), output=node.outputs[0])
    return emit_transform(emitter, emitter.op("Concat", first, second, axis=1), transform, node)


def _emit_one_score(emitter: Emitter, node: MlNode, score: str, trees: Ensemble, transform: str) -> str:
    """All leaves are for one class, and the score of the other follows."""
    if transform == "PROBIT":
        raise node.unsupported("has PROBIT for one score of two classes, which ONNX leaves open")
    _emit_binary_labels(emitter, node, emitter.greater(score, emitter.number(_limit(trees))))
    if transform == "LOGISTIC":
        both = emitter.op("Concat", emitter.op("Neg", score), score, axis=1)
        return emitter.op("Sigmoid", both)
    other = emitter.op("Sub", emitter.number(1), score) if _all_positive(trees) else emitter.op("Neg", score)
    return emitter.op("Concat", other, score, axis=1)


def _emit_binary_labels(emitter: Emitter, node: MlNode, positive: str) -> None:
    emit_labels(emitter, node, emitter.reshape(emitter.cast(positive, "i64"), -1), 2)


def _all_positive(trees: Ensemble) -> bool:
    return bool((trees.weight >= 0).all())


def _limit(trees: Ensemble) -> float:
    """Above which score the second of two classes is chosen."""
    return 0.5 if _all_positive(trees) else 0.0


def _plus(emitter: Emitter, scores: str, base: _Singles) -> str:
    return emitter.op("Add", scores, emitter.constant(base[None])) if base.size else scores


def _base_values(node: MlNode) -> Floats:
    return node.floats("base_values_as_tensor" if node.has("base_values_as_tensor") else "base_values")


def _either(node: MlNode, name: str) -> Floats:
    """Numbers that are given as a list or, since ai.onnx.ml 3, as a tensor."""
    return node.floats(f"{name}_as_tensor" if node.has(f"{name}_as_tensor") else name)


def _read(node: MlNode, prefix: str) -> Ensemble:
    """The trees of the operators that exist since ai.onnx.ml 1; `prefix` is "class" or "target"."""
    tree, number = node.integers("nodes_treeids"), node.integers("nodes_nodeids")
    modes = node.words("nodes_modes", _MODES)
    count = tree.size
    threshold, missing = _either(node, "nodes_values"), node.integers("nodes_missing_value_tracks_true")
    feature = node.integers("nodes_featureids")
    links = [node.integers(f"nodes_{kind}nodeids") for kind in ("true", "false")]
    weights = [node.integers(f"{prefix}_{kind}") for kind in ("treeids", "nodeids", "ids")]
    weight = _either(node, f"{prefix}_weights")
    if not count or any(each.size != count for each in (number, modes, threshold, feature, *links)):
        raise node.corrupt("has lists of different lengths for its nodes")
    if any(each.size != weight.size for each in weights):
        raise node.corrupt("has lists of different lengths for its leaves")
    find = _Finder(node, tree, number)
    here, leaf = np.arange(count), modes == _LEAF
    yes, no = (np.where(leaf, here, find(tree, np.where(leaf, number, link))) for link in links)
    tracks = np.zeros(count, np.bool_)
    tracks[: missing.size] = missing[:count] == 1
    # ONNX Runtime begins a tree wherever the number of the tree changes
    roots = np.flatnonzero(np.concatenate(([True], tree[1:] != tree[:-1])))
    return _normalised(
        modes, leaf, feature, threshold, (yes, no), tracks,
        roots=roots, leaf_numbers=find(weights[0], weights[1]), column=weights[2], weight=weight,
    )  # fmt: skip


class _Finder:
    """Finds nodes by the number of their tree and their number in it."""

    def __init__(self, node: MlNode, tree: Integers, number: Integers) -> None:
        self._node = node
        self._trees = np.unique(tree)
        self._least, self._span = int(number.min()), int(number.max()) - int(number.min()) + 1
        if self._span * self._trees.size >= 1 << 62:
            raise node.corrupt("numbers its nodes too widely")
        key = self._key(tree, number)
        self._order = np.argsort(key, kind="stable")
        self._sorted = key[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise node.corrupt("has two nodes of the same number in one tree")

    def __call__(self, tree: Integers, number: Integers) -> Integers:
        """The positions of nodes. Raises `CorruptModelError` if there is no such node."""
        if not tree.size:
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self._trees, tree), self._trees.size - 1)
        known = (self._trees[at] == tree) & (number >= self._least) & (number < self._least + self._span)
        key = np.where(known, self._key(tree, number), -1)
        at = np.minimum(np.searchsorted(self._sorted, key), self._sorted.size - 1)
        if not (self._sorted[at] == key).all():
            raise self._node.corrupt("refers to a node that is not there")
        return self._order[at]

    def _key(self, tree: Integers, number: Integers) -> Integers:
        return np.searchsorted(self._trees, tree) * self._span + (number - self._least)


def _normalised(
    modes: Integers,
    leaf: _Flags,
    feature: Integers,
    threshold: Floats,
    links: tuple[Integers, Integers],
    tracks: _Flags,
    *,
    roots: Integers,
    leaf_numbers: Integers,
    column: Integers,
    weight: Floats,
) -> Ensemble:
    """With `<=`, `<` and `==` only: the others are these with their answers changed, but for NaN.

    NaN goes to "no" unless it is tracked to "yes", and `!=` is true of it.
    """
    swapped = (modes == _GT) | (modes == _GTE) | (modes == _NEQ)
    yes, no = np.where(swapped, links[1], links[0]), np.where(swapped, links[0], links[1])
    missing = np.where(modes == _NEQ, False, np.where(swapped, ~tracks, tracks))
    kind = np.full(modes.size, NOT_ABOVE)
    kind[(modes == _LT) | (modes == _GTE)] = BELOW
    kind[(modes == _EQ) | (modes == _NEQ)] = EQUAL
    inner = ~leaf
    return Ensemble(
        feature=np.where(inner, feature, 0), threshold=np.where(inner, threshold, 0.0), mode=kind,
        yes=yes, no=no, missing=missing & inner,
        roots=roots, leaf=leaf_numbers, column=column, weight=weight,
    )  # fmt: skip


def _read_compact(node: MlNode) -> Ensemble:
    """The trees of `TreeEnsemble`: nodes and leaves are numbered apart, and a set may be compared with."""
    modes, feature = node.integers("nodes_modes"), node.integers("nodes_featureids")
    # Of the inputs' own type: as doubles, inputs and splits are rounded alike on a device that has none.
    splits = node.floats("nodes_splits").astype(np.float32).astype(np.float64)
    missing = node.integers("nodes_missing_value_tracks_true")
    links = [node.integers(f"nodes_{kind}nodeids") for kind in ("true", "false")]
    to_leaf = [node.integers(f"nodes_{kind}leafs") != 0 for kind in ("true", "false")]
    column, weight = node.integers("leaf_targetids"), node.floats("leaf_weights")
    roots = node.integers("tree_roots")
    count, leaves = modes.size, weight.size
    if not count or any(each.size != count for each in (feature, splits, *links, *to_leaf)):
        raise node.corrupt("has lists of different lengths for its nodes")
    if column.size != leaves or modes.min() < 0 or modes.max() > _MEMBER:
        raise node.corrupt("has broken leaves or modes")
    for link, leafs in zip(links, to_leaf, strict=True):
        if (link < 0).any() or (link >= np.where(leafs, leaves, count)).any():
            raise node.corrupt("refers to a node that is not there")
    if not roots.size or (roots < 0).any() or (roots >= count).any():
        raise node.corrupt("has a root that is not there")
    # a tree of one leaf is written as a node whose children are both that leaf
    yes, no = (
        np.concatenate((np.where(leafs, link + count, link), np.arange(count, count + leaves)))
        for link, leafs in zip(links, to_leaf, strict=True)
    )
    tracks = np.zeros(count + leaves, np.bool_)
    tracks[: min(missing.size, count)] = missing[:count] == 1
    more = np.zeros(leaves, np.int64)
    every = np.concatenate((np.where(modes == _MEMBER, _LEQ, modes), more + _LEAF))
    found = _normalised(
        every, every == _LEAF, np.concatenate((feature, more)), np.concatenate((splits, more)), (yes, no),
        tracks, roots=roots, leaf_numbers=np.arange(count, count + leaves), column=column, weight=weight,
    )  # fmt: skip
    return _with_sets(node, found, np.flatnonzero(modes == _MEMBER))


def _with_sets(node: MlNode, trees: Ensemble, members: Integers) -> Ensemble:
    """The nodes `members` compare with sets, which are separated by NaN; their elements must be counts."""
    if not members.size:
        return trees
    values = node.floats("membership_values")
    ends = np.flatnonzero(np.isnan(values))
    if ends.size < members.size:
        raise node.corrupt("has fewer sets than nodes that compare with one")
    first, categories = np.zeros(trees.yes.size, np.int64), np.zeros(trees.yes.size, np.int64)
    tables: list[_Flags] = []
    begin = place = 0
    for position, end in zip(members.tolist(), ends.tolist(), strict=False):
        own = values[begin:end]
        if (own != np.floor(own)).any() or (own < 0).any() or (own > _CATEGORIES).any():
            raise node.unsupported("compares with a set of numbers that are no categories")
        size = int(own.max()) + 1 if own.size else 1
        table = np.zeros(size, np.bool_)
        table[own.astype(np.int64)] = True
        first[position], categories[position] = place, size
        tables.append(table)
        begin, place = end + 1, place + size
    mode = trees.mode.copy()
    mode[members] = MEMBER
    return replace(
        trees,
        mode=mode,
        first_category=first,
        categories=categories,
        member=np.concatenate(tables),
        whole=True,
    )
