"""LightGBM's text models, of version 2 to 4.

What a node decides: `include/LightGBM/tree.h` of LightGBM; what an objective predicts: `ConvertOutput` there.
"""

from collections.abc import Iterator, Mapping, Sequence

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.boosting.model import Boosted, Link, Tree

__all__ = ["OBJECTIVES", "header_of", "read_lightgbm"]

OBJECTIVES: Mapping[str, Link] = {
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"),
        Link.IDENTITY,
    ),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), Link.EXP),
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), Link.SIGMOID),
    "multiclass": Link.SOFTMAX,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "custom": Link.IDENTITY,
}
"""What each objective predicts from the sum of its trees."""

_CATEGORICAL, _DEFAULT_LEFT, _MISSING = 1, 2, 2
_NONE, _ZERO, _NAN = 0, 1, 2
_ZERO_RANGE = 1.0000000180025095e-35
"""Up to which magnitude a number counts as zero where zeros are missing values."""

_BELOW_ZERO = -1.0000000180025097e-35
_WORD = 32
_GROUPS = 1 << 16


def header_of(text: str) -> Mapping[str, str]:
    """The fields before the first tree."""
    head = text.partition("\nTree=")[0]
    return _fields(head.splitlines())


def read_lightgbm(data: bytes) -> Boosted:
    """A model from its file. Raises `CorruptModelError` or `UnsupportedModelError`."""
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        raise CorruptModelError("it is no text") from None
    header = header_of(text)
    groups = _whole(header, "num_tree_per_iteration", 1)
    features = _whole(header, "max_feature_idx") + 1
    if not 0 < groups <= _GROUPS:
        raise CorruptModelError(f"it has {groups} outputs")
    if "end of trees" not in text:
        raise CorruptModelError("it is truncated: the line `end of trees` is missing")
    words = header.get("objective", "custom").split()
    objective = words[0] if words else "custom"
    if objective not in OBJECTIVES:
        raise UnsupportedModelError(
            f"it is trained for the objective `{objective[:60]}`, whose prediction is not known here",
            hint="export the predictor as ONNX, for example with onnxmltools",
        )
    options = dict(word.partition(":")[::2] for word in words[1:])
    link = OBJECTIVES[objective]
    if link is Link.IDENTITY and "sqrt" in options:
        link = Link.SIGNED_SQUARE
    trees = tuple(_tree(block, number % groups, features) for number, block in enumerate(_blocks(text)))
    sizes = header.get("tree_sizes", "").split()
    if sizes and len(sizes) != len(trees):
        raise CorruptModelError(f"it announces {len(sizes)} trees and has {len(trees)}")
    return Boosted(
        library="LightGBM",
        objective=header.get("objective", "custom"),
        features=features,
        groups=groups,
        strict=False,
        trees=trees,
        base=(0.0,) * groups,
        link=link,
        scale=_number(options.get("sigmoid", "1"), "sigmoid") if link is Link.SIGMOID else 1.0,
        average="average_output" in header,
    )


