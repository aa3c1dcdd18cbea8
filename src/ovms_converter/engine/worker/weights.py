"""Weights of fewer bits, and whole models of 8 bits, by NNCF.

Unlike everything else here this changes numbers on purpose, so it is done only when asked for. Weights are
compressed one layer after another, and what has been compressed is held, so memory grows with the model.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.worker.bfloat import dtype_of
from ovms_converter.errors import ModelError, RequestError
from ovms_converter.optimizer.native import cause_of

if TYPE_CHECKING:
    from ovms_converter.engine.worker.execution import Array

__all__ = ["calibration", "compress", "quantize"]

_GROUP = 128
"""Numbers that share a scale among weights of 4 bits; fewer where a channel does not divide by it."""

_SAMPLES = 300
"""More samples make the ranges of activations no better (NNCF's own default)."""


def compress(model: ov.Model, kind: str) -> ov.Model:
    """Store the weights of matrix products, embeddings and convolutions as "int8" or "int4".

    8 bits: a scale and a zero point for each channel. 4 bits: for each group of 128 numbers in a channel, and
    8 bits for embeddings, the last layer, convolutions, and channels that do not come in groups. What the
    model computes with them stays floating point, and no data is needed.

    Raises:
        RequestError: NNCF is not installed.
        ModelError: NNCF cannot do it.
        ResourceError: memory ran out.
    """
    library = _library()
    if kind == "int8":
        return _done(lambda: library.compress_weights(model, mode=library.CompressWeightsMode.INT8_ASYM))
    mode = library.CompressWeightsMode.INT4_ASYM
    smaller = library.AdvancedCompressionParameters(
        group_size_fallback_mode=library.GroupSizeFallbackMode.ADJUST
    )
    return _done(
        lambda: library.compress_weights(model, mode=mode, group_size=_GROUP, advanced_parameters=smaller)
    )


def quantize(model: ov.Model, data: Path) -> ov.Model:
    """Make weights and activations 8 bits; `data` is a `.npz` of samples that show the activations' ranges.

    Raises:
        RequestError: NNCF is not installed, or the data does not fit the model's inputs.
        ModelError: NNCF cannot do it.
        ResourceError: memory ran out.
    """
    library = _library()
    samples = list(calibration(model, data))
    return _done(
        lambda: library.quantize(model, library.Dataset(samples), subset_size=min(len(samples), _SAMPLES))
    )


def _library() -> ModuleType:
    try:
        import nncf
    except ImportError:
        raise RequestError(
            "weights of 8 or 4 bits need NNCF, which is not installed",
            hint="pip install 'ovms-converter[nncf]'",
            parameter="weights",
        ) from None
    library: ModuleType = nncf
    library.set_log_level(logging.ERROR)
    return library


def _done(work: Callable[[], ov.Model]) -> ov.Model:
    try:
        # Its progress bars are for terminals, its deprecations for programmers.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except Exception as error:
        resources = death.of_exception(error, "compressing the weights")
        raise resources or ModelError(
            f"NNCF cannot compress this model: {cause_of(error)}",
            hint="leave `weights` away, or take `--weights int8`, which fits every model",
        ) from error


def calibration(model: ov.Model, data: Path) -> "Iterator[dict[str, Array]]":
    """The inputs of one run after another, from arrays whose first dimension counts the samples.

    Raises `RequestError` if the data does not fit the model's inputs.
    """
    with np.load(data, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = [port.get_any_name() for port in model.inputs]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise _misfit(f"it has no array for the input `{missing[0]}`", f"the inputs are {', '.join(names)}")
    runs = [list(_runs(port, arrays[name])) for port, name in zip(model.inputs, names, strict=True)]
    if len({len(each) for each in runs}) != 1:
        raise _misfit("its arrays hold different numbers of samples", "give each input as many")
    for values in zip(*runs, strict=True):
        yield dict(zip(names, values, strict=True))


def _runs(port: ov.Output, array: "Array") -> "Sequence[Array]":
    """An array cut into what the input takes at a time: its fixed batch, else one."""
    shape, name = port.get_partial_shape(), port.get_any_name()
    array = array.astype(dtype_of(port.get_element_type()))
    if shape.rank.is_dynamic or array.ndim == len(shape) + 1:
        pieces = list(array)
    else:
        batch = shape[0].get_length() if array.ndim and array.ndim == len(shape) and shape[0].is_static else 1
        pieces = [array[at : at + batch] for at in range(0, len(array) - batch + 1, batch)]
    if not pieces or not shape.compatible(ov.PartialShape(list(pieces[0].shape))):
        raise _misfit(
            f"its array `{name}` of the shape {list(array.shape)} does not fit {shape}",
            "its first dimension counts the samples, the others are the input's",
        )
    return pieces


def _misfit(what: str, hint: str) -> RequestError:
    return RequestError(
        f"`calibration_data` does not fit the model: {what}", hint=hint, parameter="calibration_data"
    )
