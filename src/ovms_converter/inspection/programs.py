"""Programs in what somebody stored as a model: pickles, Keras' Lambda layers, Python files.

They are read as data, a bounded part of each, and never loaded. What is listed is what was seen, not a proof
that there is nothing else.
"""

import posixpath
from collections.abc import Iterator

from ovms_converter.formats import format_named
from ovms_converter.formats.archives import DAMAGE, open_archive, read_member
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.pickles import is_pickle
from ovms_converter.formats.programs import LAMBDA, keras_programs, pickle_globals
from ovms_converter.formats.tree import Tree
from ovms_converter.inspection.report import ExecutableContent

__all__ = ["executable_content"]

_READ = 128 << 10
"""Bytes of a file that are looked through."""

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".statsmodels")
_ARCHIVES = ("pytorch.pickle", "keras.keras")
_CHECKED = {
    "pytorch.export": "`torch.export.load` runs or unpickles it",
    "pytorch.torchscript": "TorchScript operators that read or write files",
}
"""Formats whose own check tells what of a model is more than a model, and what that is."""

_LISTED = 12


def executable_content(tree: Tree, model: SourceModel) -> tuple[ExecutableContent, ...]:
    """Everything beside and in the model that is a program, the model's own first."""
    found = [*_in_model(tree, model), *_beside(tree, model)]
    return tuple({item.path: item for item in reversed(found)}.values())[::-1]


def _in_model(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    path = model.path
    if path not in tree:
        return
    if model.format in _CHECKED:
        row = format_named(model.format)
        found = row.runs_code(tree, model) if isinstance(row, FrameworkFormat) else None
        if found:
            yield ExecutableContent(path, _CHECKED[model.format], found[:_LISTED])
    elif model.format in _ARCHIVES:
        yield from _in_archive(tree, model)
    elif model.format == "keras.h5":
        if LAMBDA.search(tree.sample(path).read(0, _READ)):
            yield ExecutableContent(path, "Keras Lambda layers: Python bytecode in the file", ("Lambda",))
    elif is_pickle(tree.sample(path).head):
        yield _pickle(path, tree.sample(path).read(0, _READ))


def _pickle(path: str, data: bytes) -> ExecutableContent:
    return ExecutableContent(path, "a pickle: opening it runs what it names", pickle_globals(data))


def _in_archive(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    path = model.path
    try:
        with open_archive(tree, path) as archive:
            names = archive.namelist()
            if model.format == "keras.keras":
                layers = (
                    keras_programs(read_member(archive, "config.json", _READ))
                    if "config.json" in names
                    else ()
                )
                if layers:
                    yield ExecutableContent(path, "Keras layers that carry or import Python code", layers)
                return
            for name in names:
                if name.endswith("/data.pkl") and model.format == "pytorch.pickle":
                    yield _pickle(path, read_member(archive, name, _READ))
    except DAMAGE:
        yield ExecutableContent(path, "an archive that could not be looked into")


def _beside(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    """Files of an MLflow artifact that a loader of MLflow would run."""
    if model.mlflow is None:
        return
    for path in tree.below(model.mlflow.directory):
        suffix = posixpath.splitext(path)[1].lower()
        if suffix in _PICKLE_SUFFIXES and path != model.path:
            yield ExecutableContent(path, "a pickle beside the model")
        elif suffix == ".py":
            yield ExecutableContent(path, "Python code beside the model")
