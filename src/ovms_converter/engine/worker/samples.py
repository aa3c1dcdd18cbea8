"""Inputs to run a model on when nobody gave any: small, seeded, of the right types and some fitting size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine.worker.bfloat import as_tensor
from ovms_converter.engine.worker.execution import Array, Tensor

__all__ = [
    "Draw",
    "Shape",
    "Sizes",
    "candidates",
    "fill",
    "fit",
    "has_free_batch",
    "has_other_free_dimensions",
    "has_settings",
]

_SIZES = (1, 2, 8, 16, 32, 64, 224)
_LONGEST = 1 << 26
"""No input has more elements than this: a guess must not be what runs out of memory."""

_FREE_RANKS = (2, 4, 1, 3, 0)

_SETTINGS = 8
"""A vector of at most so many numbers may be what a shape, an axis or a step is computed from."""

Shape: TypeAlias = tuple[int, ...]


class Draw(Enum):
    """How values are drawn. An integer is mostly an index or a mask: a large one may be out of range."""

    ZEROS = "floats in [0, 1), integers 0, short vectors of integers 1"
    UNIT = "floats in [0, 1), integers 0 and 1"
    WIDE = "normal floats, integers around 0; bytes over their whole range"
    TIES = "halves, in which values repeat and rounding meets ties; integers in [0, 8)"
    COUNTS = "floats in [0, 10), integers in [1, 5)"
    STRANGE = "NaN, infinities and normal floats; integers 0 and 1"


_INTEGERS = {
    Draw.ZEROS: (0, 1),
    Draw.UNIT: (0, 2),
    Draw.WIDE: (-40, 41),
    Draw.TIES: (0, 8),
    Draw.COUNTS: (1, 5),
    Draw.STRANGE: (0, 2),
}


@dataclass(frozen=True)
class Sizes:
    """What free dimensions are set to: first ones to `batch`, others to `other`; a free rank to `rank`."""

    batch: int
    other: int
    rank: int = 2


def has_free_batch(inputs: Sequence[ov.Output]) -> bool:
    """Whether an input's first dimension is free."""
    shapes = [port.get_partial_shape() for port in inputs]
    return any(shape.rank.is_dynamic or (len(shape) > 0 and shape[0].is_dynamic) for shape in shapes)


def has_other_free_dimensions(inputs: Sequence[ov.Output]) -> bool:
    """Whether there is a free dimension, or rank, that is not the batch: then a run needs a guess.

    The one dimension of a vector counts as well: it is as often a length as a batch.
    """
    shapes = [port.get_partial_shape() for port in inputs]
    return any(
        shape.rank.is_dynamic
        or any(dimension.is_dynamic for dimension in (list(shape)[1:] if len(shape) > 1 else list(shape)))
        for shape in shapes
    )


def has_settings(inputs: Sequence[ov.Output]) -> bool:
    """Whether an input may be a size, an axis or the like: then a run needs a guess of its values too."""
    shapes = [port.get_partial_shape() for port in inputs]
    return any(shape.is_static and _is_setting(tuple(shape.to_shape())) for shape in shapes)


def _is_setting(shape: Shape) -> bool:
    return len(shape) <= 1 and all(size <= _SETTINGS for size in shape)


def candidates(inputs: Sequence[ov.Output]) -> Iterator[Sizes]:
    """Sizes to try, the likeliest first. Exactly one if nothing is free."""
    ranks = _FREE_RANKS if any(port.get_partial_shape().rank.is_dynamic for port in inputs) else (2,)
    others = _SIZES if has_other_free_dimensions(inputs) else (1,)
    batches = (1, *_SIZES[1:]) if has_free_batch(inputs) else (1,)
    for rank in ranks:
        for other in others:
            yield Sizes(1, other, rank)
    for size in batches[1:]:
        yield Sizes(size, size)


