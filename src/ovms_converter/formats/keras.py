"""Keras' own files: the `.keras` archive and HDF5."""

import json

from ovms_converter.formats.archives import DAMAGE, open_archive, read_member
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.programs import keras_programs
from ovms_converter.formats.refused import Refused, file_match
from ovms_converter.formats.tree import Sample, Tree

__all__ = ["FORMATS"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONFIG = 1 << 20
"""Bytes of a configuration, or of the part of a HDF5 file that holds it, that are read."""

_MODULES = ("keras", "h5py", "scipy")


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


def _layers(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """The layers of an archive that carry or import Python code."""
    try:
        with open_archive(tree, model.path) as archive:
            return keras_programs(read_member(archive, "config.json", _CONFIG))
    except (*DAMAGE, KeyError):
        return ()  # Keras will say what is wrong with it, and loads it in its safe mode


def _layers_of_hdf5(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """The same of HDF5, whose attributes lie near its beginning."""
    data = tree.sample(model.path).read(0, _CONFIG)
    at = data.find(b'{"class_name"')
    if at < 0:
        return ()
    try:
        config, _ = json.JSONDecoder().raw_decode(data[at:].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return keras_programs(data[at:])
    return keras_programs(json.dumps(config).encode())


_EXECUTES = "with layers that run Python code of its author"

FORMATS = (
    FrameworkFormat(
        "keras.keras",
        "a Keras archive",
        file_match(_archive),
        library="Keras",
        extra="keras",
        modules=_MODULES,
        recipe='load it with `keras.saving.load_model`, run `model.export("saved_model")`, and convert that '
        "directory",
        executes=_EXECUTES,
        programs=_layers,
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
        recipe='load it with `keras.models.load_model`, run `model.export("saved_model")` '
        '(before Keras 2.13 `model.save("saved_model", save_format="tf")`), and convert that directory',
        executes=_EXECUTES,
        programs=_layers_of_hdf5,
        suffixes=(".h5", ".hdf5"),
    ),
)
