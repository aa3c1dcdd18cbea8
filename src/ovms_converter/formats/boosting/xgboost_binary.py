"""XGBoost's old binary format, which XGBoost itself reads no more since 3.1.

Structs, little-endian, as `Learner::SaveModel` before 3.1 writes them (`src/learner.cc`, `src/gbm/*_model.h`,
`include/xgboost/tree_model.h`): since 1.1 behind `binf`, before that without it, and behind `CONFIG-offset:`
in what 1.0 to 1.2 keep in pickles.
"""

import struct
import sys
from array import array
from dataclasses import dataclass

from ovms_converter.errors import CorruptModelError

__all__ = ["BinaryHeader", "binary_evidence", "binary_header", "binary_size", "parse_binary"]

_BINF, _SNAPSHOT = b"binf", b"CONFIG-offset:"
_OFFSET = 8
"""Bytes behind `CONFIG-offset:` that tell the model's size; the state of its training follows the model."""

_LEARNER, _FOREST, _LINEAR, _TREE, _NODE, _STATISTIC = 136, 160, 136, 148, 20, 16
"""Bytes of the parameters of a learner, a forest, a linear booster, a tree; of a node, and its statistics."""

_TREES, _LINEAR_KIND = ("gbtree", "dart"), "gblinear"
_LEAF = -1
_DEFAULT_LEFT = 1 << 31
_LONGEST_NAME = 128


@dataclass(frozen=True)
class BinaryHeader:
    """What stands before trees or weights.

    `version`    of XGBoost, major and minor; `(0, 0)` before 1.0
    `base_score` as the parameter; before 1.0 as a sum already
    `classes`    0 if there is none; `targets` likewise before 1.6
    `attributed` whether attributes follow
    `kind`       `gbtree`, `dart` or `gblinear`; `trees` is None for the last
    `parallel`   how many trees a round has for each output; before 1.6 it is not told
    """

    version: tuple[int, int]
    base_score: float
    features: int
    classes: int
    targets: int
    attributed: bool
    objective: str
    kind: str
    trees: int | None
    parallel: int


def binary_evidence(head: bytes) -> str | None:
    """How the first bytes of a file show that it is of this format, or None."""
    if head.startswith(_BINF):
        return "it has the old binary header `binf`"
    if head.startswith(_SNAPSHOT):
        return "it begins with `CONFIG-offset:`"
    try:
        header = binary_header(head)
    except CorruptModelError:
        return None
    return f"it has the old binary header, for `{header.objective}` and `{header.kind}`"


def binary_size(head: bytes, size: int) -> int:
    """Where the model ends in a file of `size` bytes."""
    if not head.startswith(_SNAPSHOT):
        return size
    start = len(_SNAPSHOT) + _OFFSET
    return min(start + int.from_bytes(head[len(_SNAPSHOT) : start], "little"), size)


def binary_header(head: bytes) -> BinaryHeader:
    """The beginning of a model, from the first bytes of its file. Raises `CorruptModelError`."""
    return _header(_Reader(head[: binary_size(head, len(head))]))


def parse_binary(data: bytes) -> dict[str, object]:
    """The same document that XGBoost writes as JSON. Raises `CorruptModelError`."""
    reader = _Reader(data[: binary_size(data, len(data))])
    header = _header(reader)
    booster = _linear(reader) if header.trees is None else _forest(reader, header, header.trees)
    attributes = {}
    if header.attributed:
        attributes = {reader.text(): reader.text() for _ in range(reader.length())}
    return {
        "version": [*header.version, 0],
        "learner": {
            "attributes": attributes,
            "gradient_booster": booster,
            "learner_model_param": {
                "base_score": repr(header.base_score),
                "num_feature": str(header.features),
                "num_class": str(header.classes),
                "num_target": str(header.targets),
            },
            "objective": {"name": header.objective},
        },
    }