def fill(
    inputs: Sequence[ov.Output], sizes: Sizes | Sequence[Shape], draw: Draw, seed: int = 0
) -> list[Tensor] | None:
    """One tensor an input, the same ones for the same seed, or None if one would be far too large.

    `sizes` may be the shape of every input.
    """
    generator = np.random.default_rng(seed)
    tensors: list[Tensor] = []
    for number, port in enumerate(inputs):
        shape = _shape(port.get_partial_shape(), sizes) if isinstance(sizes, Sizes) else sizes[number]
        if np.prod(shape, dtype=np.float64) > _LONGEST:
            return None
        tensors.append(_tensor(port.get_element_type(), shape, generator, draw))
    return tensors


def fit(model: ov.Model, sizes: Sizes) -> bool:
    """Whether the shapes of all operations can be told for inputs of these sizes; the model gets them.

    Raises RuntimeError if they do not fit together.
    """
    # `Model.reshape` would first put right what an exporter fixed to its own batch.
    for parameter in model.get_parameters():
        shape = _shape(parameter.get_partial_shape(), sizes)
        parameter.set_partial_shape(ov.PartialShape(list(shape)))
    model.validate_nodes_and_infer_types()
    return all(output.get_partial_shape().is_static for node in model.get_ops() for output in node.outputs())


def _shape(partial: ov.PartialShape, sizes: Sizes) -> Shape:
    if partial.rank.is_dynamic:
        return (sizes.batch, *[sizes.other] * (sizes.rank - 1)) if sizes.rank else ()
    return tuple(
        _size(dimension, sizes.other if index else sizes.batch) for index, dimension in enumerate(partial)
    )


def _size(dimension: ov.Dimension, wanted: int) -> int:
    if dimension.is_static:
        return int(dimension.get_length())
    lowest, highest = int(dimension.get_min_length()), int(dimension.get_max_length())
    return max(lowest, wanted if highest < 0 else min(wanted, highest))


def _tensor(kind: ov.Type, shape: Shape, generator: np.random.Generator, draw: Draw) -> Tensor:
    if kind == ov.Type.string:
        return np.full(shape, "a")
    if kind.is_dynamic():
        return _floats(shape, generator, draw)
    if kind == ov.Type.bf16:
        return as_tensor(_floats(shape, generator, draw), kind)
    tensor = ov.Tensor(kind, ov.Shape(shape))
    try:
        dtype = np.dtype(kind.to_dtype())
    except RuntimeError:  # 8-bit floats, which numpy lacks
        return tensor
    if kind.bitwidth < 8:  # several elements a byte, boolean is not among them
        tensor.data[...] = 0
    elif kind.is_real():
        tensor.data[...] = _floats(shape, generator, draw).astype(dtype)
    else:
        tensor.data[...] = _integers(shape, generator, draw, dtype).astype(dtype)
    return tensor


def _floats(shape: Shape, generator: np.random.Generator, draw: Draw) -> Array:
    if draw is Draw.WIDE:
        return generator.standard_normal(shape, dtype=np.float32)
    if draw is Draw.STRANGE:
        return generator.choice(np.array([-1.5, 0.25, np.nan, np.inf, -np.inf], np.float32), shape)
    if draw is Draw.TIES:
        return (generator.integers(-8, 9, shape) / 2).astype(np.float32)
    largest = np.float32(10 if draw is Draw.COUNTS else 1)
    values: Array = generator.random(shape, dtype=np.float32) * largest
    return values


def _integers(shape: Shape, generator: np.random.Generator, draw: Draw, dtype: np.dtype[np.generic]) -> Array:
    low, high = _INTEGERS[draw]
    if draw is Draw.ZEROS and dtype.kind in "iu" and _is_setting(shape):
        # A size, a step or a count of 0 is no value of the model's domain, and may even divide.
        low, high = 1, 2
    elif dtype.kind == "b":
        low, high = 0, min(high, 2)
    elif dtype.kind == "u" or shape in ((), (1,)):
        # One integer may be how often a loop runs, and OpenVINO takes a negative one for "for ever".
        low = max(low, 0)
    if draw is Draw.WIDE and dtype.kind in "iu" and dtype.itemsize == 1:
        low, high = (0, 256) if dtype.kind == "u" else (-128, 128)
    return generator.integers(low, high, shape)
