"""What a boosted model is, whichever library wrote it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Boosted", "Linear", "Link", "Tree"]


class Link(Enum):
    """How a prediction follows from the sum over the trees."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EXP = "exp"
    SIGNED_SQUARE = "signed square"
    SOFTPLUS = "softplus"
    POSITIVE = "1 above zero, else 0"
    ARGMAX = "number of the greatest"


@dataclass(frozen=True)
class Tree:
    """One tree; every sequence has one element a node, and node 0 is the root.

    A node whose `yes` is negative is a leaf and gives `value` to output `group`. Another one asks whether its
    feature is below `threshold` (or not above it, see `Boosted.strict`), or, if it is in `categories`,
    whether the feature's whole part is one of these. `missing` tells whether NaN goes to `yes`. With
    `vectors` each leaf gives a number to every output in place of one to `group`.
    """

    group: int
    feature: Sequence[int]
    threshold: Sequence[float]
    yes: Sequence[int]
    no: Sequence[int]
    missing: Sequence[bool]
    value: Sequence[float]
    categories: Mapping[int, frozenset[int]] = field(default_factory=dict)
    vectors: Mapping[int, Sequence[float]] | None = None


@dataclass(frozen=True)
class Linear:
    """A linear booster: `weights[feature][group]`, and a `bias` for each group; NaN counts as 0."""

    weights: Sequence[Sequence[float]]
    bias: Sequence[float]


@dataclass(frozen=True)
class Boosted:
    """A boosted model.

    `objective`  as the library calls it
    `features`   how many columns it takes, `groups` how many sums over trees it computes
    `strict`     whether a node asks for `<` rather than `<=`
    `base`       what is added to each group's sum
    `average`    whether the sum is divided by the number of trees that give to a group
    `link`       what becomes of the sums, of which `scale` is a factor of before
    `classifier` whether an estimator for classes wrote it: then labels and probabilities are published
    `labels`     the classes' own numbers, if they are not 0, 1, ...
    `output`     the name of what is predicted otherwise
    """

    library: str
    objective: str
    features: int
    groups: int
    strict: bool
    trees: Sequence[Tree]
    base: Sequence[float]
    link: Link
    scale: float = 1.0
    average: bool = False
    linear: Linear | None = None
    classifier: bool = False
    labels: Sequence[int] | None = None
    output: str = "prediction"
