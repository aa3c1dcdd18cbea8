"""XGBoost's old binary format (`binf`), which XGBoost itself reads no more since 3.1.

The layout: `Learner::LoadModel` and `RegTree::Load` of XGBoost 1.x and 2.x; little-endian.
"""

import struct
from array import array

from ovms_converter.errors import CorruptModelError, UnsupportedModelError

__all__ = ["BINARY", "parse_binary"]

BINARY = b"binf"

_LEARNER, _FOREST, _TREE, _NODE, _STATISTIC = 136, 160, 148, 20, 16
"""Bytes of the parameters of a learner, of a forest and of a tree, of a node, and of a node's statistics."""

_LEAF = -1
_DEFAULT_LEFT = 1 << 31
_LONGEST_NAME = 1 << 20


def parse_binary(data: bytes) -> dict[str, object]:
    """The same document that XGBoost writes as JSON.

    Raises `CorruptModelError`, or `UnsupportedModelError` for another booster than trees.
    """
    reader = _Reader(data, len(BINARY))
    base, features, classes, has_attributes, _, major, _, targets = reader.unpack("<fIiiiIII", _LEARNER)
    objective, kind = reader.text(), reader.text()
    if kind not in ("gbtree", "dart"):
        raise UnsupportedModelError(
            f"it is a booster of the kind `{kind[:40]}` in XGBoost's old binary format",
            hint="save it as JSON with XGBoost before 3.1 (`booster.save_model('model.json')`), convert that",
        )
    (count,) = reader.unpack("<i", _FOREST)
    if not 0 <= count <= len(data):
        raise CorruptModelError(f"it announces {count} trees")
    trees = [_tree(reader) for _ in range(count)]
    booster: dict[str, object] = {
        "model": {"trees": trees, "tree_info": reader.numbers("i", count), "gbtree_model_param": {}},
        "name": kind,
    }
    if kind == "dart":
        dropped = reader.numbers("f", reader.length())
        booster = {"gbtree": booster, "name": kind, "weight_drop": dropped}
    attributes = {}
    if has_attributes:
        attributes = {reader.text(): reader.text() for _ in range(reader.length())}
    return {
        "learner": {
            "attributes": attributes,
            "gradient_booster": booster,
            "learner_model_param": {
                "base_score": repr(base),
                "num_feature": str(features),
                "num_class": str(max(classes, 0)),
                "num_target": str(targets if major else 1),
            },
            "objective": {"name": objective},
        }
    }


def _tree(reader: "_Reader") -> dict[str, object]:
    _, size, _, _, _, leaf_size = reader.unpack("<iiiiII", _TREE)
    if not 0 < size <= reader.left // (_NODE + _STATISTIC):
        raise CorruptModelError(f"it announces a tree of {size} nodes")
    nodes = list(struct.iter_unpack("<iiiIf", reader.take(size * _NODE)))
    reader.take(size * _STATISTIC)
    return {
        "tree_param": {"size_leaf_vector": str(max(leaf_size, 1))},
        "left_children": [left for _, left, _, _, _ in nodes],
        "right_children": [right if left != _LEAF else _LEAF for _, left, right, _, _ in nodes],
        "split_indices": [split & ~_DEFAULT_LEFT for _, _, _, split, _ in nodes],
        "default_left": [int(bool(split & _DEFAULT_LEFT)) for _, _, _, split, _ in nodes],
        "split_conditions": [value for _, _, _, _, value in nodes],
    }


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = memoryview(data), at

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
        (found,) = struct.unpack("<Q", self.take(8))
        if found > self.left:
            raise CorruptModelError("it is truncated")
        return int(found)

    def text(self) -> str:
        """A text with its length before it."""
        size = self.length()
        if size > _LONGEST_NAME:
            raise CorruptModelError("it has a name that is too long")
        return str(self.take(size), "utf-8", "replace")

    def numbers(self, code: str, count: int) -> "array[int] | array[float]":
        """Numbers of 4 bytes."""
        return array(code, struct.unpack(f"<{count}{code}", self.take(4 * count)))
