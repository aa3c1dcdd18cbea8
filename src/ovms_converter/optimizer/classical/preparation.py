"""The operators of ai.onnx.ml that prepare features: scaling, imputing, encoding, choosing columns."""

import numpy as np

from ovms_converter.optimizer.classical.attributes import Floats, MlNode
from ovms_converter.optimizer.classical.emitter import Emitter

__all__ = [
    "lower_array_feature_extractor",
    "lower_binarizer",
    "lower_feature_vectorizer",
    "lower_imputer",
    "lower_label_encoder",
    "lower_normalizer",
    "lower_one_hot_encoder",
    "lower_scaler",
    "lower_zip_map",
]

_NAN_IS_A_KEY = 4
"""The version of ai.onnx.ml since which NaN is equal to a key that is NaN in `LabelEncoder`."""


def lower_scaler(emitter: Emitter, node: MlNode) -> None:
    """`(x - offset) * scale`."""
    offset, scale = (node.floats(name).astype(np.float32) for name in ("offset", "scale"))
    if not scale.size or offset.size != scale.size:
        raise node.corrupt(f"has {offset.size} offsets and {scale.size} scales")
    moved = emitter.op("Sub", emitter.cast(node.inputs[0], "f32"), emitter.constant(offset))
    emitter.op("Mul", moved, emitter.constant(scale), output=node.outputs[0])


def lower_normalizer(emitter: Emitter, node: MlNode) -> None:
    """Each row divided by its norm; a row of norm 0 stays as it is."""
    x = emitter.cast(node.inputs[0], "f32")
    zero = emitter.number(0)
    norm = node.text("norm", "MAX")
    if norm == "L2":
        squares = emitter.op("Mul", x, x)
        total = emitter.reduce("ReduceSum", squares, 1, keep=True)
        root = emitter.op("Sqrt", emitter.op("Div", squares, total))
        divided = emitter.op("Where", emitter.op("Less", x, zero), emitter.op("Neg", root), root)
    elif norm == "L1":
        total = emitter.reduce("ReduceSum", emitter.op("Abs", x), 1, keep=True)
        divided = emitter.op("Div", x, total)
    elif norm == "MAX":
        # the greatest, not the greatest magnitude, and never NaN: as in ONNX Runtime
        least = emitter.number(float(np.finfo(np.float32).min))
        total = emitter.reduce(
            "ReduceMax", emitter.op("Where", emitter.op("IsNaN", x), least, x), 1, keep=True
        )
        divided = emitter.op("Div", x, total)
    else:
        raise node.corrupt(f"has the unknown norm {norm[:40]}")
    emitter.op("Where", emitter.op("Equal", total, zero), x, divided, output=node.outputs[0])


def lower_imputer(emitter: Emitter, node: MlNode) -> None:
    """Each column's missing value replaced."""
    if node.has("imputed_value_int64s"):
        values = emitter.constant(node.integers("imputed_value_int64s"))
        x = emitter.cast(node.inputs[0], "i64")
        replaced = np.array(node.integer("replaced_value_int64"), np.int64)
        missing = emitter.op("Equal", x, emitter.constant(replaced))
    else:
        values = emitter.constant(node.floats("imputed_value_floats").astype(np.float32))
        x = emitter.cast(node.inputs[0], "f32")
        number = node.float("replaced_value_float")
        missing = (
            emitter.op("IsNaN", x) if np.isnan(number) else emitter.op("Equal", x, emitter.number(number))
        )
    emitter.op("Where", missing, values, x, output=node.outputs[0])


def lower_binarizer(emitter: Emitter, node: MlNode) -> None:
    """1 for what is above the threshold, else 0."""
    x = emitter.cast(node.inputs[0], "f32")
    above = emitter.greater(x, emitter.number(node.float("threshold")))
    emitter.cast(above, "f32", output=node.outputs[0])


def lower_array_feature_extractor(emitter: Emitter, node: MlNode) -> None:
    """Some columns; of a tensor with one axis a row `[1, n]`."""
    source = node.inputs[0]
    columns = emitter.reshape(emitter.cast(node.inputs[1], "i64"), -1)
    shape = node.shapes.get(source)
    if shape is not None and len(shape) == 1:
        source = emitter.reshape(source, 1, -1)
    emitter.op("Gather", source, columns, output=node.outputs[0], axis=-1)


