"""Gradient-boosting libraries' own files, by their first bytes."""

from ovms_converter.formats.refused import Refused, file_match, magic
from ovms_converter.formats.tree import Sample

__all__ = ["ADVICE", "FORMATS"]

ADVICE = (
    "there is no export of boosted trees that OpenVINO runs (onnxmltools writes ai.onnx.ml trees); "
    "serve it with a server for its library, such as MLServer"
)
"""What the owner of boosted trees can do."""


_UBJSON_INTEGERS = (b"i", b"U", b"I", b"l", b"L")


def _xgboost(sample: Sample) -> str | None:
    head = sample.head
    if head.startswith((b"binf", b"CONFIG-offset:")):
        return "it has the old binary header `binf`"
    if head[:1] == b"{" and head[1:2] in _UBJSON_INTEGERS and b"learner" in head[:64]:
        return "it is UBJSON with a `learner`"
    start = head[:512].lstrip()
    if start.startswith(b"{") and b'"learner"' in start[:256]:
        return "it is JSON with a `learner`"
    return None


FORMATS = (
    Refused(
        "xgboost",
        "an XGBoost model",
        file_match(_xgboost),
        ADVICE,
        suffixes=(".xgb", ".ubj", ".bst"),
    ),
    Refused(
        "lightgbm",
        "a LightGBM model",
        magic(b"tree\nversion=", called="it starts with `tree`, `version=`"),
        ADVICE,
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
