"""Gradient-boosting libraries' own files: XGBoost's and LightGBM's are read here, without those libraries."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ovms_converter.formats.base import Files, ModelDescription, SourceModel, TensorSpec
from ovms_converter.formats.boosting.lightgbm import header_of, read_lightgbm
from ovms_converter.formats.boosting.model import Boosted
from ovms_converter.formats.boosting.xgboost import is_ubjson, read_xgboost
from ovms_converter.formats.boosting.xgboost_binary import binary_evidence, binary_header, binary_size
from ovms_converter.formats.refused import Refused, file_match, magic
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.words import naming

__all__ = ["ADVICE", "FORMATS", "BoosterFormat", "read_booster"]

ADVICE = (
    "export it as ONNX where it was trained (`model.save_model('model.onnx', format='onnx')` for CatBoost) "
    "and convert that"
)
"""What the owner of a booster that is not read here can do."""

_LIGHTGBM = b"tree\nversion="
_END = 1 << 14
"""Bytes at the end of a model in which its objective is looked for."""


def read_booster(data: bytes) -> Boosted:
    """A model from the bytes of its file. Raises `CorruptModelError` or `UnsupportedModelError`."""
    normal = data[:64].replace(b"\r\n", b"\n")
    return read_lightgbm(data.replace(b"\r\n", b"\n")) if normal.startswith(_LIGHTGBM) else read_xgboost(data)


def _xgboost(sample: Sample) -> str | None:
    head = sample.head
    if is_ubjson(head) and b"learner" in head[:64]:
        return "it is UBJSON with a `learner`"
    start = head[:512].lstrip()
    if start.startswith(b"{") and b'"learner"' in start[:256]:
        return "it is JSON with a `learner`"
    return binary_evidence(head)


def _lightgbm(sample: Sample) -> str | None:
    head = sample.head[:64].replace(b"\r\n", b"\n")
    return "it starts with `tree`, `version=`" if head.startswith(_LIGHTGBM) else None


@dataclass(frozen=True)
class BoosterFormat:
    """A `Format` of one file that holds boosted trees.

    `match`   gives the evidence that a file is of this format, or None
    `details` tells what the beginning and the end of the file tell; what it is called, and why, is added
    """

    name: str
    title: str
    match: Callable[[Sample], str | None]
    details: Callable[[Sample], ModelDescription]
    suffixes: tuple[str, ...] = ()
    convertible: bool = True

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every file of this format."""
        for path, needs, evidence in file_match(self.match)(tree):
            yield SourceModel(self.name, path, needs, Path(path).stem or "model", evidence)

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """Nothing: its first bytes have told."""

    def companions(
        self, _root: Path, _model: SourceModel, _files: Files | None, _cut: bool
    ) -> tuple[str, ...]:
        """Nothing: the file is whole."""
        return ()

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """Objective, features and trees, as far as a few bytes tell."""
        with naming(model.path):
            found = self.details(tree.sample(model.path))
        return replace(found, format=self.name, title=self.title, evidence=model.evidence)


def _described(
    producer: str,
    features: int | None,
    groups: int,
    objective: str | None,
    trees: int | None,
    *,
    classes: bool,
) -> ModelDescription:
    """The names and shapes that the converted model will have; the format is left to `BoosterFormat`."""
    count = max(groups, 2)
    outputs = (
        (TensorSpec("label", "int64", (None,)), TensorSpec("probabilities", "float32", (None, count)))
        if classes
        else (TensorSpec("prediction", "float32", (None,) if groups < 2 else (None, groups)),)
    )
    notes = [f"objective {objective}" if objective else "", f"{trees} trees" if trees is not None else ""]
    return ModelDescription(
        "",
        "",
        "",
        producer=producer,
        inputs=(TensorSpec("X", "float32", (None, features)),),
        outputs=outputs if objective else (),
        notes=tuple(filter(None, notes)),
    )


def _describe_lightgbm(sample: Sample) -> ModelDescription:
    text = sample.read(0, _END).decode("utf-8", "replace").replace("\r\n", "\n")
    header = header_of(text)
    version = header.get("version", "")
    trees = len(header["tree_sizes"].split()) if "tree_sizes" in header and "\nTree=" in text else None
    return _described(
        f"LightGBM (model {version})",
        _count(header.get("max_feature_idx"), 1),
        _count(header.get("num_tree_per_iteration")) or 1,
        header.get("objective", "custom"),
        trees,
        classes=False,
    )


def _describe_xgboost(sample: Sample) -> ModelDescription:
    """Names are sorted in the file: the trees' parameters are at its beginning, the learner's at its end."""
    head = sample.head
    if binary_evidence(head):
        return _describe_binary(sample)
    tail = _before(sample, sample.size or 0)
    objective = _value(tail, b"objective", b"name")
    return _described(
        "XGBoost",
        _count(_value(tail, b"learner_model_param", b"num_feature")),
        max(_count(_value(tail, b"learner_model_param", b"num_class")) or 1, 1),
        objective,
        _count(_value(head, b"gbtree_model_param", b"num_trees")),
        classes=b"scikit_learn" in head and b"lassifier" in head,
    )


def _describe_binary(sample: Sample) -> ModelDescription:
    header = binary_header(sample.head)
    tail = _before(sample, binary_size(sample.head, sample.size or 0))
    major, minor = header.version
    return _described(
        f"XGBoost {major}.{minor}" if major else "XGBoost before 1.0",
        header.features,
        max(header.classes, header.targets, 1),
        header.objective,
        header.trees,
        classes=b"scikit_learn" in tail and b"lassifier" in tail,
    )


def _before(sample: Sample, end: int) -> bytes:
    """The bytes before a place."""
    start = max(end - _END, 0)
    return sample.read(start, end - start)


def _value(data: bytes, mapping: bytes, name: bytes) -> str | None:
    """The text of a name in a mapping near its beginning, in JSON and in UBJSON."""
    at = data.rfind(mapping)
    part = data[at : at + 512] if at >= 0 else b""
    key = part.find(name, len(mapping))
    rest = part[key + len(name) :] if key >= 0 else b""
    found = re.match(rb'"\s*:\s*"([^"]*)"', rest)
    if found:
        return found[1].decode("utf-8", "replace")
    if rest[:2] == b"SL" and len(rest) >= 10:
        return rest[10 : 10 + int.from_bytes(rest[2:10], "big")].decode("utf-8", "replace")
    return None


def _count(text: str | None, more: int = 0) -> int | None:
    return int(text) + more if text and text.isascii() and text.isdigit() and len(text) < 12 else None


FORMATS = (
    BoosterFormat(
        "xgboost",
        "an XGBoost model",
        _xgboost,
        _describe_xgboost,
        suffixes=(".xgb", ".ubj", ".bst"),
    ),
    BoosterFormat(
        "lightgbm",
        "a LightGBM model",
        _lightgbm,
        _describe_lightgbm,
        suffixes=(".lgb", ".lgbm"),
    ),
    Refused(
        "catboost",
        "a CatBoost model",
        magic(b"CBM1", called="it has CatBoost's header `CBM1`"),
        ADVICE,
        suffixes=(".cbm",),
    ),
)