def lower_feature_vectorizer(emitter: Emitter, node: MlNode) -> None:
    """All inputs side by side, each cut to the width that is declared for it."""
    widths = node.integers("inputdimensions").tolist()
    if len(widths) != len(node.inputs):
        raise node.corrupt(f"declares {len(widths)} widths for {len(node.inputs)} inputs")
    parts: list[str] = []
    for name, width in zip(node.inputs, widths, strict=True):
        shape = node.shapes.get(name)
        if shape is None or len(shape) != 2 or shape[1] is None:
            raise node.unsupported(f"takes `{name}`, whose width the model does not declare")
        if shape[1] < width:
            raise node.unsupported(f"takes `{name}`, which is narrower than the {width} declared for it")
        part = emitter.cast(name, "f32")
        if shape[1] > width:
            part = emitter.op("Gather", part, emitter.constant(np.arange(width)), axis=1)
        parts.append(part)
    emitter.op("Concat", *parts, output=node.outputs[0], axis=1)


def lower_one_hot_encoder(emitter: Emitter, node: MlNode) -> None:
    """A column for each category, 1 where the number is that category; unknown ones give zeros only."""
    if node.has("cats_strings"):
        raise node.unsupported("encodes texts, and OpenVINO takes no texts")
    categories = node.integers("cats_int64s")
    if not categories.size:
        raise node.corrupt("names no categories")
    x = emitter.unsqueeze(emitter.cast(node.inputs[0], "i64"), -1)
    emitter.cast(emitter.op("Equal", x, emitter.constant(categories)), "f32", output=node.outputs[0])


def lower_label_encoder(emitter: Emitter, node: MlNode) -> None:
    """Each number replaced by the value of the key that it is equal to, or by the default."""
    texts = ("keys_strings", "values_strings", "classes_strings", "default_string")
    if any(node.has(name) for name in texts[:3]):
        raise node.unsupported("maps texts, and OpenVINO computes no texts")
    whole_keys, whole_values = (_are_whole(node, kind) for kind in ("keys", "values"))
    keys = node.integers(whole_keys) if whole_keys else _numbers(node, "keys")
    values = node.integers(whole_values) if whole_values else _numbers(node, "values")
    if not keys.size or keys.size != values.size:
        raise node.corrupt(f"has {keys.size} keys and {values.size} values")
    default = _default(node, whole=bool(whole_values))
    x = emitter.unsqueeze(emitter.cast(node.inputs[0], "i64" if whole_keys else "f32"), -1)
    known = emitter.constant(keys if whole_keys else keys.astype(np.float32))
    same = emitter.op("Equal", x, known)
    if node.version >= _NAN_IS_A_KEY and not whole_keys and np.isnan(keys).any():
        both = emitter.op("And", emitter.op("IsNaN", x), emitter.constant(np.isnan(keys)))
        same = emitter.op("Or", same, both)
    # the first key that is equal
    hits = emitter.cast(same, "f32")
    index = emitter.op("ArgMax", hits, axis=-1, keepdims=0)
    found = emitter.greater(emitter.reduce("ReduceMax", hits, -1, keep=False), emitter.number(0))
    kind = np.int64 if whole_values else np.float32
    chosen = emitter.op("Gather", emitter.constant(values.astype(kind)), index, axis=0)
    other = emitter.constant(np.array(default, kind))
    emitter.op("Where", found, chosen, other, output=node.outputs[0])


def _are_whole(node: MlNode, kind: str) -> str | None:
    return f"{kind}_int64s" if node.has(f"{kind}_int64s") else None


def _numbers(node: MlNode, kind: str) -> Floats:
    return node.floats(f"{kind}_floats" if node.has(f"{kind}_floats") else f"{kind}_tensor")


def _default(node: MlNode, *, whole: bool) -> float:
    if node.has("default_tensor"):
        given = node.floats("default_tensor")
        return float(given[0]) if given.size else 0.0
    return node.integer("default_int64", -1) if whole else node.float("default_float", -0.0)


def lower_zip_map(emitter: Emitter, node: MlNode) -> None:
    """A map of classes to scores is no tensor: the scores themselves, a column for each class."""
    emitter.op("Identity", node.inputs[0], output=node.outputs[0])
