"""Decision trees as arrays, and the plain operators that walk all of them at once, one level a step.

A position per tree starts at its root; each step gathers the feature and the threshold of every position,
compares, and goes on to a child. A leaf is its own child. Nothing is approximated: each comparison is the one
that the tree's author meant, for every float32 input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ovms_converter.errors import CorruptModelError
from ovms_converter.optimizer.classical.attributes import Floats, Integers
from ovms_converter.optimizer.classical.emitter import Emitter

__all__ = ["BELOW", "EQUAL", "MEMBER", "NOT_ABOVE", "Ensemble", "Scores", "emit_scores"]

NOT_ABOVE, BELOW, EQUAL, MEMBER = 0, 1, 2, 3
"""How a node compares its feature with its threshold: `<=`, `<`, `==`, or whether it is in a set."""

_Flags: TypeAlias = npt.NDArray[np.bool_]
_Singles: TypeAlias = npt.NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)

_FOLDS: Mapping[str, tuple[np.ufunc, float]] = {
    "SUM": (np.add, 0.0),
    "AVERAGE": (np.add, 0.0),
    "MIN": (np.minimum, float(np.finfo(np.float32).max)),
    "MAX": (np.maximum, float(np.finfo(np.float32).min)),
}
"""How what leaves give is put together, and what leaves that give nothing count as.

