"""XGBoost's models in JSON and UBJSON, of version 1.0 to 3.x, and in the binary format of before.

The schema: https://github.com/dmlc/xgboost/blob/master/doc/model.schema. Numbers of the model are float32;
those of its parameters are texts.
"""

import json
import math
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.boosting.model import Boosted, Linear, Link, Tree
from ovms_converter.formats.boosting.ubjson import parse_ubjson
from ovms_converter.formats.boosting.xgboost_binary import binary_evidence, parse_binary

__all__ = ["OBJECTIVES", "is_ubjson", "read_xgboost"]

_LOGIT, _LOG = "logit", "log"
_GPU = "gpu:"
"""What XGBoost before 1.0 puts before objectives that it computes on a GPU."""

OBJECTIVES: Mapping[str, tuple[Link, str | None]] = {
    "reg:squarederror": (Link.IDENTITY, None),
    "reg:linear": (Link.IDENTITY, None),
    "reg:squaredlogerror": (Link.IDENTITY, None),
    "reg:pseudohubererror": (Link.IDENTITY, None),
    "reg:absoluteerror": (Link.IDENTITY, None),
    "reg:quantileerror": (Link.IDENTITY, None),
    "reg:logistic": (Link.SIGMOID, _LOGIT),
    "binary:logistic": (Link.SIGMOID, _LOGIT),
    "binary:logitraw": (Link.IDENTITY, None),
    "binary:hinge": (Link.POSITIVE, None),
    "multi:softprob": (Link.SOFTMAX, None),
    "multi:softmax": (Link.ARGMAX, None),
    "count:poisson": (Link.EXP, _LOG),
    "reg:gamma": (Link.EXP, _LOG),
    "reg:tweedie": (Link.EXP, _LOG),
    "survival:cox": (Link.EXP, _LOG),
    "survival:aft": (Link.EXP, _LOG),
    "rank:pairwise": (Link.IDENTITY, None),
    "rank:ndcg": (Link.IDENTITY, None),
    "rank:map": (Link.IDENTITY, None),
}
"""What each objective predicts from the sum of its trees, and how its base score becomes a sum."""

_GROUPS = 1 << 16
_NODES = 1 << 31


def is_ubjson(head: bytes) -> bool:
    """Whether the first bytes are of UBJSON: its names have lengths, JSON's have quotation marks."""
    return head[:1] == b"{" and head[1:2] in (b"i", b"U", b"I", b"l", b"L")


def read_xgboost(data: bytes) -> Boosted:
    """A model from its file. Raises `CorruptModelError` or `UnsupportedModelError`."""
    document = _document(data)
    learner = _mapping(document.get("learner"), "learner")
    parameters = _mapping(learner.get("learner_model_param"), "learner_model_param")
    objective = _objective(learner)
    groups = max(_whole(parameters, "num_class"), _whole(parameters, "num_target", 1), 1)
    features = _whole(parameters, "num_feature")
    if not 0 < groups <= _GROUPS or features < 1:
        raise CorruptModelError(f"it has {features} features and {groups} outputs")
    booster = _mapping(learner.get("gradient_booster"), "gradient_booster")
    kind = _text(booster.get("name"), "gradient_booster.name")
    attributes = _mapping(learner.get("attributes", {}), "attributes")
    wrapper = _wrapper(attributes)
    link, transform = OBJECTIVES[objective.removeprefix(_GPU)]
    transform = _transform(document, objective, transform)
    trees: Sequence[Tree] = ()
    linear = None
    if kind == "gblinear":
        linear = _linear(_mapping(booster.get("model"), "model"), features, groups)
    elif kind in ("gbtree", "dart"):
        trees = _trees(booster, kind, groups, _best(attributes, wrapper) if wrapper is not None else None)
    else:
        raise UnsupportedModelError(f"it is a booster of the kind `{kind[:60]}`, which is not known here")
    base = _base(parameters.get("base_score"), groups, transform)
    if linear is not None:
        # XGBoost's linear booster adds the first group's to all
        base = base[:1] * groups
    for tree in trees:
        if tree.feature and max(tree.feature) >= features:
            raise CorruptModelError("a tree asks for a feature that is not there")
    classifier = wrapper is not None and _is_classifier(wrapper)
    if classifier and link is Link.ARGMAX:
        link = Link.SOFTMAX
    return Boosted(
        library="XGBoost",
        objective=objective,
        features=features,
        groups=groups,
        strict=True,
        trees=trees,
        base=base,
        link=link,
        linear=linear,
        classifier=classifier,
        labels=_labels(wrapper) if classifier and wrapper is not None else None,
    )


def _objective(learner: Mapping[str, object]) -> str:
    """What it is trained for. Raises `UnsupportedModelError` if that does not tell how it predicts."""
    objective = _text(_mapping(learner.get("objective"), "objective").get("name"), "objective")
    if objective.removeprefix(_GPU) not in OBJECTIVES:
        raise UnsupportedModelError(
            f"it is trained for the objective `{objective[:60]}`, whose prediction is not known here",
            hint="export the predictor as ONNX, for example with onnxmltools",
        )
    return objective


