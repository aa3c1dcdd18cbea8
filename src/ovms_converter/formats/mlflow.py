"""Where each MLflow flavor keeps its model: the flavor names the place, the bytes there decide what it is.

`save_format`, `model_type` and file endings are not believed: MLflow 2.22 and 3 write `save_format: tf` for a
`.keras` file, and TorchScript has the same `MLmodel` as a pickled module.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import MLflowModel, SourceModel
from ovms_converter.formats.notmodels import BYSTANDERS
from ovms_converter.formats.refused import Refused, nothing
from ovms_converter.formats.tree import Tree, inside, stands_for_directory
from ovms_converter.formats.words import shown

__all__ = ["FORMATS", "Flavor", "flavor_of", "locate"]

_Values = Mapping[str, object]


@dataclass(frozen=True)
class Flavor:
    """One flavor.

    `places`   paths relative to the MLmodel's directory, best first, from the flavor's and python_function's
               values
    `renames`  what the bytes look like → what that is in this flavor
    `unread`   the format to report if the bytes tell nothing
    `elsewhere`  the flavor's value that names a model which is not in the artifact, and the format of that
    """

    name: str
    places: Callable[[_Values, _Values], Iterator[str]]
    renames: Mapping[str, str] = field(default_factory=dict)
    unread: str | None = None
    elsewhere: tuple[str, str] | None = None


def _value(*sources: tuple[_Values, str]) -> Iterator[str]:
    for values, key in sources:
        found = values.get(key)
        if isinstance(found, str) and found:
            yield found


def _tensorflow(own: _Values, function: _Values) -> Iterator[str]:
    yield from _value((own, "saved_model_dir"))
    yield from _keras(own, function)


def _keras(own: _Values, function: _Values) -> Iterator[str]:
    data = next(_value((own, "data"), (function, "data")), "data")
    for name in ("model/saved_model.pb", "model.keras", "model.h5", "model"):
        yield posixpath.join(data, name)
    yield data


def _onnx(own: _Values, function: _Values) -> Iterator[str]:
    for data in [*_value((own, "data"), (function, "data")), "model.onnx"]:
        yield posixpath.join(data, "model.onnx")
        yield data


def _pytorch(own: _Values, function: _Values) -> Iterator[str]:
    data = next(_value((own, "model_data"), (function, "data")), "data")
    for name in ("model.pt2", "model.pth", ""):
        yield posixpath.join(data, name) if name else data


def _paddle(own: _Values, function: _Values) -> Iterator[str]:
    prefix = next(_value((own, "pickled_model"), (function, "model_path")), "model")
    yield f"{prefix}.pdmodel"
    yield f"{prefix}.json"


def _transformers(own: _Values, function: _Values) -> Iterator[str]:
    """Where the flavor says, else a whole pipeline or its model, else what was tuned of another one."""
    yield from _data(own, function)
    yield from ("pipeline", "model")
    yield from _value((own, "peft_adaptor"))


def _data(own: _Values, function: _Values) -> Iterator[str]:
    yield from _value(
        (own, "data"),
        (own, "pickled_model"),
        (own, "model_path"),
        (own, "model_data"),
        (own, "model_binary"),
        (function, "model_path"),
        (function, "data"),
    )


def _sentences(own: _Values, function: _Values) -> Iterator[str]:
    yield from _data(own, function)
    yield "model.sentence_transformer"


def _pyfunc(_own: _Values, function: _Values) -> Iterator[str]:
    yield from _value((function, "python_model"), (function, "data"))
    for code in _value((function, "model_code_path")):
        yield posixpath.basename(code.replace("\\", "/"))


FLAVORS = (
    Flavor("onnx", _onnx),
    Flavor("tensorflow", _tensorflow),
    Flavor("keras", _keras),
    Flavor("pytorch", _pytorch),
    Flavor("paddle", _paddle),
    Flavor("sklearn", _data, {"pickle": "sklearn.pickle"}),
    Flavor("xgboost", _data, {"pickle": "xgboost.pkl", "sklearn.pickle": "xgboost.pkl"}),
    Flavor(
        "lightgbm",
        _data,
        {
            "pickle": "lightgbm.pkl",
            "sklearn.pickle": "lightgbm.pkl",
            "sklearn.cloudpickle": "lightgbm.pkl",
            "sklearn.skops": "lightgbm.skops",
        },
    ),
    Flavor("catboost", _data, {"pickle": "catboost.pkl"}),
    Flavor("statsmodels", _data, {"pickle": "statsmodels"}),
    Flavor("transformers", _transformers, elsewhere=("source_model_name", "transformers.reference")),
    Flavor("sentence_transformers", _sentences),
)
"""The flavors whose models have a format of their own, in the order in which they are tried."""

_PYFUNC = Flavor("python_function", _pyfunc, unread="pyfunc")
_OTHER = Flavor("other", _data, unread="mlflow.flavor")

FORMATS = (
    Refused(
        "pyfunc",
        "a custom Python model of MLflow (`python_function`)",
        nothing,
        "it is a program, not a graph: export the model inside it as ONNX or SavedModel and log that",
    ),
    Refused(
        "mlflow.flavor",
        "an MLflow model of a flavor that has no graph known here",
        nothing,
        "log the model with MLflow's `onnx` or `tensorflow` flavor as well",
    ),
)


def flavor_of(model: MLflowModel) -> tuple[Flavor, str]:
    """The flavor to go by, native ones first, and the name it has in the `MLmodel`."""
    for flavor in FLAVORS:
        if flavor.name in model.flavors:
            return flavor, flavor.name
    other = next(iter(model.flavors), None)
    return (_OTHER, other) if other else (_PYFUNC, "python_function")


def locate(tree: Tree, model: MLflowModel, find: Callable[[Tree], list[SourceModel]]) -> list[SourceModel]:
    """The models at the first place that the flavor names and that exists; usually one.

    `find` recognises a tree by its content. Raises `CorruptModelError` if nothing is where the `MLmodel`
    says.
    """
    flavor, name = flavor_of(model)
    own = model.flavors.get(name, {})
    mlmodel = posixpath.join(model.directory, "MLmodel")
    said = f"`{mlmodel}` is of MLflow {model.mlflow_version or 'before 1.27'}, flavor {shown(name)}"
    tried: list[str] = []
    for place in flavor.places(own, model.python_function):
        path = inside(model.directory, place, f"`{mlmodel}`")
        part = _part(tree, path)
        if part is None:
            tried.append(path)
            continue
        if flavor.unread:
            return [SourceModel(flavor.unread, path, part.paths, "model", said, model)]
        found = [other for other in find(part) if other.path == path or other.format not in BYSTANDERS]
        if not found:
            raise CorruptModelError(
                f"`{path}` is not what the MLmodel says: it is no model of flavor {shown(name)}, nor of any "
                "format known here",
                hint="compare the artifact with the one that was logged, and upload it again",
            )
        return [
            replace(
                candidate,
                format=_renamed(candidate.format, flavor, own),
                evidence=f"{said}, and {candidate.evidence}",
                mlflow=model,
            )
            for candidate in found
        ]
    elsewhere = flavor.elsewhere and own.get(flavor.elsewhere[0])
    unread = flavor.elsewhere[1] if flavor.elsewhere and elsewhere else flavor.unread
    if unread:
        return [SourceModel(unread, model.directory, (), "model", said, model)]
    raise CorruptModelError(
        f"{said}, and there is no {_either(tried)}",
        hint="the artifact is incomplete: log or upload the model again, with everything beside its MLmodel",
    )


def _part(tree: Tree, path: str) -> Tree | None:
    """What is at a place: a file, a directory, or what a `saved_model.pb` stands for; None if nothing."""
    if stands_for_directory(path):
        return tree.narrowed(posixpath.dirname(path)) if path in tree else None
    part = tree.narrowed(path)
    return part if part.paths else None


def _either(paths: list[str]) -> str:
    return " or ".join(f"`{path}`" for path in dict.fromkeys(paths)) or "place named for its data"


def _renamed(found: str, flavor: Flavor, own: _Values) -> str:
    """The format that bytes which tell little (a pickle) have in this flavor."""
    pickled = found in ("pickle", "sklearn.pickle")
    if flavor.name == "sklearn" and pickled and own.get("serialization_format") == "cloudpickle":
        return "sklearn.cloudpickle"
    return flavor.renames.get(found, found)