def _fields(lines: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in lines) if key}


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The fields of each tree."""
    body = text.partition("\nTree=")[2].partition("\nend of trees")[0]
    if body:
        for block in body.split("\nTree="):
            yield _fields(block.splitlines()[1:])


def _whole(values: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = values.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise CorruptModelError(f"`{name}` is {text[:40]!r}, which is no number")
    return int(text)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CorruptModelError(f"`{name}` is {text[:40]!r}, which is no number") from None


def _numbers(block: Mapping[str, str], name: str, size: int) -> list[float]:
    words = block.get(name, "").split()
    if len(words) != size:
        raise CorruptModelError(f"a tree has {len(words)} numbers of `{name}` for {size} nodes")
    return [_number(word, name) for word in words]


def _integers(block: Mapping[str, str], name: str, size: int | None = None) -> list[int]:
    words = block.get(name, "").split()
    if size is not None and len(words) != size:
        raise CorruptModelError(f"a tree has {len(words)} numbers of `{name}` for {size} nodes")
    if any(len(word) > 20 for word in words):
        raise CorruptModelError(f"`{name}` of a tree holds a number that is too long")
    try:
        return [int(word) for word in words]
    except ValueError:
        raise CorruptModelError(f"`{name}` of a tree holds something else than numbers") from None


def _tree(block: Mapping[str, str], group: int, features: int) -> Tree:
    if block.get("is_linear", "0") != "0":
        raise UnsupportedModelError(
            "its leaves are linear models (`linear_tree`)", hint="train it with `linear_tree=false`"
        )
    leaves = _whole(block, "num_leaves")
    if leaves < 1:
        raise CorruptModelError("a tree has no leaves")
    values = _numbers(block, "leaf_value", leaves)
    if leaves == 1:
        return _Growing(block, group, 0, values).grown()
    inner = leaves - 1
    growing = _Growing(block, group, inner, values)
    if any(not 0 <= each < features for each in growing.feature):
        raise CorruptModelError("a tree asks for a feature that is not there")
    for at in range(inner):
        growing.decide(at)
    return growing.grown()


class _Growing:
    """A tree whose inner nodes come first, then its leaves, then what zeros as missing values need."""

    def __init__(self, block: Mapping[str, str], group: int, inner: int, values: Sequence[float]) -> None:
        self._group, self._inner = group, inner
        size = inner + len(values)
        leaf = [0] * len(values)
        self.feature = _integers(block, "split_feature", inner) + leaf if inner else leaf
        self._threshold = (_numbers(block, "threshold", inner) if inner else []) + [0.0] * len(values)
        self._kind = _integers(block, "decision_type", inner) if inner else []
        self._yes = self._links(block, "left_child", inner, size) + [-1] * len(values)
        self._no = self._links(block, "right_child", inner, size) + [-1] * len(values)
        self._missing = [False] * size
        self._value = [0.0] * inner + list(values)
        self._sets: dict[int, frozenset[int]] = {}
        self._bounds = _integers(block, "cat_boundaries")
        self._bits = _integers(block, "cat_threshold")

    def _links(self, block: Mapping[str, str], name: str, inner: int, size: int) -> list[int]:
        """Children; a leaf is written as the complement of its number."""
        found = (
            [each if each >= 0 else inner + ~each for each in _integers(block, name, inner)] if inner else []
        )
        if any(not 0 <= each < size for each in found):
            raise CorruptModelError("a tree refers to a node that is not there")
        return found

    def decide(self, at: int) -> None:
        """Work out what an inner node decides for missing values."""
        kind = self._kind[at]
        missing = kind >> _MISSING & 3
        if kind & _CATEGORICAL:
            self._sets[at] = self._set(int(self._threshold[at]))
            return
        to_left, zero_to_left = bool(kind & _DEFAULT_LEFT), self._threshold[at] >= 0
        if missing == _NAN:
            self._missing[at] = to_left
        elif missing == _NONE or to_left == zero_to_left:
            # NaN counts as zero
            self._missing[at] = zero_to_left
        else:
            self._divert_zeros(at, to_left)

    def _divert_zeros(self, at: int, to_left: bool) -> None:
        """Zero goes another way than its neighbours: two nodes ask for it before the comparison is made."""
        moved = self._append(at, self._threshold[at], self._yes[at], self._no[at])
        goal = self._yes[at] if to_left else self._no[at]
        below = self._append(at, _BELOW_ZERO, moved, goal)
        self._threshold[at], self._yes[at], self._no[at] = _ZERO_RANGE, below, moved
        # NaN counts as zero: not above the range, and not below it
        self._missing[at] = True

    def _append(self, at: int, threshold: float, yes: int, no: int) -> int:
        self.feature.append(self.feature[at])
        self._threshold.append(threshold)
        self._yes.append(yes)
        self._no.append(no)
        self._missing.append(False)
        self._value.append(0.0)
        return len(self._yes) - 1

    def _set(self, number: int) -> frozenset[int]:
        """The categories of a set: the bits of some 32-bit words."""
        if not 0 <= number < len(self._bounds) - 1:
            raise CorruptModelError("a tree has a set of categories that is not there")
        start, end = self._bounds[number], self._bounds[number + 1]
        if not 0 <= start <= end <= len(self._bits):
            raise CorruptModelError("a tree has broken categories")
        words = self._bits[start:end]
        return frozenset(
            place * _WORD + bit for place, word in enumerate(words) for bit in range(_WORD) if word >> bit & 1
        )

    def grown(self) -> Tree:
        """The tree."""
        return Tree(
            self._group, self.feature, self._threshold, self._yes, self._no, self._missing, self._value,
            self._sets,
        )  # fmt: skip