def _document(data: bytes) -> Mapping[str, object]:
    """The model in a file; beside it, what XGBoost keeps in pickles has the state of its training."""
    found: object
    if is_ubjson(data):
        found = parse_ubjson(data)
    else:
        found = parse_binary(data) if binary_evidence(data) else _parse_json(data)
    document = _mapping(found, "document")
    return _mapping(document.get("Model", document), "Model")


def _transform(document: Mapping[str, object], objective: str, usual: str | None) -> str | None:
    """How the base score becomes a sum in the version of XGBoost that wrote the model."""
    version = document.get("version")
    if not isinstance(version, list) or not all(type(each) is int for each in version):
        return usual
    if version < [1]:
        return None
    if objective == "binary:logitraw" and version < [1, 3]:
        return _LOGIT
    return usual


def _parse_json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise CorruptModelError("it is no JSON document") from None


def _mapping(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise CorruptModelError(f"it has no `{name}`")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise CorruptModelError(f"it has no text for `{name}`")
    return value


def _whole(parameters: Mapping[str, object], name: str, default: int = 0) -> int:
    value = parameters.get(name, default)
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise CorruptModelError(f"`{name}` is {text[:40]!r}, which is no number")
    return int(text)


def _numbers(node: Mapping[str, object], name: str, size: int | None = None) -> Sequence[float]:
    value = node.get(name)
    if not isinstance(value, array | list) or (size is not None and len(value) != size):
        raise CorruptModelError(f"a tree has no list `{name}` of its nodes")
    if isinstance(value, list) and not all(isinstance(each, int | float) for each in value):
        raise CorruptModelError(f"`{name}` of a tree holds something else than numbers")
    return value


def _integers(node: Mapping[str, object], name: str, size: int | None = None) -> Sequence[int]:
    found = _numbers(node, name, size)
    if isinstance(found, array) and found.typecode not in "fd":
        return found.tolist()
    if not all(isinstance(each, bool | int) or each.is_integer() for each in found):
        raise CorruptModelError(f"`{name}` of a tree holds numbers that are not whole")
    return [int(each) for each in found]


def _base(value: object, groups: int, transform: str | None) -> tuple[float, ...]:
    """The base score of each group as a sum; before 3.1 there is one for all."""
    text = "5E-1" if value is None else str(value)
    try:
        found = [float(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        raise CorruptModelError(f"`base_score` is {text[:40]!r}, which is no number") from None
    if not all(map(math.isfinite, found)):
        raise CorruptModelError(f"`base_score` is {text[:40]!r}, which is no finite number")
    if len(found) not in (1, groups):
        raise CorruptModelError(f"there are {len(found)} base scores for {groups} outputs")
    found = [_single(each) for each in (found * groups if len(found) == 1 else found)]
    for each in found:
        if transform == _LOGIT and not 0 < each < 1:
            raise CorruptModelError(f"the base score {each} is no probability")
        if transform == _LOG and not each > 0:
            raise CorruptModelError(f"the base score {each} is not positive")
    if transform == _LOGIT:
        found = [-math.log(1 / each - 1) for each in found]
    elif transform == _LOG:
        found = [math.log(each) for each in found]
    return tuple(found)


def _single(value: float) -> float:
    """The float32 next to a number."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        raise CorruptModelError(f"the number {value} is too large") from None


def _wrapper(attributes: Mapping[str, object]) -> Mapping[str, object] | None:
    """What XGBoost's scikit-learn estimators add to their models; None for a plain booster."""
    text = attributes.get("scikit_learn")
    if not isinstance(text, str):
        return None
    found = _parse_json(text.encode())
    return found if isinstance(found, Mapping) else {}


def _is_classifier(wrapper: Mapping[str, object]) -> bool:
    """Whether the estimator is for classes; before 1.4 the name of its type tells."""
    return wrapper.get("_estimator_type") == "classifier" or str(wrapper.get("type")).endswith("Classifier")


def _labels(wrapper: Mapping[str, object]) -> tuple[int, ...] | None:
    """The classes of an estimator before 1.6, which encoded them; since then they are 0, 1, ..."""
    encoder = wrapper.get("_le")
    if not isinstance(encoder, Mapping):
        return None
    classes = encoder.get("classes_")
    if not isinstance(classes, list) or not all(type(each) is int for each in classes):
        raise UnsupportedModelError(
            "its class labels are no whole numbers, and OpenVINO computes no texts",
            hint="train it with numbers as labels, or save its booster (`get_booster()`), which gives "
            "probabilities alone",
        )
    return tuple(classes)


class _Best(NamedTuple):
    """The last round that counts, and, from before 1.6, how many trees for each output that are."""

    round: int
    trees: int | None


def _best(attributes: Mapping[str, object], wrapper: Mapping[str, object]) -> _Best | None:
    """What an estimator predicts with after early stopping; a plain booster uses all of its trees."""
    last = _told(attributes, "best_iteration")
    if last is None:
        return None
    trees = _told(attributes, "best_ntree_limit")
    return _Best(last, _told(wrapper, "best_ntree_limit") if trees is None else trees)


def _told(values: Mapping[str, object], name: str) -> int | None:
    text = str(values.get(name, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _linear(model: Mapping[str, object], features: int, groups: int) -> Linear:
    weights = _numbers(model, "weights", (features + 1) * groups)
    rows = [list(weights[start : start + groups]) for start in range(0, len(weights), groups)]
    return Linear(tuple(rows[:-1]), tuple(rows[-1]))


def _trees(booster: Mapping[str, object], kind: str, groups: int, best: _Best | None) -> tuple[Tree, ...]:
    forest = _mapping(booster.get("gbtree"), "gbtree") if kind == "dart" else booster
    model = _mapping(forest.get("model"), "model")
    listed = model.get("trees")
    if not isinstance(listed, list):
        raise CorruptModelError("it has no list of trees")
    of_tree = _integers(model, "tree_info", len(listed))
    drop = _numbers(booster, "weight_drop", len(listed)) if kind == "dart" else None
    if any(not 0 <= group < groups for group in of_tree):
        raise CorruptModelError("a tree is for an output that is not there")
    used = len(listed) if best is None else _trees_up_to(model, best, groups, len(listed))
    return tuple(
        _tree(_mapping(tree, "trees"), of_tree[number], 1.0 if drop is None else _single(drop[number]))
        for number, tree in enumerate(listed[:used])
    )


def _trees_up_to(model: Mapping[str, object], best: _Best, groups: int, count: int) -> int:
    """How many trees there are up to a round, which is included."""
    if "iteration_indptr" in model:
        starts = _integers(model, "iteration_indptr")
        return min(starts[best.round + 1], count) if best.round + 1 < len(starts) else count
    if best.trees is not None:
        return min(best.trees * groups, count)
    parameters = _mapping(model.get("gbtree_model_param"), "gbtree_model_param")
    return min((best.round + 1) * groups * max(_whole(parameters, "num_parallel_tree", 1), 1), count)


def _tree(tree: Mapping[str, object], group: int, scale: float) -> Tree:
    parameters = _mapping(tree.get("tree_param"), "tree_param")
    if _whole(parameters, "size_leaf_vector", 1) > 1:
        raise UnsupportedModelError(
            "its trees give several outputs at once (`multi_strategy='multi_output_tree'`)",
            hint="train it with `multi_strategy='one_output_per_tree'`",
        )
    left = _integers(tree, "left_children")
    size = len(left)
    right = _integers(tree, "right_children", size)
    if not size or any(not -1 <= each < min(size, _NODES) for each in (*left, *right)):
        raise CorruptModelError("a tree refers to a node that is not there")
    if any(no < 0 <= yes for yes, no in zip(left, right, strict=True)):
        raise CorruptModelError("a node of a tree has one child alone")
    condition = _numbers(tree, "split_conditions", size)
    # the number of a node that was pruned away means nothing
    feature = [
        each if yes >= 0 else 0
        for each, yes in zip(_integers(tree, "split_indices", size), left, strict=True)
    ]
    default_left = _integers(tree, "default_left", size)
    sets = _categories(tree, size)
    if any(each < 0 for each in feature):
        raise CorruptModelError("a tree asks for a feature of a negative number")
    # a category of the set goes to the right
    return Tree(
        group=group,
        feature=feature,
        threshold=[_single(each) for each in condition],
        yes=[right[at] if at in sets else left[at] for at in range(size)],
        no=[left[at] if at in sets else right[at] for at in range(size)],
        missing=[bool(default_left[at]) is not (at in sets) for at in range(size)],
        value=[_single(_single(each) * scale) for each in condition],
        categories=sets,
    )


def _categories(tree: Mapping[str, object], size: int) -> dict[int, frozenset[int]]:
    """The sets that nodes compare with; none in models from before 1.3."""
    if "split_type" not in tree or not any(_integers(tree, "split_type", size)):
        return {}
    nodes = _integers(tree, "categories_nodes")
    starts = _integers(tree, "categories_segments", len(nodes))
    sizes = _integers(tree, "categories_sizes", len(nodes))
    values = _integers(tree, "categories")
    found: dict[int, frozenset[int]] = {}
    for node, start, count in zip(nodes, starts, sizes, strict=True):
        own = values[start : start + count]
        if not 0 <= node < size or start < 0 or len(own) != count or any(each < 0 for each in own):
            raise CorruptModelError("a tree has broken categories")
        found[node] = frozenset(own)
    kinds = _integers(tree, "split_type", size)
    left = _integers(tree, "left_children", size)
    if {at for at in range(size) if kinds[at] and left[at] >= 0} - found.keys():
        raise CorruptModelError("a tree has a set of categories that is not there")
    return found
