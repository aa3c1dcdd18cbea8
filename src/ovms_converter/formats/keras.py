"""Keras' own files: the `.keras` archive and HDF5."""

from ovms_converter.formats.refused import Refused, file_match
from ovms_converter.formats.tree import Sample

__all__ = ["FORMATS"]

_HDF5 = b"\x89HDF\r\n\x1a\n"


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


FORMATS = (
    Refused(
        "keras.keras",
        "a Keras archive",
        file_match(_archive),
        'load it with `keras.saving.load_model`, run `model.export("saved_model")`, and convert that '
        "directory",
        suffixes=(".keras",),
    ),
    Refused(
        "keras.weights",
        "a Keras weights file",
        file_match(_weights),
        'build the model, load the weights, run `model.export("saved_model")`, and convert that directory',
        "which holds no graph",
    ),
    Refused(
        "keras.h5",
        "a Keras HDF5 file",
        file_match(_hdf5),
        'load it with `keras.models.load_model`, run `model.export("saved_model")` '
        '(before Keras 2.13 `model.save("saved_model", save_format="tf")`), and convert that directory',
        suffixes=(".h5", ".hdf5"),
    ),
)
