"""Python pickles and what hides in them. They are never opened: unpickling runs whatever they say."""

from collections.abc import Callable, Iterator

from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.boosters import ADVICE as BOOSTED
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.programs import pickle_globals
from ovms_converter.formats.refused import Finding, Refused, file_match, nothing
from ovms_converter.formats.tree import Sample, Tree

__all__ = ["FORMATS", "is_pickle"]

_RECIPE = "write ONNX where it was trained: `skl2onnx.to_onnx(model, X[:1], options={'zipmap': False})`"
_ANY = "rebuild the model where it was trained and export it as ONNX or SavedModel"
_RUNS_CODE = "which runs its author's code when it is opened and is not converted"


_LOOKED_INTO = 1 << 16
"""Bytes of a pickle in which imports are looked for."""


def is_pickle(head: bytes) -> bool:
    """True if bytes begin like a pickle of protocol 2 or later, or like a joblib dump."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and head[2:3] != b"\0"


def _of(*modules: bytes, cloud: bool | None = None) -> Callable[[Tree], Iterator[Finding]]:
    """A search for pickles whose first bytes name a module, by cloudpickle or not if `cloud` tells."""

    def match(sample: Sample) -> str | None:
        head = sample.head
        if not is_pickle(head) or not any(module in head for module in modules):
            return None
        if cloud is not None and (b"cloudpickle" in head) != cloud:
            return None
        named = next(module for module in modules if module in head).decode()
        return f"it is a pickle that names `{named}`"

    return file_match(match)


def _skops(sample: Sample) -> str | None:
    return "it is a ZIP archive with `schema.json`" if "schema.json" in sample.zip_names else None


def _legacy(sample: Sample) -> str | None:
    return (
        "it has PyTorch's old magic number"
        if sample.head[2:14] == b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
        else None
    )


def _pickle(sample: Sample) -> str | None:
    return f"it is a pickle of protocol {sample.head[1]}" if is_pickle(sample.head) else None


def _joblib(sample: Sample) -> str | None:
    compressed = sample.head.startswith((b"x\x9c", b"x\x01", b"x^", b"x\xda"))
    return (
        "it is zlib data with a joblib name"
        if compressed and sample.suffix in (".joblib", ".pkl", ".z")
        else None
    )


def _estimator(
    name: str,
    title: str,
    search: Callable[[Tree], Iterator[Finding]],
    library: str,
    *modules: str,
    suffixes: tuple[str, ...] = (),
) -> FrameworkFormat:
    """A row for estimators with scikit-learn's methods; a pickle of them runs code, a skops file does not."""
    skops = name.endswith(".skops")
    return FrameworkFormat(
        name,
        title,
        search,
        library,
        modules[0] if modules and modules[0] in ("lightgbm", "xgboost") else "sklearn",
        ("sklearn", "skl2onnx", "onnx", *(("skops",) if skops else ()), *modules),
        _RECIPE,
        executes=None if skops else "which runs its author's code when it is opened",
        programs=None if skops else _globals,
        suffixes=suffixes,
    )


def _globals(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """What a pickle imports; a compressed one does not tell."""
    return pickle_globals(tree.sample(model.path).read(0, _LOOKED_INTO)) or ("a pickle",)


FORMATS = (
    _estimator(
        "sklearn.skops",
        "a scikit-learn model (skops)",
        file_match(_skops),
        "scikit-learn",
        suffixes=(".skops",),
    ),
    _estimator("lightgbm.skops", "a LightGBM estimator (skops)", nothing, "LightGBM", "lightgbm"),
    _estimator("lightgbm.pkl", "a pickled LightGBM estimator", _of(b"lightgbm"), "LightGBM", "lightgbm"),
    _estimator("xgboost.pkl", "a pickled XGBoost estimator", _of(b"xgboost"), "XGBoost", "xgboost"),
    Refused("catboost.pkl", "a pickled CatBoost estimator", _of(b"catboost"), BOOSTED, _RUNS_CODE),
    Refused(
        "statsmodels",
        "a pickled statsmodels result",
        _of(b"statsmodels"),
        "it has no graph to convert: write its formula as an ONNX model (a linear one: MatMul, Add)",
        _RUNS_CODE,
        suffixes=(".statsmodels",),
    ),
    Refused(
        "pytorch.legacy",
        "a PyTorch file of before 1.6",
        file_match(_legacy),
        'rebuild the model and run `torch.onnx.export(model, (example,), "model.onnx")`',
        _RUNS_CODE,
    ),
    _estimator(
        "sklearn.cloudpickle",
        "a pickled scikit-learn model",
        _of(b"sklearn", cloud=True),
        "scikit-learn",
        "cloudpickle",
    ),
    _estimator("sklearn.pickle", "a pickled scikit-learn model", _of(b"sklearn"), "scikit-learn"),
    _estimator(
        "sklearn.joblib",
        "a compressed joblib dump",
        file_match(_joblib),
        "scikit-learn",
        suffixes=(".joblib",),
    ),
    Refused(
        "pickle",
        "a Python pickle",
        file_match(_pickle),
        _ANY,
        _RUNS_CODE,
        suffixes=(".pkl", ".pickle", ".cloudpickle"),
    ),
)
