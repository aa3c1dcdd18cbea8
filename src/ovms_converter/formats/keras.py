"""Keras' own files: the `.keras` archive and HDF5."""

import json
import re
from dataclasses import replace

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE, open_archive, read_member
from ovms_converter.formats.base import ModelDescription, SourceModel
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.keras_config import MAJOR, newer_note, parse_keras_model, release
from ovms_converter.formats.programs import keras_programs
from ovms_converter.formats.refused import Refused, file_match
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.words import shown

__all__ = ["FORMATS"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD, _CONFIG = 128 << 10, 4 << 20
"""Bytes that are read of HDF5, mostly and at most, and of an archive's configuration at most."""

_MODEL = b'{"class_name"'
"""How the configuration of a model begins in HDF5."""

_VERSION = re.compile(rb"(?<![0-9.])([1-9][0-9]*\.[0-9]+\.[0-9]+(?:-[a-z0-9]+)?)(?=\0)")
"""A version among the attributes of HDF5; Keras writes no other."""

_LISTED = 8
_EXPORT = 'run `model.export("saved_model")` where the model was made, and convert that directory'
_MODULES, _PYTHON = ("keras", "h5py", "scipy"), (3, 11)


def _archive(sample: Sample) -> str | None:
    found = {"config.json", "metadata.json"} <= set(sample.zip_names)
    return "it is a ZIP archive with `config.json` and `metadata.json`" if found else None


def _weights(sample: Sample) -> str | None:
    return (
        "it is HDF5 named `.weights.h5`"
        if sample.head.startswith(_HDF5) and sample.name.endswith(".weights.h5")
        else None
    )


def _hdf5(sample: Sample) -> str | None:
    if not sample.head.startswith(_HDF5):
        return None
    return "it is HDF5 with Keras' attributes" if b"keras_version" in sample.head else "it has an HDF5 header"


def _configuration(tree: Tree, model: SourceModel) -> tuple[str, str]:
    """The JSON of the model, or what begins with it, and the version of Keras that wrote it; "" if not found.

    Of HDF5 it is looked for near the beginning, where Keras' attributes are. Keras itself will say what is
    wrong with a file of which nothing can be read here, and it loads it in its safe mode.
    """
    if model.format == "keras.keras":
        try:
            with open_archive(tree, model.path) as archive:
                metadata = json.loads(read_member(archive, "metadata.json", _CONFIG))
                config = read_member(archive, "config.json", _CONFIG)
        except (*DAMAGE, KeyError, RecursionError):
            return "", ""
        version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
        return config.decode("utf-8", "replace"), version
    data = tree.sample(model.path).read(0, _HEAD)
    if parse_keras_model(_from_model(data)) is None:
        data = tree.sample(model.path).read(0, _CONFIG)
    found = _VERSION.search(data, 0, max(data.find(_MODEL), 0))
    return _from_model(data), found[1].decode() if found else ""


def _from_model(data: bytes) -> str:
    at = data.find(_MODEL)
    return data[at:].decode("utf-8", "replace") if at >= 0 else ""


def _check(tree: Tree, model: SourceModel) -> None:
    """Refuse classes whose code is not in the file, and a major release that nobody here knows.

    Keras 3 meant another slope by `hard_sigmoid` than Keras 2, and its file looks the same.
    """
    text, version = _configuration(tree, model)
    written = release(version)
    if written and written[0] > MAJOR:
        raise UnsupportedModelError(
            f"{shown(model.path)} was written by Keras {version}, and only releases up to {MAJOR} are known "
            "here: a later one may mean other things by the same words",
            hint=_EXPORT,
        )
    found = parse_keras_model(text)
    if found is None or not found.foreign:
        return
    named = ", ".join(shown(name) for name in found.foreign[:_LISTED])
    raise UnsupportedModelError(
        f"{shown(model.path)} uses code of its author that is not in the file: {named}",
        hint=_EXPORT,
    )


def _programs(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """The layers that carry Python code."""
    text, _ = _configuration(tree, model)
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        end = len(text)
    return tuple(name for name in keras_programs(text[:end].encode()) if name.startswith("Lambda"))


def _details(tree: Tree, model: SourceModel, found: ModelDescription) -> ModelDescription:
    """Inputs, outputs and layers."""
    text, version = _configuration(tree, model)
    read = parse_keras_model(text)
    producer = f"Keras {version}" if version else None
    newer = newer_note(version, _installed())
    notes = (newer,) if newer else ()
    if read is None:
        return replace(found, producer=producer, notes=notes)
    count = sum(read.layers.values())
    return replace(
        found,
        producer=producer,
        inputs=read.inputs,
        outputs=read.outputs,
        operations={"keras": read.layers},
        notes=(f"a {read.kind} model of {count} layers", *notes),
    )


def _installed() -> str:
    """The release of Keras that is here, which is not imported; "" if there is none."""
    import importlib.metadata

    try:
        return importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        return ""


_EXECUTES = "with layers that run Python code of its author"

FORMATS = (
    FrameworkFormat(
        "keras.keras",
        "a Keras archive",
        file_match(_archive),
        library="Keras",
        extra="keras",
        modules=_MODULES,
        python=_PYTHON,
        recipe='load it with `keras.saving.load_model`, run `model.export("saved_model")`, and convert that '
        "directory",
        executes=_EXECUTES,
        programs=_programs,
        check=_check,
        details=_details,
        suffixes=(".keras",),
    ),
    Refused(
        "keras.weights",
        "a Keras weights file",
        file_match(_weights),
        'build the model, load the weights, run `model.export("saved_model")`, and convert that directory',
        "which holds no graph",
    ),
    FrameworkFormat(
        "keras.h5",
        "a Keras HDF5 file",
        file_match(_hdf5),
        library="Keras",
        extra="keras",
        modules=_MODULES,
        python=_PYTHON,
        recipe='load it with `keras.models.load_model`, run `model.export("saved_model")` '
        '(before Keras 2.13 `model.save("saved_model", save_format="tf")`), and convert that directory',
        executes=_EXECUTES,
        programs=_programs,
        check=_check,
        details=_details,
        suffixes=(".h5", ".hdf5"),
    ),
)
