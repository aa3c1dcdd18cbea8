"""The registry: every format that is known, and in which order a file is offered to them."""

from ovms_converter.formats import (
    boosters,
    huggingface,
    keras,
    mlflow,
    native,
    notmodels,
    otherfiles,
    pickles,
    pytorch,
)
from ovms_converter.formats.base import Files, Format
from ovms_converter.formats.onnx import ONNX
from ovms_converter.formats.tensorflow import SAVED_MODEL
from ovms_converter.formats.tree import Tree

__all__ = ["FORMATS", "INPUT_FORMATS", "SUFFIXES", "format_named", "open_tree"]

FORMATS: tuple[Format, ...] = (
    *notmodels.POINTERS,
    ONNX,
    SAVED_MODEL,
    *otherfiles.FORMATS,
    *native.FORMATS,
    *huggingface.FORMATS,
    *keras.FORMATS,
    *pytorch.FORMATS,
    *boosters.FORMATS,
    *pickles.FORMATS,
    *notmodels.ARCHIVES,
    *notmodels.TEXTS,
    *mlflow.FORMATS,
)
"""Every format, in the order in which a file is offered to them: the first that recognises it keeps it."""

INPUT_FORMATS = ("auto", "mlflow", *(found.name for found in FORMATS if found.convertible))
"""The values of `input_format`."""

SUFFIXES = frozenset(suffix for found in FORMATS for suffix in found.suffixes)
"""Endings of files that are looked into wherever they are in a tree."""


def format_named(name: str) -> Format:
    """The row of `FORMATS` of that name."""
    return next(found for found in FORMATS if found.name == name)


def open_tree(files: Files) -> Tree:
    """A tree for the formats to look at."""
    return Tree(files, SUFFIXES)