The latter is finite because OpenVINO's CPU plugin takes no infinite number for the least or greatest.
"""

_NOTHING = 0
"""The leaf that gives nothing, see `_leaves_first`."""


@dataclass(frozen=True)
class Ensemble:
    """Trees whose nodes are numbered through; every array but the last ones has one element a node.

    `feature`, `threshold`, `mode`  what is compared; not looked at for a leaf
    `yes`, `no`    the next node if the comparison holds or not; a leaf names itself twice
    `missing`      whether NaN goes to `yes`; otherwise it goes to `no`
    `roots`        the first node of each tree
    `leaf`, `column`, `weight`  what leaf number `leaf[i]` gives to output `column[i]`
    `first_category`, `categories`  for `MEMBER`: where a node's set begins in the table of all sets, and how
                   many numbers from 0 on it tells of
    `member`       that table
    `whole`        whether only whole numbers can be in a set; else the part before the point counts
    `truncates`    whether that is 0 for numbers between -1 and 0 as well, which otherwise are in no set
    """

    feature: Integers
    threshold: Floats
    mode: Integers
    yes: Integers
    no: Integers
    missing: _Flags
    roots: Integers
    leaf: Integers
    column: Integers
    weight: Floats
    first_category: Integers | None = None
    categories: Integers | None = None
    member: _Flags | None = None
    whole: bool = False
    truncates: bool = False

    @property
    def is_leaf(self) -> _Flags:
        """Which nodes are leaves."""
        here = np.arange(self.yes.size)
        leaf: _Flags = (self.yes == here) & (self.no == here)
        return leaf

    def check(self, columns: int) -> None:
        """Raise `CorruptModelError` for what is out of bounds."""
        count = self.yes.size
        nodes = (self.yes, self.no, self.roots, self.leaf)
        if not self.roots.size or any(each.size and not _within(each, count) for each in nodes):
            raise CorruptModelError("a tree refers to a node that is not there")
        if self.column.size and not _within(self.column, columns):
            raise CorruptModelError("a leaf is for an output that is not there")
        if self.feature.size and self.feature.min() < 0:
            raise CorruptModelError("a node compares a feature of a negative number")
        self.depth()

    def depth(self) -> int:
        """The most comparisons on the way to a leaf. Raises `CorruptModelError` if it is endless."""
        leaf = self.is_leaf
        level, steps = np.unique(self.roots), 0
        while True:
            level = level[~leaf[level]]
            if not level.size:
                return steps
            steps += 1
            if steps > self.yes.size:
                raise CorruptModelError("a tree leads back to one of its own nodes")
            level = np.unique(np.concatenate((self.yes[level], self.no[level])))


class Scores(NamedTuple):
    """What trees give, float32 `[batch, columns]`, 0 where they give nothing.

    `present` tells (boolean, of the same shape) where they give something; None if that is everywhere.
    """

    total: str
    present: str | None


def emit_scores(emitter: Emitter, x: str, trees: Ensemble, columns: int, aggregate: str = "SUM") -> Scores:
    """What all trees together give to `x`, float32 `[batch, features]`.

    `aggregate` is ONNX's: SUM, AVERAGE, MIN or MAX. Raises `CorruptModelError`.
    """
    trees.check(columns)
    count = trees.roots.size
    trees, leaves = _leaves_first(trees)
    owner = _owners(trees)
    complete = owner is not None and _are_complete(trees, owner, columns)
    of_tree = _column_of_each_tree(trees, owner, columns) if owner is not None else None
    summed = aggregate not in ("MIN", "MAX")
    if complete and summed and of_tree is not None:
        total = _emit_by_column(emitter, x, trees, (leaves, columns), of_tree)
        present = None
    else:
        position = _emit_walk(emitter, x, trees)
        given = np.zeros((leaves, columns))
        given[trees.leaf, trees.column] = 1
        present = None
        if not complete:
            most = emitter.reduce("ReduceMax", _look_up(emitter, given, position), 1, keep=False)
            present = emitter.greater(most, emitter.number(0))
        fold, fill = _FOLDS[aggregate]
        table = np.full((leaves, columns), fill)
        fold.at(table, (trees.leaf, trees.column), trees.weight)
        operation = {"MIN": "ReduceMin", "MAX": "ReduceMax"}.get(aggregate, "ReduceSum")
        total = emitter.reduce(operation, _look_up(emitter, table, position), 1, keep=False)
        if present is not None and not summed:
            total = emitter.op("Where", present, total, emitter.number(0))
    if aggregate == "AVERAGE":
        total = emitter.op("Div", total, emitter.number(count))
    return Scores(total, present)


def _are_complete(trees: Ensemble, owner: Integers, columns: int) -> bool:
    """Whether each column is given something by every leaf of at least one tree."""
    leaves_of = np.bincount(owner[trees.is_leaf][1:], minlength=trees.roots.size)
    pairs = np.unique(trees.leaf * columns + trees.column)
    tree, column = owner[pairs // columns], pairs % columns
    given = np.bincount(tree * columns + column, minlength=trees.roots.size * columns)
    full = given.reshape(-1, columns) == leaves_of[:, None]
    return bool(full.any(axis=0).all())


def _look_up(emitter: Emitter, table: Floats, position: str) -> str:
    return emitter.op("Gather", emitter.constant(table.astype(np.float32)), position, axis=0)


def _emit_by_column(
    emitter: Emitter, x: str, trees: Ensemble, size: tuple[int, int], of_tree: Integers
) -> str:
    """Each tree is for one column, as in boosting: no table of leaves by columns is needed.

    Trees are put round-robin; columns of fewer trees are filled up with the leaf that gives nothing.
    """
    leaves, columns = size
    rounds = int(np.bincount(of_tree, minlength=columns).max())
    roots = np.full((rounds, columns), _NOTHING, np.int64)
    for column in range(columns):
        own = trees.roots[of_tree == column]
        roots[: own.size, column] = own
    table = np.zeros(leaves, np.float64)
    np.add.at(table, trees.leaf, trees.weight)
    values = _look_up(emitter, table, _emit_walk(emitter, x, replace(trees, roots=roots.ravel())))
    if columns == 1:
        return emitter.reduce("ReduceSum", values, 1, keep=True)
    return emitter.reduce("ReduceSum", emitter.reshape(values, -1, rounds, columns), 1, keep=False)


def _column_of_each_tree(trees: Ensemble, owner: Integers, columns: int) -> Integers | None:
    """The one column that the leaves of each tree give to; None if a tree gives to several."""
    if columns == 1:
        return np.zeros(trees.roots.size, np.int64)
    found = np.full(trees.roots.size, -1, np.int64)
    found[owner[trees.leaf]] = trees.column
    single = (found[owner[trees.leaf]] == trees.column).all()
    return np.where(found < 0, 0, found) if single else None


def _owners(trees: Ensemble) -> Integers | None:
    """The tree that each node belongs to; None if a node can be reached on two ways."""
    leaf = trees.is_leaf
    reached = np.bincount(trees.roots, minlength=leaf.size)
    for links in (trees.yes, trees.no):
        reached += np.bincount(links[~leaf], minlength=leaf.size)
    if (reached > 1).any():
        return None
    owner = np.zeros(leaf.size, np.int64)
    level, number = trees.roots, np.arange(trees.roots.size)
    while level.size:
        owner[level] = number
        inner = ~leaf[level]
        level, number = level[inner], number[inner]
        level, number = np.concatenate((trees.yes[level], trees.no[level])), np.concatenate((number, number))
    return owner


def _leaves_first(trees: Ensemble) -> tuple[Ensemble, int]:
    """The same with the leaves before all other nodes, and their number.

    The first of them is a new one that gives nothing, so a leaf's number is its row in a table of leaves.
    """
    leaf = trees.is_leaf
    order = np.concatenate((np.flatnonzero(leaf), np.flatnonzero(~leaf)))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(1, order.size + 1)
    leaves = int(leaf.sum()) + 1

    def moved(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        return np.concatenate((np.zeros(1, values.dtype), values[order]))

    def linked(values: Integers) -> Integers:
        return np.concatenate((np.zeros(1, np.int64), place[values[order]]))

    return (
        replace(
            trees,
            feature=moved(np.where(leaf, 0, trees.feature)),
            threshold=moved(trees.threshold),
            mode=moved(trees.mode),
            yes=linked(trees.yes),
            no=linked(trees.no),
            missing=moved(trees.missing),
            roots=place[trees.roots],
            leaf=place[trees.leaf],
            first_category=None if trees.first_category is None else moved(trees.first_category),
            categories=None if trees.categories is None else moved(trees.categories),
        ),
        leaves,
    )


def _emit_walk(emitter: Emitter, x: str, trees: Ensemble) -> str:
    """The leaf that each row ends in, for each tree: int64 `[batch, trees]`."""
    depth = trees.depth()
    batch = emitter.op("Gather", emitter.op("Shape", x), emitter.integers(0), axis=0)
    shape = emitter.op("Concat", batch, emitter.integers(trees.roots.size), axis=0)
    position = emitter.op("Expand", emitter.constant(trees.roots[None]), shape)
    if not depth:
        return position
    step = _Step(emitter, x, trees)
    for _ in range(depth):
        position = step.emit(position)
    return position


class _Step:
    """One level down, for all rows and trees."""

    def __init__(self, emitter: Emitter, x: str, trees: Ensemble) -> None:
        self._emitter, self._x, self._trees = emitter, x, trees
        inner = ~trees.is_leaf
        self._modes = [
            mode for mode in (NOT_ABOVE, BELOW, EQUAL, MEMBER) if (trees.mode[inner] == mode).any()
        ]
        self._to_yes = bool(trees.missing[inner].any())
        self._threshold = _as_single(trees.threshold, trees.mode)
        self._threshold[~inner] = 0

    def emit(self, position: str) -> str:
        """The positions after one comparison each."""
        emitter, trees = self._emitter, self._trees
        value = emitter.op("GatherElements", self._x, self._of_node(trees.feature, position), axis=1)
        answer = self._compare(value, position)
        if self._to_yes:
            goes = emitter.op("And", emitter.op("IsNaN", value), self._of_node(trees.missing, position))
            answer = emitter.op("Or", answer, goes)
        return emitter.op(
            "Where", answer, self._of_node(trees.yes, position), self._of_node(trees.no, position)
        )

    def _of_node(self, values: npt.NDArray[np.generic], position: str) -> str:
        return self._emitter.op("Gather", self._emitter.constant(values), position, axis=0)

    def _compare(self, value: str, position: str) -> str:
        emitter = self._emitter
        answers: list[str] = []
        for mode in self._modes:
            if mode == MEMBER:
                answer = self._is_member(value, position)
            else:
                operation = {NOT_ABOVE: "LessOrEqual", BELOW: "Less", EQUAL: "Equal"}[mode]
                answer = emitter.op(operation, value, self._of_node(self._threshold, position))
            if len(self._modes) > 1:
                answer = emitter.op("And", answer, self._of_node(self._trees.mode == mode, position))
            answers.append(answer)
        found = answers[0]
        for answer in answers[1:]:
            found = emitter.op("Or", found, answer)
        return found

    def _is_member(self, value: str, position: str) -> str:
        """Whether a category, a number from 0 on, is in the set of a node; others and NaN are in none."""
        emitter, trees = self._emitter, self._trees
        assert trees.first_category is not None
        assert trees.categories is not None
        assert trees.member is not None
        count = self._of_node(trees.categories.astype(np.float32), position)
        zero = emitter.number(0)
        if trees.truncates:
            above = emitter.op("Less", emitter.number(-1), value)
        else:
            above = emitter.op("LessOrEqual", zero, value)
        in_range = emitter.op("And", above, emitter.op("Less", value, count))
        if trees.whole:
            in_range = emitter.op("And", in_range, emitter.op("Equal", value, emitter.op("Floor", value)))
        safe = emitter.op("Where", in_range, value, zero)
        row = emitter.op("Add", self._of_node(trees.first_category, position), emitter.cast(safe, "i64"))
        return emitter.op("And", in_range, self._of_node(trees.member, row))


def _as_single(threshold: Floats, mode: Integers) -> _Singles:
    """Thresholds as float32, rounded to the side on which every float32 is compared as with the original.

    `x <= t` holds for the same x with the largest float32 up to t, `x < t` with the smallest from t on, and
    no float32 is equal to what is none.
    """
    with np.errstate(over="ignore"):
        single = threshold.astype(np.float32)
    above, below = single > threshold, single < threshold
    down, up = np.nextafter(single, np.float32(-np.inf)), np.nextafter(single, np.float32(np.inf))
    single = np.where(above & (mode == NOT_ABOVE), down, single)
    single = np.where(below & (mode == BELOW), up, single)
    return np.where((above | below) & (mode == EQUAL), np.float32(np.nan), single)


def _within(numbers: Integers, count: int) -> bool:
    return bool(numbers.min() >= 0 and numbers.max() < count)
