"""The archive (`.keras`) of Keras 2.12 and later, which Keras 3 does not load as it is."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras

from ovms_converter.frameworks.keras_h5 import model_of, repaired

__all__ = ["load_keras_2", "written_by"]

_WEIGHTS = "model.weights.h5"
_CONTAINER = "_layer_checkpoint_dependencies"
_NUMBERED = re.compile(r"(?P<kind>.+?)(?:_(?P<number>\d+))?")


def written_by(path: Path) -> str:
    """The version of Keras that wrote an archive, "" if it does not say. Raises what `zipfile` raises."""
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return str(version or "")


def load_keras_2(path: Path, *, trusted: bool) -> keras.Model:
    """The model of an archive of Keras 2, not compiled.

    Its weights are unpacked into the working directory. Raises as `keras_h5.load`.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        archive.extract(_WEIGHTS)
    model = model_of(repaired(_as_in_hdf5(config)), trusted=trusted)
    with h5py.File(_WEIGHTS, "r+") as file:
        _rename(file)
    model.load_weights(_WEIGHTS)
    return model


def _as_in_hdf5(value: Any) -> Any:
    """A configuration without what Keras 2's archive says beyond its HDF5: modules and registered names."""
    if isinstance(value, list):
        return [_as_in_hdf5(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = ("module", "registered_name", "build_config", "compile_config", "shared_object_id")
    described = "class_name" in value
    return {name: _as_in_hdf5(item) for name, item in value.items() if not (described and name in left_out)}


def _rename(group: h5py.Group) -> None:
    """Call the groups of layers as Keras 3 does: `layers/dense_1` for the second `Dense` that has weights.

    Keras 2 counted layers with weights twice, so that it is `_layer_checkpoint_dependencies/dense_2` there.
    """
    if _CONTAINER in group:
        group.move(_CONTAINER, "layers")
        layers = group["layers"]
        kinds: dict[str, list[tuple[int, str]]] = {}
        for name in layers:
            found = _NUMBERED.fullmatch(name)
            if found:
                kinds.setdefault(found["kind"], []).append((int(found["number"] or 0), name))
        for kind, numbered in kinds.items():
            for number, (_, name) in enumerate(sorted(numbered)):
                wanted = f"{kind}_{number}" if number else kind
                if wanted != name:
                    layers.move(name, wanted)
    for item in list(group.values()):
        if isinstance(item, h5py.Group):
            _rename(item)