def _header(reader: "_Reader") -> BinaryHeader:
    base, features, classes, attributed, _, major, minor, targets = reader.unpack("<fIiiiIII", _LEARNER)
    objective, kind = reader.name("objective"), reader.name("booster")
    trees: int | None = None
    parallel = 0
    if kind in _TREES:
        trees, parallel = reader.unpack("<ii", _FOREST)
    elif kind != _LINEAR_KIND:
        raise CorruptModelError(f"it is for the unknown booster `{kind}`")
    if min(classes, trees or 0) < 0:
        raise CorruptModelError(f"it announces {classes} classes and {trees} trees")
    return BinaryHeader(
        version=(major, minor),
        base_score=base,
        features=features,
        classes=classes,
        targets=targets,
        attributed=attributed != 0,
        objective=objective,
        kind=kind,
        trees=trees,
        parallel=max(parallel, 0),
    )


def _forest(reader: "_Reader", header: BinaryHeader, count: int) -> dict[str, object]:
    # a count that lies ends with the data, because each tree takes some
    trees = [_tree(reader) for _ in range(count)]
    model = {
        "trees": trees,
        "tree_info": reader.numbers("i", count),
        "gbtree_model_param": {"num_parallel_tree": str(header.parallel)},
    }
    if header.kind != "dart":
        return {"model": model, "name": header.kind}
    dropped = reader.length() if count else 0
    return {"gbtree": {"model": model}, "name": header.kind, "weight_drop": reader.numbers("f", dropped)}


def _linear(reader: "_Reader") -> dict[str, object]:
    reader.take(_LINEAR)
    return {"model": {"weights": reader.numbers("f", reader.length())}, "name": _LINEAR_KIND}


def _tree(reader: "_Reader") -> dict[str, object]:
    _, size, _, _, _, leaf_size = reader.unpack("<iiiiII", _TREE)
    if not 0 < size <= reader.left // (_NODE + _STATISTIC):
        raise CorruptModelError(f"it announces a tree of {size} nodes")
    if leaf_size > 1:
        raise CorruptModelError(f"it announces leaves of {leaf_size} numbers")
    nodes = list(struct.iter_unpack("<iiiIf", reader.take(size * _NODE)))
    reader.take(size * _STATISTIC)
    return {
        "tree_param": {},
        "left_children": [left for _, left, _, _, _ in nodes],
        "right_children": [right if left != _LEAF else _LEAF for _, left, right, _, _ in nodes],
        "split_indices": [split & ~_DEFAULT_LEFT for _, _, _, split, _ in nodes],
        "default_left": [int(bool(split & _DEFAULT_LEFT)) for _, _, _, split, _ in nodes],
        "split_conditions": [value for _, _, _, _, value in nodes],
    }


class _Reader:
    """Reads a model from its beginning, with or without what is put before it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0
        if data.startswith(_SNAPSHOT):
            self.take(len(_SNAPSHOT) + _OFFSET)
        if self._data[self._at : self._at + len(_BINF)] == _BINF:
            self.take(len(_BINF))

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._at

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        if not 0 <= size <= self.left:
            raise CorruptModelError("it is truncated")
        self._at += size
        return self._data[self._at - size : self._at]

    def unpack(self, layout: str, size: int) -> tuple[int, ...]:
        """Numbers at the beginning of the next `size` bytes."""
        return struct.unpack_from(layout, self.take(size))

    def length(self) -> int:
        """A length, which cannot exceed what follows."""
        found = int.from_bytes(self.take(8), "little")
        if found > self.left:
            raise CorruptModelError("it is truncated")
        return found

    def text(self) -> str:
        """A text with its length before it."""
        return str(self.take(self.length()), "utf-8", "replace")

    def name(self, what: str) -> str:
        """A short text without control characters."""
        size = self.length()
        found = str(self.take(size), "latin-1") if 0 < size <= _LONGEST_NAME else ""
        if not (found.isascii() and found.isprintable() and found):
            raise CorruptModelError(f"it has no name of its {what}")
        return found

    def numbers(self, code: str, count: int) -> "array[int] | array[float]":
        """Numbers of 4 bytes."""
        found = array(code)
        found.frombytes(self.take(4 * count))
        if sys.byteorder == "big":
            found.byteswap()
        return found
